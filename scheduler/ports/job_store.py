"""Where users' jobs are kept. No method needs an epoch: these are users' commands and views."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from node_bootstrap.protocol import FileRef
from scheduler.model import Application, Job, NewJob, OutputFile, Step, Task, TaskCounts, TaskResult, TaskState


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

    def requeue_job(self, job_id: str, task_ids: Sequence[int] | None, now: datetime) -> Job:
        """Run completed tasks again, those named or all that did not succeed, in one transaction.

        Each gets a new attempt floor, so that no older run can be committed, and fresh budgets. Raises
        `ConflictError` when the job is a draft, terminating or deleting, or a named task is not completed, and
        `NotFoundError` with all the tasks that are not there; nothing is written then.
        """
        ...

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Change the priority; `ConflictError` when the job is completed or being deleted."""
        ...

    def begin_delete(self, job_id: str) -> None:
        """Keep the intent to delete a completed job; repeating is harmless, `ConflictError` for one not ended."""
        ...

    def jobs(self, before: str | None, limit: int) -> tuple[Job, ...]:
        """Give at most `limit` jobs, newest first; with `before`, only those older than that job."""
        ...

    def task(self, job_id: str, task_id: int) -> Task:
        """Give a task."""
        ...

    def tasks(
        self, job_id: str, after: int, limit: int, state: TaskState | None = None, result: TaskResult | None = None
    ) -> tuple[Task, ...]:
        """Give at most `limit` tasks with an id above `after`, in order of id, of this state and result if given."""
        ...

    def outputs(self, job_id: str, task_id: int | None) -> tuple[OutputFile, ...]:
        """Give the files of the committed runs of a job or of one task; failed tasks' logs are among them."""
        ...

    def put_application(self, name: str, version: str, file: FileRef, now: datetime, *, default: bool) -> Application:
        """Record a version of an application; `ConflictError` when it is there with another content."""
        ...

    def applications(self) -> tuple[Application, ...]:
        """Give every version of every application, by name, the newest first."""
        ...

    def delete_application(self, name: str, version: str, now: datetime) -> None:
        """Remove a version; its file is garbage once no job names it. `NotFoundError`."""
        ...

    def counts(self, pool: str) -> TaskCounts:
        """Count the tasks of all armed jobs of a pool."""
        ...
