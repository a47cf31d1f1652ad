"""The world in memory, for tests, demonstrations and the simulator: queues, blobs, scale sets, lease and clock.

They keep the contracts of the ports as the Azure adapters do (the same suites run over both), and add what a
simulation needs: the nodes' side of a queue, boots that take time, and refusals on demand. They are honest; a
simulation puts its faults in front of them. One thread uses them.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from node_bootstrap.protocol import CONTAINERS, EVENTS_QUEUE, MAX_MESSAGE_BYTES, sha256_hex
from scheduler.errors import (
    CapacityError,
    CapacityErrorKind,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    PreconditionError,
)
from scheduler.model import Instance, InstanceState, NodeGroup, ScaleSetView
from scheduler.ports.clock import Clock
from scheduler.ports.storage import BlobEntry, ReceivedEvent

# As the Azure adapter's: long enough to apply a batch of events in one transaction.
_EVENT_VISIBILITY = timedelta(seconds=30)
_MOST_EVENTS = 32


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """Give the instant it was moved to."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move forward and give the new instant."""
        if by < timedelta(0):
            raise ValueError(f"a clock does not run backwards: {by}")
        self._now += by
        return self._now


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message as a node received it; `receipt` changes with each receive and update."""

    queue: str
    number: int
    receipt: int
    dequeue_count: int
    body: str


@dataclass(slots=True)
class _Stored:
    number: int
    body: str
    visible_at: datetime
    receipt: int = 0
    dequeue_count: int = 0


class MemoryQueues:
    """`Queues`, and the nodes' side of them: receive under a lease, update, delete."""

    def __init__(self, clock: ManualClock, queues: Iterable[str] = ()) -> None:
        self._clock = clock
        self._queues: dict[str, dict[int, _Stored]] = {name: {} for name in (EVENTS_QUEUE, *queues)}
        self._numbers = itertools.count(1)

    def create_queue(self, queue: str) -> None:
        """Make a queue, as `pulumi up` does; no error when it is there."""
        self._queues.setdefault(queue, {})

    def names(self) -> tuple[str, ...]:
        """Give the queues that exist."""
        return tuple(sorted(self._queues))

    def send(self, queue: str, body: str, delay: timedelta = timedelta(0)) -> None:
        """Put a message that never expires, visible after `delay`."""
        size = len(body.encode())
        if size > MAX_MESSAGE_BYTES:
            raise InvalidRequestError(
                f"a message of {size} bytes for queue {queue}: at most {MAX_MESSAGE_BYTES}; put it in a blob"
            )
        number = next(self._numbers)
        self._messages(queue)[number] = _Stored(number, body, self._clock.now() + delay)

    def send_all(self, queue: str, bodies: Sequence[str]) -> tuple[MillpondError | None, ...]:
        """Put messages that never expire; give for each None, or why it is not there."""
        results: list[MillpondError | None] = []
        for body in bodies:
            try:
                self.send(queue, body)
            except MillpondError as error:
                results.append(error)
            else:
                results.append(None)
        return tuple(results)

    def depth(self, queue: str) -> int:
        """Give the number of messages, leased ones included."""
        return len(self._messages(queue))

    def receive_events(self, limit: int) -> tuple[ReceivedEvent, ...]:
        """Receive events, oldest first, hidden for 30 s."""
        received = self.receive(EVENTS_QUEUE, _EVENT_VISIBILITY, min(limit, _MOST_EVENTS))
        return tuple(ReceivedEvent(item.body, f"{item.number} {item.receipt}") for item in received)

    def delete_events(self, events: Sequence[ReceivedEvent]) -> None:
        """Delete events; one that another received since stays."""
        for event in events:
            number, receipt = (int(part) for part in event.receipt.split())
            stored = self._messages(EVENTS_QUEUE).get(number)
            if stored is not None and stored.receipt == receipt:
                del self._messages(EVENTS_QUEUE)[number]

    def delete_queue(self, queue: str) -> None:
        """Delete a queue with all that is on it."""
        self._queues.pop(queue, None)

    def receive(self, queue: str, visibility: timedelta, limit: int = 1) -> tuple[QueueMessage, ...]:
        """Lease visible messages, oldest first; they come again when the visibility ends before delete or update."""
        now = self._clock.now()
        visible = [stored for stored in self._messages(queue).values() if stored.visible_at <= now]
        taken = sorted(visible, key=lambda stored: (stored.visible_at, stored.number))[:limit]
        for stored in taken:
            self._lease(stored, visibility)
            stored.dequeue_count += 1
        return tuple(QueueMessage(queue, s.number, s.receipt, s.dequeue_count, s.body) for s in taken)

    def update(self, message: QueueMessage, visibility: timedelta) -> QueueMessage:
        """Renew a lease; `NotFoundError` when the message is gone or leased by another since."""
        stored = self._held(message)
        self._lease(stored, visibility)
        return QueueMessage(message.queue, stored.number, stored.receipt, stored.dequeue_count, stored.body)

    def delete(self, message: QueueMessage) -> None:
        """Delete a leased message; `NotFoundError` when it is gone or leased by another since."""
        self._held(message)
        del self._messages(message.queue)[message.number]

    def _messages(self, queue: str) -> dict[int, _Stored]:
        if queue not in self._queues:
            raise NotFoundError(f"there is no queue {queue}")
        return self._queues[queue]

    def _lease(self, stored: _Stored, visibility: timedelta) -> None:
        stored.visible_at = self._clock.now() + visibility
        stored.receipt = next(self._numbers)

    def _held(self, message: QueueMessage) -> _Stored:
        stored = self._messages(message.queue).get(message.number)
        if stored is None or stored.receipt != message.receipt:
            raise NotFoundError(f"message {message.number} of queue {message.queue} is gone or leased by another")
        return stored


