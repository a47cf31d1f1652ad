"""What becomes of the workload's jobs in a faithful replay."""

import math
from array import array
from collections.abc import Callable, Sequence

from scheduler.simulator.faithful.cloud import CloudGroup
from scheduler.simulator.fitting import pools_of
from scheduler.simulator.nodes import GroupTotals
from scheduler.simulator.run import Run, Series
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World


class Record:
    """When each job was ready, began and ended, and each pool's history in steps."""

    def __init__(self, workload: Workload, world: World, seconds: Callable[[], float]) -> None:
        count = len(workload)
        self._workload = workload
        self._world = world
        self._seconds = seconds
        self._pool_of = pools_of(workload, world)
        self.ready, self.start, self.end = (array("d", [math.nan]) * count for _ in range(3))
        # Nodes that a job runs on: another may begin it before one that is evicted is seen to be gone.
        self._copies = [0] * count
        self.series = [Series() for _ in world.pools]
        self._waiting = [0] * len(world.pools)
        self._running = [0] * len(world.pools)
        self.remaining = count
        self.last_finish = 0.0
        self.moved_at = 0.0

    @property
    def waits(self) -> bool:
        """Whether any job waits."""
        return any(self._waiting)

    def pool(self, job: int) -> int:
        """Give the number of a job's pool."""
        return self._pool_of[job] if self._pool_of else 0

    def arrive(self, job: int) -> None:
        """Have a job wait: it is submitted, and what it waits for is done."""
        self.ready[job] = self.moved_at = self._seconds()
        self._waiting[self.pool(job)] += 1

    def begin(self, job: int) -> None:
        """Have a job run."""
        now = self.moved_at = self._seconds()
        if math.isnan(self.start[job]):
            self.start[job] = now
        self._copies[job] += 1
        if self._copies[job] == 1 and not self.has_ended(job):
            self._move(job, 1)

    def finish(self, job: int) -> None:
        """Have a job end for good."""
        self.end[job] = self.last_finish = self.moved_at = self._seconds()
        self.remaining -= 1
        self._copies[job] -= 1
        self._running[self.pool(job)] -= 1

    def lose(self, job: int, began_at: float, totals: GroupTotals) -> None:
        """Have what a node of this group did of a job since then be in vain; unless another has it, it waits again."""
        totals.lost_slot_seconds += self._seconds() - began_at
        totals.restarts += 1
        self._copies[job] -= 1
        if not self._copies[job] and not self.has_ended(job):
            self._move(job, -1)

    def has_ended(self, job: int) -> bool:
        """Whether a job has ended for good; another node may still run it."""
        return not math.isnan(self.end[job])

    def _move(self, job: int, count: int) -> None:
        self._waiting[self.pool(job)] -= count
        self._running[self.pool(job)] += count

    def note(self, pool: int, groups: Sequence[CloudGroup]) -> None:
        """Keep a step of a pool's history."""
        own = [each for each in groups if each.pool == pool]
        up = sum(each.up * each.spec.slots for each in own)
        alive = sum(len(each.machines) * each.spec.slots for each in own)
        self.series[pool].note(max(0.0, self._seconds()), self._waiting[pool], self._running[pool], up, alive)

    def run(self, policy: str, seed: int, groups: Sequence[CloudGroup], questions: int) -> Run:
        """Give what the replay left behind."""
        return Run(
            workload=self._workload,
            world=self._world,
            policy=policy,
            seed=seed,
            ready=self.ready,
            start=self.start,
            end=self.end,
            groups=tuple(each.totals for each in groups),
            series=tuple(self.series),
            ended=self._seconds(),
            last_finish=self.last_finish,
            turned_away=0,
            questions=questions,
        )
