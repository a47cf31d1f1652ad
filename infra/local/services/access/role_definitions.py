"""Role definitions: the built-in ones, and those that somebody makes."""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from infra.local.arm.addresses import segments
from infra.local.arm.errors import conflict, invalid, not_found
from infra.local.arm.resource_types import ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.permissions.rules import Permission, matches, within

DEFINITION = "Microsoft.Authorization/roleDefinitions"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"

# Made up once, when the service was; the built-in roles show the like.
_BUILT_IN_SINCE = "2015-02-02T21:55:09.8806423Z"
_ACTION = re.compile(r"\*|[A-Za-z0-9.*-]+(/[A-Za-z0-9.*-]+)+|\*(/[A-Za-z0-9.*-]+)+")
# Data of storage and of Batch; everything else there is managed by actions (docs: Azure permissions for Storage).
_DATA = (
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*",
    "Microsoft.Storage/storageAccounts/queueServices/queues/messages/*",
    "Microsoft.Storage/storageAccounts/tableServices/tables/entities/*",
    "Microsoft.Storage/storageAccounts/fileServices/fileshares/files/*",
    "Microsoft.Batch/batchAccounts/jobs/*",
    "Microsoft.Batch/batchAccounts/jobSchedules/*",
    "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    "Microsoft.KeyVault/vaults/secrets/setSecret/action",
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
)
_KNOWN_PROVIDERS = ("Microsoft.Storage/", "Microsoft.Batch/")


@dataclass(frozen=True, slots=True)
class RoleDefinition:
    """A role: what it is called, what it permits, and where it may be assigned."""

    id: str
    name: str
    description: str
    permissions: tuple[Permission, ...]
    assignable_scopes: tuple[str, ...] = ("/",)
    custom: Resource | None = None

    def shown(self, subscription: str) -> dict[str, Any]:
        """Return it as clients see it."""
        if self.custom is not None:
            return {"id": self.custom.id, "type": DEFINITION, "name": self.custom.name} | self.custom.body
        properties = {
            "roleName": self.name,
            "type": "BuiltInRole",
            "description": self.description,
            "assignableScopes": list(self.assignable_scopes),
            "permissions": [permission.record() for permission in self.permissions],
            "createdOn": _BUILT_IN_SINCE,
            "updatedOn": _BUILT_IN_SINCE,
            "createdBy": None,
            "updatedBy": None,
        }
        return {
            "id": f"{subscription}/providers/{DEFINITION}/{self.id}",
            "type": DEFINITION,
            "name": self.id,
            "properties": properties,
        }


def _read_built_in() -> dict[str, RoleDefinition]:
    table = json.loads(Path(__file__).with_name("built_in_roles.json").read_text(encoding="utf-8"))
    return {
        record["id"]: RoleDefinition(record["id"], record["name"], record["description"], (Permission.read(record),))
        for record in table["roles"]
    }


BUILT_IN_ROLES = _read_built_in()


def definitions(store: Store) -> Iterator[RoleDefinition]:
    """Yield all role definitions, the built-in ones first."""
    yield from BUILT_IN_ROLES.values()
    yield from (_custom(resource) for resource in store.find(DEFINITION))


def definition(store: Store, role_id: str) -> RoleDefinition | None:
    """Find a role definition by its GUID."""
    wanted = role_id.lower()
    return next((found for found in definitions(store) if found.id == wanted), None)


def role_definitions(store: Store, scope: str, query: str) -> dict[str, Any]:
    """List what may be assigned on a scope; a filter names a `roleName` or a `type`, or says `atScopeAndBelow()`."""
    name = re.search(r"roleName\s+eq\s+'((?:[^']|'')*)'", query, re.IGNORECASE)
    kind = re.search(r"type\s+eq\s+'([^']*)'", query, re.IGNORECASE)
    found = []
    for role in definitions(store):
        if name and name[1].replace("''", "'").lower() != role.name.lower():
            continue
        if kind and kind[1].lower() != ("customrole" if role.custom else "builtinrole"):
            continue
        if any(within(scope, outer) or within(outer, scope) for outer in role.assignable_scopes):
            found.append(role.shown(_subscription(scope)))
    return {"value": found}


def role_definition(store: Store, scope: str, role_id: str) -> dict[str, Any]:
    """Show one role definition."""
    role = definition(store, role_id)
    if role is None:
        raise _unknown(role_id)
    return role.shown(_subscription(scope))


