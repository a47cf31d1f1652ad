"""What lies in a storage account: its four services, and the containers, queues and tables in them."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from infra.local.arm.errors import ArmError, conflict
from infra.local.arm.resource_types import Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.permissions.storage_permissions import ACCOUNT
from infra.local.services.access.role_definitions import moment
from infra.local.storage_server import StorageServers
from infra.local.tokens import STORAGE_AUDIENCE

# What each service shows before anything is set.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "blobServices": {
        "cors": {"corsRules": []},
        "deleteRetentionPolicy": {"allowPermanentDelete": False, "enabled": False},
    },
    "queueServices": {"cors": {"corsRules": []}},
    "tableServices": {"cors": {"corsRules": []}},
    "fileServices": {
        "cors": {"corsRules": []},
        "shareDeleteRetentionPolicy": {"enabled": True, "days": 7},
        "protocolSettings": {"smb": {}},
    },
}
_TABLE_VERSION = "2019-02-02"


@dataclass(frozen=True, slots=True)
class Data:
    """The servers of the accounts, reached as the local Azure itself."""

    store: Store
    servers: StorageServers
    credential: Any
    own_object_id: str

    def account_of(self, resource: Resource) -> Resource:
        """Return the account that something lies in."""
        account = self.store.get("/".join(resource.id.split("/")[:9]))
        if account is None or not account.internal.get("ports"):
            raise conflict("StorageAccountNotReady", f"The storage account of '{resource.id}' is not ready yet.")
        return account

    def blobs(self, resource: Resource) -> BlobServiceClient:
        """Return a client of the account's blobs."""
        return BlobServiceClient(
            self._endpoint(resource, "blob"), self.credential, connection_verify=str(self.servers.ca_bundle)
        )

    def queues(self, resource: Resource) -> QueueServiceClient:
        """Return a client of the account's queues."""
        return QueueServiceClient(
            self._endpoint(resource, "queue"), self.credential, connection_verify=str(self.servers.ca_bundle)
        )

    def table(self, resource: Resource, method: str) -> None:
        """Create (POST) or delete a table; that it is there already, or not any more, is as well."""
        named = "" if method == "POST" else f"('{resource.name}')"
        token = self.credential.get_token(f"{STORAGE_AUDIENCE}/.default").token
        request = urllib.request.Request(  # noqa: S310 -- an address of our own
            f"{self._endpoint(resource, 'table')}Tables{named}",
            json.dumps({"TableName": resource.name}).encode() if method == "POST" else None,
            {
                "Authorization": f"Bearer {token}",
                "x-ms-version": _TABLE_VERSION,
                "Content-Type": "application/json",
                "Accept": "application/json;odata=nometadata",
            },
            method=method,
        )
        context = ssl.create_default_context(cafile=str(self.servers.ca_bundle))
        try:
            urllib.request.urlopen(request, context=context, timeout=30).close()  # noqa: S310 -- as above
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in {HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND}:
                message = f"The table service answered {error.code} to {method} of '{resource.name}'."
                raise ArmError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message) from error

    def _endpoint(self, resource: Resource, service: str) -> str:
        return str(self.account_of(resource).properties["primaryEndpoints"][service])


def service_types(data: Data) -> tuple[ResourceType, ...]:
    """Return the types below an account."""
    parts = _Parts(data)
    return (
        *(
            ResourceType(
                f"{ACCOUNT}/{service}",
                view=_service_view(defaults, data.store),
                created=HTTPStatus.OK,
                tracked=False,
                implicit=True,
                has_state=False,
            )
            for service, defaults in _DEFAULTS.items()
        ),
        ResourceType(
            f"{ACCOUNT}/blobServices/containers",
            prepare=parts.prepare_container,
            provision=parts.create_container,
            release=parts.delete_container,
            view=_show_container,
            tracked=False,
            has_state=False,
            shows_etag=True,
        ),
        ResourceType(
            f"{ACCOUNT}/queueServices/queues",
            provision=parts.create_queue,
            release=parts.delete_queue,
            created=HTTPStatus.OK,
            deleted=HTTPStatus.NO_CONTENT,
            tracked=False,
            has_state=False,
        ),
        ResourceType(
            f"{ACCOUNT}/tableServices/tables",
            prepare=_prepare_table,
            provision=parts.create_table,
            release=parts.delete_table,
            created=HTTPStatus.OK,
            deleted=HTTPStatus.NO_CONTENT,
            tracked=False,
            has_state=False,
        ),
    )


