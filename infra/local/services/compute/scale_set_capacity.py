"""The number of instances of a scale set: making instances, and choosing those that go."""

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.arm.store import Resource, Store
from infra.local.faults import FaultKind, Faults
from infra.local.services.compute.instances import INSTANCE, Instances, apply_model
from infra.local.services.compute.machine_power import MachinePower, no_capacity
from infra.local.services.compute.scale_set_members import Members


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that may go: its number or age, and its zone."""

    name: str
    rank: int
    zone: str = ""


def choose_leaving(candidates: Sequence[Candidate], count: int, rule: str = "Default") -> list[Candidate]:
    """Choose which instances go: always from the fullest zone, there the newest, or the oldest by rule OldestVM.

    Which ones are busy is not known to the service (docs: scale-in policy).
    """
    left = sorted(candidates, key=lambda candidate: candidate.rank, reverse=rule != "OldestVM")
    going: list[Candidate] = []
    for _ in range(min(count, len(left))):
        sizes = Counter(candidate.zone for candidate in left)
        fullest = max(sizes.values())
        chosen = next(candidate for candidate in left if sizes[candidate.zone] == fullest)
        left.remove(chosen)
        going.append(chosen)
    return going


def choose_zone(zones: Sequence[str], taken: Iterable[str]) -> str | None:
    """Choose the zone of a new instance: the one with the fewest, the first of equals."""
    counts = Counter(taken)
    return min(zones, key=lambda zone: counts[zone], default=None)


class Capacity:
    """Brings the number of instances to the capacity of their set."""

    def __init__(
        self,
        store: Store,
        power: MachinePower,
        instances: Instances,
        members: Members,
        faults: Faults,
        start_delete: Callable[[Resource], None],
    ) -> None:
        self._store = store
        self._power = power
        self._instances = instances
        self._members = members
        self._faults = faults
        self._start_delete = start_delete

    def adjust(self, scale_set: Resource) -> dict[str, Any]:
        """Within a transaction, create or delete instances; return what the operation has to wait for."""
        present = self.present(scale_set)
        difference = int((scale_set.body.get("sku") or {}).get("capacity") or 0) - len(present)
        payload: dict[str, Any] = {"instances": []}
        if difference and (stuck := self._faults.take(FaultKind.STUCK_RESIZE, scale_set.name)):
            payload["stuck"] = stuck.id
        if difference > 0:
            payload["instances"] = self._grow(scale_set, difference, payload.get("stuck"))
        elif difference < 0:
            payload["instances"] = self._shrink(scale_set, present, -difference)
        return payload

    def present(self, scale_set: Resource) -> list[Resource]:
        """List the instances that count."""
        return [found for found in self._store.find(INSTANCE, scale_set.id) if found.state != "Deleting"]

    def remove(self, scale_set: Resource, instances: list[Resource]) -> list[str]:
        """Delete these instances and lower the capacity with them."""
        for instance in instances:
            if instance.state != "Deleting":
                scale_set.body["sku"]["capacity"] -= 1
                self._start_delete(instance)
        return [instance.id for instance in instances]

    def _grow(self, scale_set: Resource, count: int, stuck: str | None) -> list[str]:
        orders: dict[str, Any] = {"stuck": stuck} if stuck else {}
        if self._faults.take(FaultKind.ALLOCATION_FAILURE, scale_set.name):
            orders["refusal"] = no_capacity(scale_set.body.get("zones"))
        if scale_set.properties["orchestrationMode"] == "Flexible":
            return [self._members.create(scale_set, **orders).id for _ in range(count)]
        return [self._create(scale_set, orders).id for _ in range(count)]

    def _shrink(self, scale_set: Resource, present: list[Resource], count: int) -> list[str]:
        by_name = {instance.name: instance for instance in present if not self._instances.is_protected(instance)}
        candidates = [
            Candidate(name, rank, (instance.body.get("zones") or [""])[0])
            for rank, (name, instance) in enumerate(by_name.items())
        ]
        rules = (scale_set.properties.get("scaleInPolicy") or {}).get("rules") or ["Default"]
        going = [by_name[chosen.name] for chosen in choose_leaving(candidates, count, rules[0])]
        for instance in going:
            self._start_delete(instance)
        return [instance.id for instance in going]

    def _create(self, scale_set: Resource, orders: dict[str, Any]) -> Resource:
        number = scale_set.internal.get("next_instance", 0)
        scale_set.internal["next_instance"] = number + 1
        self._store.save(scale_set, changed=False)
        instance = Resource(
            f"{scale_set.id}/virtualMachines/{number}",
            INSTANCE,
            {
                "instanceId": str(number),
                "location": scale_set.body["location"],
                "properties": {
                    "provisioningState": "Creating",
                    "vmId": str(uuid.uuid4()),
                    "timeCreated": datetime.now(UTC).isoformat(),
                },
            },
            {"nonce": secrets.token_urlsafe(24)},
        )
        taken = [zone for other in self.present(scale_set) for zone in other.body.get("zones", [])]
        if zone := choose_zone(scale_set.body.get("zones") or [], taken):
            instance.body["zones"] = [zone]
        if scale_set.body.get("tags"):
            instance.body["tags"] = scale_set.body["tags"]
        apply_model(instance, scale_set)
        instance.internal["machine"] = self._power.unique_name(instance)
        self._store.save(instance)
        self._power.order(instance, **orders)
        return instance
