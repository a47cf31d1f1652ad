"""Batch accounts by the unchanged management client, and who may use their data plane."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient

from infra.local.azure import UserCredential
from infra.local.tokens import Principal, TokenIssuer
from tests.infra.local.batch_world import ACCOUNT, BatchWorld, batch_world
from tests.infra.local.conftest import GROUP, RunningAzure

_DATA_CONTRIBUTOR = "6aaa78f1-f7de-44ca-8722-c64a23943cae"  # docs: built-in roles, Azure Batch Data Contributor
_READER = "11076f67-66f6-4be0-8f6b-f0609fd05cc9"  # docs: built-in roles, Azure Batch Account Reader


@pytest.fixture
def world(running: RunningAzure) -> Iterator[BatchWorld]:
    """An account without pools."""
    with batch_world(running) as made:
        yield made


def create(world: BatchWorld, name: str, **properties: Any) -> Any:
    """Create another account."""
    body = {"location": "westeurope", "properties": properties}
    return world.accounts.begin_create(GROUP, name, body).result(30)


def test_a_new_account_has_the_service_s_defaults_and_quotas(world: BatchWorld) -> None:
    """What is not said is read back as the service sets it; a repeated PUT and a PATCH keep keys and endpoint."""
    account = world.account
    assert account.pool_allocation_mode == "BatchService"
    assert account.identity.type == "None"
    assert (account.dedicated_core_quota, account.low_priority_core_quota, account.pool_quota) == (100, 100, 100)
    assert {"name": "standardDSv5Family", "coreQuota": 100} in [
        each.as_dict() for each in account.dedicated_core_quota_per_vm_family
    ]
    keys = world.accounts.get_keys(GROUP, ACCOUNT)
    updated = world.accounts.update(GROUP, ACCOUNT, {"tags": {"a": "b"}})
    assert (updated.tags, updated.account_endpoint) == ({"a": "b"}, account.account_endpoint)
    again = create(world, ACCOUNT)
    assert again.account_endpoint == account.account_endpoint
    assert world.accounts.get_keys(GROUP, ACCOUNT).primary == keys.primary


@pytest.mark.parametrize("name", ["Acct", "ab", "a" * 25, "a-b"])
def test_bad_names_are_refused(world: BatchWorld, name: str) -> None:
    """Capitals, other characters and wrong lengths are refused, and the name check says so beforehand."""
    with pytest.raises(HttpResponseError):
        create(world, name)
    found = world.management.location.check_name_availability(
        "westeurope", {"name": name, "type": "Microsoft.Batch/batchAccounts"}
    )
    assert (found.name_available, found.reason) == (False, "Invalid")


def test_names_are_taken_once(world: BatchWorld) -> None:
    """A name in use is not available, and another group cannot have it."""
    kind = "Microsoft.Batch/batchAccounts"
    found = world.management.location.check_name_availability("westeurope", {"name": ACCOUNT, "type": kind})
    assert (found.name_available, found.reason) == (False, "AlreadyExists")
    found = world.management.location.check_name_availability("westeurope", {"name": "free1", "type": kind})
    assert found.name_available
    world.running.resources.resource_groups.create_or_update("other", {"location": "westeurope"})
    with pytest.raises(ResourceExistsError):
        world.accounts.begin_create("other", ACCOUNT, {"location": "westeurope"}).result(30)


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"poolAllocationMode": "UserSubscription"}, "KeyVaultReferenceRequired"),
        (
            {
                "poolAllocationMode": "UserSubscription",
                "keyVaultReference": {"id": "/subscriptions/x", "url": "https://v"},
                "allowedAuthenticationModes": ["SharedKey", "AAD"],
            },
            "InvalidPropertyValue",
        ),
        ({"keyVaultReference": {"id": "/subscriptions/x", "url": "https://v"}}, "InvalidRequestBody"),
        ({"autoStorage": {"storageAccountId": "/subscriptions/x/none"}}, "InvalidAutoStorageAccount"),
    ],
)
def test_modes_and_links_are_checked(world: BatchWorld, properties: dict[str, Any], code: str) -> None:
    """A user-subscription account needs a vault and no shared keys; a linked storage account must exist."""
    with pytest.raises(HttpResponseError) as refused:
        create(world, "second", **properties)
    assert refused.value.error.code == code


def test_a_user_subscription_account_has_no_core_quota(world: BatchWorld) -> None:
    """With a vault it is made; it allows Entra alone, and its keys cannot be had."""
    vault = {"id": "/subscriptions/x", "url": "https://v"}
    made = create(world, "owned", poolAllocationMode="UserSubscription", keyVaultReference=vault)
    assert (made.dedicated_core_quota, made.allowed_authentication_modes) == (None, ["AAD"])
    with pytest.raises(HttpResponseError) as refused:
        world.accounts.get_keys(GROUP, "owned")
    assert refused.value.status_code == 403


def test_a_new_key_replaces_the_old_one(world: BatchWorld) -> None:
    """Requests signed with either key are taken; after regenerating one, only the other and the new one are."""
    old = world.accounts.get_keys(GROUP, ACCOUNT)
    for key in (old.primary, old.secondary):
        assert list(world.key_client(key).list_pools(max_results=5, filter="state eq 'active'")) == []
    new = world.accounts.regenerate_key(GROUP, ACCOUNT, {"keyName": "Primary"})
    assert (new.primary != old.primary, new.secondary) == (True, old.secondary)
    with pytest.raises(ClientAuthenticationError, match="AuthenticationFailed"):
        list(world.key_client(old.primary).list_pools())
    assert list(world.key_client(new.primary).list_pools()) == []


def test_shared_keys_can_be_forbidden(world: BatchWorld) -> None:
    """Without SharedKey among the allowed modes a right signature is refused, a token is not."""
    key = world.accounts.get_keys(GROUP, ACCOUNT).primary
    world.accounts.update(GROUP, ACCOUNT, {"properties": {"allowedAuthenticationModes": ["AAD"]}})
    with pytest.raises(HttpResponseError, match="AuthenticationFailed") as refused:
        list(world.key_client(key).list_pools())
    assert refused.value.status_code == 403
    assert list(world.batch.list_pools()) == []


def test_keys_of_the_linked_storage_can_be_synchronised(world: BatchWorld) -> None:
    """Without a linked account there is nothing to synchronise: 409."""
    with pytest.raises(ResourceExistsError):
        world.accounts.synchronize_auto_storage_keys(GROUP, ACCOUNT)


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer x.y.z"}, {"Authorization": ""}])
def test_nobody_is_refused(world: BatchWorld, headers: dict[str, str]) -> None:
    """A missing or foreign token is answered 401 in the service's envelope, with where to sign in."""
    refused = world.ask("GET", "/pools", **headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "AuthenticationFailed")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert refused.json()["message"]["lang"] == "en-US"
    assert refused.json()["values"][0]["key"] == "AuthenticationErrorDetail"


