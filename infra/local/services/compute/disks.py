"""Managed disks. A data disk is a folder that outlives the machines that it is attached to."""

import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Follow, Query, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.machines import Machines
from infra.local.services.compute.machine_power import Power

DISK = "Microsoft.Compute/disks"
VIRTUAL_MACHINE = "Microsoft.Compute/virtualMachines"

Json = dict[str, Any]

_GIB = 2**30
_LARGEST_GIB = 65536  # docs: the largest Ultra disk
_TIERS = {"Premium": "Premium", "Standard": "Standard", "StandardSSD": "Standard", "UltraSSD": "Ultra"}
# What a disk has without a size that says more (docs: managed disk types, the smallest of each).
_IOPS, _MBPS = 500, 60


class Disks:
    """The type of disks; who has one is read from the virtual machines."""

    def __init__(self, store: Store, machines: Machines) -> None:
        self._store = store
        self._machines = machines

    def types(self) -> tuple[ResourceType, ...]:
        """Return the type."""
        return (
            ResourceType(
                DISK,
                prepare=self._prepare,
                view=self._view,
                leave=self._check_unused,
                release=self._release,
                created=HTTPStatus.ACCEPTED,
                updated=HTTPStatus.ACCEPTED,
                deleted=HTTPStatus.ACCEPTED,
                follow_create=Follow.BOTH,
                follow_update=Follow.BOTH,
                follow_delete=Follow.BOTH,
                creating_state="Updating",
                merges=True,
                immutable=("properties.creationData.createOption", "properties.osType", "zones"),
            ),
        )

    def make(self, identifier: str, body: Json) -> Resource:
        """Within a transaction, make a disk that comes with a machine."""
        disk = Resource(identifier, DISK, body)
        _complete(disk)
        disk.state = "Succeeded"
        self._name_folder(disk)
        self._store.save(disk)
        return disk

    def folder(self, disk: Resource) -> str:
        """Return the folder of a data disk, made when it is not there."""
        path = self._machines.disk(disk.internal["folder"])
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def owner(self, disk_id: str) -> Resource | None:
        """Return the virtual machine that has a disk."""
        for machine in self._store.find(VIRTUAL_MACHINE):
            if disk_id.lower() in {identifier.lower() for identifier in disk_ids(machine.properties)}:
                return machine
        return None

    def _prepare(self, write: Write) -> None:
        disk = write.resource
        properties = disk.properties
        creation = properties.get("creationData")
        if not isinstance(creation, dict) or not creation.get("createOption"):
            raise invalid("Required parameter 'disk.properties.creationData' is missing (null).", "creationData")
        size = properties.get("diskSizeGB")
        if creation["createOption"] == "Empty" and size is None:
            raise invalid("Required parameter 'disk.diskSizeGB' is missing (null).", "disk.diskSizeGB")
        if size is not None and not 1 <= size <= _LARGEST_GIB:
            message = f"Value '{size}' for disk.diskSizeGB is out of range: between 1 and {_LARGEST_GIB}."
            raise invalid(message, "disk.diskSizeGB")
        before = (write.before.properties.get("diskSizeGB") if write.before else None) or 0
        if size is not None and size < before:
            message = f"The disk '{disk.name}' has {before} GB and cannot be made smaller ({size} GB)."
            raise conflict("OperationNotAllowed", message, "diskSizeGB")
        _complete(disk)
        self._name_folder(disk)

    def _name_folder(self, disk: Resource) -> None:
        if "folder" not in disk.internal:
            taken = {other.internal.get("folder") for other in self._store.find(DISK)}
            group = disk.id.split("/")[4]
            disk.internal["folder"] = disk.name if disk.name not in taken else f"{disk.name}~{group}"

    def _view(self, disk: Resource, _query: Query) -> Json:
        owner = self.owner(disk.id)
        if owner is None:
            return disk.body | {"properties": disk.properties | {"diskState": "Unattached"}}
        deallocated = owner.internal.get("power") == Power.DEALLOCATED
        state = "Reserved" if deallocated else "Attached"
        return disk.body | {"managedBy": owner.id, "properties": disk.properties | {"diskState": state}}

    def _check_unused(self, disk: Resource) -> None:
        owner = self.owner(disk.id)
        if owner is not None and owner.state != "Deleting":
            raise conflict("OperationNotAllowed", f"Disk {disk.name} is attached to VM {owner.id}.")

    def _release(self, disk: Resource) -> None:
        shutil.rmtree(self._machines.disk(disk.internal["folder"]), ignore_errors=True)


def disk_ids(properties: Json) -> Iterator[str]:
    """Yield the ids of the disks of a virtual machine."""
    storage = properties.get("storageProfile") or {}
    for disk in (storage.get("osDisk") or {}, *(storage.get("dataDisks") or [])):
        identifier = (disk.get("managedDisk") or {}).get("id")
        if identifier:
            yield str(identifier)


def _complete(disk: Resource) -> None:
    sku = disk.body.setdefault("sku", {})
    sku.setdefault("name", "Standard_LRS")
    sku["tier"] = _TIERS.get(str(sku["name"]).partition("_")[0], "Standard")
    properties = disk.properties
    if properties.get("diskSizeGB"):
        properties["diskSizeBytes"] = properties["diskSizeGB"] * _GIB
    properties.setdefault("uniqueId", str(uuid.uuid4()))
    properties.setdefault("timeCreated", datetime.now(UTC).isoformat())
    properties.setdefault("diskIOPSReadWrite", _IOPS)
    properties.setdefault("diskMBpsReadWrite", _MBPS)
    properties.setdefault("encryption", {"type": "EncryptionAtRestWithPlatformKey"})
    properties.setdefault("networkAccessPolicy", "AllowAll")
    properties.setdefault("publicNetworkAccess", "Enabled")
