"""Storage accounts: each has a server of its own, and what is declared in them is made there."""

import secrets
from base64 import b64encode
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.arm.subscription import Names, SubscriptionRoute
from infra.local.permissions.storage_permissions import ACCOUNT, StoragePermissions
from infra.local.services.access.identities import identities_of
from infra.local.services.access.role_definitions import moment
from infra.local.services.storage.account_rules import SKUS, check_account, check_network_rules, complete, refused
from infra.local.services.storage.containers_and_queues import Data, service_types
from infra.local.services.storage.lifecycle_policies import policy_type
from infra.local.services.storage.locations import locations
from infra.local.storage_server import Account, ServerHealth, StorageServers

_MOST_ACCOUNTS = 250  # docs: storage account limits, accounts a region and subscription
_KEYS = ("key1", "key2")


class Storage:
    """The types of Microsoft.Storage; `credential` and `own_object_id` are our own, whom the servers trust."""

    def __init__(
        self,
        store: Store,
        servers: StorageServers,
        permissions: StoragePermissions,
        credential: Any,
        own_object_id: str,
    ) -> None:
        self._store = store
        self._servers = servers
        self._permissions = permissions
        self._data = Data(store, servers, credential, own_object_id)

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                ACCOUNT,
                prepare=self._prepare_account,
                provision=self._start,
                release=self._stop,
                view=self._show,
                actions={
                    "listKeys": _list_keys,
                    "regenerateKey": self._regenerate_key,
                },
                created=HTTPStatus.ACCEPTED,
                follow_create=Follow.LOCATION,
                merges=True,
                immutable=("properties.isHnsEnabled",),
            ),
            *service_types(self._data),
            policy_type(),
        )

    def routes(self) -> tuple[SubscriptionRoute, ...]:
        """Return what is asked about the whole subscription."""
        base = "/subscriptions/{subscription}/providers/Microsoft.Storage"
        return (
            SubscriptionRoute("GET", f"{base}/skus", lambda _names, _query, _body: {"value": _skus()}),
            SubscriptionRoute(
                "GET", f"{base}/locations/{{location}}/usages", lambda names, _query, _body: self._usages(names)
            ),
        )

    def start_all(self) -> None:
        """Start the servers of all accounts, after a restart."""
        self._permissions.write_all()
        for resource in self._store.find(ACCOUNT):
            if resource.state == "Succeeded":
                self._start(resource, {})
        self._servers.watch()

    def leave_running(self) -> None:
        """Leave the servers to the next daemon."""
        self._servers.leave_running()

    def health(self) -> tuple[ServerHealth, ...]:
        """Say how the server of each account is."""
        return self._servers.health()

    def _prepare_account(self, write: Write) -> None:
        body, internal = write.resource.body, write.resource.internal
        check_account(body)
        name = write.address.name
        if not (name.isascii() and name.isalnum() and name.islower() and 3 <= len(name) <= 24):  # noqa: PLR2004 -- docs: naming rules
            message = (
                f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 characters"
                " in length and use numbers and lower-case letters only."
            )
            raise invalid(message, code="AccountNameInvalid")
        others = [other for other in self._store.find(ACCOUNT) if other.key != write.resource.key]
        if any(other.name == name for other in others):
            raise conflict("StorageAccountAlreadyTaken", f"The storage account named {name} is already taken.")
        if write.before is None and sum(self._is_in(other, body["location"]) for other in others) >= _MOST_ACCOUNTS:
            message = f"Subscription already contains {_MOST_ACCOUNTS} storage accounts in '{body['location']}'."
            raise conflict("MaxStorageAccountsCountPerSubscriptionExceeded", message)
        known = write.before.properties if write.before else {}
        properties = write.resource.properties
        properties["creationTime"] = known.get("creationTime", moment())
        times = dict.fromkeys(_KEYS, properties["creationTime"])
        properties["keyCreationTime"] = known.get("keyCreationTime", times)
        complete(body, known)
        check_network_rules(self._store, properties)
        if body.get("identity"):
            body["identity"] = body["identity"] | {"userAssignedIdentities": identities_of(self._store, body)}
        internal.setdefault("keys", [_new_key() for _ in _KEYS])

    def _start(self, resource: Resource, _payload: dict[str, Any]) -> None:
        account = self._servers.start(_account(resource))
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

    def _show(self, resource: Resource, _query: Query) -> dict[str, Any]:
        connections = self._store.find(f"{ACCOUNT}/privateEndpointConnections", resource.id)
        shown = [
            {"id": found.id, "name": found.name, "type": f"{ACCOUNT}/privateEndpointConnections"} | found.body
            for found in connections
        ]
        properties = resource.properties | {"privateEndpointConnections": shown} | locations(resource.body)
        return resource.body | {"properties": properties}

    def _regenerate_key(self, call: Call) -> Reply:
        name = str(call.body.get("keyName", ""))
        if name not in _KEYS:
            raise refused("keyName", f"It is one of {', '.join(_KEYS)}.")
        account = call.resource
        account.internal["keys"][_KEYS.index(name)] = _new_key()
        account.properties["keyCreationTime"][name] = moment()
        self._store.save(account)
        # The server knows its keys from its start on.
        self._store.after_commit(lambda: self._restart(account))
        return _list_keys(call)

    def _restart(self, account: Resource) -> None:
        self._servers.stop(account.name)
        self._servers.start(_account(account))

    def _usages(self, names: Names) -> dict[str, Any]:
        count = sum(self._is_in(account, names["location"]) for account in self._store.find(ACCOUNT))
        name = {"value": "StorageAccounts", "localizedValue": "Storage Accounts"}
        return {"value": [{"unit": "Count", "currentValue": count, "limit": _MOST_ACCOUNTS, "name": name}]}

    @staticmethod
    def _is_in(account: Resource, location: str) -> bool:
        return bool(account.body["location"] == location.replace(" ", "").lower())


def _account(resource: Resource) -> Account:
    return Account(resource.name, tuple(resource.internal["keys"]), tuple(resource.internal.get("ports") or ()))


def _new_key() -> str:
    return b64encode(secrets.token_bytes(64)).decode()


def _list_keys(call: Call) -> Reply:
    times = call.resource.properties["keyCreationTime"]
    keys = zip(_KEYS, call.resource.internal["keys"], strict=True)
    return Reply(
        {
            "keys": [
                {"creationTime": times[name], "keyName": name, "value": value, "permissions": "FULL"}
                for name, value in keys
            ]
        }
    )


def _skus() -> list[dict[str, Any]]:
    return [
        {
            "resourceType": "storageAccounts",
            "name": name,
            "tier": name.partition("_")[0],
            "kind": kind,
            "locations": [],
            "capabilities": [],
            "restrictions": [],
        }
        for name, kinds in SKUS.items()
        for kind in kinds
    ]
