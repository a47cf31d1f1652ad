"""`DispatchStore` in SQL: what waits, what is out, handing out, and the outbox."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from node_bootstrap.protocol import (
    FileRef,
    Manifest,
    ResolvedInputs,
    StopRef,
    TaskFiles,
    TaskMessage,
    TaskRef,
    TextFile,
    encode,
    resolved_blob,
    sha256_hex,
)
from scheduler.adapters.sql.commit import commit_manifest, return_message, start_message
from scheduler.adapters.sql.committed import LOGS, CommittedTask, committed_files
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.dependents import element_edges
from scheduler.adapters.sql.inputs import keep_blobs
from scheduler.adapters.sql.job_change import JobChange, Standing
from scheduler.adapters.sql.job_schema import (
    JOBS,
    MESSAGE_IS_OPEN,
    MESSAGE_IS_UNSENT,
    MESSAGE_STARTED,
    MESSAGES,
    POOL_TIMES,
    STEP_ACTIVE,
    STEPS,
    STOPS,
    TASK_WAITS,
    TASKS,
)
from scheduler.dispatch.records import HandOut, OpenMessage, OutgoingMessage, QueueLoad, ReadyStep, StepSources
from scheduler.errors import NotFoundError
from scheduler.model import JobResult, JobState, PoolDemand, TaskResult, TaskState


class SqlDispatchStore:
    """`DispatchStore` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def demand(self, pool: str) -> PoolDemand:
        """Aggregate the pool's open tasks from the counters of jobs and steps."""
        unfinished = JOBS.c.state.in_([JobState.ACTIVE.value, JobState.TERMINATING.value])
        with self._database.read() as connection:
            active, running = connection.execute(
                select(
                    func.coalesce(func.sum(JOBS.c.active), 0),
                    func.coalesce(func.sum(JOBS.c.running), 0),
                ).where(JOBS.c.pool == pool, unfinished)
            ).one()
            pool_mean = connection.execute(select(POOL_TIMES.c.mean_seconds).where(POOL_TIMES.c.pool == pool)).scalar()
            known = func.coalesce(STEPS.c.mean_seconds, STEPS.c.expected_seconds, pool_mean)
            weighed = connection.execute(
                select(
                    func.sum(STEPS.c.active * known).label("seconds"),
                    func.sum(STEPS.c.active).filter(known.is_not(None)).label("tasks"),
                    func.min(STEPS.c.active_since).label("oldest"),
                )
                .join(JOBS, JOBS.c.number == STEPS.c.job)
                .where(JOBS.c.pool == pool, unfinished, STEP_ACTIVE)
            ).one()
        mean = weighed.seconds / weighed.tasks if weighed.tasks else pool_mean
        return PoolDemand(int(active), int(running), mean, weighed.oldest)

    def stops(self, pool: str) -> tuple[StopRef, ...]:
        """Give the runs to stop."""
        with self._database.read() as connection:
            cancelled = connection.execute(
                select(JOBS.c.job_id)
                .distinct()
                .join(MESSAGES, MESSAGES.c.job == JOBS.c.number)
                .where(MESSAGES.c.pool == pool, MESSAGE_IS_OPEN)
                .where((JOBS.c.state == JobState.TERMINATING.value) | (JOBS.c.result == JobResult.CANCELLED.value))
                .order_by(JOBS.c.job_id)
            ).scalars()
            whole = [StopRef(job_id) for job_id in cancelled]
            needless = connection.execute(
                select(JOBS.c.job_id, STOPS.c.task_id, STOPS.c.below_attempt)
                .join(JOBS, JOBS.c.number == STOPS.c.job)
                .join(MESSAGES, MESSAGES.c.number == STOPS.c.message)
                .where(MESSAGES.c.pool == pool, MESSAGE_IS_OPEN)
                .order_by(JOBS.c.job_id, STOPS.c.task_id)
            )
            return (*whole, *(StopRef(row.job_id, row.task_id, row.below_attempt) for row in needless))

    def ready_steps(self, pool: str) -> tuple[ReadyStep, ...]:
        """Give the steps of active jobs with tasks that wait for a message."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(STEPS, JOBS.c.job_id, JOBS.c.priority, JOBS.c.armed_at)
                .join(JOBS, JOBS.c.number == STEPS.c.job)
                .where(JOBS.c.pool == pool, JOBS.c.state == JobState.ACTIVE.value, STEP_ACTIVE)
                .where(STEPS.c.ready + STEPS.c.suspects > 0)
                .order_by(JOBS.c.number, STEPS.c.position)
            )
            return tuple(_ready_step(row) for row in rows)

    def loads(self, pool: str) -> tuple[QueueLoad, ...]:
        """Give what is out on the pool's queues, by queue and job."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(MESSAGES.c.queue, JOBS.c.job_id, func.count(), func.sum(MESSAGES.c.seconds))
                .join(JOBS, JOBS.c.number == MESSAGES.c.job)
                .where(MESSAGES.c.pool == pool, MESSAGE_IS_OPEN)
                .group_by(MESSAGES.c.queue, JOBS.c.job_id)
                .order_by(MESSAGES.c.queue, JOBS.c.job_id)
            )
            return tuple(QueueLoad(*row) for row in rows)

    def step_sources(self, job_id: str, step: int) -> StepSources:
        """Give a step's definition and its inputs, resolved from committed manifests."""
        with self._database.read() as connection:
            row = connection.execute(
                select(STEPS.c.job, STEPS.c.definition, STEPS.c.inputs_from, STEPS.c.needed_success, JOBS.c.task_edges)
                .join(JOBS, JOBS.c.number == STEPS.c.job)
                .where(JOBS.c.job_id == job_id, STEPS.c.position == step)
            ).first()
            if row is None:
                raise NotFoundError(f"job {job_id} has no step {step}")
            sources = json.loads(row.inputs_from)
            if row.task_edges:
                single = {edge.predecessor for edge in element_edges(connection, row.job, step)}
                sources = [name for name in sources if name not in _names(connection, row.job, single)]
            if not sources:
                return StepSources(row.definition, None)
            won = (STEPS.c.name.in_(sources), TASKS.c.result == TaskResult.SUCCESS.value)
            files = tuple(chain.from_iterable(map(_as_inputs, committed_files(connection, row.job, *won))))
            texts = _missing(connection, row.job, sources) if row.needed_success < 1 else ()
        return StepSources(row.definition, encode(ResolvedInputs(files, texts)))

    def mark_published(self, epoch: int, job_id: str, step: int, inputs: str | None) -> None:
        """Record that the step's blobs are in storage."""
        job = select(JOBS.c.number).where(JOBS.c.job_id == job_id).scalar_subquery()
        with self._database.lead(epoch) as connection:
            here = and_(STEPS.c.job == job, STEPS.c.position == step)
            connection.execute(update(STEPS).where(here).values(published=True, inputs=inputs))

    def hand_out(self, epoch: int, orders: Sequence[tuple[str, HandOut]], deadline: datetime, now: datetime) -> None:
        """Put the next ready tasks into messages: attempt + 1 each, a row in the outbox each."""
        with self._database.lead(epoch) as connection:
            by_job = defaultdict(list)
            for message_id, order in orders:
                by_job[order.job_id].append((message_id, order))
            changes = {job_id: JobChange.of(connection, job_id, now) for job_id in sorted(by_job)}
            for message_id, order in orders:
                change = changes[order.job_id]
                if change.job.state == JobState.ACTIVE:
                    _make_message(connection, change, message_id, order, deadline, now)
            for change in changes.values():
                change.settle()

    def unsent(self, limit: int) -> tuple[OutgoingMessage, ...]:
        """Give the oldest messages in the outbox that are not marked sent."""
        with self._database.read() as connection:
            columns = (MESSAGES.c.message_id, MESSAGES.c.queue, MESSAGES.c.body, MESSAGES.c.inputs)
            rows = select(*columns).where(MESSAGE_IS_UNSENT)
            return tuple(
                OutgoingMessage(*row) for row in connection.execute(rows.order_by(MESSAGES.c.number).limit(limit))
            )

    def mark_sent(self, epoch: int, message_ids: Sequence[str], now: datetime) -> None:
        """Mark messages as sent; their bodies are not needed any more."""
        with self._database.lead(epoch) as connection:
            sent = update(MESSAGES).where(MESSAGES.c.message_id.in_(message_ids))
            connection.execute(sent.values(sent_at=now, body=None, inputs=None))

    def start(
        self, epoch: int, message_id: str, node_id: str, running: tuple[TaskRef, ...], deadline: datetime, now: datetime
    ) -> bool:
        """Record that a node runs a message and these attempts of it."""
        with self._database.lead(epoch) as connection:
            return start_message(connection, message_id, node_id, running, deadline, now)

    def commit(self, epoch: int, blob: str, manifest: Manifest, now: datetime) -> bool:
        """Apply every report of a manifest, once."""
        with self._database.lead(epoch) as connection:
            return commit_manifest(connection, blob, manifest, now)

    def give_back(
        self,
        epoch: int,
        message_id: str,
        now: datetime,
        *,
        reason: str,
        running: tuple[TaskRef, ...] = (),
        charge: bool = False,
    ) -> bool:
        """Make the unfinished tasks of a message ready again and close it."""
        with self._database.lead(epoch) as connection:
            return return_message(connection, message_id, now, reason=reason, running=running, charge=charge)

    def open_messages(self) -> tuple[OpenMessage, ...]:
        """Give the messages not yet accounted for, oldest first."""
        with self._database.read() as connection:
            started = select(MESSAGES.c.queue, func.max(MESSAGES.c.number)).where(MESSAGE_STARTED)
            newest = {row[0]: row[1] for row in connection.execute(started.group_by(MESSAGES.c.queue))}
            rows = connection.execute(
                select(MESSAGES, JOBS.c.job_id)
                .join(JOBS, JOBS.c.number == MESSAGES.c.job)
                .where(MESSAGE_IS_OPEN)
                .order_by(MESSAGES.c.number)
            ).all()
        return tuple(
            OpenMessage(
                message_id=row.message_id,
                job_id=row.job_id,
                queue=row.queue,
                deadline=row.deadline,
                sent=row.sent_at is not None,
                started=row.started_at is not None,
                overtaken=newest.get(row.queue, 0) > row.number,
            )
            for row in rows
        )


