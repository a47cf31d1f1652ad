"""Jobs to be replayed: when each comes, how long it runs, how many slots it needs, and what it waits for."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """One job: a task of the real system.

    after     numbers of the jobs that must have finished first
    estimate  run time that is known, or believed, beforehand
    recorded_wait  how long it waited where it was recorded
    pool      whose nodes it runs on; the first pool where it is empty
    """

    submit: float
    run: float
    slots: int = 1
    after: tuple[int, ...] = ()
    estimate: float | None = None
    recorded_wait: float | None = None
    pool: str = ""
    work: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs in order of submission, column by column. Time begins with the first of them.

    `estimate`, `recorded_wait`, `after`, `pool` and `work` are empty where no job has any. `begins_at` is the instant
    of the first submission, where it is known.
    """

    name: str
    submit: tuple[float, ...]
    run: tuple[float, ...]
    slots: tuple[int, ...]
    estimate: tuple[float | None, ...] = ()
    recorded_wait: tuple[float | None, ...] = ()
    after: tuple[tuple[int, ...], ...] = ()
    pool: tuple[str, ...] = ()
    work: tuple[str, ...] = ()
    begins_at: datetime | None = None

    def __len__(self) -> int:
        return len(self.submit)

    @property
    def sum_run(self) -> float:
        """Slot-seconds of all jobs."""
        return math.fsum(run * slots for run, slots in zip(self.run, self.slots, strict=True))

    @property
    def span(self) -> float:
        """Seconds from the first to the last submission."""
        return self.submit[-1] if self.submit else 0.0

    def single_slots(self) -> "Workload":
        """Give the same jobs with one slot each."""
        return replace(self, slots=(1,) * len(self))

    def clairvoyant(self) -> "Workload":
        """Give the same jobs with their true run times as estimates."""
        return replace(self, estimate=())


def workload_of(name: str, jobs: Iterable[SimulatedJob], zero: datetime | None = None) -> Workload:
    """Check jobs, sort them by submission (as given where equal) and let time begin with the first.

    `zero` is the instant that submissions are counted from, where that is known.
    Numbers in `after` are positions in the order given. `InvalidRequestError` names the job that is wrong.
    """
    given = list(jobs)
    for number, job in enumerate(given):
        _check(number, job, len(given))
    order = sorted(range(len(given)), key=lambda number: given[number].submit)
    place = {number: position for position, number in enumerate(order)}
    ordered = [given[number] for number in order]
    first = ordered[0].submit if ordered else 0.0
    _check_acyclic([job.after for job in given])
    return Workload(
        name=name,
        submit=tuple(job.submit - first for job in ordered),
        run=tuple(float(job.run) for job in ordered),
        slots=tuple(job.slots for job in ordered),
        estimate=tuple(job.estimate for job in ordered) if any(job.estimate is not None for job in ordered) else (),
        recorded_wait=(
            tuple(job.recorded_wait for job in ordered) if any(job.recorded_wait is not None for job in ordered) else ()
        ),
        after=(
            tuple(tuple(sorted({place[number] for number in job.after})) for job in ordered)
            if any(job.after for job in ordered)
            else ()
        ),
        pool=tuple(job.pool for job in ordered) if any(job.pool for job in ordered) else (),
        work=tuple(job.work for job in ordered) if any(job.work for job in ordered) else (),
        begins_at=None if zero is None else zero + timedelta(seconds=first),
    )


def _check(number: int, job: SimulatedJob, count: int) -> None:
    if not math.isfinite(job.submit):
        raise InvalidRequestError(f"job {number}: its submission {job.submit} is not a time")
    if not (math.isfinite(job.run) and job.run > 0):
        raise InvalidRequestError(f"job {number}: it must run for longer than zero seconds, not {job.run}")
    if job.slots < 1:
        raise InvalidRequestError(f"job {number}: it needs at least one slot, not {job.slots}")
    wrong = [other for other in job.after if not 0 <= other < count or other == number]
    if wrong:
        raise InvalidRequestError(f"job {number}: there is no other job {wrong[0]} that it could wait for")


def followers_of(after: Sequence[tuple[int, ...]]) -> dict[int, list[int]]:
    """Give, of each job that others wait for, these others, in order."""
    followers: dict[int, list[int]] = {}
    for job, others in enumerate(after):
        for other in others:
            followers.setdefault(other, []).append(job)
    return followers


def _check_acyclic(after: list[tuple[int, ...]]) -> None:
    """Refuse jobs that wait for each other in a circle (Kahn 1962)."""
    if not any(after):
        return
    blockers = [len(set(others)) for others in after]
    followers = followers_of([tuple(set(others)) for others in after])
    free = [job for job, count in enumerate(blockers) if count == 0]
    done = 0
    while free:
        done += 1
        for follower in followers.get(free.pop(), ()):
            blockers[follower] -= 1
            if blockers[follower] == 0:
                free.append(follower)
    if done < len(after):
        stuck = next(job for job, count in enumerate(blockers) if count)
        raise InvalidRequestError(f"job {stuck} waits, through others, for itself")
