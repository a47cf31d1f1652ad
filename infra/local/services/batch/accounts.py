"""Batch accounts: what they are linked to, how clients may sign in, their keys and quotas."""

import re
import secrets
import uuid
from base64 import b64encode
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import ArmError, conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.arm.subscription import SubscriptionRoute
from infra.local.services.access.identities import identities_of
from infra.local.services.batch.nodes import POOL, now
from scheduler.catalog import VM_SIZES

ACCOUNT = "Microsoft.Batch/batchAccounts"
SHARED_KEY = "SharedKey"

_KEYS = ("primary", "secondary")
_NAME = re.compile(r"[a-z0-9]{3,24}")
_LOOK_AGAIN_SECONDS = 0.1
_FAMILY = re.compile(r"Standard_(?P<letters>[A-Z]+)\d+(?:-\d+)?(?P<features>[a-z]*)(?P<rest>(?:_[A-Za-z0-9]+)*)")

# The quotas of a new account (docs: Batch service quotas and limits); accounts a region.
_CORES = 100
_QUOTAS = {"poolQuota": 100, "activeJobAndJobScheduleQuota": 300}
_ACCOUNT_QUOTA = 3
_USER_SUBSCRIPTION = "UserSubscription"
_MODES = (SHARED_KEY, "AAD", "TaskAuthenticationToken")
_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.Batch/locations/{location}"


