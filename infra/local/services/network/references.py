"""References between resources: what a body names must be there, and what is named cannot be deleted."""

from collections.abc import Iterable, Iterator
from typing import Any

from infra.local.arm.errors import ArmError, invalid
from infra.local.arm.resource_types import Write
from infra.local.arm.store import Resource, Store

# The keys of a pure reference; az adds the second when it sends back what it has read.
_REFERENCE_KEYS = frozenset({"id", "resourceGroup"})


def references_in(value: Any) -> Iterator[str]:
    """Yield every id that a body refers to by `{"id": …}`."""
    if isinstance(value, dict):
        if "id" in value and value.keys() <= _REFERENCE_KEYS:
            if isinstance(value["id"], str) and value["id"].startswith("/"):
                yield value["id"]
            return
        for member in value.values():
            yield from references_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from references_in(member)


def check_references(store: Store, write: Write) -> None:
    """Refuse a body that refers to a resource which is not there, or not in the same region."""
    own = write.resource.key + "/"
    parts = {part.lower() for part in _own_parts(write.resource)}
    location = write.resource.body.get("location")
    for identifier in dict.fromkeys(references_in(write.resource.properties)):
        if identifier.lower().startswith(own):
            if identifier.lower() not in parts:
                raise missing_reference(identifier, write.resource.id)
            continue
        found = store.get(identifier)
        elsewhere = found is not None and location and found.body.get("location") not in {None, location, "global"}
        if found is None or found.state == "Deleting" or (elsewhere and location != "global"):
            raise missing_reference(identifier, write.resource.id)


def missing_reference(identifier: str, user: str) -> ArmError:
    """Return the refusal of a reference to nothing."""
    message = (
        f"Resource {identifier} referenced by resource {user} was not found. Please make sure that the referenced"
        " resource exists, and that both resources are in the same region."
    )
    return invalid(message, code="InvalidResourceReference")


def users_of(resource: Resource, targets: Iterable[str]) -> Iterator[str]:
    """Yield the id of each part of a resource that names one of the targets, by a reference or an id of its own kind.

    The targets are in lower case.
    """
    wanted = frozenset(targets)

    def search(value: Any, part: str) -> Iterator[str]:
        if isinstance(value, dict):
            own = value.get("id")
            if isinstance(own, str) and own.lower().startswith(resource.key + "/"):
                part = own
            for member in value.values():
                yield from search(member, part)
        elif isinstance(value, list):
            for member in value:
                yield from search(member, part)
        elif isinstance(value, str) and value.lower() in wanted:
            yield part

    yield from dict.fromkeys(search(resource.properties, resource.id))


def _own_parts(resource: Resource) -> Iterator[str]:
    """Yield the ids of the parts that a body declares in its lists."""
    for collection, members in resource.properties.items():
        for member in members if isinstance(members, list) else ():
            if isinstance(member, dict) and "name" in member:
                yield f"{resource.id}/{collection}/{member['name']}"
