"""What can go wrong between the scheduler, the nodes and the cloud, drawn from one seeded generator.

Every port of the scheduler is reached through `Unreliable` or a subclass: a call may not arrive, its answer may be
lost after it took effect, and the process may die just before or just after it. Queues also lose, repeat and delay.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler.adapters.memory import ManualClock, MemoryCapacity, MemoryQueues, QueueMessage
from scheduler.errors import CapacityError, CapacityErrorKind, MillpondError, UnavailableError
from scheduler.model import NodeGroup, ScaleSetView

# A size that is not to be had is not asked for again for half an hour, which would only make runs long.
SOON_MENDED = (CapacityErrorKind.ALLOCATION, CapacityErrorKind.QUOTA)


class Crash(BaseException):
    """The scheduler's process died at this line."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How likely each fault is, at each occasion for it; after `quiet_after` none happens any more.

    crash          the scheduler dies at a port call
    unavailable    a call does not arrive
    answer_lost    a call takes effect and its caller is told that it did not
    lost, repeated, delayed   what queues do to a message that is sent
    lost_events    the same for events on top of it
    refused        the cloud gives no nodes
    failed_boot    a machine never comes up
    killed         a node's processes die at a tick, and the cloud goes on listing it as running
    restarted      a node's processes die at a tick, and its runner is started again
    noticed        a runner is told at a tick that its machine goes; that comes later, or never
    hung           a node's storage cannot be reached for a while, which begins at a tick
    evicted        the cloud takes a machine away at a tick
    slow           what a runner asks for is not done before the next tick (no fault, so it never ends)
    """

    crash: float = 0.0
    unavailable: float = 0.0
    answer_lost: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0
    delayed: float = 0.0
    lost_events: float = 0.0
    refused: float = 0.0
    failed_boot: float = 0.0
    killed: float = 0.0
    restarted: float = 0.0
    noticed: float = 0.0
    hung: float = 0.0
    evicted: float = 0.0
    slow: float = 0.1
    quiet_after: timedelta = timedelta(minutes=6)


class Trace:
    """What happened, in order, as a running hash; two runs of one seed must have the same.

    The last lines are kept for people.
    """

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        """Add a line."""
        text = f"{self._clock.now():%H:%M:%S} {line}"
        self._hash.update(text.encode() + b"\n")
        self.lines.append(text)

    def digest(self) -> str:
        """Give the hash of all lines."""
        return self._hash.hexdigest()


class Faults:
    """Draws faults from the plan and notes each in the trace."""

    def __init__(self, seed: int, plan: FaultPlan, clock: ManualClock, trace: Trace) -> None:
        self.random = random.Random(seed)  # noqa: S311  repeatable on purpose
        self.plan = plan
        self.trace = trace
        self._clock = clock
        self._ends: datetime = clock.now() + plan.quiet_after

    def strike(self, probability: float, what: str) -> bool:
        """Decide whether a fault happens here and now."""
        if probability <= 0 or self._clock.now() >= self._ends:
            return False
        struck = self.random.random() < probability
        if struck:
            self.trace.note(f"FAULT {what}")
        return struck

    def delay(self, longest: timedelta) -> timedelta:
        """Draw a whole number of seconds."""
        return timedelta(seconds=self.random.randint(1, int(longest.total_seconds())))

    def call(self, name: str, act: Callable[[], Any], *, mortal: bool) -> Any:
        """Make a call that may fail on either side of taking effect; the caller may die there if it is mortal."""
        if mortal and self.strike(self.plan.crash, f"crash before {name}"):
            raise Crash(name)
        if self.strike(self.plan.unavailable, f"unavailable {name}"):
            raise UnavailableError(f"{name}: no answer (fault)")
        result = act()
        if mortal and self.strike(self.plan.crash, f"crash after {name}"):
            raise Crash(name)
        if self.strike(self.plan.answer_lost, f"answer lost {name}"):
            raise UnavailableError(f"{name}: the answer was lost (fault)")
        return result


class Unreliable:
    """Any port behind faults."""

    def __init__(self, inner: object, faults: Faults, name: str) -> None:
        self._inner = inner
        self._faults = faults
        self._name = name

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._inner, method)
        if not callable(found):
            return found
        name = f"{self._name}.{method}"

        def call(*args: Any, **options: Any) -> Any:
            return self._faults.call(name, lambda: found(*args, **options), mortal=True)

        return call


class UnreliableQueues(Unreliable):
    """Queues that also lose, repeat and delay what is sent."""

    def __init__(self, inner: MemoryQueues, faults: Faults) -> None:
        super().__init__(inner, faults, "queues")
        self._queues = inner

    def send(self, queue: str, body: str) -> None:
        """Send, perhaps."""
        act = lambda: scatter(self._queues, self._faults, queue, body)  # noqa: E731
        self._faults.call("queues.send", act, mortal=True)

    def send_all(self, queue: str, bodies: Sequence[str]) -> tuple[MillpondError | None, ...]:
        """Send each, perhaps; the process may die between two."""
        return tuple(self._outcome(queue, body) for body in bodies)

    def _outcome(self, queue: str, body: str) -> MillpondError | None:
        try:
            self.send(queue, body)
        except MillpondError as error:
            return error
        return None


def scatter(queues: MemoryQueues, faults: Faults, queue: str, body: str, lost: float = 0.0) -> None:
    """Put a message on a queue as a bad service would."""
    queues.depth(queue)  # an absent queue is told even by a bad service
    if faults.strike(max(faults.plan.lost, lost), f"lost a message of {queue}"):
        return
    copies = 2 if faults.strike(faults.plan.repeated, f"repeated a message of {queue}") else 1
    for _ in range(copies):
        late = faults.strike(faults.plan.delayed, f"delayed a message of {queue}")
        queues.send(queue, body, faults.delay(timedelta(seconds=90)) if late else timedelta(0))


class UnreliableCapacity(Unreliable):
    """Scale sets that also refuse nodes and make machines that never come up. It checks what is asked of them."""

    def __init__(self, inner: MemoryCapacity, faults: Faults, check_removal: Callable[[str], None]) -> None:
        super().__init__(inner, faults, "capacity")
        self._capacity = inner
        self._check_removal = check_removal

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Raise, perhaps."""

        def act() -> None:
            before = self._capacity.observe(group)
            assert before is None or capacity > view.capacity, "a raise asks for less than was read"
            if self._faults.strike(self._faults.plan.refused, "refused nodes"):
                raise CapacityError(self._faults.random.choice(SOON_MENDED), "refused (fault)")
            if self._faults.strike(self._faults.plan.failed_boot, "a boot will fail"):
                self._capacity.failing_boots = 1
            self._capacity.raise_to(group, view, capacity)
            self._faults.trace.note(f"raised {group.scale_set} from {view.capacity} to {capacity}")
            assert before is None or capacity > before.capacity, "a raise lowered the capacity"

        self._faults.call("capacity.raise_to", act, mortal=True)

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Remove, perhaps; the judge looks at each instance that would go."""

        def act() -> None:
            present = {instance.instance_id: instance.node_id for instance in self._capacity.instances(group.scale_set)}
            for instance_id in instance_ids:
                if instance_id in present:
                    self._check_removal(present[instance_id])
            self._capacity.remove(group, instance_ids)
            self._faults.trace.note(f"removed {', '.join(instance_ids)} of {group.scale_set}")

        self._faults.call("capacity.remove", act, mortal=True)


class NodeLink:
    """One node's way to storage: it fails at times, and altogether while the node hangs."""

    def __init__(self, queues: MemoryQueues, blobs: Any, faults: Faults) -> None:
        self._queues = queues
        self._blobs = blobs
        self._faults = faults
        self.hung = False

    def read(self, container: str, name: str) -> bytes:
        """Read a blob."""
        return bytes(self._call("read", lambda: self._blobs.read(container, name)))

    def read_range(self, container: str, name: str, offset: int, length: int) -> bytes:
        """Read part of a blob."""
        return bytes(self._call("read_range", lambda: self._blobs.read_range(container, name, offset, length)))

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a blob."""
        self._call("write", lambda: self._blobs.write(container, name, data))

    def receive(self, queue: str, visibility: timedelta, limit: int) -> tuple[QueueMessage, ...]:
        """Lease messages."""
        return tuple(self._call("receive", lambda: self._queues.receive(queue, visibility, limit)))

    def choose(self, count: int) -> int:
        """Draw which of several things under way is done next."""
        return self._faults.random.randrange(count)

    def is_slow(self) -> bool:
        """Draw whether something is not done before the next tick."""
        return self._faults.random.random() < self._faults.plan.slow

    def update(self, message: QueueMessage, visibility: timedelta) -> QueueMessage:
        """Renew a lease."""
        renewed = self._call("update", lambda: self._queues.update(message, visibility))
        assert isinstance(renewed, QueueMessage)
        return renewed

    def delete(self, message: QueueMessage) -> None:
        """Delete a message."""
        self._call("delete", lambda: self._queues.delete(message))

    def send_event(self, queue: str, body: str) -> None:
        """Send an event, perhaps."""
        lost = self._faults.plan.lost_events
        self._call("send", lambda: scatter(self._queues, self._faults, queue, body, lost))

    def _call(self, name: str, act: Callable[[], Any]) -> Any:
        if self.hung:
            raise UnavailableError(f"node.{name}: the network is gone (fault)")
        return self._faults.call(f"node.{name}", act, mortal=False)
