"""The resource manager's own behaviour: groups, conditions, errors, operations, and the types without machines."""

import ssl
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.batch import BatchManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.network import NetworkManagementClient

from infra.local.arm.addresses import parse
from infra.local.arm.merging import merge
from infra.local.azure import UserCredential
from infra.local.tokens import Principal, TokenIssuer
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body

READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"


@pytest.fixture
def http(running: RunningAzure) -> Any:
    """Return a plain client with the user's token."""
    headers = {"Authorization": f"Bearer {running.azure.token()}"}
    verify = ssl.create_default_context(cafile=running.azure.certificates.bundle)
    with httpx.Client(base_url=running.azure.arm_url, headers=headers, verify=verify) as client:
        yield client


def _get(http: httpx.Client, path: str, **headers: str) -> httpx.Response:
    return http.get(path, params={"api-version": "2024-07-01"}, headers=headers)


def test_groups_answer_as_the_service_does(running: RunningAzure) -> None:
    """Create, show, check, list and delete of a group through the unchanged client."""
    groups = running.resources.resource_groups
    again = groups.create_or_update(GROUP, {"location": "West Europe", "tags": {"a": "b"}})
    assert (again.location, again.tags, again.properties.provisioning_state) == ("westeurope", {"a": "b"}, "Succeeded")
    assert groups.check_existence(GROUP.upper())
    assert [group.name for group in groups.list()] == [GROUP]
    with pytest.raises(ResourceExistsError, match="already exists in location"):
        groups.create_or_update(GROUP, {"location": "eastus"})
    groups.begin_delete(GROUP).result(30)
    assert not groups.check_existence(GROUP)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("{sub}/resourceGroups/nope", 404, "ResourceGroupNotFound"),
        ("{sub}/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/nope", 404, "ResourceNotFound"),
        ("{sub}/resourceGroups/nope/providers/Microsoft.Network/virtualNetworks/x", 404, "ResourceGroupNotFound"),
        ("{sub}/resourceGroups/rg/providers/Microsoft.Nope/things/x", 404, "InvalidResourceType"),
        ("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg", 404, "SubscriptionNotFound"),
        ("/nonsense", 404, "InvalidResourceType"),
    ],
)
def test_errors_have_the_envelope(running: RunningAzure, http: httpx.Client, path: str, status: int, code: str) -> None:
    """What is not there is said in the service's own envelope and code."""
    answer = _get(http, path.format(sub=running.subscription))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_requests_are_authenticated_and_versioned(running: RunningAzure, http: httpx.Client) -> None:
    """No token, a foreign token, one for another audience, or no api-version: each is refused; any version is taken."""
    path = f"{running.subscription}/resourcegroups/{GROUP}"
    foreign = TokenIssuer("t", "other").issue(Principal("o", "c"), running.azure.arm_url).text
    for authorization in ("", f"Bearer {foreign}", f"Bearer {running.azure.token('https://storage.azure.com')}"):
        assert _get(http, path, Authorization=authorization).status_code == 401
    assert http.get(path).json()["error"]["code"] == "MissingApiVersionParameter"
    assert http.get(path, params={"api-version": "2031-01-01-preview"}).status_code == 200


def test_an_identity_without_a_role_may_not_manage(running: RunningAzure) -> None:
    """A token of a node's identity is refused with AuthorizationFailed."""
    stranger = UserCredential(running.azure._issuer, Principal(str(uuid.uuid4()), str(uuid.uuid4())))
    client = running.client(lambda _credential, *rest, **options: NetworkManagementClient(stranger, *rest, **options))
    with client, pytest.raises(HttpResponseError) as refused:
        list(client.virtual_networks.list(GROUP))
    assert refused.value.error.code == "AuthorizationFailed"


