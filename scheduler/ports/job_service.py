"""What users ask of the scheduler."""

from datetime import datetime
from typing import Protocol

from node_bootstrap.protocol import FileRef
from scheduler.job_schedule import JobSchedule, NewJobSchedule, ScheduleRun
from scheduler.model import (
    Application,
    Decision,
    Job,
    NewJob,
    Node,
    OutputFile,
    PoolView,
    Sample,
    Step,
    StorageAddress,
    Task,
    TaskResult,
    TaskState,
)
from scheduler.views import Explanation, FilePart, KeptDecision, NodeLog, StepView


class JobService(Protocol):
    """What users ask of the scheduler: plain data, in process or over HTTP alike."""

    def create_job(self, new: NewJob) -> Job:
        """Open a draft, or give the job that this idempotency key opened; `ConflictError` if that one differs."""
        ...

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Add a numbered chunk of steps to a draft; sending the same number again changes nothing."""
        ...

    def arm_job(self, job_id: str, task_count: int) -> Job:
        """Start a draft whose tasks number `task_count`; `ConflictError` if they do not. Repeating is harmless."""
        ...

    def get_job(self, job_id: str) -> Job:
        """Give a job; `NotFoundError`."""
        ...

    def list_jobs(self, before: str | None = None, limit: int = 1000) -> tuple[Job, ...]:
        """Give jobs, newest first; with `before`, only those older than that job."""
        ...

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job: nothing of it starts any more and what runs is stopped. A completed job stays as it is."""
        ...

    def requeue_job(self, job_id: str, task_ids: tuple[int, ...] | None = None) -> Job:
        """Run completed tasks again: those named, or all that did not succeed; a completed job is active again.

        Tasks that were cancelled because one of them had failed come back, too. What was committed stays until a new
        run commits; runs from before the requeue are never committed any more. `ConflictError` for a job that is a
        draft, being cancelled or being deleted, and for a task that is not completed.
        """
        ...

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Change the priority of what is not on a queue yet; `ConflictError` when the job is completed."""
        ...

    def delete_job(self, job_id: str) -> None:
        """Remove a completed job with its outputs; `ConflictError` for one that has not ended.

        Its rows go when its files have gone, a little later; until then it is listed as deleting. Repeating is
        harmless until then, and `NotFoundError` afterwards.
        """
        ...

    def get_task(self, job_id: str, task_id: int) -> Task:
        """Give a task; `NotFoundError`."""
        ...

    def list_tasks(
        self,
        job_id: str,
        after: int = -1,
        limit: int = 1000,
        state: TaskState | None = None,
        result: TaskResult | None = None,
    ) -> tuple[Task, ...]:
        """Give tasks with an id above `after`, in order of id; of this state or result only, where one is given."""
        ...

    def list_outputs(self, job_id: str, task_id: int | None = None) -> tuple[OutputFile, ...]:
        """Give the committed files of a job or of one task."""
        ...

    def put_application(self, name: str, version: str, file: FileRef, *, default: bool = False) -> Application:
        """Record a version whose zip file is in storage; the first one of a name is its default, or the one so marked.

        Repeating is harmless; `ConflictError` when this version is there with another content.
        """
        ...

    def list_applications(self) -> tuple[Application, ...]:
        """Give every version of every application, by name, the newest first."""
        ...

    def delete_application(self, name: str, version: str) -> None:
        """Remove a version; jobs that name it keep it. `NotFoundError`; the newest one left becomes the default."""
        ...

    def create_schedule(self, new: NewJobSchedule, *, replace: bool = False) -> JobSchedule:
        """Keep a job schedule; asking again is harmless, `ConflictError` when its id is that of another.

        With `replace` it takes the place of that one from now on, and the runs stay. `InvalidRequestError` with every
        finding about its times and its steps.
        """
        ...

    def list_schedules(self) -> tuple[JobSchedule, ...]:
        """Give all job schedules by id."""
        ...

    def get_schedule(self, schedule_id: str) -> JobSchedule:
        """Give a job schedule; `NotFoundError`."""
        ...

    def list_runs(self, schedule_id: str, limit: int = 100) -> tuple[ScheduleRun, ...]:
        """Say what became of a schedule's newest occurrences, newest first."""
        ...

    def run_schedule(self, schedule_id: str, idempotency_key: str, occurrence: datetime | None = None) -> ScheduleRun:
        """Make a job of a schedule now, for another time if one is named; the same key makes no second one.

        `ConflictError` when the schedule has ended, or a job of it has not and its rule for that is to wait or skip.
        """
        ...

    def enable_schedule(self, schedule_id: str) -> JobSchedule:
        """Have a disabled schedule make jobs again, from now on; `ConflictError` when it has ended."""
        ...

    def disable_schedule(self, schedule_id: str) -> JobSchedule:
        """Have a schedule make no jobs until it is enabled again; what runs goes on."""
        ...

    def terminate_schedule(self, schedule_id: str) -> JobSchedule:
        """End a schedule for good and cancel its jobs that have not ended; one that has ended stays as it is."""
        ...

    def delete_schedule(self, schedule_id: str, *, keep_jobs: bool = False) -> None:
        """Remove a schedule with all of its jobs and their outputs, or leave the jobs as they are."""
        ...

    def list_pools(self) -> tuple[PoolView, ...]:
        """Give every pool."""
        ...

    def list_nodes(self, pool: str) -> tuple[Node, ...]:
        """Give the nodes of a pool, gone ones of the last day included."""
        ...

    def list_decisions(self, pool: str, limit: int = 200) -> tuple[Decision, ...]:
        """Give the newest decisions of a pool, oldest first; repeats of a decision are one entry."""
        ...

    def list_kept_decisions(self, pool: str, limit: int = 1, until: datetime | None = None) -> tuple[KeptDecision, ...]:
        """Give the newest decisions that can be replayed, none made after `until`, oldest first."""
        ...

    def list_samples(self, pool: str, limit: int = 5000) -> tuple[Sample, ...]:
        """Give the newest points of a pool's timeline, oldest first."""
        ...

    def drain_nodes(self, pool: str, node_ids: tuple[str, ...]) -> tuple[Node, ...]:
        """Have nodes end what they run, take no more, and be removed; they are never taken back.

        All or none: `NotFoundError` for a name that the pool does not have, `ConflictError` for a node that is gone.
        """
        ...

    def list_steps(self, job_id: str) -> tuple[StepView, ...]:
        """Give the steps of a job in order; none of a draft."""
        ...

    def explain(self, subject: str) -> Explanation:
        """Say why a job (`JOB`), a task (`JOB/TASK`), a node, a pool or a schedule is as it is; `NotFoundError`."""
        ...

    def read_file(self, job_id: str, task_id: int, path: str, offset: int = 0, limit: int = 1 << 20) -> FilePart:
        """Give a piece of a committed file of a task, or of a log of its running attempt as it is now."""
        ...

    def node_log(self, node_id: str) -> NodeLog:
        """Give what a node recorded of its boot and last said, also after it is gone; `NotFoundError`."""
        ...

    def storage(self) -> StorageAddress:
        """Say where files go."""
        ...
