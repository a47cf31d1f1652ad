"""Tasks run again because a user asks for it: the one way out of `completed`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from scheduler.adapters.sql.dependents import element_edges, elements_hopeless, elements_open, elements_ready
from scheduler.adapters.sql.job_change import JobChange, Standing
from scheduler.adapters.sql.job_schema import (
    EDGES,
    IN_LIST,
    JOBS,
    MESSAGE_IS_OPEN,
    MESSAGES,
    STEPS,
    STOPS,
    TASKS,
    EdgeKind,
)
from scheduler.errors import ConflictError, NotFoundError
from scheduler.model import JobState, TaskResult, TaskState

REASON = "requeued by a user"
_DID_NOT_SUCCEED = TASKS.c.result.in_([TaskResult.FAILURE.value, TaskResult.CANCELLED.value])
_ENDS = (Standing.SUCCEEDED, Standing.FAILED, Standing.CANCELLED)
_WAITING = (Standing.READY, Standing.SUSPECT)
# Findings told at once; a list of thousands helps nobody.
_TOLD = 20


def requeue(connection: Connection, change: JobChange, task_ids: Sequence[int] | None) -> None:
    """Have completed tasks run again, those named or all that did not succeed, and what depends on them wait again.

    All of it is one transaction. Runs of before that are still out are put on the stop list.
    """
    _check_state(change.job)
    chosen: Sequence[ColumnElement[bool]] = (_DID_NOT_SUCCEED,)
    if task_ids is not None:
        chosen = _chosen(connection, change, task_ids)
    elif not _any(connection, change, _DID_NOT_SUCCEED):
        raise ConflictError(
            f"no task of job {change.job.job_id} has failed or was cancelled; name tasks to run them again"
        )
    if change.job.state == JobState.COMPLETED:
        here = update(JOBS).where(JOBS.c.number == change.job.number)
        connection.execute(here.values(state=JobState.ACTIVE.value, result=None, reason="", ended_at=None))
    for tasks in chosen:
        _undo(connection, change, tasks)
    change.settle()
    _bring_back(connection, change)
    _count_predecessors(connection, change)
    _wait_again(connection, change)
    change.settle()
    for step in _blocked(connection, change):
        change.release(step)
    change.settle()


def _check_state(job: Row[Any]) -> None:
    if job.armed_at is None:
        raise ConflictError(f"job {job.job_id} was never armed; it has no tasks to run again")
    if job.state == JobState.TERMINATING:
        raise ConflictError(f"job {job.job_id} is being cancelled; requeue it when it has ended")
    if job.state == JobState.DELETING:
        raise ConflictError(f"job {job.job_id} is being deleted")


def _chosen(connection: Connection, change: JobChange, task_ids: Sequence[int]) -> Sequence[ColumnElement[bool]]:
    """Check the named tasks, and give conditions that find them, each within what a statement may hold."""
    wanted = sorted(set(task_ids))
    parts = [TASKS.c.task_id.in_(wanted[start : start + IN_LIST]) for start in range(0, len(wanted), IN_LIST)]
    states: dict[int, str] = {}
    for part in parts:
        rows = select(TASKS.c.task_id, TASKS.c.state).where(TASKS.c.job == change.job.number, part)
        states |= {row.task_id: row.state for row in connection.execute(rows)}
    missing = [task_id for task_id in wanted if task_id not in states]
    if missing:
        raise NotFoundError(f"job {change.job.job_id} has no task {_few(missing)}")
    still = [task_id for task_id in wanted if states[task_id] != TaskState.COMPLETED]
    if still:
        raise ConflictError(
            f"task {_few(still)} of job {change.job.job_id} has not ended; only completed tasks can be requeued"
        )
    return parts


def _few(task_ids: Sequence[int]) -> str:
    more = f" and {len(task_ids) - _TOLD} more" if len(task_ids) > _TOLD else ""
    return ", ".join(map(str, task_ids[:_TOLD])) + more


def _any(connection: Connection, change: JobChange, tasks: ColumnElement[bool]) -> bool:
    here = select(TASKS.c.task_id).where(TASKS.c.job == change.job.number, tasks).limit(1)
    return connection.execute(here).first() is not None


def _undo(connection: Connection, change: JobChange, tasks: ColumnElement[bool]) -> None:
    _stop_what_is_out(connection, change, tasks)
    for standing in _ENDS:
        change.undo(standing, tasks, reason=REASON)


def _stop_what_is_out(connection: Connection, change: JobChange, tasks: ColumnElement[bool]) -> None:
    """Note to stop the runs of before that a node may still start: nobody can commit them any more."""
    out = connection.execute(
        select(TASKS.c.task_id, TASKS.c.attempt, TASKS.c.message)
        .join(MESSAGES, MESSAGES.c.number == TASKS.c.message)
        .where(TASKS.c.job == change.job.number, TASKS.c.state == TaskState.COMPLETED.value, MESSAGE_IS_OPEN, tasks)
    ).all()
    if not out:
        return
    job = change.job.number
    rows = [
        {"job": job, "task_id": row.task_id, "below_attempt": row.attempt + 1, "message": row.message} for row in out
    ]
    for start in range(0, len(rows), IN_LIST):
        some = [row["task_id"] for row in rows[start : start + IN_LIST]]
        connection.execute(delete(STOPS).where(STOPS.c.job == job, STOPS.c.task_id.in_(some)))
    connection.execute(insert(STOPS), rows)


def _bring_back(connection: Connection, change: JobChange) -> None:
    """Have tasks wait again that were cancelled for a failure which is undone now; steps stand after what they need."""
    dependents = select(EDGES.c.dependent).where(EDGES.c.job == change.job.number)
    failing = and_(STEPS.c.unsuccessful > 0, STEPS.c.position.in_(dependents))
    for step in _steps(connection, change, failing):
        edges = _edges(connection, change, step)
        if any(not edge.possible for edge in edges if edge.row.kind != EdgeKind.EACH):
            continue
        elements = [edge.row for edge in edges if edge.row.kind == EdgeKind.EACH]
        chosen = and_(_of(step), ~elements_hopeless(elements))
        if not any(edge.open_tasks for edge in edges if edge.row.kind != EdgeKind.EACH):
            chosen = and_(chosen, elements_open(elements))
        change.undo(Standing.CANCELLED, chosen, reason=REASON)
        change.settle()


def _count_predecessors(connection: Connection, change: JobChange) -> None:
    """Count anew what each step waits for."""
    for step in _steps(connection, change):
        edges = [edge for edge in _edges(connection, change, step) if edge.row.kind != EdgeKind.EACH]
        count = sum(bool(edge.open_tasks) or not edge.possible for edge in edges)
        if count != step.open_predecessors:
            here = and_(STEPS.c.job == change.job.number, STEPS.c.position == step.position)
            connection.execute(update(STEPS).where(here).values(open_predecessors=count))


def _wait_again(connection: Connection, change: JobChange) -> None:
    """Have what reads the outputs of tasks that run again wait for the new ones, as far as it is on no queue yet."""
    for step in _steps(connection, change, STEPS.c.ready + STEPS.c.suspects > 0):
        elements = element_edges(connection, change.job.number, step.position) if change.job.task_edges else ()
        waits = _of(step) if step.open_predecessors else and_(_of(step), ~elements_ready(elements))
        for standing in _WAITING:
            change.undo(standing, waits)


def _blocked(connection: Connection, change: JobChange) -> list[int]:
    """Give the steps with blocked tasks; `ConflictError` when one would wait for ever."""
    job = change.job
    blocked = TASKS.c.state == TaskState.BLOCKED.value
    waiting = select(TASKS.c.step).where(TASKS.c.job == job.number, blocked).distinct()
    steps = _steps(connection, change, STEPS.c.position.in_(waiting))
    findings = []
    for step in steps:
        edges = _edges(connection, change, step)
        findings += [
            f"step {step.name!r} needs step {edge.name!r}, of which {edge.unsuccessful} tasks did not succeed"
            for edge in edges
            if edge.row.kind != EdgeKind.EACH and not edge.possible
        ]
        elements = [edge.row for edge in edges if edge.row.kind == EdgeKind.EACH]
        if elements and _any(connection, change, and_(_of(step), blocked, elements_hopeless(elements))):
            names = ", ".join(repr(edge.name) for edge in edges if edge.row.kind == EdgeKind.EACH)
            findings.append(f"step {step.name!r} needs the tasks of {names} of the same index, some did not succeed")
    if findings:
        found = "; ".join(findings[:_TOLD])
        raise ConflictError(f"nothing of job {job.job_id} was requeued: {found}; requeue those, too")
    return [step.position for step in steps]


@dataclass(frozen=True, slots=True)
class _Edge:
    """An edge with the counters of what it waits for."""

    row: Row[Any]
    name: str
    open_tasks: int
    unsuccessful: int

    @property
    def possible(self) -> bool:
        """Whether enough can still succeed."""
        return bool(self.row.last - self.row.first + 1 - self.unsuccessful >= self.row.needed)


def _edges(connection: Connection, change: JobChange, step: Row[Any]) -> list[_Edge]:
    of_step = (STEPS.c.open_tasks.label("step_open"), STEPS.c.unsuccessful.label("step_unsuccessful"))
    joined = and_(STEPS.c.job == EDGES.c.job, STEPS.c.position == EDGES.c.predecessor)
    rows = select(EDGES, STEPS.c.name, *of_step).join(STEPS, joined)
    here = rows.where(EDGES.c.job == change.job.number, EDGES.c.dependent == step.position)
    return [
        _Edge(row, row.name, row.open_tasks, row.unsuccessful)
        if row.kind == EdgeKind.TASKS
        else _Edge(row, row.name, row.step_open, row.step_unsuccessful)
        for row in connection.execute(here)
    ]


def _steps(connection: Connection, change: JobChange, *conditions: ColumnElement[bool]) -> Sequence[Row[Any]]:
    here = select(STEPS).where(STEPS.c.job == change.job.number, *conditions)
    return connection.execute(here.order_by(STEPS.c.position)).all()


def _of(step: Row[Any]) -> ColumnElement[bool]:
    return TASKS.c.task_id.between(step.first_task_id, step.first_task_id + step.task_count - 1)
