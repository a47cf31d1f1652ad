"""What a change of inputs does to a resource: nothing, an update, or a new resource in its place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from typing import Any

from infra.local.provider.mapping import ResourceType

_ABSENT = object()


class Kind(Enum):
    """How one property changes."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Change:
    """One changed input; ``path`` as Pulumi writes it, ``sku.capacity`` or ``subnets[0].name``."""

    path: str
    kind: Kind
    replaces: bool


def changes(resource_type: ResourceType, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Compare two sets of inputs; what the program leaves out is left to the service and is no change by itself."""
    fixed = frozenset(resource_type.path_parameters)
    return tuple(
        Change(path, kind, replaces or path in fixed)
        for path, kind, replaces in _compare(resource_type.body, "", dict(old), dict(new))
    )


def _compare(rule: Mapping[str, Any], path: str, old: Any, new: Any) -> Iterator[tuple[str, Kind, bool]]:
    """Yield (path, kind, whether a create-only property is at or above it)."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _compare_objects(rule, path, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (left, right) in enumerate(zip_longest(old, new, fillvalue=_ABSENT)):
            yield from _compare_items(rule, f"{path}[{index}]", left, right)
    elif old != new:
        yield path, Kind.UPDATE, False


def _compare_objects(
    rule: Mapping[str, Any], path: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, Kind, bool]]:
    for name in sorted(old.keys() | new.keys()):
        left, right = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if name == "location" and _place(left) == _place(right):
            continue
        if name in rule.get("set", ()) and _as_set(left) == _as_set(right):
            continue  # ids in another order
        # Entries of a map of objects follow the same rule as the objects.
        child = {**rule, "map": False} if rule.get("map") else rule.get("children", {}).get(name, {})
        replaces = name in rule.get("create_only", ())
        for spot, kind, deeper in _compare_items(child, _join(path, name), left, right):
            yield spot, kind, replaces or deeper


def _compare_items(rule: Mapping[str, Any], path: str, old: Any, new: Any) -> Iterator[tuple[str, Kind, bool]]:
    if old is _ABSENT:
        yield path, Kind.ADD, False
    elif new is _ABSENT:
        yield path, Kind.DELETE, False
    else:
        yield from _compare(rule, path, old, new)


def _join(path: str, name: str) -> str:
    """Write a property path; names that are not plain words are quoted, as the engine does."""
    if name.replace("_", "").isalnum():
        return f"{path}.{name}" if path else name
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{quoted}"]'


def _as_set(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


def _place(location: Any) -> Any:
    """Return a location as Azure compares it: "West Europe" is "westeurope"."""
    return location.replace(" ", "").lower() if isinstance(location, str) else location
