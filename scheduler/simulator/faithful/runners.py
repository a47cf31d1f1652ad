"""The nodes that are up: when their runners tick, and which of their ticks are left out.

A node whose looks would find nothing new sleeps until it is told something, one of its processes ends, or something
else is due of it. It then knows all that it would know, had it ticked; so do those that read its status.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import MAXYEAR, timedelta

from node_bootstrap.protocol import CONTROL, NODES, control_blob, status_blob
from scheduler.adapters.memory import ManualClock
from scheduler.simulator.clock import ANY_TIME
from scheduler.simulator.faithful.cloud import CloudGroup
from scheduler.simulator.faithful.looking_on import CountedBlobs, CountedQueues
from scheduler.simulator.faithful.node import Programs, SimulatedNode, SoundLink
from scheduler.simulator.faithful.quiet import TICK, Ticks

EPOCH = ANY_TIME.instant(0.0)


@dataclass(slots=True)
class _Up:
    """A machine that is up. `number`: they tick in this order. `running`: the workload's jobs, and when they began."""

    group: CloudGroup
    node: SimulatedNode
    number: int
    ticks: Ticks
    running: dict[int, float] = field(default_factory=dict)


class Runners:
    """Steps the nodes. `tick_later` has one, by number, tick at a time; `later` has something happen before ticks."""

    def __init__(
        self,
        clock: ManualClock,
        queues: CountedQueues,
        blobs: CountedBlobs,
        programs: Programs,
        tick_later: Callable[[float, int, Callable[[], None]], None],
        later: Callable[[float, Callable[[], None]], None],
        *,
        sleep: bool,
    ) -> None:
        self._clock = clock
        self._queues = queues
        self._blobs = blobs
        self._programs = programs
        self._tick_later = tick_later
        self._later = later
        self._sleep = sleep
        self._nodes: dict[str, _Up] = {}
        self._count = 0
        self._stepped: _Up | None = None

    @property
    def _present(self) -> _Up:
        if self._stepped is None:
            raise RuntimeError("no node has been stepped yet")
        return self._stepped

    @property
    def running(self) -> dict[int, float]:
        """The workload's jobs that run on the node that is being stepped, with when they began there."""
        return self._present.running

    @property
    def group(self) -> CloudGroup:
        """The group of the node that is being stepped."""
        return self._present.group

    def boot(self, group: CloudGroup, name: str, at: float) -> None:
        """Have a machine's runner begin."""
        link = SoundLink(self._queues, self._blobs)
        node = SimulatedNode(name, group.node_group.queue, group.spec.slots, link, self._programs, self._clock.now())
        up = self._nodes[name] = _Up(group, node, self._count, Ticks(round(at, 6)))
        self._count += 1
        self._advance(up)
        self._plan_tick(up, up.ticks.first + TICK.total_seconds())

    def end(self, name: str) -> list[tuple[int, float]]:
        """End a machine's runner and its processes, and give the jobs that ran, with when they began."""
        up = self._nodes.pop(name, None)
        if up is None:
            return []
        up.node.kill()
        return sorted(up.running.items())

    def catch_up(self) -> None:
        """Have every status be what it would be, had all nodes ticked up to now."""
        for up in self._nodes.values():
            if up.ticks.asleep:
                self._pass_over(up)

    def hear_news(self, at: float) -> None:
        """Wake the nodes that the controller wrote to, or to whose queue it sent something."""
        controlled, sent_to = self._blobs.controlled, self._queues.sent_to
        for up in self._nodes.values():
            if up.ticks.asleep and (
                control_blob(up.node.node_id) in controlled or (up.node.polls and up.group.node_group.queue in sent_to)
            ):
                self._rouse(up)
                self._plan_tick(up, at)
        controlled.clear()
        sent_to.clear()

    def _plan_tick(self, up: _Up, at: float) -> None:
        """Have a node tick at the first of its ticks from a time on."""
        up.ticks.token += 1
        token, tick_at = up.ticks.token, up.ticks.at_or_after(at)
        self._tick_later(tick_at, up.number, lambda: self._tick(up, token, tick_at))

    def _is_there(self, up: _Up) -> bool:
        return up.node.alive and self._nodes.get(up.node.node_id) is up

    def _tick(self, up: _Up, token: int, at: float) -> None:
        if token != up.ticks.token or not self._is_there(up):
            return
        self._rouse(up)
        self._advance(up)
        quiet_until = self._quiet_until(up) if self._sleep and up.node.alive else None
        up.ticks.asleep = quiet_until is not None
        if quiet_until is None or quiet_until < math.inf:
            self._plan_tick(up, max(at + TICK.total_seconds(), quiet_until or 0.0))

    def _wake(self, up: _Up, at: float) -> None:
        """Step a node of which a process ends."""
        if self._is_there(up):
            slept = self._rouse(up)
            self._advance(up)
            if slept:
                self._plan_tick(up, at)

    def _quiet_until(self, up: _Up) -> float | None:
        """Give until when a node finds nothing new, unless it is told; None when it may do so at its next tick."""
        node, now = up.node, self._clock.now()
        until = node.quiet_until(now)
        (control,) = self._blobs.read_all(CONTROL, [control_blob(node.node_id)])
        if until is None or control != node.control:
            return None
        if node.polls:
            visible_at = self._queues.next_visible(up.group.node_group.queue)
            until = until if visible_at is None else min(until, visible_at)
        if until <= now:
            return None
        return math.inf if until.year == MAXYEAR else (until - EPOCH).total_seconds()

    def _rouse(self, up: _Up) -> bool:
        """Have a node that sleeps know what it would know, had it ticked up to now; say whether it slept."""
        slept, up.ticks.asleep = up.ticks.asleep, False
        if slept:
            self._pass_over(up)
        return slept

    def _pass_over(self, up: _Up) -> None:
        first = EPOCH + timedelta(seconds=up.ticks.first)
        repeated_at = up.node.pass_over(first, self._clock.now())
        if repeated_at is not None:
            self._blobs.repeat(NODES, status_blob(up.node.node_id), repeated_at)

    def _advance(self, up: _Up) -> None:
        self._stepped = up
        before = up.node.next_end()
        up.node.step(self._clock.now())
        after = up.node.next_end()
        if after is not None and after != before:
            at = (after - EPOCH).total_seconds()
            self._later(at, lambda: self._wake(up, at))
