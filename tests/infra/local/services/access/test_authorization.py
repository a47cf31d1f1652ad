"""Roles over the resource manager: definitions, assignments, and what they let an identity do."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient

from infra.local.azure import UserCredential
from infra.local.permissions.access_log import read
from infra.local.services.access.authorization import PROPAGATION_SETTING
from infra.local.tokens import Principal
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body

READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
VM_CONTRIBUTOR = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"
STORAGE = "Microsoft.Storage/storageAccounts"
SETS = "Microsoft.Compute/virtualMachineScaleSets"


@pytest.fixture
def roles(running: RunningAzure) -> Iterator[AuthorizationManagementClient]:
    """Make the official client of roles."""
    with running.client(AuthorizationManagementClient) as client:
        yield client


@pytest.fixture
def identity(running: RunningAzure) -> Any:
    """Make a user-assigned identity."""
    with running.client(ManagedServiceIdentityClient) as client:
        return client.user_assigned_identities.create_or_update(GROUP, "id-tester", {"location": "westeurope"})


def definition_id(running: RunningAzure, role: str) -> str:
    """Return the id of a role definition."""
    return f"{running.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"


def assign(running: RunningAzure, roles: AuthorizationManagementClient, scope: str, role: str, **more: Any) -> Any:
    """Give a role."""
    properties = {"roleDefinitionId": definition_id(running, role), "principalType": "ServicePrincipal"} | more
    return roles.role_assignments.create(scope, str(uuid.uuid4()), {"properties": properties})


def compute_as(running: RunningAzure, identity: Any) -> ComputeManagementClient:
    """Make a compute client that comes as an identity."""
    principal = Principal(identity.principal_id, identity.client_id, identity.id)
    return ComputeManagementClient(
        UserCredential(running.azure._issuer, principal),
        running.azure.account.subscription_id,
        base_url=running.azure.arm_url,
        credential_scopes=[f"{running.azure.arm_url}/.default"],
        connection_verify=str(running.azure.certificates.bundle),
    )


def custom(name: str, *actions: str, data: tuple[str, ...] = (), scope: str = "") -> dict[str, Any]:
    """Return the body of a custom role."""
    permission = {"actions": list(actions), "notActions": [], "dataActions": list(data), "notDataActions": []}
    properties = {"roleName": name, "description": "", "assignableScopes": [scope], "permissions": [permission]}
    return {"properties": properties}


def test_custom_roles(running: RunningAzure, roles: AuthorizationManagementClient, identity: Any) -> None:
    """A role that somebody makes is listed, assigned and updated; it goes only when nobody has it any more."""
    role_id, body = str(uuid.uuid4()), custom("Sets reader", f"{SETS}/read", scope=running.group)
    made = roles.role_definitions.create_or_update(running.group, role_id, body)
    assert made.id == definition_id(running, role_id)
    assert made.role_type == "CustomRole"
    (found,) = roles.role_definitions.list(running.group, filter="roleName eq 'sets reader'")
    assert found.permissions[0].actions == [f"{SETS}/read"]
    assert roles.role_definitions.get(running.subscription, role_id).role_name == "Sets reader"
    with pytest.raises(ResourceExistsError) as twice:
        roles.role_definitions.create_or_update(running.group, str(uuid.uuid4()), body)
    assert twice.value.error.code == "RoleDefinitionWithSameNameExists"
    given = assign(running, roles, running.group, role_id, principalId=identity.principal_id)
    with pytest.raises(HttpResponseError) as held:
        roles.role_definitions.delete(running.group, role_id)
    assert held.value.error.code == "RoleDefinitionHasAssignments"
    with pytest.raises(HttpResponseError) as elsewhere:
        assign(running, roles, running.subscription, role_id, principalId=identity.principal_id)
    assert elsewhere.value.error.code == "RoleAssignmentScopeNotAssignableToRoleDefinition"
    with compute_as(running, identity) as client:
        assert list(client.virtual_machine_scale_sets.list(GROUP)) == []
        body["properties"]["permissions"][0]["actions"] = [f"{SETS}/write"]
        roles.role_definitions.create_or_update(running.group, role_id, body)
        with pytest.raises(HttpResponseError, match="does not have authorization"):
            list(client.virtual_machine_scale_sets.list(GROUP))
    roles.role_assignments.delete(running.group, given.name)
    roles.role_definitions.delete(running.group, role_id)
    assert list(roles.role_definitions.list(running.group, filter="type eq 'CustomRole'")) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (custom("x", f"{STORAGE}/blobServices/containers/blobs/read", scope="{sub}"), "InvalidActionOrNotAction"),
        (custom("x", data=(f"{STORAGE}/read",), scope="{sub}"), "InvalidDataActionOrNotDataAction"),
        (custom("x", "no action", scope="{sub}"), "InvalidActionOrNotAction"),
        (custom("Owner", "*", scope="{sub}"), "RoleDefinitionWithSameNameExists"),
        (custom("x", "*", scope="/"), "LinkedAuthorizationFailed"),
        (custom("x", "*", scope="{sub}/resourceGroups/none"), "ResourceGroupNotFound"),
    ],
)  # fmt: skip
def test_what_is_no_role_is_refused(
    running: RunningAzure, roles: AuthorizationManagementClient, body: dict[str, Any], code: str
) -> None:
    """Actions on data stand among the data actions and others do not; names are unique; scopes exist."""
    scopes = body["properties"]["assignableScopes"]
    properties = body["properties"] | {
        "assignableScopes": [scope.replace("{sub}", running.subscription) for scope in scopes]
    }
    with pytest.raises(HttpResponseError) as refused:
        roles.role_definitions.create_or_update(running.subscription, str(uuid.uuid4()), {"properties": properties})
    assert refused.value.error.code == code


def test_assignments_are_listed_by_scope_and_principal(
    running: RunningAzure, roles: AuthorizationManagementClient, identity: Any
) -> None:
    """Without a filter those below are listed too; atScope() leaves them out; principals are told apart."""
    other = str(uuid.uuid4())
    above = assign(running, roles, running.subscription, READER, principalId=identity.principal_id)
    here = assign(running, roles, running.group, READER, principalId=other)
    below = assign(running, roles, identity.id, READER, principalId=identity.principal_id)

    def listed(**options: Any) -> set[str]:
        return {found.name for found in roles.role_assignments.list_for_scope(running.group, **options)}

    assert listed() == {above.name, here.name, below.name}
    assert listed(filter="atScope()") == {above.name, here.name}
    assert listed(filter=f"principalId eq '{other}'") == {here.name}
    assert listed(filter=f"atScope() and assignedTo('{identity.principal_id}')") == {above.name}
    with pytest.raises(HttpResponseError, match="not supported"):
        listed(filter="roleName eq 'x'")
    with running.client(ManagedServiceIdentityClient) as client:
        client.user_assigned_identities.delete(GROUP, "id-tester")
    assert listed() == {above.name, here.name}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"principalId": "nobody"}, "InvalidPrincipalId"),
        ({"principalId": str(uuid.uuid4()), "principalType": None}, "PrincipalNotFound"),
        ({"principalType": "User"}, "UnmatchedPrincipalType"),
        ({"roleDefinitionId": f"/x/{uuid.uuid4()}"}, "RoleDefinitionDoesNotExist"),
        ({"condition": "@Resource[a] Like 'x'"}, "InvalidRoleAssignmentCondition"),
        ({"condition": "@Resource[a] StringLike 'x'", "conditionVersion": "1.0"}, "InvalidRoleAssignmentCondition"),
    ],
)
def test_what_is_no_assignment_is_refused(
    running: RunningAzure, roles: AuthorizationManagementClient, identity: Any, more: dict[str, Any], code: str
) -> None:
    """Each mistake has the service's own code."""
    with pytest.raises(HttpResponseError) as refused:
        assign(running, roles, running.group, READER, **({"principalId": identity.principal_id} | more))
    assert refused.value.error.code == code