def _as_inputs(task: CommittedTask) -> Iterator[FileRef]:
    for file in task.files:
        if file.path not in LOGS:
            yield replace(file, path=f"{task.step}/{task.index}/{file.path}")


def _names(connection: Connection, job: int, positions: set[int]) -> set[str]:
    named = select(STEPS.c.name).where(STEPS.c.job == job, STEPS.c.position.in_(positions))
    return set(connection.execute(named).scalars())


def _own_inputs(
    connection: Connection, change: JobChange, step: int, sources: Sequence[str], task_ids: Sequence[int]
) -> str | None:
    """Resolve what these tasks read of the one task each that they depend on; None where there is no such."""
    number = change.job.number
    files: dict[int, list[FileRef]] = {task_id: [] for task_id in task_ids}
    edges = element_edges(connection, number, step)
    for edge in edges:
        away = edge.dependent_first - edge.first
        won = (
            TASKS.c.task_id.in_([task_id - away for task_id in task_ids]),
            TASKS.c.result == TaskResult.SUCCESS.value,
            STEPS.c.name.in_(sources),
        )
        for task in committed_files(connection, number, *won):
            files[task.task_id + away].extend(_as_inputs(task))
    if not edges:
        return None
    return encode(ResolvedInputs((), own=tuple(TaskFiles(task_id, tuple(own)) for task_id, own in files.items())))


