"""The verbs of the resource manager, the same for every type; what differs is in the table of types."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from infra.local.arm.addresses import RESOURCE_GROUP, Address, Target, group_of
from infra.local.arm.body_check import RequestSchemas
from infra.local.arm.body_errors import refusal
from infra.local.arm.errors import ArmError, conflict, invalid, not_allowed, not_found, stale
from infra.local.arm.merging import merge, value_at, without_nulls
from infra.local.arm.names import check_name
from infra.local.arm.operations import Operations
from infra.local.arm.resource_types import Call, Follow, Query, ResourceType, ResourceTypes, Write
from infra.local.arm.store import Operation, Resource, Status, Store
from infra.local.tokens import Principal

_READ_ONLY = ("id", "name", "type", "etag", "systemData")
_DELETING = "Deleting"
_SEGMENTS_OF_PARENT = 9  # /subscriptions/…/resourceGroups/…/providers/namespace/type/name
_LARGEST_PAGE = 1000  # docs: resource manager, $top


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditional headers of a request."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, current: Resource | None) -> None:
        """Raise when what is there now is not what the client expects."""
        if self.if_match is not None and (
            current is None or (self.if_match != "*" and _bare(self.if_match) != str(current.revision))
        ):
            raise stale()
        unwanted = None if current is None else ("*", str(current.revision))
        if self.if_none_match is not None and unwanted and _bare(self.if_none_match) in unwanted:
            raise stale()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back; `operation` is one to follow, in the ways that `follow` says."""

    status: int
    body: dict[str, Any] | None = None
    etag: str | None = None
    operation: Operation | None = None
    follow: Follow = Follow.NOTHING
    next_offset: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    region: str = ""  # where the operation runs