class BatchAccounts:
    """The type of accounts; `own_url` says where the resource manager is, `start_delete` begins to delete a pool."""

    def __init__(
        self, store: Store, tenant_id: str, own_url: Callable[[], str], start_delete: Callable[[Resource], None]
    ) -> None:
        self._store = store
        self._tenant_id = tenant_id
        self._own_url = own_url
        self._start_delete = start_delete

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                ACCOUNT,
                prepare=self._prepare,
                release=self._release,
                view=self._view,
                created=HTTPStatus.ACCEPTED,
                follow_create=Follow.LOCATION,
                follow_delete=Follow.LOCATION,
                actions={
                    "listKeys": _list_keys,
                    "regenerateKeys": self._regenerate_keys,
                    "syncAutoStorageKeys": self._sync_auto_storage,
                },
                views={
                    "privateLinkResources": _private_link_resources,
                    "detectors": lambda _account: {"value": []},
                },
            ),
        )

    def routes(self) -> tuple[SubscriptionRoute, ...]:
        """Return what Batch answers about the subscription."""
        return (
            SubscriptionRoute("GET", f"{_LOCATION}/quotas", lambda *_: {"accountQuota": _ACCOUNT_QUOTA}),
            SubscriptionRoute("GET", f"{_LOCATION}/virtualMachineSkus", lambda *_: {"value": _sizes()}),
            SubscriptionRoute("POST", f"{_LOCATION}/checkNameAvailability", self._check_name),
        )

    def find(self, name: str) -> Resource | None:
        """Find an account by its name, which no other has."""
        wanted = name.lower()
        return next((found for found in self._store.find(ACCOUNT) if found.name.lower() == wanted), None)

    def url(self, name: str) -> str:
        """Return the address of an account's data plane."""
        return f"{self._own_url()}/batch/{name}"

    def _view(self, account: Resource, _query: Query) -> dict[str, Any]:
        """Show an account with the private endpoints that are connected to it."""
        kind = f"{ACCOUNT}/privateEndpointConnections"
        connections = [
            {"id": found.id, "name": found.name, "type": kind} | found.body
            for found in self._store.find(kind, account.id)
        ]
        return account.body | {"properties": account.properties | {"privateEndpointConnections": connections}}

    def _prepare(self, write: Write) -> None:
        name, properties = write.address.name, write.resource.properties
        if _NAME.fullmatch(name) is None:
            message = (
                f"The Batch account name '{name}' is invalid: account names have 3 to 24 characters, lower-case letters"
                " and digits only."
            )
            raise invalid(message, "accountName", "InvalidAccountName")
        other = self.find(name)
        if other is not None and other.key != write.resource.key:
            raise conflict("AccountNameAlreadyInUse", f"An account named '{name}' already exists.", "accountName")
        self._link_storage(write)
        mode = properties.setdefault("poolAllocationMode", "BatchService")
        if write.before is not None and write.before.properties["poolAllocationMode"] != mode:
            message = "The pool allocation mode of an account cannot be changed."
            raise conflict("PropertyChangeNotAllowed", message, "properties.poolAllocationMode")
        properties.setdefault("publicNetworkAccess", "Enabled")
        properties.setdefault("encryption", {"keySource": "Microsoft.Batch"})
        self._check_mode(mode, properties)
        self._complete_identity(write.resource.body)
        endpoint = self.url(name).removeprefix("https://")
        properties.update(accountEndpoint=endpoint, nodeManagementEndpoint=endpoint, **_QUOTAS)
        if mode != _USER_SUBSCRIPTION:
            # Machines of the user's own subscription count there, and the account shows no quota of cores.
            families = sorted({_family(size) for size in VM_SIZES})
            properties.update(
                dedicatedCoreQuota=_CORES,
                lowPriorityCoreQuota=_CORES,
                dedicatedCoreQuotaPerVMFamily=[{"name": family, "coreQuota": _CORES} for family in families],
                dedicatedCoreQuotaPerVMFamilyEnforced=False,
            )
        for key in _KEYS:
            write.resource.internal.setdefault(key, _new_key())

    def _link_storage(self, write: Write) -> None:
        storage = write.resource.properties.get("autoStorage")
        if storage is None:
            return
        identifier = storage.get("storageAccountId", "")
        if self._store.get(identifier) is None:
            message = f"The specified storage account '{identifier}' for autostorage is invalid."
            raise invalid(message, code="InvalidAutoStorageAccount")
        storage.setdefault("authenticationMode", "StorageKeys")
        known = (write.before.properties.get("autoStorage") or {}) if write.before is not None else {}
        same = str(known.get("storageAccountId", "")).lower() == identifier.lower()
        storage["lastKeySync"] = known["lastKeySync"] if same else now()

    def _check_mode(self, mode: str, properties: dict[str, Any]) -> None:
        owned = mode == _USER_SUBSCRIPTION
        modes = properties.setdefault("allowedAuthenticationModes", ["AAD"] if owned else list(_MODES))
        for each in modes:
            if each not in _MODES:
                message = f"'{each}' is no authentication mode; there are {', '.join(_MODES)}."
                raise invalid(message, "allowedAuthenticationModes", "InvalidPropertyValue")
        if not owned:
            if properties.get("keyVaultReference") is not None:
                message = "A key vault reference is for accounts of pool allocation mode UserSubscription alone."
                raise invalid(message, "keyVaultReference", "InvalidRequestBody")
            return
        vault = properties.get("keyVaultReference") or {}
        if not vault.get("id") or not vault.get("url"):
            message = "An account of pool allocation mode UserSubscription needs a keyVaultReference with id and url."
            raise invalid(message, "keyVaultReference", "KeyVaultReferenceRequired")
        if SHARED_KEY in modes:
            message = "An account of pool allocation mode UserSubscription cannot allow the mode SharedKey."
            raise invalid(message, "allowedAuthenticationModes", "InvalidPropertyValue")

    def _complete_identity(self, body: dict[str, Any]) -> None:
        identity = body.setdefault("identity", {"type": "None"})
        kind = identity.get("type")
        if kind == "SystemAssigned":
            body["identity"] = {
                "type": kind,
                "tenantId": self._tenant_id,
                "principalId": identity.get("principalId") or str(uuid.uuid4()),
            }
        elif kind == "UserAssigned":
            body["identity"] = {"type": kind, "userAssignedIdentities": identities_of(self._store, body)}
        elif kind == "None":
            body["identity"] = {"type": "None"}
        else:
            message = f"Identity type '{kind}' is none of SystemAssigned, UserAssigned, None."
            raise invalid(message, "identity.type", "InvalidPropertyValue")

    def _release(self, account: Resource) -> float | None:
        """Delete the pools first: their nodes are machines."""
        with self._store.transaction():
            left = self._store.find(POOL, account.id)
            for pool in left:
                self._start_delete(pool)
        return _LOOK_AGAIN_SECONDS if left else None

    def _regenerate_keys(self, call: Call) -> Reply:
        wanted = str(call.body.get("keyName", "")).lower()
        if wanted not in _KEYS:
            message = f"The key name '{call.body.get('keyName')}' is neither Primary nor Secondary."
            raise invalid(message, "keyName", "InvalidPropertyValue")
        _require_shared_key(call.resource)
        call.resource.internal[wanted] = _new_key()
        self._store.save(call.resource, changed=False)
        return _list_keys(call)

    def _sync_auto_storage(self, call: Call) -> Reply:
        storage = call.resource.properties.get("autoStorage")
        if storage is None:
            message = f"The account '{call.resource.name}' has no auto storage account."
            raise conflict("AutoStorageAccountNotLinked", message)
        storage["lastKeySync"] = now()
        self._store.save(call.resource)
        return Reply(status=HTTPStatus.NO_CONTENT)

    def _check_name(self, _names: Mapping[str, str], _query: Query, body: dict[str, Any]) -> dict[str, Any]:
        name = str(body.get("name", ""))
        if _NAME.fullmatch(name) is None:
            message = f"'{name}' is not valid: 3 to 24 lower-case letters and digits."
            return {"nameAvailable": False, "reason": "Invalid", "message": message}
        if self.find(name) is not None:
            message = f"An account named '{name}' is already in use."
            return {"nameAvailable": False, "reason": "AlreadyExists", "message": message}
        return {"nameAvailable": True}


