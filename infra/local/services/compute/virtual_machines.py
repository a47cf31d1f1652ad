"""Virtual machines: one machine each, with disks and interfaces that are resources of their own."""

import base64
import binascii
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.faults import FaultKind, Faults
from infra.local.machines import Machines
from infra.local.services.access.identities import identities_of
from infra.local.services.compute.disks import VIRTUAL_MACHINE, Disks, disk_ids
from infra.local.services.compute.instances import Instances
from infra.local.services.compute.machine_power import (
    ACTIONS,
    Act,
    MachineKind,
    MachinePower,
    Power,
    complete_os_profile,
    is_windows,
    machine_key,
    no_capacity,
)
from infra.local.services.compute.platform_images import check_reference, exact_version
from infra.local.services.compute.quotas import Quotas
from infra.local.services.compute.scheduled_events import ScheduledEvents
from infra.local.services.compute.vm_extensions import VmExtensions
from infra.local.services.compute.vm_sizes import SIZES, describe, size_of
from infra.local.services.network.references import missing_reference

Json = dict[str, Any]

_ACTS = ACTIONS | {"reapply": Act.UPGRADE}
# What Azure makes an operating system's disk as large as (docs: Windows Server and Ubuntu images).
_WINDOWS_GIB, _LINUX_GIB = 127, 30


