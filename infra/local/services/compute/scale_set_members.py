"""Members of Flexible scale sets: virtual machines of their own, and the entries that stand for them in the set."""

import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.store import Resource, Store
from infra.local.services.compute.disks import VIRTUAL_MACHINE
from infra.local.services.compute.instances import INSTANCE, apply_model
from infra.local.services.compute.machine_power import MachinePower

_SHOWN = ("hardwareProfile", "storageProfile", "osProfile", "diagnosticsProfile", "securityProfile", "licenseType")


class Members:
    """Makes the virtual machines of a Flexible set."""

    def __init__(self, store: Store, power: MachinePower) -> None:
        self._store = store
        self._power = power

    def create(self, scale_set: Resource, **orders: Any) -> Resource:
        """Within a transaction, make a virtual machine of the set's model; return the set's entry for it."""
        name = f"{scale_set.name}_{secrets.token_hex(4)}"
        group = scale_set.id.split("/providers/", 1)[0]
        profile = scale_set.properties["virtualMachineProfile"]
        made = Resource(f"{scale_set.id}/virtualMachines/{name}", INSTANCE, {"properties": {"timeCreated": _now()}}, {})
        apply_model(made, scale_set)
        shown = {key: made.properties[key] for key in _SHOWN if key in made.properties}
        body = {
            "location": scale_set.body["location"],
            "properties": shown
            | {
                "provisioningState": "Creating",
                "vmId": str(uuid.uuid4()),
                "timeCreated": _now(),
                "virtualMachineScaleSet": {"id": scale_set.id},
                "networkProfile": profile.get("networkProfile") or {},
                "priority": profile.get("priority") or "Regular",
            },
        }
        body |= {key: scale_set.body[key] for key in ("tags", "identity") if key in scale_set.body}
        if profile.get("evictionPolicy"):
            body["properties"]["evictionPolicy"] = profile["evictionPolicy"]
        internal = {key: value for key, value in made.internal.items() if key not in {"model", "image"}}
        internal |= {"nonce": secrets.token_urlsafe(24), "model_scripts": made.internal["scripts"], "entry": made.id}
        machine = Resource(
            f"{group}/providers/Microsoft.Compute/virtualMachines/{name}", VIRTUAL_MACHINE, body, internal
        )
        machine.internal["machine"] = self._power.unique_name(machine)
        entry = Resource(made.id, INSTANCE, {"properties": {"provisioningState": "Creating"}})
        entry.internal = {"mirrors": machine.id, "model": made.internal["model"], "image": made.internal["image"]}
        self._store.save(machine)
        self._store.save(entry)
        self._power.order(machine, **orders)
        return entry


def _now() -> str:
    return datetime.now(UTC).isoformat()