class ResourceManager:
    """Reads and writes resources by the table of types."""

    def __init__(self, store: Store, operations: Operations, types: ResourceTypes, schemas: RequestSchemas) -> None:
        self._store = store
        self._operations = operations
        self._types = types
        self._schemas = schemas
        operations.register("write", self._continue_write)
        operations.register("action", self._continue_write)
        operations.register("delete", self._continue_delete)
        operations.on_failure(self._mark_failed)

    def get(self, target: Target, query: Query) -> Answer:
        """Show a resource, one of its views, or a collection."""
        with self._store.reading():
            if target.trailing is None:
                address = _addressed(target)
                resource_type = self._types.find(address.type)
                resource = self._require(address, resource_type)
                return self._shown(resource_type, resource, query)
            if target.address is not None:
                resource_type = self._types.find(target.address.type)
                for name, view in resource_type.views.items():
                    if name.lower() == target.trailing.lower():
                        return Answer(HTTPStatus.OK, view(self._require(target.address, resource_type)))
            return self._list(target, query)

    def write(self, target: Target, body: dict[str, Any], conditions: Conditions, *, patch: bool) -> Answer:
        """Create or change a resource (PUT), or change it (PATCH)."""
        address = _subject(target, "PATCH" if patch else "PUT")
        resource_type = self._types.find(address.type)
        with self._store.transaction():
            before = self._store.get(address.id)
            self._check_surroundings(address)
            conditions.check(before)
            if before is None and patch:
                raise _missing(address)
            if before is None:
                check_name(address)
            if before is not None and before.state == _DELETING:
                raise conflict(
                    "ResourceBeingDeleted", f"The resource '{address.id}' is being deleted; try again later."
                )
            write = self._prepared(resource_type, address, body, before, patch=patch)
            follow = resource_type.follow_update if before else resource_type.follow_create
            if resource_type.has_state:
                busy = "Updating" if before else resource_type.creating_state
                write.resource.state = busy if follow else "Succeeded"
            self._store.save(write.resource)
            payload = resource_type.apply(write)
            operation = None
            if follow:
                operation = self._store.start("write", write.resource.id, payload)
                self._store.after_commit(self._operations.wake)
        if not follow:
            try:
                resource_type.provision(write.resource, payload)
            except ArmError:
                if before is None:
                    self._store.remove(write.resource.id)
                raise
        status = resource_type.updated if before else resource_type.created
        with self._store.reading():
            shown = self._shown(resource_type, self._store.get(address.id) or write.resource, {})
        body_now = None if status is HTTPStatus.ACCEPTED else shown.body
        region = self._region(write.resource) if follow else ""
        return Answer(status, body_now, shown.etag, operation, follow, region=region)

    def delete(self, target: Target, conditions: Conditions) -> Answer:
        """Delete a resource with everything in it."""
        address = _subject(target, "DELETE")
        resource_type = self._types.find(address.type)
        with self._store.transaction():
            resource = self._store.get(address.id)
            conditions.check(resource)
            if resource is None:
                if address.type == RESOURCE_GROUP:
                    raise _missing(address)
                return Answer(HTTPStatus.NO_CONTENT)
            resource_type.leave(resource)
            operation = self.start_delete(resource, resource_type)
        if operation is not None:
            region = self._region(resource)
            return Answer(HTTPStatus.ACCEPTED, None, None, operation, resource_type.follow_delete, region=region)
        last = _described(resource_type, resource, {}) if resource_type.shows_deleted else None
        resource_type.release(resource)
        self._store.remove(resource.id)
        return Answer(resource_type.deleted, last)

    def start_delete(
        self, resource: Resource, resource_type: ResourceType, *, always: bool = False
    ) -> Operation | None:
        """Within a transaction, mark a resource as going and start what ends it; None when it can end at once."""
        under_way = self._store.unfinished(resource.id, "delete")
        if under_way:
            return under_way[0]
        preempted = ArmError(HTTPStatus.CONFLICT, "OperationPreempted", "The resource was deleted in the meantime.")
        for operation in self._store.unfinished(resource.id):
            self._store.finish(operation.id, Status.CANCELED, preempted.error(), preempted.status)
        if resource_type.has_state:
            resource.state = _DELETING
            self._store.save(resource)
        if not (resource_type.follow_delete or always):
            return None
        self._store.after_commit(self._operations.wake)
        return self._store.start("delete", resource.id)

    def act(self, target: Target, body: dict[str, Any], query: Query, principal: Principal) -> Answer:
        """Run an action of a resource."""
        if target.trailing is None:
            raise not_allowed("POST")
        address = _addressed(target)
        resource_type = self._types.find(address.type)
        for name, action in resource_type.actions.items():
            if name.lower() == (target.trailing or "").lower():
                checked = self._schemas.action(resource_type.name, name, body)
                with self._store.transaction():
                    resource = self._require(address, resource_type)
                    if (refused := refusal(resource_type.name, checked.findings)) is not None:
                        raise refused
                    reply = action(Call(resource, checked.body, query, principal))
                    self._store.after_commit(self._operations.wake)
                usual = HTTPStatus.ACCEPTED if reply.operation else HTTPStatus.OK
                region = self._region(resource) if reply.operation else ""
                return Answer(reply.status or usual, reply.body, None, reply.operation, reply.follow, region=region)
        known = ", ".join(resource_type.actions) or "none"
        raise invalid(f"The local Azure has no action '{target.trailing}' of {address.type}; it has {known}.")

    def outcome(self, operation: Operation) -> Answer:
        """Answer a poll of an operation's Location."""
        if operation.status is Status.RUNNING:
            return Answer(HTTPStatus.ACCEPTED, None, None, operation, Follow.LOCATION)
        if operation.error is not None:
            return Answer(operation.error_status or HTTPStatus.CONFLICT, {"error": operation.error})
        with self._store.transaction():
            resource = self._store.get(operation.resource_id)
            if operation.kind != "write" or resource is None:
                return Answer(HTTPStatus.NO_CONTENT if operation.kind == "delete" else HTTPStatus.OK)
            return self._shown(self._types.find(resource.type), resource, {})

    def _prepared(
        self,
        resource_type: ResourceType,
        address: Address,
        body: dict[str, Any],
        before: Resource | None,
        *,
        patch: bool,
    ) -> Write:
        merges = before is not None and (patch or resource_type.merges)
        present = _described(resource_type, before, {}) if before else None
        checked = self._schemas.write(resource_type.name, body, present, patch=patch, whole=not merges)
        if (refused := refusal(resource_type.name, checked.findings)) is not None:
            raise refused
        sent = {name: value for name, value in checked.body.items() if name not in _READ_ONLY}
        if isinstance(sent.get("properties"), dict):
            sent["properties"].pop("provisioningState", None)
        merged = merge(before.body, sent) if before and merges else without_nulls(sent)
        _check_location(resource_type, address, merged, before)
        internal = copy.deepcopy(before.internal) if before else {}
        identifier = (
            before.id if before else address.id.replace(address.type.split("/")[0], resource_type.name.split("/")[0])
        )
        resource = Resource(identifier, resource_type.name, merged, internal, before.revision if before else 0)
        for path in resource_type.immutable if before else ():
            if value_at(before.body if before else {}, path) != value_at(merged, path):
                raise conflict("PropertyChangeNotAllowed", f"Changing property '{path}' is not allowed.", path)
        write = Write(address, resource, before, checked.body)
        resource_type.prepare(write)
        return write

    def _check_surroundings(self, address: Address) -> None:
        """Refuse to write where the group or the parent is missing."""
        if address.type == RESOURCE_GROUP:
            return
        if address.group is not None:
            group = self._store.get(address.group)
            if group is None:
                raise _group_missing(address.group)
            if group.state == _DELETING:
                message = (
                    f"The resource group '{group.name}' is in deprovisioning state and cannot perform this operation."
                )
                raise conflict("ResourceGroupBeingDeleted", message)
        parent = address.parent
        while parent is not None:
            parent_type = self._types.find("/".join(_types_of(parent, address)))
            if self._store.get(parent) is not None:
                return
            if not parent_type.implicit:
                message = (
                    f"Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
                )
                raise not_found(message, "ParentResourceNotFound")
            parent = parent.rsplit("/", 2)[0]

    def _require(self, address: Address, resource_type: ResourceType) -> Resource:
        resource = self._store.get(address.id)
        if resource is not None:
            return resource
        if resource_type.implicit and address.parent and self._store.get(address.parent):
            return Resource(address.id, resource_type.name, {"properties": {}})
        if address.group is not None and self._store.get(address.group) is None:
            raise _group_missing(address.group)
        raise _missing(address)

    def _region(self, resource: Resource) -> str:
        """Return where a resource is: its own location, else its outermost parent's or its group's."""
        parent = "/".join(resource.id.split("/")[:_SEGMENTS_OF_PARENT])
        for found in (resource, self._store.get(parent), self._store.get(group_of(resource.id) or "")):
            if found is not None and isinstance(found.body.get("location"), str):
                return str(found.body["location"])
        return "global"

    def _list(self, target: Target, query: Query) -> Answer:
        resource_type = self._types.find(target.collection_type)
        if target.address is not None:
            self._require(target.address, self._types.find(target.address.type))
        elif (group := group_of(target.scope)) and self._store.get(group) is None:
            raise _group_missing(group)
        under = target.address.id if target.address else target.scope
        if resource_type.members is not None:
            found = resource_type.members(under, query)
        else:
            stored = self._store.find(resource_type.name, under)
            found = [member for member in stored if resource_type.shows(member, query)]
        offset = _count(query, "$skiptoken", 0, least=0)
        size = min(_count(query, "$top", resource_type.page_size, least=1), _LARGEST_PAGE)
        page = found[offset : offset + size]
        members = [_described(resource_type, resource, query) for resource in page]
        more = offset + size if offset + size < len(found) else None
        return Answer(HTTPStatus.OK, {"value": members}, next_offset=more)

    def _shown(self, resource_type: ResourceType, resource: Resource, query: Query) -> Answer:
        etag = resource.etag if resource_type.shows_etag else None
        return Answer(HTTPStatus.OK, _described(resource_type, resource, query), etag)

    def _continue_write(self, operation: Operation) -> float | None:
        resource = self._store.get(operation.resource_id)
        if resource is None or resource.state == _DELETING:
            return None
        again = self._types.find(resource.type).provision(resource, operation.payload)
        if again is None:
            self._settle(operation, "Succeeded")
        return again

    def _continue_delete(self, operation: Operation) -> float | None:
        resource = self._store.get(operation.resource_id)
        if resource is None:
            return None
        again = self._types.find(resource.type).release(resource)
        if again is None:
            self._store.remove(resource.id)
        return again

    def _mark_failed(self, operation: Operation) -> None:
        if operation.kind in {"write", "action"}:
            self._settle(operation, "Failed")

    def _settle(self, operation: Operation, state: str) -> None:
        """Give a resource its final state, unless something else is still being done to it."""
        with self._store.transaction():
            resource = self._store.get(operation.resource_id)
            others = [other for other in self._store.unfinished(operation.resource_id) if other.id != operation.id]
            if resource is not None and resource.state != _DELETING and not others:
                resource.state = state
                self._store.save(resource, changed=False)