def test_an_assignment_keeps_its_principal_role_and_scope(
    running: RunningAzure, roles: AuthorizationManagementClient, identity: Any
) -> None:
    """Its condition may change, nothing else; on a resource that is not there it is refused."""
    given = assign(running, roles, running.group, READER, principalId=identity.principal_id)
    properties = {
        "roleDefinitionId": definition_id(running, VM_CONTRIBUTOR),
        "principalId": identity.principal_id,
        "principalType": "ServicePrincipal",
    }
    with pytest.raises(HttpResponseError) as refused:
        roles.role_assignments.create(running.group, given.name, {"properties": properties})
    assert (refused.value.status_code, refused.value.error.code) == (400, "RoleAssignmentUpdateNotPermitted")
    properties |= {"roleDefinitionId": given.role_definition_id, "description": "for a test"}
    changed = roles.role_assignments.create(running.group, given.name, {"properties": properties})
    assert changed.description == "for a test"
    missing = f"{running.group}/providers/Microsoft.Storage/storageAccounts/none"
    with pytest.raises(HttpResponseError) as nowhere:
        assign(running, roles, missing, READER, principalId=identity.principal_id)
    assert nowhere.value.status_code == 404


def test_roles_reach_as_far_as_they_say(
    running: RunningAzure, roles: AuthorizationManagementClient, identity: Any
) -> None:
    """Without a role nothing, as a reader only reading, and a set is written by who may also join its subnet."""
    with running.client(NetworkManagementClient) as networks:
        space = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
        networks.virtual_networks.begin_create_or_update(GROUP, "net", space).result(30)
        part = {"properties": {"addressPrefix": "10.0.0.0/24"}}
        subnet = networks.subnets.begin_create_or_update(GROUP, "net", "nodes", part).result(30)
    body = scale_set_body(0)
    profile = body["properties"]["virtualMachineProfile"]
    configuration = {"name": "ip", "properties": {"primary": True, "subnet": {"id": subnet.id}}}
    interface = {"name": "nic", "properties": {"primary": True, "ipConfigurations": [configuration]}}
    profile["networkProfile"] = {"networkInterfaceConfigurations": [interface]}
    with compute_as(running, identity) as client:
        sets = client.virtual_machine_scale_sets
        with pytest.raises(HttpResponseError, match=f"perform action '{SETS}/read' over scope"):
            list(sets.list(GROUP))
        assign(running, roles, running.group, READER, principalId=identity.principal_id)
        assert list(sets.list(GROUP)) == []
        writer = str(uuid.uuid4())
        roles.role_definitions.create_or_update(
            running.group, writer, custom("Sets writer", f"{SETS}/write", scope=running.group)
        )
        with pytest.raises(HttpResponseError) as refused:
            sets.begin_create_or_update(GROUP, "pool", body)
        assert refused.value.error.code == "AuthorizationFailed"
        assign(running, roles, running.group, writer, principalId=identity.principal_id)
        with pytest.raises(HttpResponseError) as linked:
            sets.begin_create_or_update(GROUP, "pool", body)
        assert linked.value.error.code == "LinkedAuthorizationFailed"
        assert subnet.id in linked.value.message
        assign(running, roles, subnet.id, VM_CONTRIBUTOR, principalId=identity.principal_id)
        sets.begin_create_or_update(GROUP, "pool", body).result(30)
    mine = [entry for entry in read(running.layout.access_log) if entry.principal == identity.principal_id]
    assert len(mine) == len(set(mine))
    assert {(entry.action, entry.allowed) for entry in mine} >= {(f"{SETS}/read", False), (f"{SETS}/read", True)}


