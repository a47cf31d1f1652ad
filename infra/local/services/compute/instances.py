"""Instances of scale sets: what is shown of them, what is done to one of them, and their end."""

import hashlib
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import Call, Follow, Query, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.machines import Machines
from infra.local.services.compute.instance_filter import parse_filter
from infra.local.services.compute.instance_view import extension_views
from infra.local.services.compute.machine_power import (
    ACTIONS,
    Act,
    MachineKind,
    MachinePower,
    Power,
    is_windows,
    machine_key,
    node_id_of,
)
from infra.local.services.compute.platform_images import exact_version
from infra.local.services.compute.scheduled_events import ScheduledEvents

INSTANCE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"

_ACTS = ACTIONS | {"reimageall": Act.REIMAGE}
_NOTICE_LOOK_SECONDS = 0.5
_MEMBER_LOOK_SECONDS = 0.1
_TERMINATE_SECONDS = 300.0


class Instances:
    """The type of instances; they come and go with the capacity of their set."""

    def __init__(
        self,
        store: Store,
        machines: Machines,
        power: MachinePower,
        events: ScheduledEvents,
        start_delete: Callable[[Resource], None],
        eviction_notice_seconds: float,
    ) -> None:
        self._store = store
        self._machines = machines
        self._power = power
        self.events = events
        self._start_delete = start_delete
        self._eviction_notice_seconds = eviction_notice_seconds
        power.serve(
            MachineKind(
                INSTANCE,
                scripts=lambda instance: list(instance.internal["scripts"]),
                environment=lambda _instance: {},
                renew=self._renew,
                upgrade=self._upgrade,
            )
        )
        events.on_start("Preempt", self._evict)
        events.on_start("Terminate", lambda _machine: None)

    def types(self, page_size: int) -> tuple[ResourceType, ...]:
        """Return the types."""
        acts = {name: self._acting(act) for name, act in _ACTS.items()}
        return (
            ResourceType(
                INSTANCE,
                prepare=_refuse_creation,
                provision=lambda instance, payload: self._power.settle(self.machine(instance), payload),
                release=self._release,
                leave=self._leave,
                view=self._view,
                shows=self._shows,
                actions=acts | {"simulateEviction": self._simulate_eviction},
                views={"instanceView": self.instance_view},
                merges=True,
                deleted=HTTPStatus.ACCEPTED,
                follow_update=Follow.BOTH,
                follow_delete=Follow.BOTH,
                page_size=page_size,
                tracked=False,
                shows_etag=True,
            ),
        )

    def of(self, scale_set: Resource) -> list[Resource]:
        """List the instances of a set, oldest first."""
        return self._store.find(INSTANCE, scale_set.id)

    def machine(self, instance: Resource) -> Resource:
        """Return the machine behind an instance: itself, or the virtual machine of a Flexible set."""
        mirrored = instance.internal.get("mirrors")
        return (self._store.get(mirrored) if mirrored else None) or instance

    def member_leaves(self, machine: Resource) -> None:
        """When a virtual machine is deleted that is in a set, take it off the set."""
        entry = self._store.get(machine.internal.get("entry", ""))
        if entry is not None and entry.state != "Deleting":
            self._leave(entry)
            self._start_delete(entry)

    def power_on(self) -> None:
        """Start the machines again that stopped with the host."""
        self._power.power_on()

    def by_nonce(self, nonce: str) -> Resource | None:
        """Find the machine whose metadata service has this secret in its address."""
        return self._power.by_nonce(nonce)

    def is_protected(self, instance: Resource, *, from_actions: bool = False) -> bool:
        """Say whether an instance is protected from scaling in, or from actions on the whole set."""
        policy = instance.properties.get("protectionPolicy") or {}
        if from_actions:
            return bool(policy.get("protectFromScaleSetActions"))
        return bool(policy.get("protectFromScaleIn") or policy.get("protectFromScaleSetActions"))

    def preempt(self, node_id: str, notice_seconds: float) -> str:
        """Evict a machine, of a set or not, after a notice in its metadata service; return the event's id."""
        with self._store.transaction():
            machine = self._power.by_node_id(node_id)
            if machine.state == "Deleting":
                raise conflict("OperationNotAllowed", f"The machine '{node_id}' is being deleted.")
            description = "A Spot machine will be evicted, as Azure needs its capacity back."
            return self.events.announce(machine, "Preempt", description, notice_seconds)

    def simulate_eviction(self, machine: Resource) -> Reply:
        """Evict a Spot machine soon."""
        if not machine.internal.get("spot"):
            message = f"The operation 'simulateEviction' is not allowed on VM '{machine.name}': it is no Azure Spot VM."
            raise conflict("OperationNotAllowed", message)
        if machine.internal.get("power") == Power.DEALLOCATED:
            message = f"The operation 'simulateEviction' is not allowed on VM '{machine.name}': it is deallocated."
            raise conflict("OperationNotAllowed", message)
        if not self.events.pending(machine, "Preempt"):
            self.preempt(machine_key(machine), self._eviction_notice_seconds)
        return Reply(status=HTTPStatus.NO_CONTENT)

    def instance_view(self, instance: Resource) -> dict[str, Any]:
        """Show the run-time state of an instance."""
        instance = self.machine(instance)
        image = (instance.properties.get("storageProfile") or {}).get("osDisk") or {}
        attached = [{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}]
        extensions = (self._profile(instance).get("extensionProfile") or {}).get("extensions") or []
        return {
            "platformFaultDomain": 0,
            "platformUpdateDomain": 0,
            "computerName": (instance.properties.get("osProfile") or {}).get("computerName", ""),
            "vmAgent": self._power.agent(instance),
            "disks": [{"name": image.get("name", "os"), "statuses": attached}],
            "extensions": extension_views(extensions, instance, self._machines.output(machine_key(instance))),
            "statuses": self._power.statuses(instance),
        }

    def _acting(self, act: Act) -> Callable[[Call], Reply]:
        def serve(call: Call) -> Reply:
            self._power.act(self.machine(call.resource), act)
            return Reply(operation=self._store.start("action", call.resource.id), follow=Follow.BOTH)

        return serve

    def _simulate_eviction(self, call: Call) -> Reply:
        return self.simulate_eviction(self.machine(call.resource))

    def _evict(self, machine: Resource) -> None:
        """Do to an evicted machine what its policy says; a machine that is no Spot one is lost."""
        policy = machine.internal.get("eviction_policy") or ("Deallocate" if machine.internal.get("spot") else "Delete")
        if machine.state == "Deleting":
            return
        if policy == "Deallocate":
            self._power.act(machine, Act.DEALLOCATE)
            return
        machine.internal["evicted"] = True
        if machine.type.lower() == INSTANCE.lower():
            self._leave(machine)
        else:
            self.member_leaves(machine)
        self._start_delete(machine)

    def _shows(self, instance: Resource, query: Query) -> bool:
        """Say whether a list with this $filter has this instance in it."""
        text = query.get("$filter", "")
        return not text or parse_filter(text)(self._view(instance, {"$expand": "instanceView"}))

    def _view(self, instance: Resource, query: Query) -> dict[str, Any]:
        scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
        profile = scale_set.properties.get("virtualMachineProfile") if scale_set else None
        size = scale_set.body["sku"]["name"] if scale_set else None
        latest = instance.internal["model"] == model_digest(size, profile or {})
        machine = self.machine(instance)
        properties = machine.properties | {"latestModelApplied": latest}
        if machine.state == "Succeeded" and self._power.is_lost(machine):
            properties["provisioningState"] = "Failed"
        wanted = f"{query.get('$expand', '')} {query.get('$select', '')}".lower()
        if "instanceview" in wanted:
            properties["instanceView"] = self.instance_view(instance)
        if "userdata" in wanted and "userData" in (profile or {}):
            properties["userData"] = (profile or {})["userData"]
        body = machine.body | {"instanceId": instance.name, "name": node_id_of(machine), "properties": properties}
        if resources := _extensions_of(instance, profile or {}):
            body["resources"] = resources
        return body | ({"sku": scale_set.body["sku"]} if scale_set and "sku" not in body else {})

    def _profile(self, instance: Resource) -> dict[str, Any]:
        scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
        return (scale_set.properties.get("virtualMachineProfile") or {}) if scale_set else {}

    def _leave(self, instance: Resource) -> None:
        """Lower the capacity of the set when one of its instances is deleted."""
        scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
        if scale_set is not None and instance.state != "Deleting":
            scale_set.body["sku"]["capacity"] -= 1
            self._store.save(scale_set)

    def _release(self, instance: Resource) -> float | None:
        if "mirrors" in instance.internal:
            with self._store.transaction():
                machine = self._store.get(instance.internal["mirrors"])
                if machine is not None:
                    self._start_delete(machine)
            return None if machine is None else _MEMBER_LOOK_SECONDS
        if (wait := self._termination_notice(instance)) is not None:
            return wait
        self._machines.delete(machine_key(instance))
        self.events.withdraw(instance)
        return None

    def _termination_notice(self, instance: Resource) -> float | None:
        """Give a machine the notice that its set asks for; return when to look again, or None when it is over."""
        profile = self._profile(instance).get("scheduledEventsProfile") or {}
        notice = profile.get("terminateNotificationProfile") or {}
        excepted = instance.internal.get("spot") or instance.internal.get("evicted") or not self._is_up(instance)
        if not notice.get("enable") or excepted:
            return None
        with self._store.transaction():
            if "terminates" not in instance.internal:
                seconds = _minutes(str(notice.get("notBeforeTimeout") or "PT5M"))
                description = "The machine is being deleted, and its set asks for a notice."
                event_id = self.events.announce(instance, "Terminate", description, seconds)
                instance.internal["terminates"] = {"event": event_id, "at": time.time() + seconds}
                self._store.save(instance, changed=False)
        return _NOTICE_LOOK_SECONDS if self.events.pending(instance, "Terminate") else None

    def _is_up(self, instance: Resource) -> bool:
        return instance.internal.get("power") == Power.RUNNING and not self._power.is_lost(instance)

    def _renew(self, instance: Resource) -> None:
        """Give an instance the present model of its set."""
        with self._store.transaction():
            current = self._store.get(instance.id)
            scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
            if current is not None and scale_set is not None:
                apply_model(current, scale_set)
                self._store.save(current)

    def _upgrade(self, instance: Resource) -> Act | None:
        scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
        if scale_set is None:
            return None
        profile = scale_set.properties["virtualMachineProfile"]
        size = scale_set.body["sku"]["name"]
        if instance.internal["model"] == model_digest(size, profile):
            return None
        other_image = instance.internal.get("image") != image_digest(profile)
        other_size = instance.properties["hardwareProfile"]["vmSize"] != size
        self._renew(instance)
        if other_image:
            return Act.REIMAGE
        return Act.RESTART if other_size else Act.UPGRADE


