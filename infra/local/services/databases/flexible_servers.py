"""PostgreSQL flexible servers with their administrators and databases; each has a PostgreSQL of its own."""

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.layout import LocalAzureError
from infra.local.postgres.programs import PostgresNotFoundError
from infra.local.postgres.server import PostgresStartError
from infra.local.postgres.servers import DatabaseServers
from infra.local.tokens import Principal

SERVER = "Microsoft.DBforPostgreSQL/flexibleServers"
ADMINISTRATOR = f"{SERVER}/administrators"
DATABASE = f"{SERVER}/databases"

Json = dict[str, Any]

# Docs: compute options; the beginnings of sizes by tier.
_TIERS = {"Burstable": "Standard_B", "GeneralPurpose": "Standard_D", "MemoryOptimized": "Standard_E"}
_NAME = re.compile(r"(?!-)[a-z0-9-]{3,63}(?<!-)")
_ROLE = re.compile(r"[^\0]{1,63}")
_RESERVED = re.compile(r"pg_.*|azure.*|postgres|public|admin|administrator|root|guest|sa", re.IGNORECASE)
_DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")
# What Azure and PostgreSQL keep in a server.
_KEPT = ("azure_maintenance", "azure_sys", "postgres", "template0", "template1")
_SMALLEST_GB = 32
_BACKUP_DAYS = range(7, 36)
_STATES = {"Creating": "Provisioning", "Updating": "Updating", "Succeeded": "Ready", "Deleting": "Dropping"}
# Docs: premium disks; what a size has.
_DISKS = {32: ("P4", 120), 64: ("P6", 240), 128: ("P10", 500), 256: ("P15", 1100), 512: ("P20", 2300)}


class FlexibleServers:
    """The types of Microsoft.DBforPostgreSQL."""

    def __init__(self, store: Store, servers: DatabaseServers) -> None:
        self._store = store
        self._servers = servers

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        followed: dict[str, Any] = {
            "created": HTTPStatus.ACCEPTED,
            "updated": HTTPStatus.ACCEPTED,
            "deleted": HTTPStatus.ACCEPTED,
            "follow_create": Follow.BOTH,
            "follow_update": Follow.BOTH,
            "follow_delete": Follow.BOTH,
        }
        return (
            ResourceType(
                SERVER,
                prepare=self._prepare_server,
                provision=self._start,
                release=self._delete,
                view=self._show,
                actions={"restart": self._restart},
                merges=True,
                immutable=("properties.availabilityZone", "properties.backup.geoRedundantBackup"),
                **followed,
            ),
            ResourceType(
                ADMINISTRATOR,
                prepare=self._prepare_administrator,
                provision=self._make_administrator,
                release=self._drop_administrator,
                view=_stateless,
                tracked=False,
                **followed,
            ),
            ResourceType(
                DATABASE,
                prepare=self._prepare_database,
                provision=self._make_database,
                release=self._drop_database,
                view=_stateless,
                tracked=False,
                **followed,
            ),
        )

    def start_all(self) -> None:
        """Start all servers, after a restart."""
        for resource in self._store.find(SERVER):
            if resource.state in {"Succeeded", "Updating"}:
                self._start(resource, {})
        self._servers.watch()

    def stop_all(self) -> None:
        """Stop all servers; they are started with the next daemon."""
        self._servers.stop_all()

    def _prepare_server(self, write: Write) -> None:
        body, properties, before = write.resource.body, write.resource.properties, write.before
        name = write.address.name
        if _NAME.fullmatch(name) is None:
            message = (
                f"Server name '{name}' is invalid: 3 to 63 lower-case letters, digits and hyphens, with no hyphen at"
                " either end."
            )
            raise invalid(message, "serverName", "InvalidServerName")
        others = [other for other in self._store.find(SERVER) if other.key != write.resource.key]
        if any(other.name == name for other in others):
            raise conflict("ServerNameAlreadyExists", f"Specified server name '{name}' is already used.")
        _check_sku(body.get("sku"))
        _check_sign_in(properties)
        _check_storage(properties, before.properties if before else {})
        _complete(properties, before.properties if before else {})

    def _start(self, resource: Resource, payload: Json) -> None:
        if payload.get("restart"):
            self._servers.restart(resource.name)
            return
        try:
            port = self._servers.start(resource.name, int(resource.internal.get("port", 0)))
        except (PostgresNotFoundError, PostgresStartError, LocalAzureError) as error:
            message = f"The server '{resource.name}' cannot be had on this machine: {error}."
            raise conflict("AllocationFailed", message) from error
        with self._store.transaction():
            current = self._store.get(resource.id)
            if current is not None and current.state != "Deleting":
                if current.internal.get("port") != port:
                    current.internal["port"] = port
                    # A name cannot carry a port in Azure; here it must, and clients take both alike.
                    current.properties["fullyQualifiedDomainName"] = f"127.0.0.1:{port}"
                    self._store.save(current)
                return
        self._servers.delete(resource.name)

    def _delete(self, resource: Resource) -> None:
        self._servers.delete(resource.name)

    def _restart(self, call: Call) -> Reply:
        operation = self._store.start("action", call.resource.id, {"restart": True})
        return Reply(operation=operation, follow=Follow.BOTH)

    def _show(self, resource: Resource, _query: Query) -> Json:
        properties = {name: value for name, value in resource.properties.items() if name != "provisioningState"}
        properties["state"] = _STATES.get(resource.state or "", "Disabled")
        kind = f"{SERVER}/privateEndpointConnections"
        properties["privateEndpointConnections"] = [
            {"id": found.id, "name": found.name, "type": kind} | found.body
            for found in self._store.find(kind, resource.id)
        ]
        return resource.body | {"properties": properties}

    def _prepare_administrator(self, write: Write) -> None:
        properties = write.resource.properties
        role = str(properties.get("principalName", ""))
        if _ROLE.fullmatch(role) is None or _RESERVED.fullmatch(role) is not None:
            raise invalid(
                f"'{role}' cannot be the name of a role.", "properties.principalName", "InvalidParameterValue"
            )
        properties["objectId"] = write.address.name

    def _make_administrator(self, resource: Resource, _payload: Json) -> None:
        self._servers.make_administrator(_server_of(resource), resource.properties["principalName"])

    def _drop_administrator(self, resource: Resource) -> None:
        self._servers.drop_administrator(_server_of(resource), resource.properties["principalName"])

    def _prepare_database(self, write: Write) -> None:
        name = write.address.name
        if _DATABASE_NAME.fullmatch(name) is None:
            raise invalid(f"The database name '{name}' is not valid.", "databaseName", "InvalidDatabaseName")
        if name in _KEPT:
            raise conflict("OperationNotAllowed", f"The database '{name}' belongs to the service.")
        properties = write.resource.properties
        properties.setdefault("charset", "UTF8")
        properties.setdefault("collation", "en_US.utf8")

    def _make_database(self, resource: Resource, _payload: Json) -> None:
        self._servers.make_database(_server_of(resource), resource.name)

    def _drop_database(self, resource: Resource) -> None:
        self._servers.drop_database(_server_of(resource), resource.name)


