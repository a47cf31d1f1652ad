"""What a replay left behind."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from scheduler.simulator.nodes import GroupTotals
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World


@dataclass(slots=True)
class Series:
    """A pool's history as steps: from `at` on the numbers beside it hold, until the next `at`.

    waiting, running   slots that waiting jobs need and that running jobs have
    up                 slots of nodes that take jobs, or whose last jobs run
    alive              slots of all nodes that are paid for, booting ones included
    """

    at: "array[float]" = field(default_factory=lambda: array("d"))
    waiting: "array[int]" = field(default_factory=lambda: array("q"))
    running: "array[int]" = field(default_factory=lambda: array("q"))
    up: "array[int]" = field(default_factory=lambda: array("q"))
    alive: "array[int]" = field(default_factory=lambda: array("q"))

    def note(self, now: float, waiting: int, running: int, up: int, alive: int) -> None:
        """Add a step; of several at one instant the last holds."""
        if self.at and self.at[-1] == now:
            self.waiting[-1], self.running[-1], self.up[-1], self.alive[-1] = waiting, running, up, alive
            return
        self.at.append(now)
        self.waiting.append(waiting)
        self.running.append(running)
        self.up.append(up)
        self.alive.append(alive)


def added_up(pools: Sequence[Series]) -> Series:
    """Add the histories of pools up, slot by slot."""
    if len(pools) == 1:
        return pools[0]
    whole, now = Series(), [(0, 0, 0, 0)] * len(pools)
    steps = sorted((at, pool, step) for pool, series in enumerate(pools) for step, at in enumerate(series.at))
    for at, pool, step in steps:
        series = pools[pool]
        now[pool] = (series.waiting[step], series.running[step], series.up[step], series.alive[step])
        waiting, running, up, alive = (sum(column) for column in zip(*now, strict=True))
        whole.note(at, waiting, running, up, alive)
    return whole


@dataclass(frozen=True, slots=True)
class Run:
    """A replay, job by job and group by group. Times are seconds since the first submission.

    ready, start, end   of each job: when it could have started, when it first did, when it had finished; NaN where it
                        never came to it
    turned_away         jobs that found too many others waiting
    questions           how often the policy was asked
    """

    workload: Workload
    world: World
    policy: str
    seed: int
    ready: "array[float]"
    start: "array[float]"
    end: "array[float]"
    groups: tuple[GroupTotals, ...]
    series: tuple[Series, ...]
    ended: float
    last_finish: float
    turned_away: int
    questions: int

    @property
    def unfinished(self) -> int:
        """Jobs that never finished."""
        return sum(end != end for end in self.end)  # noqa: PLR0124  NaN differs from itself

    @property
    def node_seconds(self) -> float:
        """Node-seconds of all groups, paid for from request to stop."""
        return sum(group.node_seconds for group in self.groups)

    @property
    def lost_slot_seconds(self) -> float:
        """Run time that was lost with nodes that were taken away."""
        return math.fsum(group.lost_slot_seconds for group in self.groups)

    @property
    def restarts(self) -> int:
        """How often a job began again."""
        return sum(group.restarts for group in self.groups)

    @property
    def waits(self) -> list[float]:
        """How long each job that started had waited."""
        return [start - ready for ready, start in zip(self.ready, self.start, strict=True) if start == start]  # noqa: PLR0124
