"""What is seen from outside of a scheduler that runs in memory: its decision, what is news, and its defects."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from node_bootstrap.protocol import CONTROL, NODES, NodeStatus, decode
from scheduler.adapters.memory import ManualClock, MemoryBlobs, MemoryQueues
from scheduler.autoscale.inputs import Inputs, decide_on
from scheduler.autoscale.plan import GroupFleet, Hold, Plan
from scheduler.model import NodePhase


class Watch:
    """The decision, with its newest inputs kept, so that it can be asked what it would say later."""

    def __init__(self) -> None:
        self._inputs: Inputs | None = None
        self.asked = 0

    def __call__(self, inputs: Inputs) -> Plan:
        """Decide."""
        self._inputs = inputs
        self.asked += 1
        return decide_on(inputs)

    @property
    def rests(self) -> bool:
        """Whether the decision has nothing that time alone could bring, if it has nothing to do now."""
        return self._inputs is not None and rests(self._inputs)

    def would_act(self, now: datetime) -> bool:
        """Whether at that time, with all else as it was, anything would be done."""
        if self._inputs is None:
            return True
        plan = decide_on(replace(self._inputs, now=now))
        return not all(isinstance(action, Hold) for action in plan.actions)


def rests(inputs: Inputs) -> bool:
    """Whether no task waits or is foreseen, every node works, and no rule looks at the clock."""
    return (
        all(demand is not None and not demand.active_tasks and not demand.foreseen for demand in inputs.demand.values())
        and all(_at_work(fleet) for fleet in inputs.fleet)
        and not any(each.refused_at or each.failed_boot_at for _, each in inputs.history)
        and not any(each.floors or each.anticipate or each.max_step_out_per_minute for each in inputs.policies.values())
    )


def _at_work(fleet: GroupFleet) -> bool:
    """Whether a group has what was ordered, and each of its nodes a task."""
    there = [node for node in fleet.nodes if node.phase is not NodePhase.GONE]
    return (
        fleet.unknown is None
        and fleet.error is None
        and fleet.capacity == len(there)
        and all(node.phase is NodePhase.WORKING and node.idle_since is None for node in there)
    )


class CountedBlobs(MemoryBlobs):
    """Blobs that count what is news: all that is written but a status that says what it said before."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.changes = 0
        self.controlled: set[str] = set()

    def repeat(self, container: str, name: str, at: datetime) -> None:
        """Have a blob written again as it is, at a time that may be past."""
        blobs = self._blobs(container)
        entry = replace(blobs[name].entry, last_modified=at, etag=f'"{next(self._versions)}"')
        blobs[name] = replace(blobs[name], entry=entry)

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a blob."""
        if container == NODES:
            self.changes += self._is_news(container, name, data)
        else:
            self.changes += container == CONTROL
            if container == CONTROL:
                self.controlled.add(name)
        super().write(container, name, data)

    def _is_news(self, container: str, name: str, data: bytes) -> bool:
        (before,) = self.read_all(container, [name])
        return before is None or (before != data and decode(NodeStatus, before) != decode(NodeStatus, data))


class CountedQueues(MemoryQueues):
    """Queues that count what is sent."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.changes = 0
        self.sent_to: set[str] = set()

    def next_visible(self, queue: str) -> datetime | None:
        """Give when a message of a queue can be received, which may be past; None when there is none."""
        return min((stored.visible_at for stored in self._messages(queue).values()), default=None)

    def send(self, queue: str, body: str, delay: timedelta = timedelta(0)) -> None:
        """Put a message on a queue."""
        super().send(queue, body, delay)
        self.changes += 1
        self.sent_to.add(queue)


class _Defects(logging.Handler):
    """What the controller survives but should not meet: it logs defects as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.found.append(self.format(record))


@contextmanager
def log_apart() -> Iterator[None]:
    """Keep what a simulated scheduler says out of the log, and raise where it met a defect."""
    logger, defects = logging.getLogger("scheduler.controller"), _Defects()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(defects)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(defects)
        logger.setLevel(level)
        logger.propagate = propagate
    if defects.found:
        raise RuntimeError(f"the simulated scheduler failed: {defects.found[0]}")
