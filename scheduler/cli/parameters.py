"""`${{ parameters.name }}` in a job file: defaults from the file, values from `--set`.

A text that is one reference and nothing else takes the parameter's value with its type; within a longer text the value
is written out. References stand in values, not in keys, and a value is not searched again. References to
`sweep.name` stay, since nodes put in the value of each task, and so do those to `schedule.name`, whose value is known
when a schedule makes the job.
"""

import re
from collections.abc import Mapping, Sequence

_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}

Scalar = bool | int | float | str

_REFERENCE = re.compile(r"\$\{\{(?P<expression>.*?)\}\}")
_EXPRESSION = re.compile(r"\s*parameters\.(?P<name>[A-Za-z_][A-Za-z0-9_-]*)\s*")
_BOOLEANS = {"true": True, "false": False}


class ParameterError(ValueError):
    """A value for a parameter, or a reference to one, that cannot be understood."""


def merge(defaults: Mapping[str, Scalar | None], settings: Sequence[str]) -> tuple[dict[str, Scalar], list[str]]:
    """Lay `key=value` settings over defaults; give the values and every finding.

    A setting is read as the type of its default; one whose default is null must be set, and is a text.
    """
    values: dict[str, Scalar] = {}
    findings = []
    given = {}
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            findings.append(f"--set {setting}: expected key=value")
        elif name not in defaults:
            known = ", ".join(sorted(defaults)) or "none"
            findings.append(f"--set {setting}: there is no parameter {name!r}; the job's parameters are: {known}")
        else:
            given[name] = text
    for name, default in defaults.items():
        # A parameter whose value is wrong still exists: what refers to it is not a second finding.
        values[name] = "" if default is None else default
        if name in given:
            try:
                values[name] = _typed(given[name], default)
            except ParameterError as error:
                findings.append(f"--set {name}={given[name]}: {error}")
        elif default is None:
            findings.append(f"the parameter {name!r} has no default; give it with --set {name}=VALUE")
    return values, findings


def _typed(text: str, default: Scalar | None) -> Scalar:
    kind = str if default is None else type(default)
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ParameterError(f"expected {_TYPE_NAMES[kind]}")
        return _BOOLEANS[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise ParameterError(f"expected {_TYPE_NAMES[kind]}") from error


def substitute(text: str, values: Mapping[str, Scalar]) -> Scalar:
    """Put values in place of the references in one text; `ParameterError` names what is not understood."""
    whole = _REFERENCE.fullmatch(text)
    if whole:
        return text if _is_left(whole) else _value(whole["expression"], values)
    return _REFERENCE.sub(
        lambda match: match[0] if _is_left(match) else written(_value(match["expression"], values)), text
    )


def filled_later(where: Sequence[str | int]) -> bool:
    """Say whether references that are filled in later may stand at a place: in a step's command or environment."""
    return len(where) > 2 and where[0] == "steps" and where[2] in {"command", "environment"}  # noqa: PLR2004


def _is_left(match: re.Match[str]) -> bool:
    """Say whether a reference is left for those who know its value."""
    return match["expression"].strip().startswith(("sweep.", "schedule."))


def written(value: Scalar) -> str:
    """Write a value as it would stand in a job file."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(expression: str, values: Mapping[str, Scalar]) -> Scalar:
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise ParameterError(f"${{{{{expression}}}}} is not understood; write ${{{{ parameters.NAME }}}}")
    if match["name"] not in values:
        known = ", ".join(sorted(values)) or "none"
        raise ParameterError(f"there is no parameter {match['name']!r}; the job's parameters are: {known}")
    return values[match["name"]]
