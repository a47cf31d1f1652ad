"""Lists in a body whose members are resources of their own, such as the subnets of a virtual network."""

from collections.abc import Callable
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Follow, ResourceType, Write
from infra.local.arm.store import Resource, Store

_ORDER = "order"
_READ_ONLY = ("id", "type", "etag", "resourceGroup")


def network_type(name: str, **behaviour: Any) -> ResourceType:
    """Return a type that is followed as all of Microsoft.Network are (OpenAPI: final state by Azure-AsyncOperation)."""
    usual: dict[str, Any] = {
        "follow_create": Follow.STATUS,
        "follow_update": Follow.STATUS,
        "follow_delete": Follow.BOTH,
        "creating_state": "Updating",
        "shows_etag": True,
    }
    return ResourceType(name, **(usual | behaviour))


def keep(write: Write, name: str, make: Callable[[], Any]) -> None:
    """Set a property that the service chooses once: a client's value is not taken."""
    known = write.before.properties.get(name) if write.before else None
    write.resource.properties[name] = make() if known is None else known


class Embedded:
    """One such list of one type: its members are kept apart and laid into the parent's view."""

    def __init__(self, store: Store, parent_type: str, name: str) -> None:
        self._store = store
        self.name = name
        self.type = f"{parent_type}/{name}"

    def declared(self, write: Write) -> list[dict[str, Any]] | None:
        """Return the members that a parent's body declares; None when it does not speak of them."""
        members = write.resource.properties.get(self.name)
        if members is None:
            return None
        names = set()
        for member in members:
            name = member.get("name") if isinstance(member, dict) else None
            if not isinstance(name, str) or not name:
                message = f"The value of 'name' is missing in a member of '{self.name}' of {write.resource.id}."
                raise invalid(message, f"properties.{self.name}", "InvalidRequestFormat")
            if name.lower() in names:
                message = f"Resource {write.resource.id} has two child resources with the same name ({name})."
                raise invalid(message, f"properties.{self.name}", "InvalidRequestFormat")
            names.add(name.lower())
        return list(members)

    def dropped(self, write: Write) -> list[Resource]:
        """Return the members there are that a parent's body leaves out."""
        declared = self.declared(write)
        return [] if declared is None else self._left_out(write.resource, declared)

    def take(self, write: Write) -> None:
        """Move the members out of a saved parent's body; those that it leaves out go."""
        declared = self.declared(write)
        write.resource.properties.pop(self.name, None)
        if declared is None:
            return
        for unwanted in self._left_out(write.resource, declared):
            self._store.remove(unwanted.id)
        for member in declared:
            identifier = f"{write.resource.id}/{self.name}/{member['name']}"
            kept = self._store.get(identifier) or Resource(identifier, self.type, {})
            before = kept.body
            kept.body = {key: value for key, value in member.items() if key not in (*_READ_ONLY, "name")}
            kept.body["properties"] = dict(member.get("properties") or {}) | {"provisioningState": "Succeeded"}
            self._store.save(kept, changed=kept.body != before)
        write.resource.internal.setdefault(_ORDER, {})[self.name] = [member["name"] for member in declared]

    def members(self, parent: Resource) -> list[Resource]:
        """List the members in the order in which they were declared."""
        found = self._store.find(self.type, parent.id)
        order = {name.lower(): place for place, name in enumerate(parent.internal.get(_ORDER, {}).get(self.name, []))}
        return sorted(found, key=lambda member: order.get(member.name.lower(), len(order)))

    def shown(self, parent: Resource) -> list[dict[str, Any]]:
        """Return the members as a parent's body shows them."""
        return [self.show(member) for member in self.members(parent)]

    def show(self, member: Resource) -> dict[str, Any]:
        """Return one member as its parent's body shows it."""
        return {"id": member.id, "name": member.name, "type": self.type, "etag": member.etag} | member.body

    def _left_out(self, parent: Resource, declared: list[dict[str, Any]]) -> list[Resource]:
        names = {member["name"].lower() for member in declared}
        return [member for member in self.members(parent) if member.name.lower() not in names]
