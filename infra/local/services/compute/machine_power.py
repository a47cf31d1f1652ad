"""What is done to a machine, be it an instance of a scale set or a virtual machine: boot, stop, start, reimage.

Each is an operation on the machine's resource, so it goes on after a restart of the daemon. `internal` of the resource
holds what the machine is: `machine` (its unique name), `nonce`, `windows`, `power`, `error`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from infra.local.arm.errors import conflict, not_found
from infra.local.arm.store import Operation, Resource, Status, Store
from infra.local.faults import FaultKind, Faults
from infra.local.machines import BOOT, Machines, host_runs

# The extension's own limit (docs: custom script extension).
_EXTENSION_SECONDS = 90 * 60
_SLOWEST_LOOK_SECONDS = 1.0
_STUCK_LOOK_SECONDS = 0.25
_SETTLING_LOOK_SECONDS = 0.1
_GROUP = 4  # the place of the group's name in an id

ALLOCATION_CODES = frozenset({"AllocationFailed", "ZonalAllocationFailed"})


class Power(StrEnum):
    """The power states of Azure."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    DEALLOCATED = "deallocated"


class Act(StrEnum):
    """What can be done to a machine that is there."""

    DEALLOCATE = "deallocate"
    POWER_OFF = "powerOff"
    START = "start"
    RESTART = "restart"
    REDEPLOY = "redeploy"
    REIMAGE = "reimage"
    UPGRADE = "manualupgrade"


# What every kind of machine can be asked for, by the action's name in requests.
ACTIONS: dict[str, Act] = {act.value: act for act in Act if act is not Act.UPGRADE}


def no_capacity(zones: list[str] | None) -> dict[str, str]:
    """Return the error of a region, or of a zone, that has no machines left."""
    where, code = ("zone", "ZonalAllocationFailed") if zones else ("region", "AllocationFailed")
    message = (
        f"Allocation failed. We do not have sufficient capacity for the requested VM size in this {where}. Read more"
        " about improving likelihood of allocation success at http://aka.ms/allocation-guidance"
    )
    return {"code": code, "message": message}


def complete_os_profile(profile: dict[str, Any]) -> None:
    """Give a model's system the settings that Azure adds where they are left out."""
    system = profile.get("osProfile")
    if not system:
        return
    system.setdefault("secrets", [])
    system.setdefault("allowExtensionOperations", True)
    system.setdefault("requireGuestProvisionSignal", True)
    if is_windows(profile):
        windows = system.setdefault("windowsConfiguration", {})
        windows.setdefault("provisionVMAgent", True)
        windows.setdefault("enableAutomaticUpdates", True)
    else:
        linux = system.setdefault("linuxConfiguration", {})
        linux.setdefault("disablePasswordAuthentication", False)
        linux.setdefault("provisionVMAgent", True)


def _nothing(_resource: Resource) -> None:
    return


@dataclass(frozen=True, slots=True)
class MachineKind:
    """What differs between instances and virtual machines.

    `scripts` and `environment` are asked at every boot; `renew` gives a machine the present model (before a reimage),
    `upgrade` gives it too and says what that takes: an act, or None when the machine has it already.
    """

    type: str
    scripts: Callable[[Resource], list[str]]
    environment: Callable[[Resource], Mapping[str, str]]
    renew: Callable[[Resource], None] = _nothing
    upgrade: Callable[[Resource], Act | None] = lambda _resource: None


