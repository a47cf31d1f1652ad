"""`JobStore` in SQL: drafts, chunks, arming, cancelling, and what people see."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from types import MappingProxyType

from sqlalchemy import Connection, Row, Table, func, insert, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from node_bootstrap.protocol import FileRef, Outcome, decode, encode, sha256_hex
from scheduler.adapters.sql.applications import applications, delete_application, put_application
from scheduler.adapters.sql.committed import committed_files
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.edges import edge_rows, waits
from scheduler.adapters.sql.fingerprint import fingerprint
from scheduler.adapters.sql.inputs import keep_named
from scheduler.adapters.sql.job_change import JobChange, Standing
from scheduler.adapters.sql.job_schema import CHUNKS, DELETED_JOBS, EDGES, JOBS, STEPS, TASKS
from scheduler.adapters.sql.requeue import requeue
from scheduler.dispatch.checks import step_findings
from scheduler.dispatch.run_times import work_key
from scheduler.errors import ConflictError, InvalidRequestError, NotFoundError
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

# Both know "on conflict do nothing"; SQLAlchemy has it by dialect only.
_INSERT: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = MappingProxyType(
    {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
)

_COUNTS = ("blocked", "active", "running", "succeeded", "failed", "cancelled")

# Walks every task id of every step once, so that a job of many ranges costs its tasks and no more.
_MAKE_TASKS = text(
    """
    INSERT INTO tasks (job, task_id, step, state)
    WITH RECURSIVE walk(step, task_id, last, state) AS (
        SELECT position, first_task_id, first_task_id + task_count - 1,
               CASE WHEN active > 0 THEN 'active' ELSE 'blocked' END
        FROM steps WHERE job = :job
        UNION ALL
        SELECT step, task_id + 1, last, state FROM walk WHERE task_id < last
    )
    SELECT :job, task_id, step, state FROM walk
    """
)

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
            # Two requests of one client may run at once, when it sent the first again: the later one changes nothing.
            draft = _INSERT[connection.dialect.name](JOBS).values(
                job_id=_job_id(new),
                idempotency_key=new.idempotency_key,
                state=JobState.DRAFT.value,
                name=new.name,
                pool=new.pool,
                priority=new.priority,
                created_at=now,
            )
            connection.execute(draft.on_conflict_do_nothing())
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
                _same_count(job_id, task_count, _task_total(connection, change.job.number))
            elif change.job.state != JobState.DRAFT:
                raise ConflictError(f"job {job_id} was cancelled before it was armed; start a new job")
            else:
                _arm(connection, change, task_count, now)
        return self.job(job_id)

    def cancel_job(self, job_id: str, now: datetime) -> Job:
        """Cancel: what does not run ends as cancelled at once; what runs ends with its report, or when it is lost.

        A run that succeeds all the same is kept as the success that it was. Messages already on a queue stay open
        until they are accounted for, so that the stop list names the job as long as a node could meet one.
        """
        with self._database.write() as connection:
            change = JobChange.of(connection, job_id, now)
            here = JOBS.c.number == change.job.number
            if change.job.state == JobState.DRAFT:
                end = {"state": JobState.COMPLETED.value, "result": JobResult.CANCELLED.value, "ended_at": now}
                connection.execute(update(JOBS).where(here).values(**end, reason="cancelled as a draft"))
            elif change.job.state == JobState.ACTIVE:
                stop = {"state": JobState.TERMINATING.value, "reason": "cancelled by a user"}
                connection.execute(update(JOBS).where(here).values(**stop))
                for standing in (Standing.BLOCKED, Standing.READY, Standing.SUSPECT, Standing.QUEUED):
                    change.change_all(standing, Standing.CANCELLED, reason="the job was cancelled", ended_at=now)
                change.settle()
        return self.job(job_id)

    def requeue_job(self, job_id: str, task_ids: Sequence[int] | None, now: datetime) -> Job:
        """Run completed tasks again, those named or all that did not succeed, in one transaction."""
        with self._database.write() as connection:
            requeue(connection, JobChange.of(connection, job_id, now), task_ids)
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


def _arm(connection: Connection, change: JobChange, task_count: int, now: datetime) -> None:
    number = change.job.number
    bodies = connection.execute(select(CHUNKS.c.body).where(CHUNKS.c.job == number).order_by(CHUNKS.c.number)).scalars()
    steps = [step for body in bodies for step in decode(_Chunk, body).steps]
    findings = step_findings(steps)
    if findings:
        raise InvalidRequestError(f"job {change.job.job_id} cannot be armed: {'; '.join(findings)}")
    _same_count(change.job.job_id, task_count, sum(step.definition.task_count for step in steps))
    rows = [_step_values(number, position, step, now) for position, step in enumerate(steps)]
    connection.execute(insert(STEPS), rows)
    edges = edge_rows(number, steps)
    if edges:
        connection.execute(insert(EDGES), edges)
    connection.execute(_MAKE_TASKS, {"job": number})
    # Steps hold all that the chunks said; their hashes stay, so that a chunk sent again is known.
    connection.execute(update(CHUNKS).where(CHUNKS.c.job == number).values(body=""))
    armed = update(JOBS).where(JOBS.c.number == number)
    task_edges = any(step.depends_on_tasks for step in steps)
    connection.execute(armed.values(state=JobState.ACTIVE.value, armed_at=now, task_edges=task_edges))
    for step in steps:
        change.armed(Standing.BLOCKED if waits(step) else Standing.READY, step.definition.task_count)
    change.settle()


def _step_values(job: int, position: int, step: Step, now: datetime) -> dict[str, object]:
    definition = encode(step.definition)
    ready = 0 if waits(step) else step.definition.task_count
    return {
        "job": job,
        "position": position,
        "name": step.definition.step,
        "definition_hash": sha256_hex(definition.encode()),
        "definition": definition,
        "inputs_from": json.dumps(step.inputs_from),
        "first_task_id": step.definition.first_task_id,
        "task_count": step.definition.task_count,
        "max_task_retries": step.retry.max_task_retries,
        "max_node_faults": step.retry.max_node_faults,
        "max_preemptions": step.retry.max_preemptions,
        "expected_seconds": step.expected_task_seconds,
        "work": work_key(step.definition),
        "published": False,
        "open_predecessors": len(step.depends_on) + sum(len(other.indices) for other in step.depends_on_tasks),
        "needed_success": step.needed_success,
        "open_tasks": step.definition.task_count,
        "active": ready,
        "ready": ready,
        "active_since": now if ready else None,
    }


def _same_count(job_id: str, asked: int, found: int) -> None:
    if asked != found:
        raise ConflictError(f"job {job_id} has {found} tasks, not {asked}; send the missing chunks and arm it again")


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