def test_operations_are_followed_by_status_and_by_location(
    running: RunningAzure, http: httpx.Client, tmp_path: Path
) -> None:
    """Every unfinished poll says in milliseconds when to come again, and both ways end with the resource."""
    path = f"{running.group}/providers/Microsoft.Compute/virtualMachineScaleSets/pool"
    body = scale_set_body(1, f"until [ -e {tmp_path}/go ]; do sleep 0.05; done")
    created = http.put(path, params={"api-version": "2024-07-01"}, json=body)
    assert (created.status_code, created.json()["properties"]["provisioningState"]) == (201, "Creating")
    assert created.headers["x-ms-retry-after-ms"] == "50"
    assert "retry-after" not in created.headers
    for style, unfinished in (("azure-asyncoperation", 200), ("location", 202)):
        poll = http.get(created.headers[style])
        assert (poll.status_code, poll.headers["x-ms-retry-after-ms"]) == (unfinished, "50")
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 60
    while (poll := http.get(created.headers["location"])).status_code == 202:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert poll.json()["properties"]["provisioningState"] == "Succeeded"
    status = http.get(created.headers["azure-asyncoperation"]).json()
    assert status["status"] == "Succeeded"
    assert status["endTime"] >= status["startTime"]
    updated = http.patch(path, params={"api-version": "2024-07-01"}, json={"tags": {"x": "y"}})
    assert (updated.status_code, updated.json()["properties"]["provisioningState"]) == (200, "Updating")
    assert updated.headers["etag"] == updated.json()["etag"]


def test_networks_check_ranges_and_use(running: RunningAzure) -> None:
    """Subnets lie inside their network, show in it, and stay while a scale set uses them."""
    with running.client(NetworkManagementClient) as client:
        body = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
        client.virtual_networks.begin_create_or_update(GROUP, "net", body).result(30)
        with pytest.raises(HttpResponseError, match="outside the IP address range"):
            client.subnets.begin_create_or_update(GROUP, "net", "bad", {"properties": {"addressPrefix": "11.0.0.0/24"}})
        inside = {"properties": {"addressPrefix": "10.0.1.0/24"}}
        subnet = client.subnets.begin_create_or_update(GROUP, "net", "nodes", inside).result(30)
        assert [found.name for found in client.virtual_networks.get(GROUP, "net").subnets] == ["nodes"]
        scale_set = scale_set_body(0)
        configuration = {"name": "ip", "properties": {"subnet": {"id": subnet.id}}}
        interface = {"name": "nic", "properties": {"primary": True, "ipConfigurations": [configuration]}}
        profile = scale_set["properties"]["virtualMachineProfile"]
        profile["networkProfile"] = {"networkInterfaceConfigurations": [interface]}
        running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", scale_set).result(30)
        with pytest.raises(HttpResponseError, match="is in use by"):
            client.subnets.begin_delete(GROUP, "net", "nodes")
        running.compute.virtual_machine_scale_sets.begin_delete(GROUP, "pool").result(30)
        client.virtual_networks.begin_delete(GROUP, "net").result(30)
        assert list(client.virtual_networks.list(GROUP)) == []


def test_identities_and_roles(running: RunningAzure) -> None:
    """An identity keeps its ids over updates; one role on one scope is given once; unknown roles are refused."""
    with running.client(ManagedServiceIdentityClient) as identities:
        first = identities.user_assigned_identities.create_or_update(GROUP, "id-pool", {"location": "westeurope"})
        body = {"location": "westeurope", "tags": {"a": "b"}}
        again = identities.user_assigned_identities.create_or_update(GROUP, "id-pool", body)
    assert (again.principal_id, again.client_id) == (first.principal_id, first.client_id)
    with running.client(AuthorizationManagementClient) as client:
        role = f"{running.subscription}/providers/Microsoft.Authorization/roleDefinitions/{READER}"
        properties = {
            "roleDefinitionId": role,
            "principalId": first.principal_id,
            "principalType": "ServicePrincipal",
        }
        name = str(uuid.uuid4())
        created = client.role_assignments.create(running.group, name, {"properties": properties})
        assert created.scope == running.group
        client.role_assignments.create(running.group, name, {"properties": properties})
        with pytest.raises(ResourceExistsError) as twice:
            client.role_assignments.create(running.group, str(uuid.uuid4()), {"properties": properties})
        assert twice.value.error.code == "RoleAssignmentExists"
        unknown = properties | {"roleDefinitionId": role.replace(READER, str(uuid.uuid4()))}
        with pytest.raises(HttpResponseError, match="does not exist"):
            client.role_assignments.create(running.group, str(uuid.uuid4()), {"properties": unknown})
        (reader,) = client.role_definitions.list(running.group, filter="roleName eq 'Storage Blob Data Reader'")
        assert reader.name == READER
        assert [found.name for found in running.resources.resources.list_by_resource_group(GROUP)] == ["id-pool"]
        client.role_assignments.delete(running.group, name)
        assert running.azure.store.find("Microsoft.Authorization/roleAssignments") == []