def apply_model(instance: Resource, scale_set: Resource) -> None:
    """Make an instance what the model of its set says now."""
    profile, sku = scale_set.properties["virtualMachineProfile"], scale_set.body["sku"]
    number = instance.name
    os_profile = {key: value for key, value in (profile.get("osProfile") or {}).items() if key != "computerNamePrefix"}
    prefix = (profile.get("osProfile") or {}).get("computerNamePrefix", "")
    computer = f"{prefix}{int(number):06d}" if number.isdigit() else number
    network = profile.get("networkProfile") or {}
    interfaces = network.get("networkInterfaceConfigurations") or []
    instance.body["sku"] = {key: sku[key] for key in ("name", "tier")}
    instance.properties.update(
        hardwareProfile={"vmSize": sku["name"]},
        storageProfile=_storage(profile, scale_set, number),
        osProfile={"computerName": computer, "secrets": [], "allowExtensionOperations": True} | os_profile,
        networkProfile={
            "networkInterfaces": [{"id": f"{instance.id}/networkInterfaces/{nic['name']}"} for nic in interfaces]
        },
        networkProfileConfiguration={"networkInterfaceConfigurations": interfaces},
        modelDefinitionApplied="VirtualMachineScaleSet",
    )
    for name in ("diagnosticsProfile", "securityProfile", "licenseType"):
        if name in profile:
            instance.properties[name] = profile[name]
    priority = str(profile.get("priority") or "Regular")
    instance.internal |= {
        "model": model_digest(sku["name"], profile),
        "image": image_digest(profile),
        "scripts": scale_set.internal["scripts"],
        "windows": is_windows(profile),
        "spot": priority in {"Spot", "Low"},
        "eviction_policy": profile.get("evictionPolicy"),
        "identities": list((scale_set.body.get("identity") or {}).get("userAssignedIdentities") or {}),
    }


