"""Storage accounts: each has a server of its own, and what is declared in them is made there."""

import secrets
from base64 import b64encode
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.storage_server import Account, StorageServers

ACCOUNT = "Microsoft.Storage/storageAccounts"


class Storage:
    """The types of Microsoft.Storage."""

    def __init__(self, store: Store, servers: StorageServers) -> None:
        self._store = store
        self._servers = servers

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        services = ("blobServices", "queueServices", "tableServices", "fileServices")
        return (
            ResourceType(
                ACCOUNT,
                prepare=self._prepare_account,
                provision=self._start,
                release=self._stop,
                actions={"listKeys": _list_keys},
                created=HTTPStatus.ACCEPTED,
                follow_create=Follow.LOCATION,
                merges=True,
                immutable=("properties.isHnsEnabled",),
            ),
            *(
                ResourceType(
                    f"{ACCOUNT}/{service}",
                    created=HTTPStatus.OK,
                    tracked=False,
                    implicit=True,
                    has_state=False,
                )
                for service in services
            ),
            ResourceType(f"{ACCOUNT}/managementPolicies", created=HTTPStatus.OK, tracked=False, has_state=False),
            ResourceType(
                f"{ACCOUNT}/blobServices/containers",
                prepare=_prepare_container,
                provision=self._create_container,
                release=self._delete_container,
                tracked=False,
                has_state=False,
                shows_etag=True,
            ),
            ResourceType(
                f"{ACCOUNT}/queueServices/queues",
                provision=self._create_queue,
                release=self._delete_queue,
                created=HTTPStatus.OK,
                deleted=HTTPStatus.NO_CONTENT,
                tracked=False,
                has_state=False,
            ),
        )

    def start_all(self) -> None:
        """Start the servers of all accounts, after a restart."""
        for resource in self._store.find(ACCOUNT):
            if resource.state == "Succeeded":
                self._start(resource, {})

    def leave_running(self) -> None:
        """Leave the servers to the next daemon."""
        self._servers.leave_running()

    def _prepare_account(self, write: Write) -> None:
        body, internal = write.resource.body, write.resource.internal
        if not isinstance(body.get("sku"), dict) or "name" not in body["sku"]:
            raise invalid("Values for request parameters are invalid: sku.", "sku", "InvalidRequestPropertyValue")
        if "kind" not in body:
            raise invalid("Values for request parameters are invalid: kind.", "kind", "InvalidRequestPropertyValue")
        name = write.address.name
        if not (name.isalnum() and name.islower() and 3 <= len(name) <= 24):  # noqa: PLR2004 -- docs: naming rules
            message = f"{name} is not a valid storage account name: 3 to 24 lower-case letters and digits."
            raise invalid(message, code="AccountNameInvalid")
        taken = [other for other in self._store.find(ACCOUNT) if other.name == name and other.key != write.resource.key]
        if taken:
            raise conflict("StorageAccountAlreadyTaken", f"The storage account named {name} is already taken.")
        body["sku"].setdefault("tier", body["sku"]["name"].partition("_")[0])
        internal.setdefault("keys", [b64encode(secrets.token_bytes(64)).decode() for _ in range(2)])
        if write.before is not None:
            write.resource.properties["primaryEndpoints"] = write.before.properties.get("primaryEndpoints", {})

    def _start(self, resource: Resource, _payload: dict[str, Any]) -> None:
        account = self._servers.start(resource.name, resource.internal["keys"][0], resource.internal.get("ports"))
        with self._store.transaction():
            current = self._store.get(resource.id)
            if current is not None and current.state != "Deleting":
                if current.internal.get("ports") != list(account.ports):
                    current.internal["ports"] = list(account.ports)
                    current.properties["primaryEndpoints"] = account.endpoints
                    current.properties["primaryLocation"] = current.body["location"]
                    current.properties["statusOfPrimary"] = "available"
                    self._store.save(current)
                return
        self._servers.stop(resource.name)

    def _stop(self, resource: Resource) -> None:
        self._servers.delete(resource.name)

    def _account(self, resource: Resource) -> Account:
        """Return the server behind a part of an account."""
        owner = self._store.get("/".join(resource.id.split("/")[:9]))
        if owner is None or not owner.internal.get("ports"):
            raise conflict("StorageAccountNotReady", f"The storage account of '{resource.id}' is not ready yet.")
        return self._servers.account(owner.name, owner.internal["keys"][0], owner.internal["ports"])

    def _blobs(self, resource: Resource) -> BlobServiceClient:
        account = self._account(resource)
        credential = {"account_name": account.name, "account_key": account.key}
        return BlobServiceClient(account.endpoints["blob"], credential, connection_verify=str(self._servers.ca_bundle))

    def _queues(self, resource: Resource) -> QueueServiceClient:
        account = self._account(resource)
        credential = {"account_name": account.name, "account_key": account.key}
        return QueueServiceClient(
            account.endpoints["queue"], credential, connection_verify=str(self._servers.ca_bundle)
        )

    def _create_container(self, resource: Resource, _payload: dict[str, Any]) -> None:
        with self._blobs(resource) as client:
            try:
                client.create_container(resource.name)
            except ResourceExistsError:
                return

    def _delete_container(self, resource: Resource) -> None:
        with self._blobs(resource) as client:
            try:
                client.delete_container(resource.name)
            except ResourceNotFoundError:
                return

    def _create_queue(self, resource: Resource, _payload: dict[str, Any]) -> None:
        with self._queues(resource) as client:
            try:
                client.create_queue(resource.name)
            except ResourceExistsError:
                return

    def _delete_queue(self, resource: Resource) -> None:
        with self._queues(resource) as client:
            try:
                client.delete_queue(resource.name)
            except ResourceNotFoundError:
                return


def _prepare_container(write: Write) -> None:
    write.resource.properties.setdefault("publicAccess", "None")
    write.resource.properties.update(leaseStatus="Unlocked", leaseState="Available")


def _list_keys(call: Call) -> Reply:
    keys = call.resource.internal["keys"]
    named = [{"keyName": f"key{n}", "value": key, "permissions": "FULL"} for n, key in enumerate(keys, start=1)]
    return Reply({"keys": named})
