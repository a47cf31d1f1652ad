"""`DispatchStore` in SQL: what waits, what is out, handing out, and the outbox."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

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
from scheduler.adapters.sql.commit import record_words
from scheduler.adapters.sql.committed import LOGS, CommittedTask, committed_files
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.demand import UNFINISHED, pool_demand
from scheduler.adapters.sql.dependents import element_edges
from scheduler.adapters.sql.give_back import return_message
from scheduler.adapters.sql.inputs import keep_blobs
from scheduler.adapters.sql.job_change import JobChange, Standing
from scheduler.adapters.sql.job_schema import (
    JOBS,
    MESSAGE_IS_OPEN,
    MESSAGE_IS_UNSENT,
    MESSAGE_STARTED,
    MESSAGES,
    RUN_TIMES,
    STEP_ACTIVE,
    STEPS,
    STOPS,
    TASK_WAITS,
    TASKS,
)
from scheduler.dispatch.records import (
    HandOut,
    OpenMessage,
    OutgoingMessage,
    QueueLoad,
    ReadyStep,
    Start,
    StepSources,
)
from scheduler.errors import NotFoundError
from scheduler.model import JobResult, JobState, PoolDemand, TaskResult, TaskState

# A manifest that comes late still finds its message for a day; after that nothing of it can be on its way.
_CLOSED_KEPT = timedelta(days=1)
# What is run once a quarter is still known.
_WORK_REMEMBERED = timedelta(days=100)


class SqlDispatchStore:
    """`DispatchStore` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def has_work(self) -> bool:
        """Whether any armed job has not ended, or any message is not accounted for."""
        unfinished = select(JOBS.c.number).where(JOBS.c.state.in_(UNFINISHED)).limit(1)
        out = select(MESSAGES.c.number).where(MESSAGE_IS_OPEN).limit(1)
        with self._database.read() as connection:
            return any(connection.execute(query).first() is not None for query in (unfinished, out))

    def demand(self, pool: str) -> PoolDemand:
        """Aggregate the pool's open tasks from the counters of jobs and steps, and say what is to come."""
        with self._database.read() as connection:
            return pool_demand(connection, pool)

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
            jobs = sorted({order.job_id for _, order in orders})
            changes = {job_id: JobChange.of(connection, job_id, now) for job_id in jobs}
            made = _contents(connection, changes, orders)
            if not made:
                return
            # In the order of the plan, in which they are sent.
            rows = [_message_values(changes[each.order.job_id], each, deadline, now) for each in made]
            written = insert(MESSAGES).returning(MESSAGES.c.number, sort_by_parameter_order=True)
            numbers = connection.execute(written, rows).scalars().all()
            _queue_tasks(changes, zip(made, numbers, strict=True))
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

    def record(
        self, epoch: int, starts: Sequence[Start], manifests: Sequence[tuple[str, Manifest]], now: datetime
    ) -> frozenset[str]:
        """Record starts, and apply every report of manifests, each once, in one transaction."""
        if not starts and not manifests:
            return frozenset()
        with self._database.lead(epoch) as connection:
            return record_words(connection, starts, manifests, now)

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

    def prune(self, epoch: int, now: datetime) -> None:
        """Remove messages of ended jobs a day after they were accounted for, and stops of ended jobs without any.

        Run times go, too, of work that nobody has run for long.
        """
        ended = select(JOBS.c.number).where(JOBS.c.state == JobState.COMPLETED.value)
        with self._database.lead(epoch) as connection:
            closed = (MESSAGES.c.closed_at < now - _CLOSED_KEPT) & MESSAGES.c.job.in_(ended)
            connection.execute(delete(MESSAGES).where(closed))
            carried = select(MESSAGES.c.number).where(MESSAGE_IS_OPEN)
            connection.execute(delete(STOPS).where(STOPS.c.job.in_(ended), STOPS.c.message.not_in(carried)))
            connection.execute(delete(RUN_TIMES).where(RUN_TIMES.c.measured_at < now - _WORK_REMEMBERED))

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
    connection: Connection, change: JobChange, step: int, inputs_from: str, task_ids: Sequence[int]
) -> str | None:
    """Resolve what these tasks read of the one task each that they depend on; None where there is no such."""
    sources = json.loads(inputs_from) if change.job.task_edges else ()
    if not sources:
        return None
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
    own = encode(ResolvedInputs((), own=tuple(TaskFiles(task_id, tuple(found)) for task_id, found in files.items())))
    keep_blobs(connection, number, {resolved_blob(sha256_hex(own.encode()))})
    return own


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


