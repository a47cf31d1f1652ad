"""Spans of time and settings as people write them."""

import math
import re
from collections.abc import Mapping

from scheduler.errors import InvalidRequestError

Scalar = bool | int | float | str | None

_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 100 * 365 * 86400.0
_SPAN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*")


def seconds_of(text: str) -> float:
    """Read a span: `240`, `240s`, `4 min`, `1.5h`, `2d`; plain numbers are seconds."""
    found = _SPAN.fullmatch(text.lower())
    if found is None or found[2] not in _UNITS:
        raise InvalidRequestError(f"{text!r} is no span of time; write for example 240s, 4min, 1.5h or 2d")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST:
        raise InvalidRequestError(f"{text!r} is too long; a span of time is at most a hundred years")
    return seconds


def span_text(seconds: float) -> str:
    """Write a span for people."""
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.3g} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds / 60:.3g} min"
    if seconds < 360000:  # noqa: PLR2004
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 86400:,.1f} d"


def typed(name: str, text: str, default: Scalar) -> Scalar:
    """Read a setting as the type of its default. Numbers may be spans of time; `none` is no number."""
    if isinstance(default, bool):
        if text.lower() not in {"true", "false"}:
            raise InvalidRequestError(f"{name}={text}: expected true or false")
        return text.lower() == "true"
    if isinstance(default, str):
        return text
    if text.lower() == "none":
        return None
    if text.lower() == "inf":
        return math.inf
    try:
        value = seconds_of(text)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}={text}: expected a number, or a span such as 5min") from error
    if isinstance(default, int):
        if value != int(value):
            raise InvalidRequestError(f"{name}={text}: expected a whole number")
        return int(value)
    return value


def merged(owner: str, defaults: Mapping[str, Scalar], given: Mapping[str, str]) -> dict[str, Scalar]:
    """Lay settings over defaults; `InvalidRequestError` names one that is not known, and those that are."""
    unknown = [name for name in given if name not in defaults]
    if unknown:
        known = ", ".join(defaults) or "none"
        raise InvalidRequestError(f"{owner} has no setting {unknown[0]!r}; its settings are: {known}")
    return {name: typed(name, given[name], default) if name in given else default for name, default in defaults.items()}
