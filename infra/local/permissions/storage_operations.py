"""What each request to a storage account needs, from the table that the storage servers decide by (operations.json)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.local.arm.addresses import segments

TABLE = Path(__file__).parents[1] / "azurite" / "operations.json"

_ACCOUNT = "Microsoft.Storage/storageAccounts"
# The parts of an account that conditions name, by the segments that lead to them in a resource id.
_NAMED = {
    "blobservices/containers": f"{_ACCOUNT}/blobServices/containers:name",
    "queueservices/queues": f"{_ACCOUNT}/queueServices/queues:name",
    "tableservices/tables": f"{_ACCOUNT}/tableServices/tables:name",
}
_ACCOUNT_SEGMENTS = 8
_PART_SEGMENTS = 12


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service; each member of `needs` is a set of actions that together are enough."""

    service: str
    name: str
    needs: tuple[tuple[str, ...], ...]


@cache
def operations() -> tuple[Operation, ...]:
    """Return all operations."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return tuple(
        Operation(row["service"], row["operation"], tuple(tuple(need) for need in row["needs"]))
        for row in table["operations"]
    )


@cache
def is_data_action(action: str) -> bool:
    """Tell the actions on blobs, messages and entities from those on what holds them."""
    prefixes = json.loads(TABLE.read_text(encoding="utf-8"))["dataActions"]
    return action.lower().startswith(tuple(prefix.lower() for prefix in prefixes))


def resource_attributes(scope: str) -> dict[str, str]:
    """Return what conditions can ask about a scope within a storage account, keyed in lower case."""
    parts = segments(scope)
    if len(parts) < _ACCOUNT_SEGMENTS or "/".join(parts[5:7]).lower() != _ACCOUNT.lower():
        return {}
    attributes = {f"resource:{_ACCOUNT}:name".lower(): parts[7]}
    if len(parts) >= _PART_SEGMENTS and (name := _NAMED.get(f"{parts[8]}/{parts[10]}".lower())):
        attributes[f"resource:{name}".lower()] = parts[11]
    return attributes