def test_an_assignment_may_take_a_while_to_spread(
    running: RunningAzure, roles: AuthorizationManagementClient, identity: Any
) -> None:
    """With a propagation time set, a new assignment is not known at once."""
    running.azure.store.keep(PROPAGATION_SETTING, "3600")
    assign(running, roles, running.group, READER, principalId=identity.principal_id)
    with compute_as(running, identity) as client, pytest.raises(HttpResponseError, match="recently granted"):
        list(client.virtual_machine_scale_sets.list(GROUP))


def test_federated_credentials_belong_to_an_identity(running: RunningAzure, identity: Any) -> None:
    """One is made, listed and deleted; the same issuer and subject twice are refused."""
    body = {
        "properties": {
            "issuer": "https://issuer.example",
            "subject": "system",
            "audiences": ["api://AzureADTokenExchange"],
        }
    }
    with running.client(ManagedServiceIdentityClient) as client:
        credentials = client.federated_identity_credentials
        credentials.create_or_update(GROUP, identity.name, "one", body)
        assert [found.name for found in credentials.list(GROUP, identity.name)] == ["one"]
        with pytest.raises(HttpResponseError, match="already exists"):
            credentials.create_or_update(GROUP, identity.name, "two", body)
        credentials.delete(GROUP, identity.name, "one")
        assert list(credentials.list(GROUP, identity.name)) == []
