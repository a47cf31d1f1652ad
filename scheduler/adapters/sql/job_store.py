"""`JobStore` in SQL: drafts, chunks, arming, cancelling, and what people see."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection, Row, func, insert, literal, select, update

from node_bootstrap.protocol import FileRef, Outcome, decode, encode, sha256_hex
from scheduler.adapters.sql.applications import applications, delete_application, put_application
from scheduler.adapters.sql.committed import committed_files
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.edges import waits
from scheduler.adapters.sql.fingerprint import fingerprint
from scheduler.adapters.sql.inputs import keep_named
from scheduler.adapters.sql.job_change import JobChange
from scheduler.adapters.sql.job_making import arm, cancel, check_count, open_draft
from scheduler.adapters.sql.job_schema import CHUNKS, DELETED_JOBS, JOBS, STEPS, TASKS
from scheduler.adapters.sql.requeue import requeue
from scheduler.adapters.sql.schedule_rows import reopen
from scheduler.errors import ConflictError, NotFoundError
from scheduler.model import (
    Application,
    Job,
    JobResult,
    JobState,
    NewJob,
    OutputFile,
    Step,
    Task,
    TaskCounts,
    TaskResult,
    TaskState,
)

_COUNTS = ("blocked", "active", "running", "succeeded", "failed", "cancelled")

TASK_ROWS = select(TASKS, STEPS.c.name.label("step_name"), STEPS.c.first_task_id).join(
    STEPS, (STEPS.c.job == TASKS.c.job) & (STEPS.c.position == TASKS.c.step)
)


@dataclass(frozen=True, slots=True)
class _Chunk:
    steps: tuple[Step, ...]


class SqlJobStore:
    """`JobStore` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_job(self, new: NewJob, now: datetime) -> Job:
        """Open a draft, or give the one with this idempotency key."""
        with self._database.write() as connection:
            _refuse_deleted(connection, new)
            open_draft(connection, _job_id(new), new, now)
            found = connection.execute(select(JOBS).where(JOBS.c.idempotency_key == new.idempotency_key)).one()
            if (found.name, found.pool, found.priority) != (new.name, new.pool, new.priority):
                raise ConflictError(
                    f"the idempotency key {new.idempotency_key!r} opened job {found.job_id} with another name, pool "
                    "or priority; choose another key"
                )
        return self.job(_job_id(new))

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Add a numbered chunk; the same chunk again changes nothing."""
        body = encode(_Chunk(steps))
        digest = fingerprint(steps)
        with self._database.write() as connection:
            # Locked, so that arming at the same moment comes before this chunk or after it, and never misses it.
            job = job_row(connection, job_id, lock=True)
            old = connection.execute(
                select(CHUNKS.c.hash).where(CHUNKS.c.job == job.number, CHUNKS.c.number == chunk)
            ).scalar()
            if old in {digest, sha256_hex(body.encode())}:  # the latter is of schedulers before there were fingerprints
                return
            if old is not None:
                raise ConflictError(f"job {job_id}: chunk {chunk} was sent before with other steps; start a new job")
            if job.state != JobState.DRAFT:
                raise ConflictError(f"job {job_id} is {job.state}; steps can be added to a draft only")
            ready = sum(step.definition.task_count for step in steps if not waits(step))
            sent = {"job": job.number, "number": chunk, "hash": digest, "body": body, "ready_tasks": ready}
            connection.execute(insert(CHUNKS).values(**sent))
            keep_named(connection, job.number, steps)

    def arm_job(self, job_id: str, task_count: int, now: datetime) -> Job:
        """Make the draft's tasks and start them, in one transaction."""
        with self._database.write() as connection:
            change = JobChange.of(connection, job_id, now)
            if change.job.armed_at is not None:
                check_count(job_id, task_count, _task_total(connection, change.job.number))
            elif change.job.state != JobState.DRAFT:
                raise ConflictError(f"job {job_id} was cancelled before it was armed; start a new job")
            else:
                arm(connection, change, _sent_steps(connection, change.job.number), task_count, now)
        return self.job(job_id)

    def cancel_job(self, job_id: str, now: datetime) -> Job:
        """Cancel: what does not run ends as cancelled at once, what runs when its end is known."""
        with self._database.write() as connection:
            cancel(connection, JobChange.of(connection, job_id, now), "cancelled by a user", now)
        return self.job(job_id)

    def requeue_job(self, job_id: str, task_ids: Sequence[int] | None, now: datetime) -> Job:
        """Run completed tasks again, those named or all that did not succeed, in one transaction."""
        with self._database.write() as connection:
            requeue(connection, JobChange.of(connection, job_id, now), task_ids)
            reopen(connection, job_id)
        return self.job(job_id)

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Change the priority."""
        with self._database.write() as connection:
            job = JobChange.lock(connection, job_id)
            if job.state in {JobState.COMPLETED, JobState.DELETING}:
                raise ConflictError(f"job {job_id} is {job.state}; its priority means nothing any more")
            connection.execute(update(JOBS).where(JOBS.c.number == job.number).values(priority=priority))
        return self.job(job_id)

    def begin_delete(self, job_id: str) -> None:
        """Keep the intent to delete a completed job."""
        with self._database.write() as connection:
            job = JobChange.lock(connection, job_id)
            if job.state not in {JobState.COMPLETED, JobState.DELETING}:
                raise ConflictError(f"job {job_id} is {job.state}; cancel it, and delete it when it has ended")
            deleting = update(JOBS).where(JOBS.c.number == job.number)
            connection.execute(deleting.values(state=JobState.DELETING.value))

    def job(self, job_id: str) -> Job:
        """Give a job."""
        with self._database.read() as connection:
            job = job_row(connection, job_id)
            names = select(STEPS.c.name).where(STEPS.c.job == job.number).order_by(STEPS.c.position)
            return _job(job, connection.execute(names).scalars())

    def jobs(self, before: str | None = None, limit: int = 1000) -> tuple[Job, ...]:
        """Give jobs, newest first; with `before`, only those older than that job."""
        with self._database.read() as connection:
            page = select(JOBS).order_by(JOBS.c.number.desc()).limit(limit)
            if before is not None:
                page = page.where(JOBS.c.number < job_row(connection, before).number)
            jobs = connection.execute(page).all()
            named = select(STEPS.c.job, STEPS.c.name).order_by(STEPS.c.job, STEPS.c.position)
            if jobs:
                named = named.where(STEPS.c.job.between(jobs[-1].number, jobs[0].number))
            rows = connection.execute(named).all() if jobs else ()
            names = {job: [row.name for row in group] for job, group in groupby(rows, key=lambda row: row.job)}
            return tuple(_job(job, names.get(job.number, ())) for job in jobs)

    def task(self, job_id: str, task_id: int) -> Task:
        """Give a task."""
        with self._database.read() as connection:
            job = job_row(connection, job_id)
            row = connection.execute(TASK_ROWS.where(TASKS.c.job == job.number, TASKS.c.task_id == task_id)).first()
            if row is None:
                raise _no_task(job_id, task_id)
            return task_view(job_id, row)

    def tasks(
        self, job_id: str, after: int, limit: int, state: TaskState | None = None, result: TaskResult | None = None
    ) -> tuple[Task, ...]:
        """Give at most `limit` tasks with an id above `after`, in order of id."""
        with self._database.read() as connection:
            job = job_row(connection, job_id)
            rows = TASK_ROWS.where(TASKS.c.job == job.number, TASKS.c.task_id > after)
            if state is not None:
                rows = rows.where(TASKS.c.state == state.value)
            if result is not None:
                rows = rows.where(TASKS.c.result == result.value)
            found = connection.execute(rows.order_by(TASKS.c.task_id).limit(limit))
            return tuple(task_view(job_id, row) for row in found)

    def outputs(self, job_id: str, task_id: int | None) -> tuple[OutputFile, ...]:
        """Give the files of the committed runs of a job or of one task."""
        with self._database.read() as connection:
            job = job_row(connection, job_id)
            one = () if task_id is None else (TASKS.c.task_id == task_id,)
            if task_id is not None:
                there = select(TASKS.c.task_id).where(TASKS.c.job == job.number, *one)
                if connection.execute(there).first() is None:
                    raise _no_task(job_id, task_id)
            return tuple(
                OutputFile(found.task_id, found.step, found.index, file)
                for found in committed_files(connection, job.number, *one)
                for file in found.files
            )

    def put_application(self, name: str, version: str, file: FileRef, now: datetime, *, default: bool) -> Application:
        """Record a version of an application."""
        with self._database.write() as connection:
            return put_application(connection, name, version, file, now, default=default)

    def applications(self) -> tuple[Application, ...]:
        """Give every version of every application."""
        with self._database.read() as connection:
            return applications(connection)

    def delete_application(self, name: str, version: str, now: datetime) -> None:
        """Remove a version."""
        with self._database.write() as connection:
            delete_application(connection, name, version, now)

    def counts(self, pool: str) -> TaskCounts:
        """Count the tasks of all armed jobs of a pool."""
        sums = (func.coalesce(func.sum(JOBS.c[name]), literal(0)).label(name) for name in _COUNTS)
        with self._database.read() as connection:
            row = connection.execute(select(*sums).where(JOBS.c.pool == pool)).one()
            return TaskCounts(**{name: int(getattr(row, name)) for name in _COUNTS})


def _job_id(new: NewJob) -> str:
    """Make an id of the name, for people, and a hash of the idempotency key: the same whenever it is asked for."""
    name = re.sub(r"[^a-z0-9]+", "-", new.name.lower()).strip("-")[:40].strip("-") or "job"
    return f"{name}-{hashlib.sha256(new.idempotency_key.encode()).hexdigest()[:12]}"


def _refuse_deleted(connection: Connection, new: NewJob) -> None:
    job_id = _job_id(new)
    if connection.execute(select(DELETED_JOBS.c.job_id).where(DELETED_JOBS.c.job_id == job_id)).first() is not None:
        raise ConflictError(
            f"the idempotency key {new.idempotency_key!r} opened job {job_id}, which was deleted; choose another"
        )


def job_row(connection: Connection, job_id: str, *, lock: bool = False) -> Row[tuple[object, ...]]:
    """Give a job's row; `NotFoundError`. With `lock`, other writers of the job wait until this transaction ends."""
    found = select(JOBS).where(JOBS.c.job_id == job_id)
    job = connection.execute(found.with_for_update() if lock else found).first()
    if job is None:
        raise NotFoundError(f"there is no job {job_id}; `millpond job list` shows all")
    return job


