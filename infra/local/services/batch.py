"""Batch accounts: the account itself; pools and jobs of the Batch service are not there yet."""

import secrets
from base64 import b64encode
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Call, Follow, Reply, ResourceType, Write
from infra.local.arm.store import Store

_KEYS = ("primary", "secondary")


class Batch:
    """The types of Microsoft.Batch; `own_url` says where the resource manager is."""

    def __init__(self, store: Store, own_url: Callable[[], str]) -> None:
        self._store = store
        self._own_url = own_url

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                "Microsoft.Batch/batchAccounts",
                prepare=self._prepare,
                created=HTTPStatus.ACCEPTED,
                follow_create=Follow.LOCATION,
                follow_delete=Follow.LOCATION,
                actions={"listKeys": _list_keys},
                immutable=("properties.poolAllocationMode",),
            ),
        )

    def _prepare(self, write: Write) -> None:
        properties = write.resource.properties
        storage = properties.get("autoStorage")
        if storage is not None:
            identifier = storage.get("storageAccountId", "")
            if self._store.get(identifier) is None:
                message = f"The specified storage account '{identifier}' for autostorage is invalid."
                raise invalid(message, code="InvalidAutoStorageAccount")
        properties.setdefault("poolAllocationMode", "BatchService")
        properties.setdefault("publicNetworkAccess", "Enabled")
        properties.setdefault("allowedAuthenticationModes", ["SharedKey", "AAD", "TaskAuthenticationToken"])
        endpoint = f"{self._own_url().removeprefix('https://')}/batch/{write.address.name}"
        # The quotas are those of a new account (docs: Batch service quotas and limits).
        properties.update(
            accountEndpoint=endpoint,
            nodeManagementEndpoint=endpoint,
            dedicatedCoreQuota=100,
            lowPriorityCoreQuota=100,
            poolQuota=100,
            activeJobAndJobScheduleQuota=300,
        )
        for key in _KEYS:
            write.resource.internal.setdefault(key, b64encode(secrets.token_bytes(64)).decode())


def _list_keys(call: Call) -> Reply:
    body: dict[str, Any] = {"accountName": call.resource.name}
    return Reply(body | {key: call.resource.internal[key] for key in _KEYS})