@dataclass(frozen=True, slots=True)
class _Blob:
    data: bytes
    entry: BlobEntry


class MemoryBlobs:
    """`Blobs` in a dictionary; a container must exist before it is written."""

    def __init__(self, clock: ManualClock, containers: Iterable[str] = CONTAINERS) -> None:
        self._clock = clock
        self._containers: dict[str, dict[str, _Blob]] = {name: {} for name in containers}
        self._versions = itertools.count(1)

    def read(self, container: str, name: str) -> bytes:
        """Read a whole blob."""
        return self._blob(container, name).data

    def read_all(self, container: str, names: Sequence[str]) -> tuple[bytes | None, ...]:
        """Read whole blobs; None for one that is not there."""
        blobs = self._blobs(container)
        return tuple(self.read(container, name) if name in blobs else None for name in names)

    def read_range(self, container: str, name: str, offset: int, length: int) -> bytes:
        """Read part of a blob; `InvalidRequestError` when it begins beyond its end."""
        data = self._blob(container, name).data
        if length > 0 and offset >= len(data):
            raise InvalidRequestError(f"blob {container}/{name} has {len(data)} bytes, none at {offset}")
        return data[offset : offset + length]

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a whole blob, over any old one."""
        entry = BlobEntry(name, self._clock.now(), len(data), f'"{next(self._versions)}"')
        self._blobs(container)[name] = _Blob(data, entry)

    def write_file(self, container: str, name: str, path: Path, sha256: str) -> None:
        """Write a whole blob from a local file."""
        if sha256_hex(data := path.read_bytes()) != sha256:
            raise ConflictError(f"{path} changed")
        self.write(container, name, data)

    def list(self, container: str, prefix: str, limit: int | None = None) -> tuple[BlobEntry, ...]:
        """List blobs whose names begin with the prefix, in order of name."""
        blobs = self._blobs(container)
        return tuple(blobs[name].entry for name in sorted(blobs) if name.startswith(prefix))[:limit]

    def touch(self, container: str, name: str) -> None:
        """Give a blob a new last-modified and a new ETag."""
        self.write(container, name, self._blob(container, name).data)

    def delete(self, container: str, name: str, etag: str | None = None) -> None:
        """Delete a blob, as it is or as it was read; no error when it is gone."""
        blob = self._blobs(container).get(name)
        if blob is not None and etag is not None and blob.entry.etag != etag:
            raise PreconditionError(f"blob {container}/{name} has changed since it was read")
        self._blobs(container).pop(name, None)

    def digest(self, container: str) -> str:
        """Give a hash of a container's names and bytes, to compare two runs."""
        lines = (f"{name} {sha256_hex(blob.data)}" for name, blob in sorted(self._blobs(container).items()))
        return sha256_hex("\n".join(lines).encode())

    def _blobs(self, container: str) -> dict[str, _Blob]:
        if container not in self._containers:
            raise NotFoundError(f"there is no container {container}")
        return self._containers[container]

    def _blob(self, container: str, name: str) -> _Blob:
        blob = self._blobs(container).get(name)
        if blob is None:
            raise NotFoundError(f"there is no blob {name} in container {container}")
        return blob


@dataclass(slots=True)
class _Machine:
    instance_id: str
    running_at: datetime
    fails: bool
    gone_at: datetime | None = None


@dataclass(slots=True)
class _Set:
    capacity: int = 0
    version: int = 1
    machines: list[_Machine] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)


