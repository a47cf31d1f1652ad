"""Messages that are out and their tasks: what the ways in which they end have in common."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from scheduler.adapters.sql.job_change import JobChange, Standing, end_of
from scheduler.adapters.sql.job_schema import JOBS, MESSAGES, STEPS, STOPS, TASK_IS_OUT, TASKS
from scheduler.dispatch.retry import Spent, Verdict
from scheduler.model import RetryPolicy


class Policies:
    """Retry policies of a job's steps, each read once."""

    def __init__(self, connection: Connection, job: int) -> None:
        self._connection = connection
        self._job = job
        self._known: dict[int, RetryPolicy] = {}

    def of(self, step: int) -> RetryPolicy:
        """Give the policy of a step."""
        if step not in self._known:
            columns = select(STEPS.c.max_task_retries, STEPS.c.max_node_faults, STEPS.c.max_preemptions)
            here = columns.where(STEPS.c.job == self._job, STEPS.c.position == step)
            self._known[step] = RetryPolicy(*self._connection.execute(here).one())
        return self._known[step]


def new_standing(change: JobChange, verdict: Verdict) -> Standing:
    """Say where a verdict puts a task."""
    if verdict.result is not None:
        return end_of(verdict.result)
    if change.terminating:
        return Standing.CANCELLED
    return Standing.SUSPECT if verdict.suspect else Standing.READY


def reason_of(new: Standing, verdict: Verdict) -> str:
    """Say why it stands there."""
    return "the job was cancelled" if new is Standing.CANCELLED else verdict.reason


def messages_named(connection: Connection, message_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Give messages by id, each with the id of its job."""
    found = select(*MESSAGES.c, JOBS.c.job_id).join(JOBS, JOBS.c.number == MESSAGES.c.job)
    rows: Iterable[Row[Any]] = connection.execute(found.where(MESSAGES.c.message_id.in_(message_ids)))
    return {row.message_id: row for row in rows}


def tasks_out(connection: Connection, message: int) -> Sequence[Row[Any]]:
    """Give the tasks of a message that have not ended, in order of id."""
    here = select(TASKS).where(TASKS.c.message == message, TASK_IS_OUT)
    return connection.execute(here.order_by(TASKS.c.task_id)).all()


def spent_by(task: Row[Any]) -> Spent:
    """Give what a task has used of each budget."""
    return Spent(task.retries, task.node_faults, task.preemptions)


def close_messages(connection: Connection, messages: Sequence[int], now: datetime) -> None:
    """Close messages that are accounted for: nothing of them is on its way any more."""
    connection.execute(
        update(MESSAGES).where(MESSAGES.c.number.in_(messages)).values(closed_at=now, body=None, inputs=None)
    )
    connection.execute(delete(STOPS).where(STOPS.c.message.in_(messages)))
