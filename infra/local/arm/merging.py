"""Bodies laid over each other, as PATCH and the merging PUTs do it."""

import copy
from typing import Any


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Lay `new` over `old`: objects merge, lists and values replace, null removes."""
    merged = copy.deepcopy(old)
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = value
    return merged


def without_nulls(value: Any) -> Any:
    """Return a copy of a JSON value in which null members of objects are left out: null is no value."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def value_at(body: dict[str, Any], path: str) -> Any:
    """Return what stands at a dotted path, None for nothing."""
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
