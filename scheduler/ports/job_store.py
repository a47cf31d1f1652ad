"""Where users' jobs are kept. No method needs an epoch: these are users' commands and views."""

from datetime import datetime
from typing import Protocol

from scheduler.model import Job, NewJob, OutputFile, Step, Task, TaskCounts


class JobStore(Protocol):
    """Jobs and tasks as users make and see them. Methods that name a job raise `NotFoundError` when it is not there."""

    def create_job(self, new: NewJob, now: datetime) -> Job:
        """Open a draft, or give the one with this idempotency key; `ConflictError` if that one differs."""
        ...

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Add a numbered chunk; the same chunk again changes nothing.

        Raises `ConflictError` when that number holds other steps or the job is no draft.
        """
        ...

    def arm_job(self, job_id: str, task_count: int, now: datetime) -> Job:
        """Make the draft's tasks and start them, in one transaction. Repeating is harmless.

        Raises `ConflictError` when the tasks do not number `task_count`, `InvalidRequestError` with every finding.
        """
        ...

    def cancel_job(self, job_id: str, now: datetime) -> Job:
        """Cancel: what does not run is completed as cancelled at once, what runs when its end is known."""
        ...

    def job(self, job_id: str) -> Job:
        """Give a job."""
        ...

    def jobs(self) -> tuple[Job, ...]:
        """Give every job, newest first."""
        ...

    def tasks(self, job_id: str, after: int, limit: int) -> tuple[Task, ...]:
        """Give at most `limit` tasks with an id above `after`, in order of id."""
        ...

    def outputs(self, job_id: str, task_id: int | None) -> tuple[OutputFile, ...]:
        """Give the files of the committed runs of a job or of one task; failed tasks' logs are among them."""
        ...

    def counts(self, pool: str) -> TaskCounts:
        """Count the tasks of all armed jobs of a pool."""
        ...