def admits(store: Store, server: str, role: str, principal: Principal) -> bool:
    """Say whether a principal is the administrator of a server that has this role."""
    servers = [found for found in store.find(SERVER) if found.name == server]
    return any(
        administrator.properties["principalName"] == role
        and administrator.name.lower() == principal.object_id.lower()
        and administrator.state == "Succeeded"
        for found in servers
        for administrator in store.find(ADMINISTRATOR, found.id)
    )


def _server_of(resource: Resource) -> str:
    return resource.id.split("/")[-3]


def _stateless(resource: Resource, _query: Query) -> Json:
    properties = {name: value for name, value in resource.properties.items() if name != "provisioningState"}
    return resource.body | {"properties": properties}


def _check_sku(sku: Any) -> None:
    if not isinstance(sku, dict) or not str(sku.get("name", "")).startswith(_TIERS.get(str(sku.get("tier")), "?")):
        raise invalid(f"The sku {sku} is not valid: its size is not of its tier.", "sku", "InvalidSku")


def _check_sign_in(properties: Json) -> None:
    """Refuse passwords: the front of the server takes tokens alone."""
    sign_in = properties.get("authConfig") or {}
    if sign_in.get("activeDirectoryAuth") != "Enabled" or sign_in.get("passwordAuth") != "Disabled":
        message = (
            "The local Azure has servers with Microsoft Entra sign-in alone: activeDirectoryAuth Enabled, passwordAuth"
            " Disabled."
        )
        raise invalid(message, "properties.authConfig", "AuthenticationNotSupported")


def _check_storage(properties: Json, before: Json) -> None:
    size = (properties.get("storage") or {}).get("storageSizeGB", _SMALLEST_GB)
    smallest = (before.get("storage") or {}).get("storageSizeGB", _SMALLEST_GB)
    if size < smallest:
        message = f"Storage of {size} GB is less than the {smallest} GB there are; it can only grow."
        raise invalid(message, "properties.storage.storageSizeGB", "InvalidStorageSize")
    days = (properties.get("backup") or {}).get("backupRetentionDays", _BACKUP_DAYS[0])
    if days not in _BACKUP_DAYS:
        message = f"{days} days of backups are out of range: {_BACKUP_DAYS[0]} to {_BACKUP_DAYS[-1]}."
        raise invalid(message, "properties.backup.backupRetentionDays", "InvalidBackupRetentionDays")


def _complete(properties: Json, before: Json) -> None:
    """Add what the service adds."""
    now = datetime.now(UTC).isoformat()
    if "fullyQualifiedDomainName" in before:
        properties["fullyQualifiedDomainName"] = before["fullyQualifiedDomainName"]
    properties.setdefault("version", "16")
    properties.setdefault("minorVersion", "0")
    properties.setdefault("availabilityZone", "1")
    properties.setdefault("replicationRole", "Primary")
    properties.setdefault("replicaCapacity", 5)
    properties.setdefault("replica", {"role": "Primary", "capacity": 5})
    properties.setdefault("dataEncryption", {"type": "SystemManaged"})
    properties.setdefault("maintenanceWindow", {"customWindow": "Disabled", "dayOfWeek": 0, "startHour": 0})
    properties["maintenanceWindow"].setdefault("startMinute", 0)
    network = properties.setdefault("network", {})
    network.setdefault("publicNetworkAccess", "Enabled")
    storage = properties.setdefault("storage", {})
    storage.setdefault("storageSizeGB", _SMALLEST_GB)
    storage.setdefault("autoGrow", "Disabled")
    tier, operations = _DISKS.get(storage["storageSizeGB"], ("P30", 5000))
    storage.setdefault("type", "Premium_LRS")
    storage.setdefault("tier", tier)
    storage.setdefault("iops", operations)
    backup = properties.setdefault("backup", {})
    backup.setdefault("backupRetentionDays", _BACKUP_DAYS[0])
    backup.setdefault("geoRedundantBackup", "Disabled")
    backup.setdefault("earliestRestoreDate", now)
    high = properties.setdefault("highAvailability", {})
    high.setdefault("mode", "Disabled")
    high.setdefault("state", "NotEnabled" if high["mode"] == "Disabled" else "Healthy")