class MemoryCapacity:
    """`Capacity` over scale sets whose instances run `boot_delay` after they were asked for.

    `refusal` makes every raise fail with that kind; `failing_boots` instances, the next ones made, end as failed.
    """

    def __init__(
        self,
        clock: Clock,
        scale_sets: Iterable[str] = (),
        boot_delay: timedelta = timedelta(minutes=1),
        delete_delay: timedelta = timedelta(seconds=20),
    ) -> None:
        self._clock = clock
        self._sets: dict[str, _Set] = {name: _Set() for name in scale_sets}
        self._delete_delay = delete_delay
        self.boot_delay = boot_delay
        self.refusal: CapacityErrorKind | None = None
        self.failing_boots = 0

    def create_set(self, scale_set: str) -> None:
        """Make a set with no instances, as `pulumi up` does; no error when it is there."""
        self._sets.setdefault(scale_set, _Set())

    def scale_sets(self) -> tuple[str, ...]:
        """Give the sets that exist."""
        return tuple(sorted(self._sets))

    def instances(self, scale_set: str) -> tuple[Instance, ...]:
        """Give the instances of a set, in the order they were made."""
        machines = self._sets[scale_set].machines
        machines[:] = [machine for machine in machines if not self._gone(machine)]
        return tuple(self._instance(scale_set, machine) for machine in machines)

    def evict(self, scale_set: str, instance_id: str) -> None:
        """Take an instance away as the cloud evicts a Spot one: it goes, and the capacity falls."""
        self._delete(self._sets[scale_set], (instance_id,), timedelta(0))

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read a set and list all its instances; None when the set does not exist."""
        if group.scale_set not in self._sets:
            return None
        found = self._sets[group.scale_set]
        return ScaleSetView(group.scale_set, found.capacity, f'"{found.version}"', self.instances(group.scale_set))

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Make instances up to the capacity, provided that the set is as it was read."""
        if capacity <= view.capacity:
            raise ValueError(f"capacity {capacity} of {group.scale_set} is not above {view.capacity}: only raised")
        found = self._set(group)
        if view.etag != f'"{found.version}"':
            raise PreconditionError(f"the scale set {group.scale_set} changed since it was read; observe it again")
        if self.refusal is not None:
            raise CapacityError(self.refusal, f"no nodes for {group.scale_set}: {self.refusal} (on demand)")
        for _ in range(capacity - found.capacity):
            instance_id = str(next(found.numbers))
            delay, fails = self.begin_boot(group.scale_set, instance_id)
            found.machines.append(_Machine(instance_id, self._clock.now() + delay, fails))
        found.capacity = capacity
        found.version += 1

    def begin_boot(self, scale_set: str, instance_id: str) -> tuple[timedelta, bool]:  # noqa: ARG002  all boot alike
        """Say how long a machine that is made boots, and whether it then fails."""
        fails, self.failing_boots = self.failing_boots > 0, max(0, self.failing_boots - 1)
        return self.boot_delay, fails

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Delete exactly these instances; the capacity falls with those that are there."""
        if group.scale_set in self._sets:
            self._delete(self._sets[group.scale_set], instance_ids, self._delete_delay)

    def delete_group(self, group: NodeGroup) -> None:
        """Delete an empty set."""
        if group.scale_set in self._sets and self.instances(group.scale_set):
            raise ConflictError(f"the scale set {group.scale_set} still has instances; remove them first")
        self._sets.pop(group.scale_set, None)

    def _set(self, group: NodeGroup) -> _Set:
        if group.scale_set not in self._sets:
            raise NotFoundError(f"there is no scale set {group.scale_set}; run `millpond up` again")
        return self._sets[group.scale_set]

    def _delete(self, found: _Set, instance_ids: tuple[str, ...], delay: timedelta) -> None:
        doomed = [m for m in found.machines if m.instance_id in instance_ids and m.gone_at is None]
        for machine in doomed:
            machine.gone_at = self._clock.now() + delay
        found.capacity -= len(doomed)
        found.version += bool(doomed)

    def _gone(self, machine: _Machine) -> bool:
        return machine.gone_at is not None and machine.gone_at <= self._clock.now()

    def _instance(self, scale_set: str, machine: _Machine) -> Instance:
        booted = machine.running_at <= self._clock.now()
        if machine.gone_at is not None:
            state = InstanceState.DELETING
        elif not booted:
            state = InstanceState.CREATING
        else:
            state = InstanceState.FAILED if machine.fails else InstanceState.RUNNING
        error = "the boot failed (on demand)" if state is InstanceState.FAILED else ""
        return Instance(machine.instance_id, f"{scale_set}_{machine.instance_id}", state, error)


@dataclass(slots=True)
class LeaderRecord:
    """What several `MemoryLease`s compete for: the leader blob."""

    store_id: str | None = None
    holder: object | None = None
    expires_at: datetime | None = None


class MemoryLease:
    """`LeaderLease` over a shared record; a holder that does not renew loses it after `duration`."""

    def __init__(self, clock: ManualClock, record: LeaderRecord, duration: timedelta = timedelta(seconds=30)) -> None:
        self._clock = clock
        self._record = record
        self._duration = duration
        self._held = False

    def hold(self, store_id: str) -> bool:
        """Acquire or renew, and say whether this one leads now; a lease that was lost says no once."""
        record, now = self._record, self._clock.now()
        if self._held and record.holder is not self:
            self._held = False
            return False
        if record.store_id not in {None, store_id}:
            raise ConflictError(
                f"this deployment belongs to the store {record.store_id}, not {store_id}; start the scheduler with it"
            )
        record.store_id = store_id
        free = record.expires_at is None or record.expires_at <= now
        if not free and record.holder is not self:
            return False
        record.holder, record.expires_at, self._held = self, now + self._duration, True
        return True

    def release(self) -> None:
        """Give the lease up, if held."""
        self._held = False
        if self._record.holder is self:
            self._record.holder, self._record.expires_at = None, None
