"""`JobService` in process: users' commands and views over the stores."""

import dataclasses
import re
from collections.abc import Callable
from datetime import datetime

from node_bootstrap.protocol import INPUTS, FileRef, file_blob
from scheduler.errors import InvalidRequestError, NotFoundError, UnavailableError
from scheduler.insight import Insight
from scheduler.job_schedule import JobSchedule, JobScheduleState, NewJobSchedule, ScheduleRun
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
from scheduler.ports.clock import Clock
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.job_store import JobStore
from scheduler.ports.job_views import JobViews
from scheduler.ports.schedule_store import ScheduleStore
from scheduler.ports.storage import Blobs
from scheduler.recurrence.occurrences import findings
from scheduler.recurrence.specification import check_names
from scheduler.settings import PoolSettings
from scheduler.views import Explanation, FilePart, KeptDecision, NodeLog, StepView

# Both stand in names of environment variables and of folders on nodes.
APPLICATION_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")

# As Azure Batch has it.
SCHEDULE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Service:
    """The scheduler as users meet it. Commands write the store only; the controller does the rest."""

    def __init__(
        self,
        job_store: JobStore,
        fleet_store: FleetStore,
        storage: Callable[[], StorageAddress],
        clock: Clock,
        *,
        schedules: ScheduleStore,
        views: JobViews,
        blobs: Blobs,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Use the stores; `changed` is called after a command that the controller should act on now."""
        self._jobs = job_store
        self._fleet = fleet_store
        self._storage = storage
        self._clock = clock
        self._changed = changed
        self._schedules = schedules
        self._views = views
        self._insight = Insight(job_store, views, fleet_store, schedules, blobs, self.list_pools)

    def create_job(self, new: NewJob) -> Job:
        """Open a draft, or give the job that this idempotency key opened."""
        if not new.name.strip():
            raise InvalidRequestError("the job has no name; give it one")
        if not new.idempotency_key:
            raise InvalidRequestError("the idempotency key is empty; any unique text will do")
        self._require_pool(new.pool, InvalidRequestError)
        return self._jobs.create_job(new, self._clock.now())

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Add a numbered chunk of steps to a draft; sending the same number again changes nothing."""
        self._jobs.add_steps(job_id, chunk, steps)

    def arm_job(self, job_id: str, task_count: int) -> Job:
        """Start a draft whose tasks number `task_count`. Repeating is harmless."""
        job = self._jobs.arm_job(job_id, task_count, self._clock.now())
        self._changed()
        return job

    def get_job(self, job_id: str) -> Job:
        """Give a job."""
        return self._jobs.job(job_id)

    def list_jobs(self, before: str | None = None, limit: int = 1000) -> tuple[Job, ...]:
        """Give jobs, newest first; with `before`, only those older than that job."""
        _check_limit(limit)
        return self._jobs.jobs(before, limit)

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job. A completed one stays as it is."""
        job = self._jobs.cancel_job(job_id, self._clock.now())
        self._changed()
        return job

    def requeue_job(self, job_id: str, task_ids: tuple[int, ...] | None = None) -> Job:
        """Run completed tasks again: those named, or all that did not succeed."""
        if task_ids is not None and not task_ids:
            raise InvalidRequestError("no task is named; name some, or leave them out to requeue what did not succeed")
        job = self._jobs.requeue_job(job_id, task_ids, self._clock.now())
        self._changed()
        return job

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Change the priority of what is not on a queue yet."""
        job = self._jobs.set_priority(job_id, priority)
        self._changed()
        return job

    def delete_job(self, job_id: str) -> None:
        """Remove a completed job with its outputs; the controller does it, and goes on wherever it was stopped."""
        self._jobs.begin_delete(job_id)
        self._changed()

    def get_task(self, job_id: str, task_id: int) -> Task:
        """Give a task."""
        return self._jobs.task(job_id, task_id)

    def list_tasks(
        self,
        job_id: str,
        after: int = -1,
        limit: int = 1000,
        state: TaskState | None = None,
        result: TaskResult | None = None,
    ) -> tuple[Task, ...]:
        """Give tasks with an id above `after`, in order of id."""
        _check_limit(limit)
        return self._jobs.tasks(job_id, after, limit, state, result)

    def list_outputs(self, job_id: str, task_id: int | None = None) -> tuple[OutputFile, ...]:
        """Give the committed files of a job or of one task."""
        return self._jobs.outputs(job_id, task_id)

    def put_application(self, name: str, version: str, file: FileRef, *, default: bool = False) -> Application:
        """Record a version whose zip file is in storage."""
        for what, text in (("name", name), ("version", version)):
            if not APPLICATION_WORD.fullmatch(text):
                raise InvalidRequestError(
                    f"{text!r} is no {what} of an application; use letters, digits and inner - _ ."
                )
        if file.blob != file_blob(file.sha256) or file.container != INPUTS or file.offset:
            raise InvalidRequestError(
                f"the file of {name}:{version} must lie by its content, as {file_blob(file.sha256)}"
            )
        return self._jobs.put_application(name, version, file, self._clock.now(), default=default)

    def list_applications(self) -> tuple[Application, ...]:
        """Give every version of every application."""
        return self._jobs.applications()

    def delete_application(self, name: str, version: str) -> None:
        """Remove a version; jobs that name it keep it."""
        self._jobs.delete_application(name, version, self._clock.now())

    def create_schedule(self, new: NewJobSchedule, *, replace: bool = False) -> JobSchedule:
        """Keep a job schedule, in place of another with its id if that is wanted."""
        if not SCHEDULE_ID.fullmatch(new.schedule_id):
            raise InvalidRequestError(
                f"{new.schedule_id!r} is no id of a schedule; use letters, digits, - and _ , at most 64"
            )
        now = self._clock.now()
        wrong = tuple(findings(new.schedule, now))
        if wrong:
            raise InvalidRequestError(f"schedule {new.schedule_id}: {'; '.join(wrong)}")
        if not new.job.name.strip():
            raise InvalidRequestError("the job has no name; give it one")
        check_names(new.job)
        self._require_pool(new.job.pool, InvalidRequestError)
        made = self._schedules.create(new, now, replace=replace)
        self._changed()
        return made

    def list_schedules(self) -> tuple[JobSchedule, ...]:
        """Give all job schedules by id."""
        return tuple(map(self._placed, self._schedules.schedules(self._clock.now())))

    def get_schedule(self, schedule_id: str) -> JobSchedule:
        """Give a job schedule."""
        return self._placed(self._schedules.schedule(schedule_id, self._clock.now()))

    def list_runs(self, schedule_id: str, limit: int = 100) -> tuple[ScheduleRun, ...]:
        """Say what became of a schedule's newest occurrences, newest first."""
        _check_limit(limit)
        return self._schedules.runs(schedule_id, limit)

    def run_schedule(self, schedule_id: str, idempotency_key: str, occurrence: datetime | None = None) -> ScheduleRun:
        """Make a job of a schedule now."""
        if not idempotency_key:
            raise InvalidRequestError("the idempotency key is empty; any unique text will do")
        if occurrence is not None and occurrence.tzinfo is None:
            raise InvalidRequestError(f"{occurrence.isoformat()} names no time zone; end it with Z or +01:00")
        now = self._clock.now()
        self._require_pool(self._schedules.schedule(schedule_id, now).pool, InvalidRequestError)
        run = self._schedules.run(schedule_id, idempotency_key, occurrence or now, now)
        self._changed()
        return run

    def enable_schedule(self, schedule_id: str) -> JobSchedule:
        """Have a disabled schedule make jobs again, from now on."""
        self._schedules.enable(schedule_id, self._clock.now())
        self._changed()
        return self.get_schedule(schedule_id)

    def disable_schedule(self, schedule_id: str) -> JobSchedule:
        """Have a schedule make no jobs until it is enabled again."""
        self._schedules.disable(schedule_id)
        return self.get_schedule(schedule_id)

    def terminate_schedule(self, schedule_id: str) -> JobSchedule:
        """End a schedule for good, and cancel its jobs that have not ended."""
        self._schedules.terminate(schedule_id, self._clock.now())
        self._changed()
        return self.get_schedule(schedule_id)

    def delete_schedule(self, schedule_id: str, *, keep_jobs: bool = False) -> None:
        """Remove a schedule with all of its jobs and their outputs, or leave the jobs as they are."""
        self._schedules.begin_delete(schedule_id, self._clock.now(), keep_jobs=keep_jobs)
        self._changed()

    def list_pools(self) -> tuple[PoolView, ...]:
        """Give every pool."""
        return tuple(self._pool_view(pool) for pool in self._fleet.pools())

    def list_nodes(self, pool: str) -> tuple[Node, ...]:
        """Give the nodes of a pool, gone ones of the last day included."""
        self._require_pool(pool, NotFoundError)
        return self._fleet.nodes(pool)

    def list_decisions(self, pool: str, limit: int = 200) -> tuple[Decision, ...]:
        """Give the newest decisions of a pool, oldest first."""
        self._require_pool(pool, NotFoundError)
        return self._fleet.decisions(pool, limit)

    def list_kept_decisions(self, pool: str, limit: int = 1, until: datetime | None = None) -> tuple[KeptDecision, ...]:
        """Give the newest decisions that can be replayed, oldest first."""
        self._require_pool(pool, NotFoundError)
        _check_limit(limit)
        if until is not None and until.tzinfo is None:
            raise InvalidRequestError(f"{until.isoformat()} names no time zone; end it with Z or +01:00")
        return self._fleet.kept_decisions(pool, limit, until)

    def list_samples(self, pool: str, limit: int = 5000) -> tuple[Sample, ...]:
        """Give the newest points of a pool's timeline, oldest first."""
        self._require_pool(pool, NotFoundError)
        return self._fleet.samples(pool, limit)

    def drain_nodes(self, pool: str, node_ids: tuple[str, ...]) -> tuple[Node, ...]:
        """Have nodes end what they run, take no more, and be removed. The controller does it, from the store."""
        self._require_pool(pool, NotFoundError)
        if not node_ids:
            raise InvalidRequestError(f"no node is named; `millpond pool nodes {pool}` lists them")
        return self._fleet.ask_drain(pool, tuple(dict.fromkeys(node_ids)), self._clock.now())

    def list_steps(self, job_id: str) -> tuple[StepView, ...]:
        """Give the steps of a job in order."""
        return self._views.steps(job_id)

    def explain(self, subject: str) -> Explanation:
        """Say why a job, a task, a node or a pool is as it is."""
        return self._insight.explain(subject, self._clock.now())

    def read_file(self, job_id: str, task_id: int, path: str, offset: int = 0, limit: int = 1 << 20) -> FilePart:
        """Give a piece of a committed file of a task, or of a log of its running attempt as it is now."""
        return self._insight.read_file(job_id, task_id, path, offset, limit)

    def node_log(self, node_id: str) -> NodeLog:
        """Give what a node recorded of its boot and last said."""
        return self._insight.node_log(node_id)

    def storage(self) -> StorageAddress:
        """Say where files go."""
        return self._storage()

    def _placed(self, schedule: JobSchedule) -> JobSchedule:
        """Say so where the pool of a schedule is not there any more: no job is made then."""
        known = {pool.name for pool in self._fleet.pools()}
        if schedule.state is not JobScheduleState.ACTIVE or not known or schedule.pool in known:
            return schedule
        return dataclasses.replace(
            schedule, reason=f"there is no pool {schedule.pool!r}; no job is made until there is"
        )

    def _pool_view(self, pool: PoolSettings) -> PoolView:
        target, current = self._fleet.targets(pool.name)
        newest = self._fleet.decisions(pool.name, 1)
        return PoolView(
            name=pool.name,
            groups=self._fleet.groups(pool.name),
            counts=self._jobs.counts(pool.name),
            target_nodes=target,
            current_nodes=current,
            min_nodes=pool.policy.min_nodes,
            max_nodes=pool.policy.max_nodes,
            acceptable_wait=pool.policy.acceptable_wait,
            last_decision=newest[-1] if newest else None,
        )

    def _require_pool(self, pool: str, error: type[InvalidRequestError | NotFoundError]) -> None:
        names = sorted(known.name for known in self._fleet.pools())
        if not names:
            raise UnavailableError("the scheduler has not read the pools of its settings yet; try again in a moment")
        if pool not in names:
            raise error(f"there is no pool {pool!r}; there are: {', '.join(names)}")


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise InvalidRequestError(f"limit is {limit}, must be at least 1")
