"""The jobs of one pool while a replay runs: those that wait, those that run, and what they tell a policy."""

from collections import deque

from scheduler.simulator.backfill import easy
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Dispatch, Pool


class JobQueue:
    """The waiting and running jobs of one pool."""

    def __init__(self, pool: Pool, workload: Workload, *, known_runs: bool, number: int = 0) -> None:
        self.number = number
        self.spread = pool.spread
        self.batched = pool.dispatch is Dispatch.EASY
        self.touched = False
        self.most_waiting = pool.most_waiting
        self.waiting: deque[int] = deque()
        self.waiting_slots = 0
        self.running = 0
        self.running_slots = 0
        self._slots = workload.slots
        self._estimate = tuple(
            run if believed is None else believed
            for run, believed in zip(workload.run, workload.estimate or workload.run, strict=True)
        )
        self._submit = workload.submit
        self._known_runs = known_runs
        self._backlog = 0.0
        # Expected ends of running jobs, kept only where the order of starting needs them.
        self._ends: dict[int, tuple[float, int]] = {}
        # Since the policy was last asked.
        self.arrived = 0
        self.finished: list[float] = []

    @property
    def backlog_seconds(self) -> float | None:
        """Slot-seconds of the jobs that wait, where they are known."""
        return max(0.0, self._backlog) if self._known_runs else None

    def arrive(self, job: int) -> None:
        """Have a job wait."""
        self.arrived += 1
        self.waiting.append(job)
        slots = self._slots[job]
        self.waiting_slots += slots
        if self._known_runs:
            self._backlog += slots * self._estimate[job]

    def turn_away(self) -> int:
        """Have the last waiting job give up, and give it."""
        job = self.waiting.pop()
        self.waiting_slots -= self._slots[job]
        if self._known_runs:
            self._backlog -= self._slots[job] * self._estimate[job]
        return job

    def pop(self) -> int:
        """Give the first waiting job; `begin` it next."""
        return self.waiting.popleft()

    def remove(self, job: int) -> None:
        """Take a waiting job out of the queue; `begin` it next."""
        self.waiting.remove(job)

    def begin(self, job: int, now: float) -> None:
        """Have a job that was taken out run."""
        slots = self._slots[job]
        self.waiting_slots -= slots
        self.running += 1
        self.running_slots += slots
        if self._known_runs:
            self._backlog -= slots * self._estimate[job]
        if self.batched:
            self._ends[job] = (now + self._estimate[job], slots)

    def finish(self, job: int, run: float) -> None:
        """Have a job end."""
        self.running -= 1
        self.running_slots -= self._slots[job]
        self.finished.append(run)
        if self.batched:
            del self._ends[job]

    def give_back(self, job: int) -> None:
        """Have a running job wait again, before all others."""
        slots = self._slots[job]
        self.running -= 1
        self.running_slots -= slots
        self.waiting.appendleft(job)
        self.waiting_slots += slots
        if self._known_runs:
            self._backlog += slots * self._estimate[job]
        if self.batched:
            del self._ends[job]

    def backfill(self, now: float, free: int) -> list[int]:
        """Say which waiting jobs start now by EASY backfilling."""
        if not self.waiting or free == 0:
            return []
        waiting = [(job, self._slots[job], self._estimate[job]) for job in self.waiting]
        return easy(now, free, self._ends.values(), waiting)

    def forget(self) -> None:
        """Begin to count anew: the policy has been asked."""
        self.arrived = 0
        if self.finished:
            self.finished = []
