"""Lists of the Batch service: `$filter`, `$select`, pages of `maxresults`."""

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from infra.local.batch_service.errors import BatchError

Json = dict[str, Any]

_LARGEST_PAGE = 1000  # docs: maxresults
_COMPARISON = re.compile(
    r"\s*(?P<name>\w+(?:/\w+)*)\s+(?P<operator>eq|ne|gt|ge|lt|le)\s+(?:(?:datetime)?'(?P<text>[^']*)'|(?P<word>[\w.:+-]+))\s*"
)
_BEGINS = re.compile(r"\s*startswith\(\s*(?P<name>\w+)\s*,\s*'(?P<text>[^']*)'\s*\)\s*", re.IGNORECASE)
_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda left, right: left.lower() == right.lower(),
    "ne": lambda left, right: left.lower() != right.lower(),
    "gt": lambda left, right: left > right,
    "ge": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "le": lambda left, right: left <= right,
}


def filtered(members: Iterable[Json], text: str | None) -> list[Json]:
    """Keep the members that a filter lets through: comparisons and `startswith`, joined by `and` or by `or`."""
    if not text:
        return list(members)
    alternatives = [_conditions(part) for part in re.split(r"\s+or\s+", text.strip().strip("()"))]
    return [member for member in members if any(all(holds(member) for holds in each) for each in alternatives)]


def selected(member: Json, text: str | None) -> Json:
    """Leave only the properties that `$select` names."""
    if not text:
        return member
    names = {name.strip() for name in text.split(",")}
    return {name: value for name, value in member.items() if name in names or name.startswith("odata.")}


def page(members: list[Json], query: Mapping[str, str], url: str) -> Json:
    """Cut one page out; `odata.nextLink` is the address of the next."""
    try:
        size, start = int(query.get("maxresults", _LARGEST_PAGE)), int(query.get("$skiptoken", "0"))
    except ValueError:
        size, start = 0, 0
    if not 1 <= size <= _LARGEST_PAGE:
        message = "The value specified for one of the query parameters is out of range."
        values = {"QueryParameterName": "maxresults", "MinimumAllowed": "1", "MaximumAllowed": str(_LARGEST_PAGE)}
        raise BatchError(HTTPStatus.BAD_REQUEST, "OutOfRangeQueryParameterValue", message, values)
    shown = [selected(member, query.get("$select")) for member in members[start : start + size]]
    found: Json = {"value": shown}
    if start + size < len(members):
        found["odata.nextLink"] = url + str(start + size)
    return found


def _conditions(text: str) -> list[Callable[[Json], bool]]:
    return [_condition(part) for part in re.split(r"\s+and\s+", text)]


def _condition(text: str) -> Callable[[Json], bool]:
    if (found := _BEGINS.fullmatch(text)) is not None:
        name, prefix = found["name"], found["text"]
        return lambda member: str(member.get(name, "")).startswith(prefix)
    if (found := _COMPARISON.fullmatch(text)) is not None:
        name, compare = found["name"], _OPERATORS[found["operator"]]
        wanted = found["text"] if found["text"] is not None else found["word"]
        return lambda member: compare(_text(_at(member, name)), wanted)
    message = "The value specified for one of the query parameters is invalid."
    values = {
        "QueryParameterName": "$filter",
        "QueryParameterValue": text,
        "Reason": "this condition is not understood",
    }
    raise BatchError(HTTPStatus.BAD_REQUEST, "InvalidQueryParameterValue", message, values)


def _at(member: Json, path: str) -> Any:
    value: Any = member
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