def test_a_token_for_another_service_is_refused(world: BatchWorld) -> None:
    """A token of the resource manager's audience is none for the Batch service."""
    token = world.running.azure.token("https://management.azure.com/.default")
    refused = world.ask("GET", "/pools", Authorization=f"Bearer {token}")
    assert "wrong audience" in refused.json()["values"][0]["value"]


def test_roles_decide_what_a_token_may_do(world: BatchWorld) -> None:
    """Without a role nothing may be read; a reader reads; a data contributor writes pools."""
    running = world.running
    with running.client(ManagedServiceIdentityClient) as client:
        identity = client.user_assigned_identities.create_or_update(GROUP, "someone", {"location": "westeurope"})
    issuer = TokenIssuer(running.azure.account.tenant_id, running.azure.store.setting("token_secret", str))
    world.declare("risk")
    someone = world.client(UserCredential(issuer, Principal(identity.principal_id, identity.client_id, identity.id)))

    def assign(role: str) -> None:
        with running.client(AuthorizationManagementClient) as client:
            definition = f"{running.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
            body = {"properties": {"roleDefinitionId": definition, "principalId": identity.principal_id}}
            client.role_assignments.create(world.account.id, str(uuid.uuid4()), body)

    with someone:
        with pytest.raises(HttpResponseError) as refused:
            someone.get_pool("risk")
        assert refused.value.status_code == 403
        assign(_READER)
        assert someone.get_pool("risk").id == "risk"
        with pytest.raises(HttpResponseError) as refused:
            someone.begin_resize_pool("risk", {"targetDedicatedNodes": 1})
        assert refused.value.status_code == 403
        assign(_DATA_CONTRIBUTOR)
        someone.begin_resize_pool("risk", {"targetDedicatedNodes": 1}, polling_interval=1).result()
        assert len(world.nodes("risk")) == 1


def test_what_batch_answers_about_a_place(world: BatchWorld) -> None:
    """Quotas and sizes of a location are those of the catalogue."""
    assert world.management.location.get_quotas("westeurope").account_quota > 0
    sizes = {size.name: size for size in world.management.location.list_supported_virtual_machine_skus("westeurope")}
    assert sizes["Standard_D4s_v5"].family_name == "standardDSv5Family"
    assert {"name": "vCPUs", "value": "4"} in [each.as_dict() for each in sizes["Standard_D4s_v5"].capabilities]


def test_answers_carry_the_service_s_headers(world: BatchWorld) -> None:
    """Each answer has a request id, the client's own id where it asks for it, and a version is required."""
    sent = str(uuid.uuid4())
    answer = world.ask("GET", "/pools", **{"client-request-id": sent, "return-client-request-id": "true"})
    assert answer.headers["client-request-id"] == sent
    assert uuid.UUID(answer.headers["request-id"])
    assert answer.headers["Content-Type"] == "application/json; odata=minimalmetadata"
    assert answer.json()["odata.metadata"].endswith("$metadata#pools")
    with pytest.raises(ResourceNotFoundError):
        world.batch.get_pool("none")
    assert world.ask("HEAD", "/pools/none").status_code == 404
