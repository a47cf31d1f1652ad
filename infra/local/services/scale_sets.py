"""Uniform scale sets: capacity, instances and their operations, as simple-minded as Azure's.

A lower capacity deletes instances of the service's choosing, busy or not. A changed model does not touch instances
that are there (upgrade policy Manual). Ids of instances are never used again.
"""

import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.errors import conflict, invalid, unsupported
from infra.local.arm.resource_types import Call, Follow, Reply, ResourceType, Write
from infra.local.arm.store import Resource, Store
from infra.local.machines import Machines, extension_scripts
from infra.local.services.authorization import identities_of
from infra.local.services.instances import INSTANCE, Instances, is_windows, model_digest
from infra.local.services.network import subnets_of

SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"

_LOOK_AGAIN_SECONDS = 0.1
_SIZE = re.compile(r"Standard_[A-Z]+(?P<cores>\d+)(-(?P<constrained>\d+))?[a-z]*(_[A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class ComputeSettings:
    """Limits and delays of the compute service."""

    boot_delay_seconds: float = 3.0
    cores_per_set: int = 100
    page_size: int = 100


DEFAULTS = ComputeSettings()


class ScaleSets:
    """The type of scale sets; `start_delete` begins to delete an instance."""

    def __init__(
        self,
        store: Store,
        machines: Machines,
        instances: Instances,
        settings: ComputeSettings,
        start_delete: Callable[[Resource], None],
    ) -> None:
        self._store = store
        self._machines = machines
        self._instances = instances
        self._settings = settings
        self._start_delete = start_delete

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            ResourceType(
                SCALE_SET,
                prepare=self._prepare,
                apply=self._apply,
                provision=self._settled,
                release=self._release,
                actions={"delete": self._delete_instances},
                views={"instanceView": self._instance_view},
                follow_create=Follow.BOTH,
                follow_update=Follow.BOTH,
                follow_delete=Follow.LOCATION,
                merges=True,
                shows_etag=True,
                immutable=("properties.orchestrationMode", "properties.singlePlacementGroup", "zones"),
            ),
            *self._instances.types(self._settings.page_size),
        )

    def _prepare(self, write: Write) -> None:
        body, properties = write.resource.body, write.resource.properties
        self._check_sku(write)
        if properties.setdefault("orchestrationMode", "Uniform") != "Uniform":
            raise unsupported("scale sets of orchestration mode Flexible; say Uniform")
        mode = properties.setdefault("upgradePolicy", {}).setdefault("mode", "Manual")
        if mode != "Manual":
            raise unsupported(f"upgrade policy {mode}; say Manual")
        if "virtualMachineProfile" not in properties:
            raise invalid("Required parameter 'virtualMachineProfile' is missing (null).", "virtualMachineProfile")
        for other in self._store.find(SCALE_SET):
            if other.name.lower() == write.address.name.lower() and other.key != write.resource.key:
                # Nodes are known by the set's name and the instance's id alone.
                message = f"The local Azure has a scale set '{other.name}' already, in {other.id}; choose another name."
                raise conflict("NameInUseLocally", message)
        for subnet in subnets_of(properties):
            if self._store.get(subnet) is None:
                message = (
                    f"Resource {subnet} referenced by resource {write.resource.id} was not found. Please make sure that"
                    " the referenced resource exists, and that both resources are in the same region."
                )
                raise invalid(message, code="InvalidResourceReference")
        if body.get("identity"):
            body["identity"] = body["identity"] | {"userAssignedIdentities": identities_of(self._store, body)}
        self._take_secrets(write)
        properties.setdefault("uniqueId", str(uuid.uuid4()))
        properties.setdefault("timeCreated", datetime.now(UTC).isoformat())

    def _check_sku(self, write: Write) -> None:
        sku = write.resource.body.get("sku") or {}
        sent = write.body.get("sku")
        if not sku.get("name"):
            raise invalid("Required parameter 'sku.name' is missing (null).", "sku.name")
        found = _SIZE.fullmatch(sku["name"])
        if found is None:
            raise invalid(f"The value {sku['name']} provided for the VM size is not valid.", "sku.name")
        if sku.get("capacity") is None or (write.before is None and "capacity" not in (sent or {})):
            raise invalid("Required parameter 'sku.capacity' is missing (null).", "sku.capacity")
        try:
            capacity = sku["capacity"] = int(sku["capacity"])  # az sends it as a string
        except (TypeError, ValueError):
            raise invalid(f"The capacity {sku['capacity']!r} is not a number.", "sku.capacity") from None
        sku.setdefault("tier", "Standard")
        if not 0 <= capacity <= 1000:  # noqa: PLR2004 -- docs: scale sets of marketplace images
            raise invalid(f"The capacity {capacity} is not between 0 and 1000.", "sku.capacity")
        cores = int(found["constrained"] or found["cores"])
        current = len(self._active(write.resource.id))
        if capacity > current and capacity * cores > self._settings.cores_per_set:
            limit = self._settings.cores_per_set
            message = (
                "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."
                f" Additional details - Location: {write.resource.body['location']}, Current Limit: {limit}, Current"
                f" Usage: {current * cores}, Additional Required: {(capacity - current) * cores}, (Minimum) New Limit"
                f" Required: {capacity * cores}."
            )
            raise conflict("OperationNotAllowed", message)

    def _take_secrets(self, write: Write) -> None:
        """Keep what Azure never shows again out of the body, and check that the scripts can be read."""
        profile = write.resource.properties["virtualMachineProfile"]
        (profile.get("osProfile") or {}).pop("adminPassword", None)
        protected = write.resource.internal.setdefault("protected", {})
        for extension in (profile.get("extensionProfile") or {}).get("extensions", []):
            secret = extension.get("properties", {}).pop("protectedSettings", None)
            if secret is not None:
                protected[extension.get("name", "")] = secret
        try:
            write.resource.internal["scripts"] = extension_scripts(profile, protected)
        except (ValueError, OSError) as error:
            raise invalid(f"The script of an extension cannot be read: {error}.", "script") from error

    def _apply(self, write: Write) -> dict[str, Any]:
        """Bring the number of instances to the capacity."""
        active = self._active(write.resource.id)
        difference = write.resource.body["sku"]["capacity"] - len(active)
        touched = [self._create(write.resource).id for _ in range(difference)]
        if difference < 0:
            unprotected = [instance for instance in active if not self._instances.is_protected(instance)]
            # Azure's default rule takes the highest ids of balanced zones; it does not know what is busy.
            for instance in sorted(unprotected, key=lambda found: int(found.name))[difference:]:
                self._start_delete(instance)
                touched.append(instance.id)
        return {"instances": touched}

    def _create(self, scale_set: Resource) -> Resource:
        number = scale_set.internal.get("next_instance", 0)
        scale_set.internal["next_instance"] = number + 1
        self._store.save(scale_set, changed=False)
        profile = scale_set.properties["virtualMachineProfile"]
        instance = Resource(
            f"{scale_set.id}/virtualMachines/{number}",
            INSTANCE,
            {
                "instanceId": str(number),
                "location": scale_set.body["location"],
                "sku": {key: scale_set.body["sku"][key] for key in ("name", "tier")},
                "properties": {
                    "provisioningState": "Creating",
                    "vmId": str(uuid.uuid4()),
                    "timeCreated": datetime.now(UTC).isoformat(),
                    "hardwareProfile": {"vmSize": scale_set.body["sku"]["name"]},
                    "storageProfile": profile.get("storageProfile", {}),
                    "osProfile": {
                        "computerName": f"{(profile.get('osProfile') or {}).get('computerNamePrefix', '')}{number:06d}"
                    },
                },
            },
            {
                "nonce": secrets.token_urlsafe(24),
                "model": model_digest(scale_set.body["sku"]["name"], profile),
                "scripts": scale_set.internal["scripts"],
                "windows": is_windows(profile),
                "identities": list((scale_set.body.get("identity") or {}).get("userAssignedIdentities") or {}),
            },
        )
        if scale_set.body.get("tags"):
            instance.body["tags"] = scale_set.body["tags"]
        self._store.save(instance)
        self._store.start("boot", instance.id, delay_seconds=self._settings.boot_delay_seconds)
        return instance

    def _active(self, scale_set_id: str) -> list[Resource]:
        return [found for found in self._store.find(INSTANCE, scale_set_id) if found.state != "Deleting"]

    def _settled(self, _scale_set: Resource, payload: dict[str, Any]) -> float | None:
        """Wait until the instances that an operation touched are running, failed or gone."""
        failures = []
        for identifier in payload["instances"]:
            instance = self._store.get(identifier)
            if instance is None:
                continue
            if instance.state in {"Creating", "Deleting"}:
                return _LOOK_AGAIN_SECONDS
            if instance.state == "Failed":
                failures.append(instance.internal["error"])
        if failures:
            raise conflict(failures[0]["code"], failures[0]["message"])
        return None

    def _release(self, scale_set: Resource) -> float | None:
        with self._store.transaction():
            left = self._store.find(INSTANCE, scale_set.id)
            for instance in left:
                self._start_delete(instance)
        return _LOOK_AGAIN_SECONDS if left else None

    def _delete_instances(self, call: Call) -> Reply:
        wanted = call.body.get("instanceIds")
        if not isinstance(wanted, list) or not wanted:
            raise invalid("Required parameter 'instanceIds' is missing (null).", "instanceIds")
        known = {found.name: found for found in self._store.find(INSTANCE, call.resource.id)}
        wanted = list(known) if wanted == ["*"] else [str(name) for name in wanted]
        for name in wanted:
            if name not in known:
                message = f"The provided instanceId {name} is not an active Virtual Machine Scale Set VM instanceId."
                raise invalid(message, "instanceIds")
        return self.remove(call.resource, [known[name] for name in dict.fromkeys(wanted)])

    def remove(self, scale_set: Resource, instances: list[Resource]) -> Reply:
        """Delete these instances and lower the capacity with them."""
        for instance in instances:
            if instance.state != "Deleting":
                scale_set.body["sku"]["capacity"] -= 1
                self._start_delete(instance)
        scale_set.state = "Updating"
        self._store.save(scale_set)
        payload = {"instances": [instance.id for instance in instances]}
        return Reply(operation=self._store.start("action", scale_set.id, payload), follow=Follow.BOTH)

    def _instance_view(self, scale_set: Resource) -> dict[str, Any]:
        counts: dict[str, int] = {}
        for instance in self._store.find(INSTANCE, scale_set.id):
            code = f"ProvisioningState/{(instance.state or '').lower()}"
            counts[code] = counts.get(code, 0) + 1
        summary = [{"code": code, "count": count} for code, count in sorted(counts.items())]
        state = (scale_set.state or "").lower()
        statuses = [{"code": f"ProvisioningState/{state}", "level": "Info", "displayStatus": f"Provisioning {state}"}]
        return {"virtualMachine": {"statusesSummary": summary}, "statuses": statuses}