def allows_shared_key(account: Resource) -> bool:
    """Say whether clients may sign requests with the account's keys."""
    return SHARED_KEY in account.properties["allowedAuthenticationModes"]


def _list_keys(call: Call) -> Reply:
    _require_shared_key(call.resource)
    body: dict[str, Any] = {"accountName": call.resource.name}
    return Reply(body | {key: call.resource.internal[key] for key in _KEYS})


def _require_shared_key(account: Resource) -> None:
    if not allows_shared_key(account):
        message = f"The account '{account.name}' does not allow shared keys (allowedAuthenticationModes)."
        raise ArmError(HTTPStatus.FORBIDDEN, "SharedKeyAuthenticationDisabled", message)


def _private_link_resources(account: Resource) -> dict[str, Any]:
    zone = f"privatelink.{account.body['location']}.batch.azure.com"
    return {
        "value": [
            {
                "id": f"{account.id}/privateLinkResources/{group}",
                "name": group,
                "type": f"{ACCOUNT}/privateLinkResources",
                "properties": {"groupId": group, "requiredMembers": [group], "requiredZoneNames": [zone]},
            }
            for group in ("batchAccount", "nodeManagement")
        ]
    }


def _sizes() -> list[dict[str, Any]]:
    return [
        {
            "name": size.name,
            "familyName": _family(size.name),
            "capabilities": [
                {"name": "vCPUs", "value": str(size.vcpus)},
                {"name": "MemoryGB", "value": str(size.memory_gib)},
                {"name": "MaxResourceVolumeMB", "value": str(size.temporary_disk_gib * 1024)},
            ],
        }
        for size in VM_SIZES.values()
    ]


def _family(size: str) -> str:
    """Name the family of a size as quotas do: Standard_D4s_v5 is of standardDSv5Family."""
    found = _FAMILY.fullmatch(size)
    if found is None:
        return f"{size}Family"
    return f"standard{found['letters']}{found['features'].upper()}{found['rest'].replace('_', '')}Family"


def _new_key() -> str:
    return b64encode(secrets.token_bytes(64)).decode()