def test_batch_accounts_are_followed_by_location(running: RunningAzure) -> None:
    """A Batch account is created with 202 and Location, lists its keys and is deleted."""
    with running.client(BatchManagementClient) as client:
        account = client.batch_account.begin_create(GROUP, "batch1", {"location": "westeurope"}).result(30)
        assert account.provisioning_state == "Succeeded"
        assert account.pool_allocation_mode == "BatchService"
        assert len(client.batch_account.get_keys(GROUP, "batch1").primary) > 40
        client.batch_account.begin_delete(GROUP, "batch1").result(30)
        assert list(client.batch_account.list_by_resource_group(GROUP)) == []


def test_providers_and_the_subscription(running: RunningAzure, http: httpx.Client) -> None:
    """Namespaces of the table are registered, the subscription and its resources are listed, the cloud described."""
    provider = running.resources.providers.register("microsoft.compute")
    assert provider.registration_state == "Registered"
    assert "virtualMachineScaleSets" in [kind.resource_type for kind in provider.resource_types]
    running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", scale_set_body(0)).result(30)
    assert [found.name for found in running.resources.resources.list()] == ["pool"]
    assert [found.name for found in running.resources.resources.list_by_resource_group(GROUP)] == ["pool"]
    cloud = http.get("/metadata/endpoints", params={"api-version": "2022-09-01"}).json()
    assert cloud["resourceManager"] == running.azure.arm_url
    assert _get(http, "/subscriptions").json()["value"][0]["tenantId"] == running.azure.account.tenant_id


def test_signing_in_needs_the_local_secret(running: RunningAzure, http: httpx.Client) -> None:
    """A service principal signs in with the local secret and is refused with another."""
    form = {
        "grant_type": "client_credentials",
        "client_id": running.azure.account.deployer.client_id,
        "client_secret": running.azure.account.identity_header,
        "scope": f"{running.azure.arm_url}/.default",
    }
    path = f"/{running.azure.account.tenant_id}/oauth2/v2.0/token"
    token = http.post(path, data=form).json()["access_token"]
    assert _get(http, "/subscriptions", Authorization=f"Bearer {token}").status_code == 200
    assert http.post(path, data=form | {"client_secret": "wrong"}).status_code == 401


def test_clients_without_a_token_are_told_so(running: RunningAzure) -> None:
    """The unchanged client raises its authentication error."""
    wrong = UserCredential(TokenIssuer("t", "other"), Principal("o", "c"))
    client = running.client(lambda _credential, *rest, **options: NetworkManagementClient(wrong, *rest, **options))
    with client, pytest.raises(ClientAuthenticationError):
        list(client.virtual_networks.list(GROUP))


def test_paths_are_parsed_from_their_end() -> None:
    """Scopes may be resources, doubled slashes count once, and what is left over is an action or a collection."""
    scope = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a"
    target = parse(f"{scope}//providers/Microsoft.Authorization/roleAssignments/x".replace("Groups", "groups"))
    assert target.address is not None
    assert (target.address.scope, target.address.type) == (scope, "Microsoft.Authorization/roleAssignments")
    target = parse(f"{scope}/blobServices/default/containers")
    assert target.collection_type == "Microsoft.Storage/storageAccounts/blobServices/containers"
    assert target.address is not None
    assert target.address.parent == scope


def test_merging_keeps_what_is_not_named() -> None:
    """Objects merge, lists replace, null removes, and the old body is not changed."""
    old = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert merge(old, {"a": {"c": [2], "b": None}, "e": 3}) == {"a": {"c": [2]}, "d": 2, "e": 3}
    assert old == {"a": {"b": 1, "c": [1]}, "d": 2}
