"""Storage accounts by the official clients: what ARM shows and refuses, who gets at data, a server that dies."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient

from infra.local.faults import FaultKind
from infra.local.processes import kill_all, of_folder
from tests.infra.local.conftest import GROUP, RunningAzure

ACCOUNT = {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
QUEUE_CONTRIBUTOR = "974c5e8b-45b9-4653-ba55-5f855dd0fb88"
NO_RETRY = {"retry_total": 0}


class Account:
    """A storage account of a running local Azure, and clients of it."""

    def __init__(self, running: RunningAzure) -> None:
        self.running = running
        self.arm = running.client(StorageManagementClient)
        self.made = self.arm.storage_accounts.begin_create(GROUP, "acct", ACCOUNT).result(60)
        self.arm.blob_containers.create(GROUP, "acct", "box", {})
        self.arm.queue.create(GROUP, "acct", "work", {})

    def update(self, **properties: Any) -> Any:
        """Change properties."""
        return self.arm.storage_accounts.update(GROUP, "acct", {"properties": properties})

    def client(self, make: Callable[..., Any], *arguments: str, credential: Any = None, **options: Any) -> Any:
        """Make a client of the data, as the user unless another credential is given."""
        endpoint = self.made.primary_endpoints.queue if make is QueueClient else self.made.primary_endpoints.blob
        trusted = str(self.running.azure.certificates.bundle)
        who = credential or self.running.azure.credential()
        return make(endpoint, *arguments, credential=who, connection_verify=trusted, **options)

    def give(self, role: str, scope: str) -> None:
        """Give the user a role."""
        with self.running.client(AuthorizationManagementClient) as client:
            base = f"{self.running.subscription}/providers/Microsoft.Authorization/roleDefinitions"
            who = self.running.azure.account.deployer.object_id
            properties = {"roleDefinitionId": f"{base}/{role}", "principalId": who, "principalType": "ServicePrincipal"}
            client.role_assignments.create(scope, str(uuid.uuid4()), {"properties": properties})


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Serve one account for all tests here."""
    running = RunningAzure(tmp_path_factory.mktemp("storage"))
    running.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    made = Account(running)
    yield made
    made.arm.close()
    running.close()
    kill_all(of_folder(running.layout.local))


def test_an_account_shows_what_the_service_fills_in(account: Account) -> None:
    """Defaults and endpoints are there; writing back what was read changes nothing but the time."""
    shown = account.arm.storage_accounts.get_properties(GROUP, "acct").as_dict()["properties"]
    assert shown["networkAcls"] == {
        "bypass": "AzureServices", "defaultAction": "Allow", "ipRules": [], "virtualNetworkRules": [],
    }  # fmt: skip
    assert shown["encryption"]["services"]["blob"]["enabled"]
    assert set(shown["primaryEndpoints"]) == {"blob", "queue", "table", "file", "web", "dfs"}
    assert "secondaryLocation" not in shown
    assert shown["accessTier"] == "Hot"
    again = account.arm.storage_accounts.begin_create(GROUP, "acct", ACCOUNT).result(30).as_dict()["properties"]
    assert again == shown
    assert {service.sku.name for service in account.arm.blob_services.list(GROUP, "acct")} <= {"Standard_LRS"}
    assert account.arm.blob_services.get_service_properties(GROUP, "acct").delete_retention_policy.enabled is False
    assert [usage.current_value for usage in account.arm.usages.list_by_location("westeurope")] == [1]
    assert "Standard_LRS" in {sku.name for sku in account.arm.skus.list()}


