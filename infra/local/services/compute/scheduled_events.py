"""Scheduled events: notices in the metadata service of what is about to be done to a machine.

Events are kept with what the machine belongs to (its scale set, or itself), so every instance of a set sees those of
the others, as in a placement group. An event that is due, or acknowledged by `StartRequests`, is started; what it
announces is done by whoever registered for its type.
"""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from infra.local.arm.errors import not_found
from infra.local.arm.store import Operation, Resource, Store
from infra.local.services.compute.machine_power import node_id_of

Json = dict[str, Any]

_INSTANCE_PARTS = "virtualmachinescalesets"
_SECONDS_AFTER_START = 0.2  # so that whoever watches can see an event as started


class ScheduledEvents:
    """The notices of all machines; `wake` lets the engine of operations look again."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake
        self._effects: dict[str, Callable[[Resource], None]] = {}

    def on_start(self, event_type: str, effect: Callable[[Resource], None]) -> None:
        """Call this, in a transaction, for the machine of each event of a type that has started."""
        self._effects[event_type] = effect

    def document(self, machine: Resource) -> Json:
        """Return what a machine's metadata service answers."""
        owner = self._owner(machine)
        kept = owner.internal.get("events", {}) if owner else {}
        return {"DocumentIncarnation": kept.get("incarnation", 1), "Events": kept.get("list", [])}

    def announce(self, machine: Resource, event_type: str, description: str, notice_seconds: float) -> str:
        """Within a transaction, tell of what will be done to a machine after the notice; return the event's id."""
        event_id = str(uuid.uuid4()).upper()
        start = datetime.fromtimestamp(time.time() + notice_seconds, UTC)
        event = {
            "EventId": event_id,
            "EventStatus": "Scheduled",
            "EventType": event_type,
            "ResourceType": "VirtualMachine",
            "Resources": [node_id_of(machine)],
            "NotBefore": format_datetime(start, usegmt=True),
            "Description": description,
            "EventSource": "Platform" if event_type == "Preempt" else "User",
            "DurationInSeconds": -1,
        }
        self._change(machine, lambda events: [*events, event])
        payload = {"event": event_id, "machine": machine.id, "type": event_type}
        # Not an operation on the machine itself: that would count as something being done to it already.
        self._store.start("scheduled-event", _operation_key(machine, event_id), payload, delay_seconds=notice_seconds)
        self._store.after_commit(self._wake)
        return event_id

    def pending(self, machine: Resource, event_type: str) -> bool:
        """Say whether an event of this type is announced for a machine and not over."""
        name = node_id_of(machine)
        return any(
            event["EventType"] == event_type and event["Resources"] == [name]
            for event in self.document(machine)["Events"]
        )

    def acknowledge(self, machine: Resource, event_ids: list[str]) -> None:
        """Start events at once; refuse one that is not there."""
        with self._store.transaction():
            known = {event["EventId"]: event for event in self.document(machine)["Events"]}
            for event_id in event_ids:
                if event_id not in known:
                    raise not_found(f"There is no scheduled event '{event_id}'.", "EventNotFound")
            waiting = self._store.unfinished(kind="scheduled-event")
            for operation in waiting:
                if operation.payload["event"] in event_ids:
                    self._store.postpone(operation.id, time.time())
            self._store.after_commit(self._wake)

    def step(self, operation: Operation) -> float | None:
        """Start an event that is due, then do what it announced and take it off the list."""
        event_id = operation.payload["event"]
        with self._store.transaction():
            machine = self._store.get(operation.payload["machine"])
            if machine is None:
                return None
            listed = {event["EventId"]: event for event in self.document(machine)["Events"]}
            event = listed.get(event_id)
            if event is not None and event["EventStatus"] == "Scheduled":
                started = event | {"EventStatus": "Started", "NotBefore": ""}
                self._change(machine, lambda events: [started if e["EventId"] == event_id else e for e in events])
                return _SECONDS_AFTER_START
            self._change(machine, lambda events: [e for e in events if e["EventId"] != event_id])
            current = self._store.get(machine.id)
            if current is not None:
                self._effects[operation.payload["type"]](current)
            self._store.after_commit(self._wake)
        return None

    def withdraw(self, machine: Resource) -> None:
        """Take what was announced for a machine off the list, as it is gone."""
        name = node_id_of(machine)
        with self._store.transaction():
            if any(event["Resources"] == [name] for event in self.document(machine)["Events"]):
                self._change(machine, lambda events: [event for event in events if event["Resources"] != [name]])

    def _change(self, machine: Resource, change: Callable[[list[Json]], list[Json]]) -> None:
        owner = self._owner(machine)
        if owner is None:
            return
        kept = owner.internal.get("events", {})
        owner.internal["events"] = {
            "incarnation": kept.get("incarnation", 1) + 1,
            "list": change(kept.get("list", [])),
        }
        self._store.save(owner, changed=False)
        if owner.key == machine.key:
            machine.internal["events"] = owner.internal["events"]

    def _owner(self, machine: Resource) -> Resource | None:
        """Return what a machine's events are kept with: its set, or itself."""
        parts = machine.id.split("/")
        if parts[-4].lower() == _INSTANCE_PARTS:
            return self._store.get(machine.id.rsplit("/", 2)[0])
        return self._store.get(machine.id)


def _operation_key(machine: Resource, event_id: str) -> str:
    return f"{machine.id}/scheduledEvents/{event_id}"
