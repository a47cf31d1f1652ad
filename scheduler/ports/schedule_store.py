"""Where job schedules and their runs are kept.

Methods that take an `epoch` are the leader's and fenced by it; the others are users' commands and views. Those that
name a schedule raise `NotFoundError` when it is not there.
"""

from datetime import datetime
from typing import Protocol

from scheduler.job_schedule import JobSchedule, NewJobSchedule, ScheduleRun
from scheduler.recurrence.due import Complete, PassOver, Standing, Start


class ScheduleStore(Protocol):
    """Schedules, and what became of their occurrences."""

    def create(self, new: NewJobSchedule, now: datetime, *, replace: bool = False) -> JobSchedule:
        """Keep a schedule; asked for again, it is the same one. With `replace` it takes the place of one with its id.

        Then times count from now, the runs stay, and one that is disabled stays so. Raises `ConflictError` if another
        has its id, `InvalidRequestError` with every finding about its steps.
        """
        ...

    def schedule(self, schedule_id: str, now: datetime) -> JobSchedule:
        """Give a schedule."""
        ...

    def schedules(self, now: datetime) -> tuple[JobSchedule, ...]:
        """Give all schedules by id."""
        ...

    def runs(self, schedule_id: str, limit: int) -> tuple[ScheduleRun, ...]:
        """Give what became of the newest occurrences, newest first."""
        ...

    def disable(self, schedule_id: str) -> None:
        """Have an active schedule make no more jobs; repeating is harmless, `ConflictError` for one that has ended."""
        ...

    def enable(self, schedule_id: str, now: datetime) -> None:
        """Have a disabled schedule make jobs again, from now on: occurrences meanwhile are not made up for."""
        ...

    def run(self, schedule_id: str, key: str, occurrence: datetime, now: datetime) -> ScheduleRun:
        """Make a job now, as if that occurrence had come; the same key again gives the same run.

        `ConflictError` when the schedule has ended, or a job has not ended and its rule for that is to wait or to skip.
        """
        ...

    def terminate(self, schedule_id: str, now: datetime) -> None:
        """Make no more jobs, and cancel those that have not ended; repeating is harmless."""
        ...

    def begin_delete(self, schedule_id: str, now: datetime, *, keep_jobs: bool) -> None:
        """Terminate, and have the schedule removed, with its jobs or without; repeating is harmless."""
        ...

    def due(self, now: datetime) -> tuple[Standing, ...]:
        """Give the active schedules of which an occurrence has come, or none is left, those that came first first."""
        ...

    def start(self, epoch: int, seen: Standing, start: Start, now: datetime) -> str:
        """Make the job of an occurrence and move on, in one transaction; give the job's id.

        `PreconditionError` when the schedule no longer stands as it was seen.
        """
        ...

    def pass_over(self, epoch: int, seen: Standing, passed: PassOver, now: datetime) -> None:
        """Keep that occurrences came to nothing, and move on; `PreconditionError` as above."""
        ...

    def complete(self, epoch: int, seen: Standing, end: Complete, now: datetime) -> None:
        """Keep that the schedule has no more to do; `PreconditionError` as above."""
        ...

    def settle(self, epoch: int, now: datetime) -> None:
        """Close the runs whose jobs have ended, and end or remove the schedules that waited for no more than that."""
        ...
