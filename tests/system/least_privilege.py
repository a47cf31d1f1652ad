"""What each identity of a deployed project needed, by the local Azure's access log, beside what it was given."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from infra.local.layout import Layout
from infra.local.permissions.access_log import Access, read
from infra.local.permissions.conditions import Request, parse
from infra.local.permissions.rules import Grant, Permission, within
from infra.local.permissions.storage_operations import is_data_action, operations, resource_attributes
from infra.local.services.access.role_definitions import BUILT_IN_ROLES
from tests.system.project import Project

# Reads what is given by the official clients, as an auditor would.
AUDIT = """
import json, os
from azure.identity import DefaultAzureCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
url = "https://" + os.environ["ARM_METADATA_HOSTNAME"]
subscription = os.environ["ARM_SUBSCRIPTION_ID"]
common = dict(base_url=url, credential_scopes=[url + "/.default"])
with DefaultAzureCredential() as credential:
    identities = ManagedServiceIdentityClient(credential, subscription, **common)
    roles = AuthorizationManagementClient(credential, subscription, **common)
    found = roles.role_assignments.list_for_subscription()
    print(json.dumps({
        "identities": {i.principal_id: i.name for i in identities.user_assigned_identities.list_by_subscription()},
        "assignments": [
            dict(id=a.id, principal=a.principal_id, role=a.role_definition_id, scope=a.scope, condition=a.condition)
            for a in found
        ],
    }))
"""


@dataclass(frozen=True)
class Given:
    """An assignment, what was done by it, and what it gives beyond that."""

    who: str
    grant: Grant
    used: frozenset[str]
    entries: tuple[Access, ...]
    surplus: frozenset[str]
    smaller: tuple[str, ...]

    @property
    def role(self) -> str:
        """The name of the role."""
        return BUILT_IN_ROLES[self.grant.role_id].name


def audit(project: Project) -> list[Given]:
    """Compare what is given on storage with what was used."""
    environment = project.local_environment() | {"PYTHONPATH": str(project.folder)}
    found: dict[str, Any] = json.loads(
        project.run([sys.executable, "-c", AUDIT], environment=environment).splitlines()[-1]
    )
    entries = [entry for entry in read(Layout(project.home).access_log) if entry.allowed and entry.operation]
    names = found["identities"]
    return [
        _given(names.get(record["principal"], "the deployer"), _grant(record), entries)
        for record in found["assignments"]
        if record["role"].rsplit("/", 1)[-1] in BUILT_IN_ROLES and "microsoft.storage" in record["scope"].lower()
    ]


def table(given: Iterable[Given]) -> str:
    """Write the comparison for people."""
    lines = [("identity", "scope", "role", "needed", "given beyond that")]
    for one in sorted(given, key=lambda one: (one.who, one.grant.scope)):
        scope = one.grant.scope.split("/default/")[-1] if "/default/" in one.grant.scope else "the account"
        needed, surplus = (", ".join(sorted(map(_short, names))) or "-" for names in (one.used, one.surplus))
        lines.append((one.who, scope, one.role, needed, surplus))
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def _grant(record: dict[str, Any]) -> Grant:
    role_id = record["role"].rsplit("/", 1)[-1]
    condition = parse(record["condition"]) if record["condition"] else None
    return Grant(
        record["id"], record["principal"], role_id, record["scope"], BUILT_IN_ROLES[role_id].permissions, condition
    )


def _given(who: str, grant: Grant, entries: list[Access]) -> Given:
    mine = tuple(
        entry
        for entry in entries
        if entry.principal == grant.principal_id and _allows(grant, entry.action, entry.scope)
    )
    scopes = {entry.scope for entry in mine}
    allowed = {action for action in _universe() if any(_allows(grant, action, scope) for scope in scopes)}
    used = frozenset(entry.action for entry in mine)
    smaller = tuple(
        role.name
        for role in BUILT_IN_ROLES.values()
        if _actions(role.permissions) < _actions(grant.permissions) and _suffices(role.permissions, grant, mine)
    )
    return Given(who, grant, used, mine, frozenset(allowed) - used, smaller)


def _suffices(permissions: tuple[Permission, ...], grant: Grant, entries: tuple[Access, ...]) -> bool:
    """Say whether another role in this one's place would have let everything pass."""
    other = Grant(grant.assignment_id, grant.principal_id, "", grant.scope, permissions, grant.condition, grant.since)
    return all(
        any(all(_allows(other, action, entry.scope) for action in need) for need in _needs(entry.operation))
        for entry in entries
    )


def _allows(grant: Grant, action: str, scope: str) -> bool:
    data = is_data_action(action)
    return within(scope, grant.scope) and grant.allows(
        Request(action, data, "", resource_attributes(scope) if data else {}), scope
    )


@cache
def _needs(operation: str) -> tuple[tuple[str, ...], ...]:
    return next(found.needs for found in operations() if found.name == operation)


@cache
def _universe() -> frozenset[str]:
    """Every action that a storage operation can need."""
    return frozenset(action for operation in operations() for need in operation.needs for action in need)


@cache
def _actions(permissions: tuple[Permission, ...]) -> frozenset[str]:
    return frozenset(
        action
        for action in _universe()
        if any(permission.permits(action, data=is_data_action(action)) for permission in permissions)
    )


def _short(action: str) -> str:
    return action.removeprefix("Microsoft.Storage/storageAccounts/").split("/", 1)[1]