def _missing(connection: Connection, job: int, sources: Sequence[str]) -> tuple[TextFile, ...]:
    """Name the tasks of each step that did not succeed, for a step that starts all the same."""
    lines: dict[str, list[str]] = {name: [] for name in sources}
    rows = (
        select(STEPS.c.name, TASKS.c.task_id - STEPS.c.first_task_id)
        .join(STEPS, and_(STEPS.c.job == TASKS.c.job, STEPS.c.position == TASKS.c.step))
        .where(TASKS.c.job == job, STEPS.c.name.in_(sources), STEPS.c.unsuccessful > 0)
        .where(TASKS.c.state == TaskState.COMPLETED.value, TASKS.c.result != TaskResult.SUCCESS.value)
        .order_by(TASKS.c.task_id)
    )
    for name, index in connection.execute(rows):
        lines[name].append(f"{index}\n")
    return tuple(TextFile(f"{name}/missing.txt", "".join(found)) for name, found in lines.items())


def _ready_step(row: Row[tuple[object, ...]]) -> ReadyStep:
    return ReadyStep(
        job_id=row.job_id,
        step=row.position,
        priority=row.priority,
        armed_at=row.armed_at,
        ready=row.ready,
        suspects=row.suspects,
        task_seconds=row.expected_seconds if row.mean_seconds is None else row.mean_seconds,
        published=row.published,
    )


def _make_message(
    connection: Connection, change: JobChange, message_id: str, order: HandOut, deadline: datetime, now: datetime
) -> None:
    number = change.job.number
    tasks = connection.execute(
        select(TASKS.c.task_id, TASKS.c.attempt)
        .where(TASKS.c.job == number, TASKS.c.step == order.step, TASKS.c.suspect == order.suspect, TASK_WAITS)
        .order_by(TASKS.c.task_id)
        .limit(order.count)
    ).all()
    if not tasks:
        return
    step = connection.execute(
        select(STEPS.c.definition_hash, STEPS.c.inputs, STEPS.c.inputs_from).where(
            STEPS.c.job == number, STEPS.c.position == order.step
        )
    ).one()
    refs = tuple(TaskRef(task.task_id, task.attempt + 1) for task in tasks)
    own = own_hash = None
    if change.job.task_edges and step.inputs_from != "[]":
        own = _own_inputs(connection, change, order.step, json.loads(step.inputs_from), [ref.task_id for ref in refs])
    if own is not None:
        own_hash = sha256_hex(own.encode())
        keep_blobs(connection, number, {resolved_blob(own_hash)})
    body = encode(TaskMessage(message_id, change.job.job_id, step.definition_hash, refs, step.inputs, own_hash))
    made = connection.execute(
        insert(MESSAGES)
        .values(
            message_id=message_id,
            job=number,
            step=order.step,
            pool=order.group.key.pool,
            group_key=str(order.group.key),
            queue=order.group.queue,
            body=body,
            inputs=own,
            unreported=len(refs),
            seconds=len(refs) * order.task_seconds,
            created_at=now,
            deadline=deadline,
        )
        .returning(MESSAGES.c.number)
    ).scalar_one()
    old = Standing.SUSPECT if order.suspect else Standing.READY
    rows = [{"task_id": ref.task_id, "attempt": ref.attempt, "message": made} for ref in refs]
    change.change_each(order.step, old, Standing.QUEUED, rows)