def test_an_account_with_a_copy_names_its_second_region(account: Account) -> None:
    """Redundancy over regions shows the other region, and endpoints of the copy where that can be read."""
    body = ACCOUNT | {"sku": {"name": "Standard_RAGRS"}}
    shown = account.arm.storage_accounts.begin_create(GROUP, "acct", body).result(30).as_dict()["properties"]
    assert shown["secondaryLocation"] == "northeurope"
    assert shown["secondaryEndpoints"]["blob"] == f"{shown['primaryEndpoints']['blob'].rstrip('/')}-secondary/"
    written_back = account.arm.storage_accounts.get_properties(GROUP, "acct").as_dict() | {"sku": ACCOUNT["sku"]}
    shown = account.arm.storage_accounts.begin_create(GROUP, "acct", written_back).result(30).as_dict()["properties"]
    assert "secondaryLocation" not in shown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sku": {"name": "Standard_XRS"}}, "Standard_XRS|sku"),
        ({"kind": "BlockBlobStorage"}, "does not support the SKU"),
        (
            {"properties": {"networkAcls": {"defaultAction": "Deny", "ipRules": [{"value": "10.1.2.3"}]}}},
            "no public IPv4",
        ),
        (
            {"properties": {"networkAcls": {"defaultAction": "Deny", "ipRules": [{"value": "51.4.5.6/31"}]}}},
            "no public IPv4",
        ),
        ({"properties": {"networkAcls": {"defaultAction": "Deny", "bypass": "Everything"}}}, "bypass"),
        (
            {
                "properties": {
                    "networkAcls": {"defaultAction": "Deny", "virtualNetworkRules": [{"id": "/subscriptions/x"}]}
                }
            },
            "virtualNetworkRules",
        ),
    ],
)
def test_what_is_no_account_is_refused(account: Account, body: dict[str, Any], words: str) -> None:
    """SKUs, kinds and network rules are checked as the service does."""
    with pytest.raises(HttpResponseError, match=words):
        account.arm.storage_accounts.begin_create(GROUP, "other", ACCOUNT | body)


def test_a_subnet_rule_needs_the_service_endpoint(account: Account) -> None:
    """A subnet without Microsoft.Storage among its service endpoints is refused, with it taken."""
    with account.running.client(NetworkManagementClient) as networks:
        space = {"location": "westeurope", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
        networks.virtual_networks.begin_create_or_update(GROUP, "net", space).result(30)
        part: dict[str, Any] = {"properties": {"addressPrefix": "10.0.0.0/24"}}
        subnet = networks.subnets.begin_create_or_update(GROUP, "net", "nodes", part).result(30)
        rules = {"defaultAction": "Allow", "virtualNetworkRules": [{"id": subnet.id}]}
        with pytest.raises(HttpResponseError, match="SubnetsHaveNoServiceEndpointsConfigured"):
            account.update(networkAcls=rules)
        part["properties"]["serviceEndpoints"] = [{"service": "Microsoft.Storage"}]
        networks.subnets.begin_create_or_update(GROUP, "net", "nodes", part).result(30)
        shown = account.update(networkAcls=rules).as_dict()["properties"]["networkAcls"]["virtualNetworkRules"]
        assert shown == [{"id": subnet.id, "action": "Allow", "state": "Succeeded"}]
        account.update(networkAcls={"virtualNetworkRules": []})


def test_lifecycle_rules_are_checked(account: Account) -> None:
    """A rule has a unique name, a type, and days; what is right is kept under the service's own name."""
    rule: dict[str, Any] = {
        "name": "old",
        "type": "Lifecycle",
        "definition": {
            "filters": {"blobTypes": ["blockBlob"], "prefixMatch": ["box/"]},
            "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30}}},
        },
    }

    def put(*rules: dict[str, Any]) -> Any:
        body = {"properties": {"policy": {"rules": list(rules)}}}
        return account.arm.management_policies.create_or_update(GROUP, "acct", "default", body)

    assert put(rule).name == "DefaultManagementPolicy"
    days = {"definition": {"actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": -1}}}}}
    for wrong, words in (
        ((rule, rule), "two rules"),
        ((rule | days,), "whole number"),
        ((rule | {"type": "x"},), "Lifecycle"),
    ):
        with pytest.raises(HttpResponseError, match=words):
            put(*wrong)