class VirtualMachines:
    """The type of virtual machines; `start_delete` begins to delete a resource that goes with one."""

    def __init__(
        self,
        store: Store,
        machines: Machines,
        power: MachinePower,
        events: ScheduledEvents,
        instances: Instances,
        disks: Disks,
        quotas: Quotas,
        faults: Faults,
        start_delete: Callable[[Resource], None],
    ) -> None:
        self._store = store
        self._machines = machines
        self._power = power
        self._events = events
        self._instances = instances
        self._disks = disks
        self._quotas = quotas
        self._faults = faults
        self._start_delete = start_delete
        self._extensions = VmExtensions(store, machines, power, self._environment)
        power.serve(MachineKind(VIRTUAL_MACHINE, scripts=self._scripts, environment=self._environment))

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        acts = {name: self._acting(act) for name, act in _ACTS.items()}
        return (
            ResourceType(
                VIRTUAL_MACHINE,
                prepare=self._prepare,
                apply=self._apply,
                provision=self._power.settle,
                release=self._release,
                leave=self._instances.member_leaves,
                view=self._view,
                actions=acts | {"simulateEviction": lambda call: self._instances.simulate_eviction(call.resource)},
                views={"instanceView": self._instance_view, "vmSizes": _sizes},
                follow_create=Follow.BOTH,
                follow_update=Follow.BOTH,
                follow_delete=Follow.BOTH,
                merges=True,
                shows_etag=True,
                immutable=(
                    "properties.storageProfile.imageReference",
                    "properties.osProfile.adminUsername",
                    "properties.osProfile.computerName",
                    "zones",
                ),
            ),
            *self._extensions.types(),
        )

    def _prepare(self, write: Write) -> None:
        machine, before = write.resource, write.before
        properties = machine.properties
        size = size_of((properties.get("hardwareProfile") or {}).get("vmSize"), "vmSize")
        check_reference(properties)
        complete_os_profile(properties)
        if not properties.get("networkProfile"):
            raise invalid("Required parameter 'networkProfile' is missing (null).", "networkProfile")
        self._check_interfaces(machine)
        self._check_disks(machine)
        spot = properties.get("priority") in {"Spot", "Low"}
        if spot and not size.spot:
            message = f"The VM size '{size.name}' is not supported for Azure Spot Virtual Machines; choose another."
            raise invalid(message, "vmSize")
        if before is None or before.properties["hardwareProfile"]["vmSize"].lower() != size.name.lower():
            if self._faults.take(FaultKind.QUOTA, machine.name):
                raise self._quotas.exhausted(machine.body["location"], size, 1)
            self._quotas.check(machine.body["location"], size, 1, spot=spot)
        if machine.body.get("identity"):
            identity = machine.body["identity"]
            machine.body["identity"] = identity | {"userAssignedIdentities": identities_of(self._store, machine.body)}
        properties.setdefault("vmId", str(uuid.uuid4()))
        properties.setdefault("timeCreated", datetime.now(UTC).isoformat())
        self._take_internals(machine, spot=spot)
        if before is None:
            self._name_system_disk(machine)

    def _take_internals(self, machine: Resource, *, spot: bool) -> None:
        """Keep what clients are never shown, and what the machine's own service needs."""
        properties = machine.properties
        os_profile = properties.get("osProfile") or {}
        os_profile.pop("adminPassword", None)
        data = os_profile.pop("customData", None)
        if data is not None:
            try:
                machine.internal["custom_data"] = base64.b64decode(data, validate=True).decode()
            except (binascii.Error, ValueError) as error:
                raise invalid("The parameter 'customData' must be Base64 encoded text.", "customData") from error
        machine.internal |= {
            "windows": is_windows(properties),
            "spot": spot,
            "eviction_policy": properties.get("evictionPolicy"),
            "identities": list((machine.body.get("identity") or {}).get("userAssignedIdentities") or {}),
        }
        machine.internal.setdefault("nonce", secrets.token_urlsafe(24))
        machine.internal.setdefault("machine", self._power.unique_name(machine))

    def _check_interfaces(self, machine: Resource) -> None:
        for interface in (machine.properties["networkProfile"] or {}).get("networkInterfaces") or []:
            identifier = str(interface.get("id", ""))
            if self._store.get(identifier) is None:
                raise missing_reference(identifier, machine.id)
            for other in self._store.find(VIRTUAL_MACHINE):
                used = (other.properties.get("networkProfile") or {}).get("networkInterfaces") or []
                if other.key != machine.key and identifier.lower() in {str(nic.get("id")).lower() for nic in used}:
                    message = f"Network Interface {identifier} is used by existing resource {other.id}."
                    raise conflict("NetworkInterfaceInUse", message, "networkInterfaces")

    def _check_disks(self, machine: Resource) -> None:
        storage = machine.properties.get("storageProfile") or {}
        luns = [disk.get("lun") for disk in storage.get("dataDisks") or []]
        if len(set(luns)) != len(luns):
            raise invalid("The luns of data disks must be different.", "dataDisks.lun")
        for disk in storage.get("dataDisks") or []:
            identifier = (disk.get("managedDisk") or {}).get("id")
            if disk.get("createOption") == "Attach" and not identifier:
                raise invalid(
                    "Required parameter 'dataDisk.managedDisk.id' is missing (null).", "dataDisk.managedDisk.id"
                )
        for identifier in disk_ids(machine.properties):
            found = self._store.get(identifier)
            if found is None or found.state == "Deleting":
                raise missing_reference(identifier, machine.id)
            owner = self._disks.owner(identifier)
            if owner is not None and owner.key != machine.key:
                message = f"Disk '{identifier}' cannot be attached as the disk is already owned by VM '{owner.id}'."
                raise conflict("ConflictingUserInput", message, "dataDisks")

    def _name_system_disk(self, machine: Resource) -> None:
        storage = machine.properties.setdefault("storageProfile", {})
        if reference := storage.get("imageReference"):
            exact = {"exactVersion": exact_version(reference)} if reference.get("publisher") else {}
            storage["imageReference"] = reference | exact
        disk = storage.setdefault("osDisk", {})
        windows = machine.internal["windows"]
        disk.setdefault("osType", "Windows" if windows else "Linux")
        disk.setdefault("createOption", "FromImage")
        disk.setdefault("caching", "ReadWrite")
        disk.setdefault("deleteOption", "Detach")
        disk.setdefault("diskSizeGB", _WINDOWS_GIB if windows else _LINUX_GIB)
        disk.setdefault("name", f"{machine.name}_OsDisk_1_{uuid.uuid4().hex}")

    def _apply(self, write: Write) -> Json:
        """Make the disks that come with a machine; boot a new one, and restart one whose size has changed."""
        machine, before = write.resource, write.before
        self._make_disks(machine)
        self._store.save(machine, changed=False)
        if before is None:
            failing = self._faults.take(FaultKind.ALLOCATION_FAILURE, machine.name)
            orders = {"refusal": no_capacity(machine.body.get("zones"))} if failing else {}
            self._power.order(machine, **orders)
        elif before.properties["hardwareProfile"]["vmSize"] != machine.properties["hardwareProfile"]["vmSize"]:
            running = machine.internal.get("power") == Power.RUNNING
            self._power.act(machine, Act.RESTART if running else Act.UPGRADE)
        return {}

    def _make_disks(self, machine: Resource) -> None:
        storage = machine.properties["storageProfile"]
        group = machine.id.split("/providers/", 1)[0]
        for disk in (storage["osDisk"], *(storage.get("dataDisks") or [])):
            disk.setdefault("managedDisk", {})
            if attached := self._store.get(str(disk["managedDisk"].get("id", ""))):
                disk.setdefault("name", attached.name)
                continue
            disk.setdefault("name", f"{machine.name}_disk{disk.get('lun', 0)}_{uuid.uuid4().hex}")
            disk.setdefault("deleteOption", "Detach")
            account = disk["managedDisk"].setdefault("storageAccountType", "Standard_LRS")
            body = {
                "location": machine.body["location"],
                "sku": {"name": account},
                "properties": {
                    "creationData": {"createOption": disk.get("createOption", "Empty")},
                    "diskSizeGB": disk.get("diskSizeGB") or _LINUX_GIB,
                },
            }
            if "osType" in disk:
                body["properties"] |= {"osType": disk["osType"], "hyperVGeneration": "V2"}
            made = self._disks.make(f"{group}/providers/Microsoft.Compute/disks/{disk['name']}", body)
            disk["managedDisk"]["id"] = made.id

    def _release(self, machine: Resource) -> float | None:
        self._machines.delete(machine_key(machine))
        with self._store.transaction():
            storage = machine.properties.get("storageProfile") or {}
            for disk in (storage.get("osDisk") or {}, *(storage.get("dataDisks") or [])):
                identifier = (disk.get("managedDisk") or {}).get("id")
                found = self._store.get(identifier) if identifier and disk.get("deleteOption") == "Delete" else None
                if found is not None:
                    self._start_delete(found)
            for interface in (machine.properties.get("networkProfile") or {}).get("networkInterfaces") or []:
                goes = (interface.get("properties") or {}).get("deleteOption") == "Delete"
                found = self._store.get(str(interface.get("id"))) if goes else None
                if found is not None:
                    self._start_delete(found)
        return None

    def _scripts(self, machine: Resource) -> list[str]:
        """Return what a boot runs: the first time the custom data, later also what extensions have installed."""
        data = machine.internal.get("custom_data") or ""
        own = [data] if data.startswith("#!") else []  # other forms are for cloud-init, which is not here
        own += machine.internal.get("model_scripts", [])
        return [*own, *self._extensions.scripts(machine)]

    def _environment(self, machine: Resource) -> Mapping[str, str]:
        """Name the folders of the data disks: there is no block device to mount."""
        found = {}
        for disk in (machine.properties.get("storageProfile") or {}).get("dataDisks") or []:
            resource = self._store.get(str((disk.get("managedDisk") or {}).get("id")))
            if resource is not None:
                found[f"MILLPOND_DATA_DISK_{disk['lun']}"] = self._disks.folder(resource)
        return found

    def _acting(self, act: Act) -> Callable[[Call], Reply]:
        def serve(call: Call) -> Reply:
            self._power.act(call.resource, act)
            return Reply(operation=self._store.start("action", call.resource.id), follow=Follow.BOTH)

        return serve

    def _view(self, machine: Resource, query: Query) -> Json:
        expanded = query.get("$expand", "").lower()
        properties = {
            name: value for name, value in machine.properties.items() if name != "userData" or "userdata" in expanded
        }
        if "instanceview" in expanded:
            properties["instanceView"] = self._instance_view(machine)
        resources = self._extensions.describe(machine)
        return machine.body | {"properties": properties} | ({"resources": resources} if resources else {})

    def _instance_view(self, machine: Resource) -> Json:
        storage = machine.properties.get("storageProfile") or {}
        attached = [{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}]
        disks = [storage.get("osDisk") or {}, *(storage.get("dataDisks") or [])]
        reference = storage.get("imageReference") or {}
        return {
            "computerName": (machine.properties.get("osProfile") or {}).get("computerName", machine.name),
            "osName": reference.get("offer", ""),
            "osVersion": str(exact_version(reference) or ""),
            "hyperVGeneration": "V2",
            "vmAgent": self._power.agent(machine),
            "disks": [{"name": disk.get("name", ""), "statuses": attached} for disk in disks],
            "extensions": self._extensions.views(machine),
            "statuses": self._power.statuses(machine),
        }


def _sizes(_machine: Resource) -> Json:
    """List the sizes that a machine may be changed to."""
    return {"value": [describe(size) for size in sorted(SIZES.values(), key=lambda size: size.name)]}
