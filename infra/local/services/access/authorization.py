"""Identities and role assignments, and who may do what by them."""

import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

from infra.local.arm.addresses import Target
from infra.local.arm.errors import conflict, invalid, not_found
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.permissions.access_log import Access, AccessLog
from infra.local.permissions.conditions import ConditionError, Request, parse
from infra.local.permissions.requests import refusal, required
from infra.local.permissions.rules import Grant, within
from infra.local.permissions.storage_operations import resource_attributes
from infra.local.services.access.identities import IDENTITY, identity_types
from infra.local.services.access.role_definitions import (
    ASSIGNMENT,
    DEFINITION,
    definition,
    definition_type,
    definitions,
    moment,
)
from infra.local.tokens import Principal

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
# How long a new assignment takes to be known; 0 unless somebody sets it. Docs: "up to 10 minutes".
PROPAGATION_SETTING = "role_propagation_seconds"

_CONDITION_VERSION = "2.0"
_TOP_RESOURCE_SEGMENTS = 9


class Authorization:
    """Who there is and who may do what."""

    def __init__(
        self, store: Store, tenant_id: str, deployer: Principal, subscription_id: str, access: AccessLog
    ) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._deployer = deployer
        self._subscription = f"/subscriptions/{subscription_id}"
        self._access = access
        self._grants: dict[str, list[Grant]] | None = None
        for kind in (ASSIGNMENT, DEFINITION):
            store.watch(kind, self._forget)

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            *identity_types(self._store, self._tenant_id),
            definition_type(self._store),
            ResourceType(
                ASSIGNMENT,
                prepare=self._prepare,
                members=self._members,
                tracked=False,
                has_state=False,
                shows_deleted=True,
            ),
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

    def allows(
        self,
        principal: Principal,
        action: str,
        scope: str,
        *,
        data: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> bool:
        """Say whether a role lets a principal do something on a scope, and write the answer down.

        `attributes` are what conditions ask for beyond what follows from the scope, keyed like
        `Resource:Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path`.
        """
        given = {name.lower(): value for name, value in (attributes or {}).items()}
        request = Request(action, data, "", (resource_attributes(scope) if data else {}) | given)
        now = time.time()
        allowed = any(
            grant.since <= now and grant.allows(request, scope)
            for grant in self.grants().get(principal.object_id.lower(), ())
        )
        self._access.record(Access(principal.object_id, action, scope, allowed, data))
        return allowed

    def check(self, principal: Principal, method: str, target: Target, body: dict[str, Any]) -> None:
        """Refuse a request to the resource manager for which a principal lacks an action, linked ones included."""
        needs = required(method, target, body)
        for action, scope in needs:
            if not self.allows(principal, action, scope):
                raise refusal(principal, needs, (action, scope))

    def grants(self) -> dict[str, list[Grant]]:
        """Return what is assigned, by the principal's id in lower case."""
        grants = self._grants
        if grants is None:
            with self._store.transaction():
                self._grants = grants = self._read_grants()
        return grants

    def _read_grants(self) -> dict[str, list[Grant]]:
        roles = {role.id: role for role in definitions(self._store)}
        delay = float(self._store.setting(PROPAGATION_SETTING, lambda: "0"))
        # Who runs the local Azure owns the subscription, as its account administrator does: by no assignment.
        deployer = self._deployer.object_id
        owner = Grant("", deployer, OWNER, self._subscription, roles[OWNER].permissions)
        grants: dict[str, list[Grant]] = {deployer.lower(): [owner]}
        for assignment in self._store.find(ASSIGNMENT):
            principal, role_id, scope = _identity(assignment)
            role = roles.get(role_id)
            if role is not None:
                condition = assignment.properties.get("condition")
                grants.setdefault(principal, []).append(
                    Grant(
                        assignment.id,
                        principal,
                        role_id,
                        scope,
                        role.permissions,
                        parse(condition) if condition else None,
                        assignment.internal.get("created", 0.0) + delay,
                    )
                )
        return grants

    def _forget(self) -> None:
        self._grants = None

    def _definition_id(self, role_id: str) -> str:
        return f"{self._subscription}/providers/{DEFINITION}/{role_id}"

    def _prepare(self, write: Write) -> None:
        properties = write.resource.properties
        scope = write.address.scope or "/"
        _check_name(write.address.name)
        role_id = str(properties.get("roleDefinitionId", "")).rsplit("/", 1)[-1].lower()
        role = definition(self._store, role_id)
        if role is None:
            message = f"The specified role definition with ID '{role_id}' does not exist."
            raise invalid(message, code="RoleDefinitionDoesNotExist")
        if not any(within(scope, outer) for outer in role.assignable_scopes):
            message = (
                f"The role assignment scope '{scope}' must match the scopes assigned to the role definition"
                f" '{role.name}': {', '.join(role.assignable_scopes)}."
            )
            raise invalid(message, code="RoleAssignmentScopeNotAssignableToRoleDefinition")
        self._check_principal(str(properties.get("principalId", "")), properties.get("principalType"))
        self._check_scope(scope)
        _check_condition(properties)
        known = write.before.properties if write.before else {}
        properties.update(
            roleDefinitionId=self._definition_id(role_id),
            scope=scope,
            principalType=properties.get("principalType") or "ServicePrincipal",
            createdOn=known.get("createdOn", moment()),
            updatedOn=moment(),
        )
        write.resource.internal.setdefault("created", time.time())
        for other in self._store.find(ASSIGNMENT, write.address.scope):
            if _identity(other) == _identity(write.resource) and other.key != write.resource.key:
                message = f"The role assignment already exists. The ID of the existing role assignment is {other.name}."
                raise conflict("RoleAssignmentExists", message)
        if write.before is not None and _identity(write.before) != _identity(write.resource):
            message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            raise invalid(message, code="RoleAssignmentUpdateNotPermitted")

    def _check_principal(self, principal_id: str, principal_type: str | None) -> None:
        if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", principal_id):
            message = f"The Principal ID '{principal_id}' is not valid. Principal ID must be a GUID."
            raise invalid(message, code="InvalidPrincipalId")
        if not self._is_known(principal_id.lower()):
            if not principal_type:
                message = (
                    f"Principal {principal_id.replace('-', '')} does not exist in the directory {self._tenant_id}."
                    " Check that you have the correct principal ID. If you are creating this principal and then"
                    " immediately assigning a role, this error might be related to a replication delay. In this case,"
                    " set the role assignment principalType property to a value, such as ServicePrincipal, User, or"
                    " Group. See https://aka.ms/docs-principaltype"
                )
                raise invalid(message, code="PrincipalNotFound")
        elif principal_type and principal_type.lower() != "serviceprincipal":
            message = (
                f"The PrincipalId '{principal_id.replace('-', '')}' has type 'ServicePrincipal', which is different"
                f" from specified PrincipalType '{principal_type}'."
            )
            raise invalid(message, code="UnmatchedPrincipalType")

    def _check_scope(self, scope: str) -> None:
        """Refuse an assignment on what is not there; of the parts of a resource the service knows nothing."""
        parts = scope.split("/")
        if len(parts) >= _TOP_RESOURCE_SEGMENTS and parts[5].lower() == "providers":
            top = "/".join(parts[:_TOP_RESOURCE_SEGMENTS])
            if self._store.get(top) is None:
                group = parts[4]
                message = f"The Resource '{'/'.join(parts[6:9])}' under resource group '{group}' was not found."
                raise not_found(message)

    def _members(self, under: str, query: Query) -> list[Resource]:
        """List assignments at, above and below a scope; `atScope()` leaves out those below."""
        condition = query.get("$filter", "")
        wanted = re.search(r"(?:principalId\s+eq\s+|assignedTo\(\s*)'([^']*)'", condition, re.IGNORECASE)
        at_scope = re.search(r"atScope\(\)", condition, re.IGNORECASE)
        if condition and not (wanted or at_scope):
            message = (
                f"The filter '{condition}' is not supported. Supported are atScope(), principalId eq and assignedTo()."
            )
            raise invalid(message, "$filter", "UnsupportedQuery")
        return [
            found
            for found in self._store.find(ASSIGNMENT)
            if (wanted is None or wanted[1].lower() == found.properties["principalId"].lower())
            and (
                within(under, found.properties["scope"]) or (not at_scope and within(found.properties["scope"], under))
            )
        ]

    def _is_known(self, object_id: str) -> bool:
        identities = self._store.find(IDENTITY)
        return object_id == self._deployer.object_id or any(
            identity.properties["principalId"] == object_id for identity in identities
        )


def _check_name(name: str) -> None:
    try:
        uuid.UUID(name)
    except ValueError:
        message = f"The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
        raise invalid(message, code="InvalidRoleAssignmentId") from None


def _check_condition(properties: dict[str, Any]) -> None:
    condition = properties.get("condition")
    if condition is None:
        return
    version = properties.setdefault("conditionVersion", _CONDITION_VERSION)
    try:
        if version != _CONDITION_VERSION:
            raise ConditionError(f"conditionVersion is '{version}', the only one supported is {_CONDITION_VERSION}")  # noqa: TRY301 -- one answer for both
        parse(str(condition))
    except ConditionError as error:
        message = f"The given role assignment condition is invalid: {error}."
        raise invalid(message, "properties.condition", "InvalidRoleAssignmentCondition") from error


def _identity(assignment: Resource) -> tuple[str, str, str]:
    properties = assignment.properties
    role_id = str(properties["roleDefinitionId"]).rsplit("/", 1)[-1].lower()
    return properties["principalId"].lower(), role_id, str(properties["scope"]).lower()
