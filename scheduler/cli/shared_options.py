"""Options that several commands share, declared once as the fields of a dataclass."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints


def with_options(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a dataclass, and an instance of it as its argument `options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(kind, include_extras=True)
        shared = [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=each.default if each.default_factory is MISSING else each.default_factory(),
                annotation=hints[each.name],
            )
            for each in fields(kind)
        ]
        signature = inspect.signature(command)
        own = [each for name, each in signature.parameters.items() if name != "options"]

        def run(**given: Any) -> None:
            options = kind(**{each.name: given.pop(each.name) for each in shared})
            command(**given, options=options)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
        run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return run

    return decorate