class MachinePower:
    """Boots and stops machines of several kinds."""

    def __init__(self, store: Store, machines: Machines, faults: Faults, boot_delay_seconds: float) -> None:
        self._store = store
        self._machines = machines
        self._faults = faults
        self._boot_delay_seconds = boot_delay_seconds
        self._kinds: dict[str, MachineKind] = {}
        self._by_nonce: dict[str, str] = {}  # machines ask often, and reading all of them is slow

    def serve(self, kind: MachineKind) -> None:
        """Take care of a kind of machines."""
        self._kinds[kind.type.lower()] = kind

    def order(self, machine: Resource, **payload: Any) -> None:
        """Within a transaction, begin the first boot of a machine; `payload` says what is to go wrong with it."""
        machine.internal["power"] = Power.STARTING
        self._store.save(machine, changed=False)
        self._start_boot(machine, payload)

    def act(self, machine: Resource, act: Act) -> None:
        """Within a transaction, begin to do something to a machine; a boot under way ends."""
        for boot in self._store.unfinished(machine.id, "boot"):
            self._store.finish(boot.id, Status.CANCELED)
        machine.state = "Updating"
        self._store.save(machine)
        self._store.start("power", machine.id, {"act": act})

    def step(self, operation: Operation) -> float | None:
        """Carry out an act."""
        machine = self._store.get(operation.resource_id)
        if machine is None or machine.state == "Deleting":
            return None
        key = machine_key(machine)
        act = Act(operation.payload["act"])
        kind = self._kinds[machine.type.lower()]
        if act is Act.UPGRADE:
            self._upgrade(machine, kind)
            return None
        if act is Act.START and machine.internal.get("power") == Power.RUNNING and not self._machines.is_lost(key):
            self._finish(machine)
            return None
        if act is not Act.START or machine.internal.get("power") == Power.RUNNING:
            self._machines.stop(key)
            self._machines.switch_off(key)
        if act in {Act.DEALLOCATE, Act.POWER_OFF}:
            self._finish(machine, Power.DEALLOCATED if act is Act.DEALLOCATE else Power.STOPPED)
            return None
        if act is Act.REIMAGE:
            kind.renew(machine)
            self._machines.wipe(key)
        self._boot_again(machine)
        return None

    def boot(self, operation: Operation) -> float | None:
        """Take one step of the boot of a machine: start its scripts, then wait for their end."""
        machine = self._store.get(operation.resource_id)
        if machine is None or machine.state == "Deleting":
            return None
        if (stuck := operation.payload.get("stuck")) and self._faults.is_active(stuck):
            return _STUCK_LOOK_SECONDS
        if refusal := operation.payload.get("refusal"):
            self._fail(machine, refusal["code"], refusal["message"])
            return None
        if not host_runs(windows=machine.internal["windows"]):
            message = (
                "Allocation failed: this host runs Linux machines and the image is of another system, so the local"
                " Azure cannot run it. Choose a Linux image, or deploy this machine to Azure."
            )
            self._fail(machine, "AllocationFailed", message)
            return None
        key = machine_key(machine)
        if not self._machines.files(key).started(BOOT).exists() and self._faults.take(
            FaultKind.BOOT_FAILURE, node_id_of(machine)
        ):
            self._fail_extension(machine, "its bootstrap was not run, because of an injected boot failure")
            return None
        kind = self._kinds[machine.type.lower()]
        self._machines.start(key, machine.internal["nonce"], kind.scripts(machine), kind.environment(machine))
        age = time.time() - operation.created
        code = self._machines.ending(key, BOOT)
        if code is None and age < _EXTENSION_SECONDS:
            return min(_SLOWEST_LOOK_SECONDS, 0.05 + age / 100)
        if code is None:
            self._fail(machine, "VMExtensionProvisioningTimeout", "The extension did not end in 90 minutes.")
        elif code == 0:
            self._machines.note_life(key)
            self._finish(machine, Power.RUNNING)
        else:
            self._fail_extension(machine, f"command terminated with exit status={code}\n{self._machines.output(key)}")
        return None

    def power_on(self) -> None:
        """Start the machines again that stopped with the host."""
        with self._store.transaction():
            for name in self._kinds:
                for machine in self._all_of(name):
                    self._machines.switch_off(machine_key(machine))
                    running = machine.internal.get("power", Power.RUNNING) == Power.RUNNING
                    if running and machine.state == "Succeeded" and not self._store.unfinished(machine.id):
                        self._store.start("boot", machine.id)

    def by_nonce(self, nonce: str) -> Resource | None:
        """Find the machine whose metadata service has this secret in its address."""
        known = self._store.get(self._by_nonce.get(nonce, ""))
        if known is not None and known.internal.get("nonce") == nonce:
            return known
        found = self._found(lambda machine: machine.internal["nonce"] == nonce)
        if found is not None:
            self._by_nonce[nonce] = found.id
        return found

    def by_node_id(self, node_id: str) -> Resource:
        """Find a machine by its node id, or by its unique name; refuse with those that there are."""
        found = self._found(lambda machine: node_id in {machine_key(machine), node_id_of(machine)})
        if found is None:
            known = ", ".join(sorted(map(machine_key, self._all()))) or "none"
            raise not_found(f"There is no machine '{node_id}'; there are: {known}.", "MachineNotFound")
        return found

    def unique_name(self, machine: Resource) -> str:
        """Return a machine's node id, made different from those of machines in other groups."""
        taken = {machine_key(other) for other in self._all() if other.key != machine.key}
        name = node_id_of(machine)
        return name if name not in taken else f"{name}~{machine.id.split('/')[_GROUP]}"

    def settle(self, machine: Resource, _payload: dict[str, Any]) -> float | None:
        """Wait, as a step of an operation on a machine, until nothing else is being done to it."""
        kinds = {"boot", "power"}
        if any(operation.kind in kinds for operation in self._store.unfinished(machine.id)):
            return _SETTLING_LOOK_SECONDS
        error = machine.internal.get("error")
        if error:
            raise conflict(error["code"], error["message"])
        return None

    def is_lost(self, machine: Resource) -> bool:
        """Say whether a machine that should be running has no process any more."""
        return machine.internal.get("power", Power.RUNNING) == Power.RUNNING and self._machines.is_lost(
            machine_key(machine)
        )

    def statuses(self, machine: Resource) -> list[dict[str, Any]]:
        """Show the state of a machine as its instance view has it."""
        error = machine.internal.get("error")
        lost = not error and machine.state == "Succeeded" and self.is_lost(machine)
        if lost:
            message = f"No process of '{node_id_of(machine)}' is left: it crashed or was killed. Restart or delete it."
            error = {"code": "VMStoppedUnexpectedly", "message": message}
        state = "failed" if lost else str(machine.state).lower()
        provisioning = {
            "code": f"ProvisioningState/{state}" + (f"/{error['code']}" if error else ""),
            "level": "Error" if error else "Info",
            "displayStatus": f"Provisioning {state}",
            "time": machine.properties["timeCreated"],
        }
        if error:
            provisioning["message"] = error["message"]
        if error and error["code"] in ALLOCATION_CODES:
            return [provisioning]
        power = Power.STOPPED if lost else machine.internal.get("power", Power.RUNNING)
        return [provisioning, {"code": f"PowerState/{power}", "level": "Info", "displayStatus": f"VM {power}"}]

    def agent(self, machine: Resource) -> dict[str, Any]:
        """Show what the machine's agent reports; nothing of a machine that does not run."""
        power = machine.internal.get("power", Power.RUNNING)
        if power != Power.RUNNING or machine.internal.get("error") or self.is_lost(machine):
            status = {"code": "ProvisioningState/Unavailable", "level": "Warning", "displayStatus": "Not Ready"}
            status["message"] = "VM status blob is found but not yet populated."
            return {"vmAgentVersion": "Unknown", "statuses": [status]}
        status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready"}
        return {"vmAgentVersion": _AGENT_VERSION, "statuses": [status], "extensionHandlers": []}

    def _all(self) -> list[Resource]:
        return [machine for name in self._kinds for machine in self._all_of(name)]

    def _all_of(self, name: str) -> list[Resource]:
        return [machine for machine in self._store.find(name) if "nonce" in machine.internal]

    def _found(self, matches: Callable[[Resource], bool]) -> Resource | None:
        return next(filter(matches, self._all()), None)

    def _upgrade(self, machine: Resource, kind: MachineKind) -> None:
        """Give a machine the latest model: a new image wipes it, a new size restarts it, else its scripts run again."""
        key = machine_key(machine)
        act = kind.upgrade(machine)
        if act in {Act.REIMAGE, Act.RESTART}:
            self._machines.stop(key)
        if act is Act.REIMAGE:
            self._machines.wipe(key)
        elif act is not None:
            self._machines.switch_off(key)
        if act is None or machine.internal.get("power") in {Power.DEALLOCATED, Power.STOPPED}:
            self._finish(machine)
        else:
            self._boot_again(machine)

    def _boot_again(self, machine: Resource) -> None:
        with self._store.transaction():
            current = self._store.get(machine.id)
            if current is not None and current.state != "Deleting":
                current.internal["power"] = Power.STARTING
                current.internal["error"] = None
                self._store.save(current)
                self._start_boot(current, {})

    def _start_boot(self, machine: Resource, payload: dict[str, Any]) -> None:
        delay = self._boot_delay_seconds
        if slow := self._faults.take(FaultKind.SLOW_BOOT, node_id_of(machine)):
            delay += slow.seconds
        at_once = bool(payload.get("refusal"))
        self._store.start("boot", machine.id, payload, delay_seconds=0.0 if at_once else delay)

    def _finish(self, machine: Resource, power: Power | None = None) -> None:
        self._set_state(machine, "Succeeded", None, power)

    def _fail(self, machine: Resource, code: str, message: str) -> None:
        power = Power.STOPPED if code in ALLOCATION_CODES else Power.RUNNING
        self._set_state(machine, "Failed", {"code": code, "message": message}, power)

    def _fail_extension(self, machine: Resource, why: str) -> None:
        message = (
            f"VM '{node_id_of(machine)}' has reported a failure when processing an extension. Error message: {why}"
        )
        self._fail(machine, "VMExtensionProvisioningError", message)

    def _set_state(self, machine: Resource, state: str, error: dict[str, Any] | None, power: Power | None) -> None:
        with self._store.transaction():
            current = self._store.get(machine.id)
            if current is not None and current.state != "Deleting":
                if power is not None:
                    current.internal |= {"error": error, "power": power}
                current.state = "Failed" if current.internal.get("error") else state
                self._store.save(current)


# A version of the Linux agent (WALinuxAgent) that is in wide use.
_AGENT_VERSION = "2.13.1.1"


def machine_key(machine: Resource) -> str:
    """Return the name that no other machine has: its folder's, and its processes'."""
    return str(machine.internal.get("machine") or node_id_of(machine))


def node_id_of(machine: Resource) -> str:
    """Name a machine as its metadata service does: a virtual machine's name, or the set's and the instance's id."""
    parts = machine.id.split("/")
    alone = [part.lower() for part in parts[-4:-1]] == ["providers", "microsoft.compute", "virtualmachines"]
    return parts[-1] if alone else f"{parts[-3]}_{parts[-1]}"


def is_windows(profile: dict[str, Any]) -> bool:
    """Say whether a model's image is a Windows one."""
    storage = profile.get("storageProfile") or {}
    image = storage.get("imageReference") or {}
    named = f"{image.get('publisher', '')} {image.get('offer', '')}".lower()
    disk = (storage.get("osDisk") or {}).get("osType", "")
    return "windowsConfiguration" in (profile.get("osProfile") or {}) or disk == "Windows" or "windows" in named