def _extensions_of(instance: Resource, profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Show the extensions of the model as an instance lists them."""
    extensions = (profile.get("extensionProfile") or {}).get("extensions") or []
    return [
        {
            "id": f"{instance.id}/extensions/{extension['name']}",
            "name": extension["name"],
            "type": f"{INSTANCE}/extensions",
            "location": instance.body.get("location"),
            "properties": dict(extension.get("properties") or {}) | {"provisioningState": instance.state},
        }
        for extension in extensions
        if extension.get("name")
    ]


def model_digest(size: str | None, profile: dict[str, Any]) -> str:
    """Return a digest of the model that new instances of a set get."""
    return _digest([size, profile])


def image_digest(profile: dict[str, Any]) -> str:
    """Return a digest of what an instance's disk is made from."""
    return _digest((profile.get("storageProfile") or {}).get("imageReference"))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _storage(profile: dict[str, Any], scale_set: Resource, number: str) -> dict[str, Any]:
    """Return the disks of an instance: those of the model, with names and ids of their own."""
    model = profile.get("storageProfile") or {}
    storage = dict(model)
    group = scale_set.id.split("/providers/", 1)[0]

    def named(disk: dict[str, Any], name: str) -> dict[str, Any]:
        identifier = f"{group}/providers/Microsoft.Compute/disks/{name}"
        account = {"storageAccountType": "Standard_LRS"} | (disk.get("managedDisk") or {})
        return disk | {"name": name, "managedDisk": account | {"id": identifier}}

    if reference := model.get("imageReference"):
        exact = {"exactVersion": exact_version(reference)} if reference.get("publisher") else {}
        storage["imageReference"] = reference | exact
    system = {"osType": "Windows" if is_windows(profile) else "Linux", "createOption": "FromImage", "caching": "None"}
    storage["osDisk"] = named(system | (model.get("osDisk") or {}), f"{scale_set.name}_{number}_OsDisk_1")
    storage["dataDisks"] = [
        named(disk, f"{scale_set.name}_{number}_disk{place}")
        for place, disk in enumerate(model.get("dataDisks") or [], start=2)
    ]
    return storage


def _minutes(duration: str) -> float:
    """Return the seconds of an ISO 8601 duration of minutes and seconds, such as PT5M."""
    minutes, _, rest = duration.upper().removeprefix("PT").rpartition("M")
    try:
        return 60.0 * float(minutes or 0) + float(rest.removesuffix("S") or 0)
    except ValueError:
        return _TERMINATE_SECONDS


def _refuse_creation(write: Write) -> None:
    if write.before is None:
        message = (
            f"The provided instanceId {write.address.name} is not an active Virtual Machine Scale Set VM instanceId."
        )
        raise invalid(message, "instanceId")