@dataclass(frozen=True, slots=True)
class _Content:
    """A message that is about to be made."""

    message_id: str
    order: HandOut
    refs: tuple[TaskRef, ...]
    body: str
    inputs: str | None


def _contents(
    connection: Connection, changes: Mapping[str, JobChange], orders: Sequence[tuple[str, HandOut]]
) -> list[_Content]:
    """Fill the messages that were ordered, with one look at each step for all of its orders."""
    wanted: Counter[tuple[str, int, bool]] = Counter()
    for _, order in orders:
        wanted[order.job_id, order.step, order.suspect] += order.count
    waiting, definitions = {}, {}
    for (job_id, step, suspect), count in wanted.items():
        job = changes[job_id].job
        if job.state == JobState.ACTIVE:
            waiting[job_id, step, suspect] = iter(_waiting(connection, job.number, step, suspect, count))
            known = select(STEPS.c.definition_hash, STEPS.c.inputs, STEPS.c.inputs_from)
            here = known.where(STEPS.c.job == job.number, STEPS.c.position == step)
            definitions[job_id, step] = connection.execute(here).one()
    made = []
    for message_id, order in orders:
        refs = tuple(islice(waiting.get((order.job_id, order.step, order.suspect), iter(())), order.count))
        if refs:
            definition, inputs, sources = definitions[order.job_id, order.step]
            own = _own_inputs(connection, changes[order.job_id], order.step, sources, [ref.task_id for ref in refs])
            own_hash = None if own is None else sha256_hex(own.encode())
            body = encode(TaskMessage(message_id, order.job_id, definition, refs, inputs, own_hash))
            made.append(_Content(message_id, order, refs, body, own))
    return made


def _waiting(connection: Connection, job: int, step: int, suspect: bool, limit: int) -> list[TaskRef]:
    """Give the next tasks of a step that wait for a message, as the attempts that they are about to be."""
    tasks = connection.execute(
        select(TASKS.c.task_id, TASKS.c.attempt)
        .where(TASKS.c.job == job, TASKS.c.step == step, TASKS.c.suspect == suspect, TASK_WAITS)
        .order_by(TASKS.c.task_id)
        .limit(limit)
    )
    return [TaskRef(task.task_id, task.attempt + 1) for task in tasks]


def _message_values(change: JobChange, made: _Content, deadline: datetime, now: datetime) -> dict[str, object]:
    order = made.order
    return {
        "message_id": made.message_id,
        "job": change.job.number,
        "step": order.step,
        "pool": order.group.key.pool,
        "group_key": str(order.group.key),
        "queue": order.group.queue,
        "body": made.body,
        "inputs": made.inputs,
        "unreported": len(made.refs),
        "seconds": len(made.refs) * order.task_seconds,
        "created_at": now,
        "deadline": deadline,
    }


def _queue_tasks(changes: Mapping[str, JobChange], made: Iterable[tuple[_Content, int]]) -> None:
    rows: dict[tuple[str, int, bool], list[dict[str, object]]] = defaultdict(list)
    for each, number in made:
        rows[each.order.job_id, each.order.step, each.order.suspect] += [
            {"task_id": ref.task_id, "attempt": ref.attempt, "message": number} for ref in each.refs
        ]
    for (job_id, step, suspect), tasks in rows.items():
        changes[job_id].change_each(step, Standing.SUSPECT if suspect else Standing.READY, Standing.QUEUED, tasks)
