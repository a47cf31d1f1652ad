"""What becomes of the tasks of a message that was given back or lost (design sections 6.3 and 6.7)."""

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Connection

from node_bootstrap.protocol import Outcome, TaskRef
from scheduler.adapters.sql.handed_out import (
    Policies,
    close_messages,
    messages_named,
    new_standing,
    reason_of,
    spent_by,
    tasks_out,
)
from scheduler.adapters.sql.job_change import JobChange, Standing, standing_of
from scheduler.dispatch.retry import Verdict, retry_decision


def return_message(
    connection: Connection,
    message_id: str,
    now: datetime,
    *,
    reason: str,
    running: tuple[TaskRef, ...],
    charge: bool,
) -> bool:
    """Make the unfinished tasks of a message ready again and close it; False when it is not known."""
    found = messages_named(connection, [message_id]).get(message_id)
    if found is None:
        return False
    change = JobChange.of(connection, found.job_id, now)
    # Read again: on PostgreSQL another may have closed it before the job's row was ours.
    message = messages_named(connection, [message_id])[message_id]
    if message.closed_at is not None:
        return True
    policies = Policies(connection, change.job.number)
    rows: dict[tuple[int, Standing, Standing], list[dict[str, object]]] = defaultdict(list)
    for task in tasks_out(connection, message.number):
        old = standing_of(task)
        # Who ran the message says what ran; a runner that only meets it a second time cannot, but the store may.
        ran = old is Standing.RUNNING or TaskRef(task.task_id, task.attempt) in running
        if charge and ran:
            verdict = retry_decision(Outcome.NODE_FAULT, spent_by(task), policies.of(task.step), reason)
        else:
            verdict = Verdict(None, spent_by(task), suspect=task.suspect, reason=reason if ran else task.reason)
        new = new_standing(change, verdict)
        rows[task.step, old, new].append(
            {
                "task_id": task.task_id,
                "node_faults": verdict.spent.node_faults,
                "ended_at": now if new.completed else None,
                "reason": reason_of(new, verdict),
            }
        )
    for (step, old, new), tasks in rows.items():
        change.change_each(step, old, new, tasks)
    close_messages(connection, [message.number], now)
    change.settle()
    return True