class _Parts:
    """Makes in the servers what is declared."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def prepare_container(self, write: Write) -> None:
        """Complete a container; public ones need the account's leave."""
        properties = write.resource.properties
        account = self._data.account_of(write.resource)
        if properties.setdefault("publicAccess", "None") != "None" and not account.properties["allowBlobPublicAccess"]:
            message = "Public access is not permitted on this storage account."
            raise conflict("PublicAccessNotPermitted", message)
        known = write.before.properties if write.before else {}
        properties.setdefault("defaultEncryptionScope", "$account-encryption-key")
        properties.setdefault("denyEncryptionScopeOverride", False)
        properties.update(
            leaseStatus=known.get("leaseStatus", "Unlocked"),
            leaseState=known.get("leaseState", "Available"),
            lastModifiedTime=moment(),
            hasImmutabilityPolicy=False,
            hasLegalHold=False,
            deleted=False,
            remainingRetentionDays=0,
        )

    def create_container(self, resource: Resource, _payload: dict[str, Any]) -> None:
        """Make a container as it is declared."""
        access = {"Container": "container", "Blob": "blob"}.get(resource.properties["publicAccess"])
        metadata = resource.properties.get("metadata") or {}
        with self._data.blobs(resource) as client:
            try:
                client.create_container(resource.name, metadata, access)
            except ResourceExistsError:
                client.get_container_client(resource.name).set_container_metadata(metadata)
                self._set_access(resource, access)

    def _set_access(self, resource: Resource, access: str | None) -> None:
        account = self._data.account_of(resource)
        key = {"account_name": account.name, "account_key": account.internal["keys"][0]}
        endpoint = account.properties["primaryEndpoints"]["blob"]
        bundle = str(self._data.servers.ca_bundle)
        with BlobServiceClient(endpoint, key, connection_verify=bundle) as client:
            # Azurite takes no token for this; the header lets the key pass where keys are off.
            own = {"x-millpond-own": self._data.own_object_id}
            client.get_container_client(resource.name).set_container_access_policy({}, access, headers=own)

    def delete_container(self, resource: Resource) -> None:
        """Remove a container with its blobs."""
        with self._data.blobs(resource) as client:
            _unless_gone(lambda: client.delete_container(resource.name))

    def create_queue(self, resource: Resource, _payload: dict[str, Any]) -> None:
        """Make a queue as it is declared."""
        metadata = resource.properties.get("metadata") or {}
        with self._data.queues(resource) as client:
            try:
                client.create_queue(resource.name, metadata)
            except ResourceExistsError:
                client.get_queue_client(resource.name).set_queue_metadata(metadata)

    def delete_queue(self, resource: Resource) -> None:
        """Remove a queue with its messages."""
        with self._data.queues(resource) as client:
            _unless_gone(lambda: client.delete_queue(resource.name))

    def create_table(self, resource: Resource, _payload: dict[str, Any]) -> None:
        """Make a table."""
        self._data.table(resource, "POST")

    def delete_table(self, resource: Resource) -> None:
        """Remove a table with its entities."""
        self._data.table(resource, "DELETE")


def _prepare_table(write: Write) -> None:
    write.resource.properties["tableName"] = write.address.name


def _unless_gone(act: Callable[[], object]) -> None:
    try:
        act()
    except ResourceNotFoundError:
        return


def _service_view(defaults: dict[str, Any], store: Store) -> Callable[[Resource, Query], dict[str, Any]]:
    def show(resource: Resource, _query: Query) -> dict[str, Any]:
        account = store.get("/".join(resource.id.split("/")[:9]))
        sku = {"sku": account.body["sku"]} if account else {}
        return resource.body | sku | {"properties": defaults | resource.properties}

    return show


def _show_container(resource: Resource, _query: Query) -> dict[str, Any]:
    properties = {name: value for name, value in resource.properties.items() if name != "etag"}
    return resource.body | {"properties": properties | {"etag": resource.etag}}