def _described(resource_type: ResourceType, resource: Resource, query: Query) -> dict[str, Any]:
    """Return the body in which clients see a resource."""
    header = {"id": resource.id, "name": resource.name, "type": resource_type.name}
    etag = {"etag": resource.etag} if resource_type.shows_etag else {}
    return header | resource_type.view(resource, query) | etag


def _check_location(
    resource_type: ResourceType, address: Address, body: dict[str, Any], before: Resource | None
) -> None:
    if not resource_type.tracked:
        return
    location = body.setdefault("location", before.body["location"] if before else None)
    if not isinstance(location, str) or not location:
        raise invalid("The location property is required for this definition.", "location", "LocationRequired")
    body["location"] = location.replace(" ", "").lower()
    if before is not None and before.body["location"] != body["location"]:
        message = (
            f"The resource '{address.name}' already exists in location '{before.body['location']}'. A resource with the"
            f" same name cannot be created in location '{body['location']}'. Please select a new resource name."
        )
        raise conflict("InvalidResourceLocation", message)


def _count(query: Query, name: str, default: int, *, least: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        message = f"The value '{text}' of the query parameter '{name}' is not a number of at least {least}."
        raise invalid(message, name, "InvalidQueryParameterValue")
    return int(text)


def _types_of(parent: str, address: Address) -> list[str]:
    """Return the type of a parent of an address, by how deep it lies."""
    depth = len(parent.removeprefix(address.scope).strip("/").split("/")[2:]) // 2
    return address.type.split("/")[: depth + 1]


def _addressed(target: Target) -> Address:
    if target.address is None:
        raise not_found("The request names a collection, not a resource.", "InvalidResourceType")
    return target.address


def _subject(target: Target, method: str) -> Address:
    """Return the resource that a request changes; a collection or an action cannot be changed."""
    if target.address is None or target.trailing is not None:
        raise not_allowed(method)
    return target.address


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _group_missing(group: str) -> ArmError:
    return not_found(f"Resource group '{group.rsplit('/', 1)[1]}' could not be found.", "ResourceGroupNotFound")


def _missing(address: Address) -> ArmError:
    if address.type == RESOURCE_GROUP:
        return _group_missing(address.id)
    group = (address.group or "").rsplit("/", 1)[-1]
    return not_found(f"The Resource '{address.type}/{address.name}' under resource group '{group}' was not found.")