def _sent_steps(connection: Connection, number: int) -> list[Step]:
    bodies = connection.execute(select(CHUNKS.c.body).where(CHUNKS.c.job == number).order_by(CHUNKS.c.number)).scalars()
    return [step for body in bodies for step in decode(_Chunk, body).steps]


def _task_total(connection: Connection, number: int) -> int:
    total = select(func.sum(STEPS.c.task_count)).where(STEPS.c.job == number)
    return int(connection.execute(total).scalar_one())


def _no_task(job_id: str, task_id: int) -> NotFoundError:
    return NotFoundError(f"job {job_id} has no task {task_id}; `millpond task list {job_id}` shows all")


def _job(row: Row[tuple[object, ...]], steps: Iterable[str]) -> Job:
    return Job(
        job_id=row.job_id,
        name=row.name,
        pool=row.pool,
        priority=row.priority,
        state=JobState(row.state),
        result=None if row.result is None else JobResult(row.result),
        counts=TaskCounts(**{name: getattr(row, name) for name in _COUNTS}),
        created_at=row.created_at,
        armed_at=row.armed_at,
        ended_at=row.ended_at,
        steps=tuple(steps),
        reason=row.reason,
    )


def task_view(job_id: str, row: Row[tuple[object, ...]]) -> Task:
    """Make a task as people see it of a row of `task_rows`."""
    return Task(
        job_id=job_id,
        task_id=row.task_id,
        step=row.step_name,
        index=row.task_id - row.first_task_id,
        state=TaskState(row.state),
        result=None if row.result is None else TaskResult(row.result),
        attempt=row.attempt,
        retries=row.retries,
        node_faults=row.node_faults,
        preemptions=row.preemptions,
        node_id=row.node_id,
        exit_code=row.exit_code,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        started_at=row.started_at,
        ended_at=row.ended_at,
        reason=row.reason,
    )
