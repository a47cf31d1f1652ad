"""What a schedule is to do now: a pure decision with its reason.

Of all occurrences that have come, only the newest may still become a job: a scheduler that was away for days makes one
job of a schedule and not one for each day.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.durations import write_duration
from scheduler.job_schedule import LEAST_WINDOW, Overlap, RunState, Schedule
from scheduler.recurrence.occurrences import MOST_COUNTED, count_between, following, newest


@dataclass(frozen=True, slots=True)
class Standing:
    """An active schedule as it stands: all occurrences up to `settled_until` are dealt with.

    `open_jobs` are jobs of it that have not ended.
    """

    schedule_id: str
    schedule: Schedule
    pool: str
    created_at: datetime
    settled_until: datetime
    open_jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Make the job of an occurrence, after cancelling others; `missed` older occurrences come to nothing."""

    occurrence: datetime
    missed: int
    cancels: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class PassOver:
    """Make no job of an occurrence, nor of those before it: `count` in all."""

    occurrence: datetime
    state: RunState
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Complete:
    """The schedule has no more to do."""

    reason: str


Due = Start | PassOver | Wait | Complete


def due(standing: Standing, now: datetime, *, pool_is_known: bool = True) -> Due:
    """Decide what an active schedule does now."""
    schedule, created, settled = standing.schedule, standing.created_at, standing.settled_until
    found = newest(schedule, created, settled, now)
    if found is None:
        return _nothing_due(standing)
    older = count_between(schedule, created, settled, found)
    late = now - found
    too_late = _too_late(schedule, found, now)
    if too_late is not None:
        held = f": {_names(standing.open_jobs)} had not ended" if standing.open_jobs else ""
        return PassOver(found, RunState.MISSED, older + 1, f"no job was made {too_late}{held}")
    if not pool_is_known:
        return Wait(f"there is no pool {standing.pool!r}; the job is made once there is, within its start window")
    if standing.open_jobs and schedule.overlap is Overlap.SKIP:
        return PassOver(found, RunState.SKIPPED, older + 1, f"{_names(standing.open_jobs)} had not ended")
    if standing.open_jobs and schedule.overlap is Overlap.WAIT:
        return Wait(f"{_names(standing.open_jobs)} has not ended; the job is made when it has")
    cancels = standing.open_jobs if schedule.overlap is Overlap.REPLACE else ()
    return Start(found, older, cancels, _started(late, older, cancels))


def may_run_now(overlap: Overlap, open_jobs: tuple[str, ...]) -> str | None:
    """Say what keeps a job from being made by hand; None when nothing does."""
    if not open_jobs or overlap in {Overlap.ALLOW, Overlap.REPLACE}:
        return None
    return f"{_names(open_jobs)} of it has not ended; cancel it first, or submit the job by itself"


def _nothing_due(standing: Standing) -> Due:
    coming = following(standing.schedule, standing.created_at, standing.settled_until)
    if coming is not None:
        return Wait(f"the next job is made at {coming.isoformat()}")
    if standing.open_jobs:
        return Wait(f"no more jobs are to be made; {_names(standing.open_jobs)} has not ended")
    return Complete("no more jobs are to be made, and all have ended")


def _started(late: timedelta, older: int, cancels: tuple[str, ...]) -> str:
    parts = []
    if late >= timedelta(minutes=1):
        parts.append(f"made {write_duration(late)} late")
    if older:
        least = "at least " if older >= MOST_COUNTED else ""
        parts.append(f"{least}{older} older occurrence{'' if older == 1 else 's'} came to nothing")
    if cancels:
        parts.append(f"in place of {_names(cancels)}")
    return "; ".join(parts)


def _too_late(schedule: Schedule, occurrence: datetime, now: datetime) -> str | None:
    """Say by when the job of an occurrence was to be made; None while it may be.

    An occurrence at the very end gets the least start window to be seen in.
    """
    after, window = schedule.do_not_run_after, schedule.start_window
    if after is not None and now - after > LEAST_WINDOW:
        return f"by do_not_run_after, {after.isoformat()}"
    if window is not None and now - occurrence > window:
        return f"within the start window of {write_duration(window)}"
    return None


def _names(jobs: tuple[str, ...]) -> str:
    return f"job {jobs[0]}" if len(jobs) == 1 else f"job {jobs[0]} and {len(jobs) - 1} more"
