"""Job schedules: jobs that are made at set times, in Azure Batch's words.

An *occurrence* is a time at which a job is to be made; a *run* says what became of one.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.model import JobResult, Step

# Azure Batch's own least values.
LEAST_INTERVAL = timedelta(minutes=1)
LEAST_WINDOW = timedelta(minutes=1)


class JobScheduleState(StrEnum):
    """An active schedule makes jobs; a disabled one does not until it is enabled again.

    A terminating one waits for its jobs to end, a completed one makes no more. A deleting one is on its way out.
    """

    ACTIVE = "active"
    DISABLED = "disabled"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    DELETING = "deleting"


class Overlap(StrEnum):
    """What becomes of an occurrence while an earlier job of the schedule has not ended.

    WAIT     it waits for that within its start window, and gives way to the next occurrence (Azure Batch's rule)
    SKIP     it is passed over at once
    ALLOW    its job runs beside the other
    REPLACE  the other is cancelled
    """

    WAIT = "wait"
    SKIP = "skip"
    ALLOW = "allow"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When jobs are made: by a cron expression, at an interval, or, with neither, once.

    cron                 five fields, by the clock of `time_zone`
    recurrence_interval  from one occurrence to the next, in elapsed time; the first is at `do_not_run_until`
    do_not_run_until     no job is made before; without it, from the creation of the schedule on
    do_not_run_after     no job is made after
    start_window         how late a job may be made; without it, until the next occurrence
    """

    cron: str | None = None
    time_zone: str = "UTC"
    recurrence_interval: timedelta | None = None
    do_not_run_until: datetime | None = None
    do_not_run_after: datetime | None = None
    start_window: timedelta | None = None
    overlap: Overlap = Overlap.WAIT


@dataclass(frozen=True, slots=True)
class JobSpecification:
    """What each job of a schedule is: that which a client would have sent.

    `${{ schedule.time }}` and the like in commands and environments are put in when a job is made
    (`recurrence.specification`).
    """

    name: str
    pool: str
    steps: tuple[Step, ...]
    priority: int = 0

    @property
    def task_count(self) -> int:
        """How many tasks a job has."""
        return sum(step.definition.task_count for step in self.steps)


@dataclass(frozen=True, slots=True)
class NewJobSchedule:
    """What a client asks for; its id is the client's own, so that asking again makes no second schedule."""

    schedule_id: str
    schedule: Schedule
    job: JobSpecification


class RunState(StrEnum):
    """What became of an occurrence: its job is active or completed, or none was made.

    A skipped one met an earlier job; a missed one could not be made in time.
    """

    ACTIVE = "active"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """What became of an occurrence, or of `count` that came to nothing one after the other (the last of them)."""

    occurrence: datetime
    state: RunState
    at: datetime
    manual: bool = False
    job_id: str | None = None
    result: JobResult | None = None
    ended_at: datetime | None = None
    reason: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class JobSchedule:
    """A schedule as people see it; `next_occurrences` are the nearest ones, none unless it is active."""

    schedule_id: str
    state: JobScheduleState
    schedule: Schedule
    job_name: str
    pool: str
    priority: int
    steps: tuple[str, ...]
    task_count: int
    created_at: datetime
    ended_at: datetime | None
    next_occurrences: tuple[datetime, ...]
    active_jobs: tuple[str, ...]
    last_run: ScheduleRun | None
    reason: str = ""
