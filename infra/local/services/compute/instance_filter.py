"""The `$filter` of a list of instances: comparisons and `startswith` over paths, joined by `and`."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from infra.local.arm.errors import invalid

Json = dict[str, Any]

_STARTS = re.compile(
    r"startswith\(\s*(?P<path>[\w/]+)\s*,\s*'(?P<text>[^']*)'\s*\)(\s+eq\s+(?P<sense>true|false))?", re.IGNORECASE
)
_COMPARES = re.compile(r"(?P<path>[\w/]+)\s+(?P<how>eq|ne)\s+('(?P<text>[^']*)'|(?P<word>[\w.-]+))", re.IGNORECASE)


def parse_filter(text: str) -> Callable[[Json], bool]:
    """Return what a filter says of one member of a list; refuse what it does not understand."""
    tests = [_test(part) for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE)]
    return lambda member: all(test(member) for test in tests)


def _test(text: str) -> Callable[[Json], bool]:
    text = text.strip()
    if found := _STARTS.fullmatch(text):
        path, prefix = found["path"].split("/"), found["text"].lower()
        sense = (found["sense"] or "true").lower() == "true"
        return lambda member: any(value.lower().startswith(prefix) for value in _values(member, path)) is sense
    if found := _COMPARES.fullmatch(text):
        path, wanted = found["path"].split("/"), (found["text"] or found["word"] or "").lower()
        sense = found["how"].lower() == "eq"
        return lambda member: any(value.lower() == wanted for value in _values(member, path)) is sense
    message = f"The filter '{text}' is not supported; say for example properties/latestModelApplied eq true."
    raise invalid(message, "$filter")


def _values(member: Any, path: list[str]) -> Iterator[str]:
    """Give the values at a path as text; lists stand for each of their members, and `properties/` may be left out."""
    if isinstance(member, list):
        for entry in member:
            yield from _values(entry, path)
    elif not path:
        yield str(member)
    elif isinstance(member, dict):
        names = {name.lower(): name for name in member}
        if path[0].lower() in names:
            yield from _values(member[names[path[0].lower()]], path[1:])
        elif "properties" in names:
            yield from _values(member["properties"], path)