def test_data_is_for_those_who_have_a_role(account: Account) -> None:
    """The owner of the subscription gets 403 from blobs and messages until a data role is given, where it is given."""
    blob = account.client(ContainerClient, "box").get_blob_client("one")
    queue = account.client(QueueClient, "work")
    for attempt in (lambda: blob.upload_blob(b"1"), lambda: queue.send_message("1")):
        with pytest.raises(HttpResponseError) as refused:
            attempt()
        assert (refused.value.status_code, refused.value.error_code) == (403, "AuthorizationPermissionMismatch")
    account.give(BLOB_CONTRIBUTOR, f"{account.made.id}/blobServices/default/containers/box")
    account.give(QUEUE_CONTRIBUTOR, account.made.id)
    blob.upload_blob(b"1")
    assert blob.download_blob().readall() == b"1"
    queue.send_message("1")
    account.arm.blob_containers.create(GROUP, "acct", "other", {})
    with pytest.raises(HttpResponseError, match="not authorized"):
        account.client(ContainerClient, "other").upload_blob("two", b"2")


def test_keys_and_public_access_can_be_off(account: Account) -> None:
    """A key works until keys are off; a new one replaces the old; public containers need the account's leave."""
    key = account.arm.storage_accounts.list_keys(GROUP, "acct").keys_property[0].value
    named = {"account_name": "acct", "account_key": key}
    assert account.client(BlobServiceClient, credential=named).get_account_information()["sku_name"]
    account.update(allowSharedKeyAccess=False)
    with pytest.raises(HttpResponseError) as refused:
        account.client(BlobServiceClient, credential=named, **NO_RETRY).get_account_information()
    assert refused.value.error_code == "KeyBasedAuthenticationNotPermitted"
    account.arm.queue.create(GROUP, "acct", "without-keys", {})
    account.update(allowSharedKeyAccess=True)
    new = account.arm.storage_accounts.regenerate_key(GROUP, "acct", {"keyName": "key1"}).keys_property[0].value
    assert new != key
    with pytest.raises(HttpResponseError):
        account.client(BlobServiceClient, credential=named, **NO_RETRY).get_account_information()
    named["account_key"] = new
    assert account.client(BlobServiceClient, credential=named).get_account_information()["sku_name"]
    with pytest.raises(HttpResponseError) as public:
        account.arm.blob_containers.create(GROUP, "acct", "open", {"properties": {"publicAccess": "Blob"}})
    assert public.value.error.code == "PublicAccessNotPermitted"


def test_storage_fails_on_demand(account: Account) -> None:
    """A standing fault closes the connection, or answers 503 or 500; then all is as before."""
    queue = account.client(QueueClient, "work", **NO_RETRY)
    faults = account.running.azure.faults
    faults.add(FaultKind.STORAGE_OUTAGE, target="acct", times=1)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        queue.get_queue_properties()
    for kind, status, code in (
        (FaultKind.THROTTLING, 503, "ServerBusy"),
        (FaultKind.SERVER_ERROR, 500, "InternalError"),
    ):
        faults.add(kind, target="ac*", times=1)
        with pytest.raises(HttpResponseError) as failed:
            queue.get_queue_properties()
        assert (failed.value.status_code, failed.value.error_code) == (status, code)
    assert queue.get_queue_properties().name == "work"


def test_a_server_that_ends_alone_is_started_again(account: Account) -> None:
    """Health names the account and what happened; clients find it at the same address."""
    (before,) = account.running.azure.storage.health()
    assert before.pid is not None
    psutil.Process(before.pid).kill()
    deadline = time.monotonic() + 60
    while (now := account.running.azure.storage.health()[0]).restarts == before.restarts:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert now.ports == before.ports
    assert f"process {before.pid} ended with exit code -9" in now.problem
    account.client(QueueClient, "work", retry_total=20, retry_backoff_factor=0.1).get_queue_properties()
