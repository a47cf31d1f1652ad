"""Identities and role assignments."""

import re
import uuid
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.services.role_definitions import BUILT_IN_ROLES
from infra.local.tokens import Principal

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"

_MANAGING_ROLES = ("Owner", "Contributor", "Virtual Machine Contributor")


class Authorization:
    """Who there is and who may do what."""

    def __init__(self, store: Store, tenant_id: str, deployer: Principal) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._deployer = deployer

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(IDENTITY, prepare=self._prepare_identity, has_state=False),
            ResourceType(ASSIGNMENT, prepare=self._prepare_assignment, tracked=False, has_state=False),
        )

    def principal(self, identity: Resource) -> Principal:
        """Return the principal of a user-assigned identity."""
        properties = identity.properties
        return Principal(properties["principalId"], properties["clientId"], identity.id)

    def identity_of(self, client_id: str) -> Resource | None:
        """Find a user-assigned identity by its client id."""
        for identity in self._store.find(IDENTITY):
            if identity.properties["clientId"] == client_id.lower():
                return identity
        return None

    def may_manage(self, principal: Principal, scope: str) -> bool:
        """Say whether a principal may use the resource manager there: the deployer, or one with a role."""
        if principal.object_id == self._deployer.object_id:
            return True
        for assignment in self._store.find(ASSIGNMENT):
            properties = assignment.properties
            role = BUILT_IN_ROLES.get(properties["roleDefinitionId"].rsplit("/", 1)[1])
            covers = f"{scope.lower()}/".startswith(properties["scope"].lower().rstrip("/") + "/")
            if properties["principalId"] == principal.object_id and role in _MANAGING_ROLES and covers:
                return True
        return False

    def _prepare_identity(self, write: Write) -> None:
        known = write.before.properties if write.before else {}
        write.resource.properties.update(
            tenantId=self._tenant_id,
            principalId=known.get("principalId", str(uuid.uuid4())),
            clientId=known.get("clientId", str(uuid.uuid4())),
        )

    def _prepare_assignment(self, write: Write) -> None:
        properties = write.resource.properties
        role = str(properties.get("roleDefinitionId", ""))
        role_id = role.rsplit("/", 1)[-1].lower()
        if role_id not in BUILT_IN_ROLES:
            raise invalid(
                f"The specified role definition with ID '{role_id}' does not exist.", code="RoleDefinitionDoesNotExist"
            )
        principal = str(properties.get("principalId", ""))
        if not re.fullmatch(r"[0-9a-fA-F-]{36}", principal):
            raise invalid(f"The principal id '{principal}' is not a GUID.", code="InvalidPrincipalId")
        if not self._is_known(principal) and not properties.get("principalType"):
            message = f"Principal {principal.replace('-', '')} does not exist in the directory."
            raise invalid(message, code="PrincipalNotFound")
        properties["scope"] = write.address.scope or "/"
        identity = (principal, role_id, properties["scope"].lower())
        for other in self._store.find(ASSIGNMENT, write.address.scope):
            same = _identity(other) == identity
            if same and other.key != write.resource.key:
                raise conflict("RoleAssignmentExists", "The role assignment already exists.")
        if write.before is not None and _identity(write.before) != identity:
            message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            raise conflict("RoleAssignmentUpdateNotPermitted", message)

    def _is_known(self, object_id: str) -> bool:
        identities = self._store.find(IDENTITY)
        return object_id == self._deployer.object_id or any(
            identity.properties["principalId"] == object_id for identity in identities
        )


def _identity(assignment: Resource) -> tuple[str, str, str]:
    properties = assignment.properties
    role_id = str(properties["roleDefinitionId"]).rsplit("/", 1)[-1].lower()
    return properties["principalId"], role_id, str(properties["scope"]).lower()


def identities_of(store: Store, body: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Complete the user-assigned identities of a body with their ids; refuse those that do not exist."""
    completed = {}
    for identifier in (body.get("identity") or {}).get("userAssignedIdentities") or {}:
        identity = store.get(identifier)
        if identity is None:
            raise invalid(f"Resource '{identifier}' was not found.", code="FailedIdentityOperation")
        completed[identity.id] = {name: identity.properties[name] for name in ("clientId", "principalId")}
    return completed
