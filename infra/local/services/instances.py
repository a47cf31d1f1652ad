"""Instances of scale sets: their boot, what is shown of them, and their end."""

import hashlib
import json
import time
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import invalid
from infra.local.arm.resource_types import Follow, Query, ResourceType, Write
from infra.local.arm.store import Operation, Resource, Store
from infra.local.machines import Machines, host_runs

INSTANCE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"

# The extension's own limit (docs: custom script extension).
_EXTENSION_SECONDS = 90 * 60
_SLOWEST_LOOK_SECONDS = 1.0


class Instances:
    """The type of instances; they come and go with the capacity of their set."""

    def __init__(self, store: Store, machines: Machines) -> None:
        self._store = store
        self._machines = machines

    def types(self, page_size: int) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                INSTANCE,
                prepare=_refuse_creation,
                release=self._release,
                leave=self._leave,
                view=self._view,
                views={"instanceView": self.instance_view},
                merges=True,
                deleted=HTTPStatus.ACCEPTED,
                follow_delete=Follow.LOCATION,
                page_size=page_size,
                tracked=False,
            ),
        )

    def is_protected(self, instance: Resource) -> bool:
        """Say whether an instance is protected from scaling in."""
        return bool((instance.properties.get("protectionPolicy") or {}).get("protectFromScaleIn"))

    def boot(self, operation: Operation) -> float | None:
        """Take one step of the boot of an instance: start its scripts, then wait for their end."""
        instance = self._store.get(operation.resource_id)
        if instance is None or instance.state == "Deleting":
            return None
        if not host_runs(windows=instance.internal["windows"]):
            message = (
                "Allocation failed: this host runs Linux machines and the image is of another system, so the local"
                " Azure cannot run it. Choose a Linux image, or deploy this pool to Azure."
            )
            self._fail(instance, "AllocationFailed", message)
            return None
        node_id = node_id_of(instance)
        self._machines.start(node_id, instance.internal["nonce"], instance.internal["scripts"])
        code = self._machines.exit_code(node_id)
        age = time.time() - operation.created
        if code is None and age < _EXTENSION_SECONDS:
            return min(_SLOWEST_LOOK_SECONDS, 0.05 + age / 100)
        if code is None:
            self._fail(instance, "VMExtensionProvisioningTimeout", "The extension did not end in 90 minutes.")
        elif code == 0:
            self._set_state(instance, "Succeeded", None)
        else:
            message = (
                f"VM '{node_id}' has reported a failure when processing an extension. Error message: command terminated"
                f" with exit status={code}\n{self._machines.console_tail(node_id)}"
            )
            self._fail(instance, "VMExtensionProvisioningError", message)
        return None

    def power_on(self) -> None:
        """Start the machines again that stopped with the host."""
        with self._store.transaction():
            for instance in self._store.find(INSTANCE):
                self._machines.switch_off(node_id_of(instance))
                if not self._store.unfinished(instance.id) and instance.state == "Succeeded":
                    self._store.start("boot", instance.id)

    def by_nonce(self, nonce: str) -> Resource | None:
        """Find the instance whose metadata service has this secret in its address."""
        for instance in self._store.find(INSTANCE):
            if instance.internal["nonce"] == nonce:
                return instance
        return None

    def instance_view(self, instance: Resource) -> dict[str, Any]:
        """Show the run-time state of an instance."""
        state = str(instance.state).lower()
        error = instance.internal.get("error")
        provisioning = {
            "code": f"ProvisioningState/{state}" + (f"/{error['code']}" if error else ""),
            "level": "Error" if error else "Info",
            "displayStatus": f"Provisioning {state}",
            "time": instance.properties["timeCreated"],
        }
        if error:
            provisioning["message"] = error["message"]
        statuses = [provisioning]
        if not (error and error["code"] == "AllocationFailed"):
            statuses.append({"code": "PowerState/running", "level": "Info", "displayStatus": "VM running"})
        return {"platformFaultDomain": 0, "platformUpdateDomain": 0, "statuses": statuses}

    def _view(self, instance: Resource, query: Query) -> dict[str, Any]:
        scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
        model = scale_set.properties.get("virtualMachineProfile") if scale_set else None
        size = scale_set.body["sku"]["name"] if scale_set else None
        latest = instance.internal["model"] == model_digest(size, model or {})
        properties = instance.properties | {"latestModelApplied": latest}
        if "instanceview" in query.get("$expand", "").lower():
            properties["instanceView"] = self.instance_view(instance)
        return instance.body | {"name": node_id_of(instance), "properties": properties}

    def _leave(self, instance: Resource) -> None:
        """Lower the capacity of the set when a client deletes one of its instances."""
        scale_set = self._store.get(instance.id.rsplit("/", 2)[0])
        if scale_set is not None and instance.state != "Deleting":
            scale_set.body["sku"]["capacity"] -= 1
            self._store.save(scale_set)

    def _release(self, instance: Resource) -> None:
        self._machines.delete(node_id_of(instance))

    def _fail(self, instance: Resource, code: str, message: str) -> None:
        self._set_state(instance, "Failed", {"code": code, "message": message})

    def _set_state(self, instance: Resource, state: str, error: dict[str, Any] | None) -> None:
        with self._store.transaction():
            current = self._store.get(instance.id)
            if current is not None and current.state != "Deleting":
                current.state = state
                current.internal["error"] = error
                self._store.save(current)


def node_id_of(instance: Resource) -> str:
    """Name an instance as its metadata service does: the set's name and its id."""
    parts = instance.id.split("/")
    return f"{parts[-3]}_{parts[-1]}"


def model_digest(size: str | None, profile: dict[str, Any]) -> str:
    """Return a digest of the model that new instances of a set get."""
    return hashlib.sha256(json.dumps([size, profile], sort_keys=True).encode()).hexdigest()


def is_windows(profile: dict[str, Any]) -> bool:
    """Say whether a model's image is a Windows one."""
    storage = profile.get("storageProfile") or {}
    image = storage.get("imageReference") or {}
    named = f"{image.get('publisher', '')} {image.get('offer', '')}".lower()
    disk = (storage.get("osDisk") or {}).get("osType", "")
    return "windowsConfiguration" in (profile.get("osProfile") or {}) or disk == "Windows" or "windows" in named


def _refuse_creation(write: Write) -> None:
    if write.before is None:
        message = (
            f"The provided instanceId {write.address.name} is not an active Virtual Machine Scale Set VM instanceId."
        )
        raise invalid(message, "instanceId")
