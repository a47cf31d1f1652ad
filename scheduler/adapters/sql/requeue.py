"""Tasks run again because a user asks for it: the one way out of `completed`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from scheduler.adapters.sql.job_change import JobChange, Standing
from scheduler.adapters.sql.job_schema import EDGES, IN_LIST, JOBS, MESSAGE_IS_OPEN, MESSAGES, STEPS, STOPS, TASKS
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
    for step in _count_predecessors(connection, change):
        # What reads the outputs of tasks that run again has to see the new ones.
        first, last = step.first_task_id, step.first_task_id + step.task_count - 1
        for standing in _WAITING:
            change.undo(standing, TASKS.c.task_id.between(first, last))
    change.settle()
    change.release(_free(connection, change))
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
    before = _predecessors(connection, change)
    of_job = select(STEPS).where(STEPS.c.job == change.job.number)
    steps = connection.execute(of_job.order_by(STEPS.c.position)).all()
    failing = {step.position for step in steps if step.unsuccessful}
    again = {step.position for step in steps if step.open_tasks}
    for step in steps:
        needs = before[step.position]
        if step.position not in failing or needs & failing or not needs & again:
            continue
        last = step.first_task_id + step.task_count - 1
        change.undo(Standing.CANCELLED, TASKS.c.task_id.between(step.first_task_id, last), reason=REASON)
        again.add(step.position)
        failed = and_(TASKS.c.step == step.position, TASKS.c.result == TaskResult.FAILURE.value)
        if not _any(connection, change, failed):
            failing.discard(step.position)
    change.settle()


def _count_predecessors(connection: Connection, change: JobChange) -> list[Row[Any]]:
    """Count anew what each step waits for, and give the steps that had been released and have to wait again."""
    before = _predecessors(connection, change)
    steps = connection.execute(select(STEPS).where(STEPS.c.job == change.job.number)).all()
    open_steps = {step.position for step in steps if step.open_tasks or step.unsuccessful}
    waiting = []
    for step in steps:
        count = len(before[step.position] & open_steps)
        if count != step.open_predecessors:
            here = and_(STEPS.c.job == change.job.number, STEPS.c.position == step.position)
            connection.execute(update(STEPS).where(here).values(open_predecessors=count))
            if step.open_predecessors == 0:
                waiting.append(step)
    return waiting


def _free(connection: Connection, change: JobChange) -> list[int]:
    """Give the steps with blocked tasks that wait for nothing; `ConflictError` for one that would wait for ever."""
    job = change.job
    blocked = select(TASKS.c.step).where(TASKS.c.job == job.number, TASKS.c.state == TaskState.BLOCKED.value).distinct()
    waiting = set(connection.execute(blocked).scalars())
    steps = {row.position: row for row in connection.execute(select(STEPS).where(STEPS.c.job == job.number))}
    before = _predecessors(connection, change)
    hopeless = sorted((other, step) for step in waiting for other in before[step] if steps[other].unsuccessful)
    if hopeless:
        found = "; ".join(
            f"step {steps[step].name!r} needs step {steps[other].name!r}, of which {steps[other].unsuccessful} tasks "
            "did not succeed"
            for other, step in hopeless[:_TOLD]
        )
        raise ConflictError(f"nothing of job {job.job_id} was requeued: {found}; requeue those, too")
    return [step for step in sorted(waiting) if steps[step].open_predecessors == 0]


def _predecessors(connection: Connection, change: JobChange) -> dict[int, set[int]]:
    before: dict[int, set[int]] = defaultdict(set)
    edges = select(EDGES.c.predecessor, EDGES.c.dependent).where(EDGES.c.job == change.job.number)
    for predecessor, dependent in connection.execute(edges):
        before[dependent].add(predecessor)
    return before