def definition_type(store: Store) -> ResourceType:
    """Return the type of role definitions that somebody makes."""

    def prepare(write: Write) -> None:
        _prepare(store, write)

    def leave(resource: Resource) -> None:
        for assignment in store.find(ASSIGNMENT):
            if str(assignment.properties["roleDefinitionId"]).rsplit("/", 1)[-1].lower() == resource.name.lower():
                message = "There are existing role assignments referencing role (code: RoleDefinitionHasAssignments)."
                raise invalid(message, code="RoleDefinitionHasAssignments")

    return ResourceType(
        DEFINITION,
        prepare=prepare,
        leave=leave,
        tracked=False,
        has_state=False,
        shows_deleted=True,
        updated=HTTPStatus.CREATED,
    )


def moment() -> str:
    """Return the present instant as the service writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _prepare(store: Store, write: Write) -> None:
    properties = write.resource.properties
    _check_id(write.address.name)
    name = properties.get("roleName")
    if not isinstance(name, str) or not name.strip():
        raise invalid("The role definition needs a 'roleName'.", "properties.roleName", "RoleDefinitionNameNullOrEmpty")
    for other in definitions(store):
        if other.name.lower() == name.lower() and (other.custom is None or other.custom.key != write.resource.key):
            message = (
                "A custom role with the same name already exists in this directory. Use a different name"
                f" ('{name}' has the id {other.id})."
            )
            raise conflict("RoleDefinitionWithSameNameExists", message)
    _check_scopes(store, properties.get("assignableScopes"))
    permissions = properties.get("permissions")
    if not isinstance(permissions, list) or not permissions:
        message = "The role definition needs 'permissions' with at least one member."
        raise invalid(message, "properties.permissions", "RoleDefinitionPermissionsNullOrEmpty")
    read = [Permission.read(record) for record in permissions]
    for permission in read:
        _check_actions(permission)
    known = write.before.properties if write.before else {}
    properties.update(
        type="CustomRole",
        description=properties.get("description", ""),
        permissions=[permission.record() for permission in read],
        createdOn=known.get("createdOn", moment()),
        updatedOn=moment(),
    )


def _check_id(role_id: str) -> None:
    try:
        uuid.UUID(role_id)
    except ValueError:
        message = f"The role definition ID '{role_id}' is not valid. The role definition ID must be a GUID."
        raise invalid(message, code="InvalidRoleDefinitionId") from None
    if role_id.lower() in BUILT_IN_ROLES:
        raise conflict("RoleDefinitionIsBuiltIn", f"The role '{role_id}' is built in and cannot be changed.")


def _check_scopes(store: Store, scopes: Any) -> None:
    if not isinstance(scopes, list) or not scopes:
        message = "The role definition needs 'assignableScopes' with at least one scope."
        raise invalid(message, "properties.assignableScopes", "MissingRoleAssignableScopes")
    for scope in scopes:
        parts = segments(str(scope))
        if not parts or parts[0].lower() not in {"subscriptions", "providers"} or "*" in str(scope):
            message = f"The assignable scope '{scope}' of a custom role must be a subscription or lie within one."
            raise invalid(message, "properties.assignableScopes", "InvalidAssignableScope")
        group = "/" + "/".join(parts[:4])
        if len(parts) > 2 and parts[2].lower() == "resourcegroups" and store.get(group) is None:  # noqa: PLR2004 -- by position
            raise not_found(f"Resource group '{parts[3]}' could not be found.", "ResourceGroupNotFound")


def _check_actions(permission: Permission) -> None:
    for data, names in (
        (False, (*permission.actions, *permission.not_actions)),
        (True, (*permission.data_actions, *permission.not_data_actions)),
    ):
        code = "InvalidDataActionOrNotDataAction" if data else "InvalidActionOrNotAction"
        for name in names:
            plain = "*" not in name and name.lower().startswith(tuple(known.lower() for known in _KNOWN_PROVIDERS))
            if not _ACTION.fullmatch(name) or (plain and matches(name, _DATA) is not data):
                kind = "data actions" if data else "actions"
                message = f"'{name}' does not match any of the {kind} supported by the providers."
                raise invalid(message, code=code)


def _custom(resource: Resource) -> RoleDefinition:
    properties = resource.properties
    permissions = tuple(Permission.read(record) for record in properties["permissions"])
    scopes = tuple(properties["assignableScopes"])
    description = properties["description"]
    return RoleDefinition(resource.name.lower(), properties["roleName"], description, permissions, scopes, resource)


def _subscription(scope: str) -> str:
    parts = segments(scope)
    return f"/subscriptions/{parts[1]}" if parts[:1] == ["subscriptions"] and len(parts) > 1 else ""


def _unknown(role_id: str) -> Exception:
    message = f"The specified role definition with ID '{role_id}' does not exist."
    return not_found(message, "RoleDefinitionDoesNotExist")
