"""Applications and packages of Batch accounts, by the unchanged management client and real storage."""

from collections.abc import Iterator

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobClient

from tests.infra.local.batch_world import ACCOUNT, BatchWorld, batch_world
from tests.infra.local.conftest import GROUP, RunningAzure


@pytest.fixture
def world(running: RunningAzure) -> Iterator[BatchWorld]:
    """An account."""
    with batch_world(running) as made:
        yield made


def link_storage(world: BatchWorld) -> None:
    """Give the account a storage account."""
    with world.running.client(StorageManagementClient) as client:
        body = {"location": "westeurope", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
        made = client.storage_accounts.begin_create(GROUP, "store1", body).result(60)
    changed = world.accounts.update(GROUP, ACCOUNT, {"properties": {"autoStorage": {"storageAccountId": made.id}}})
    synced = changed.auto_storage.last_key_sync
    world.accounts.synchronize_auto_storage_keys(GROUP, ACCOUNT)
    assert world.accounts.get(GROUP, ACCOUNT).auto_storage.last_key_sync > synced


def test_a_package_is_uploaded_and_activated(world: BatchWorld) -> None:
    """A package is pending with an address to put it at, active once it was put and activated, and then can be got."""
    link_storage(world)
    applications, packages = world.management.application, world.management.application_package
    made = applications.create(GROUP, ACCOUNT, "render", {"properties": {"displayName": "Render"}})
    assert (made.allow_updates, made.display_name) == (True, "Render")
    pending = packages.create(GROUP, ACCOUNT, "render", "1.0", {})
    assert pending.state == "Pending"
    with pytest.raises(ResourceExistsError, match="uploaded"):
        packages.activate(GROUP, ACCOUNT, "render", "1.0", {"format": "zip"})
    verify = str(world.running.azure.certificates.bundle)
    with BlobClient.from_blob_url(pending.storage_url, connection_verify=verify) as blob:
        blob.upload_blob(b"PK")
    active = packages.activate(GROUP, ACCOUNT, "render", "1.0", {"format": "zip"})
    assert (active.state, active.format) == ("Active", "zip")
    with BlobClient.from_blob_url(active.storage_url, connection_verify=verify) as blob:
        assert blob.download_blob().readall() == b"PK"
    assert [found.name for found in packages.list(GROUP, ACCOUNT, "render")] == ["1.0"]
    changed = applications.update(GROUP, ACCOUNT, "render", {"properties": {"defaultVersion": "1.0"}})
    assert (changed.default_version, changed.display_name) == ("1.0", "Render")
    with pytest.raises(ResourceExistsError, match="default version"):
        packages.delete(GROUP, ACCOUNT, "render", "1.0")
    with pytest.raises(ResourceExistsError, match="has packages"):
        applications.delete(GROUP, ACCOUNT, "render")


def test_a_package_needs_storage_and_an_application(world: BatchWorld) -> None:
    """Without a linked storage account there is no place for a package; without an application no package."""
    applications, packages = world.management.application, world.management.application_package
    applications.create(GROUP, ACCOUNT, "render", {})
    with pytest.raises(ResourceExistsError, match="auto storage"):
        packages.create(GROUP, ACCOUNT, "render", "1.0", {})
    with pytest.raises(ResourceNotFoundError):
        packages.create(GROUP, ACCOUNT, "other", "1.0", {})
    with pytest.raises(HttpResponseError, match="default version"):
        applications.update(GROUP, ACCOUNT, "render", {"properties": {"defaultVersion": "9"}})
    applications.delete(GROUP, ACCOUNT, "render")
    assert list(applications.list(GROUP, ACCOUNT)) == []
