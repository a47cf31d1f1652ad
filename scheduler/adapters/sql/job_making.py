"""How a job begins and is cancelled, within a transaction of whoever wants it: a user's command, or a schedule."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, Table, insert, text, update
from sqlalchemy.dialects import postgresql, sqlite

from node_bootstrap.protocol import encode, sha256_hex
from scheduler.adapters.sql.edges import edge_rows, waits
from scheduler.adapters.sql.job_change import JobChange, Standing
from scheduler.adapters.sql.job_schema import CHUNKS, EDGES, JOBS, STEPS
from scheduler.dispatch.checks import step_findings
from scheduler.dispatch.run_times import work_key
from scheduler.errors import ConflictError, InvalidRequestError
from scheduler.model import JobResult, JobState, NewJob, Step

# Both know "on conflict do nothing"; SQLAlchemy has it by dialect only.
_INSERT: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = MappingProxyType(
    {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
)


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


def insert_new(connection: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert a row unless one with its keys is there, and say whether it was not."""
    row = _INSERT[connection.dialect.name](table).values(**values)
    return connection.execute(row.on_conflict_do_nothing().returning(*table.primary_key)).first() is not None


def open_draft(connection: Connection, job_id: str, new: NewJob, now: datetime) -> bool:
    """Make a draft's row, and say whether it was not there before.

    Two requests of one client may run at once, when it sent the first again: the later one changes nothing.
    """
    draft = {
        "job_id": job_id,
        "idempotency_key": new.idempotency_key,
        "state": JobState.DRAFT.value,
        "name": new.name,
        "pool": new.pool,
        "priority": new.priority,
        "created_at": now,
    }
    return insert_new(connection, JOBS, draft)


def arm(connection: Connection, change: JobChange, steps: Sequence[Step], task_count: int, now: datetime) -> None:
    """Make the tasks of a draft and start them.

    `InvalidRequestError` with every finding, `ConflictError` when they do not number `task_count`.
    """
    number = change.job.number
    findings = step_findings(steps)
    if findings:
        raise InvalidRequestError(f"job {change.job.job_id} cannot be armed: {'; '.join(findings)}")
    check_count(change.job.job_id, task_count, sum(step.definition.task_count for step in steps))
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


def cancel(connection: Connection, change: JobChange, reason: str, now: datetime) -> None:
    """Cancel: what does not run ends as cancelled at once; what runs ends with its report, or when it is lost.

    A run that succeeds all the same is kept as the success that it was. Messages already on a queue stay open
    until they are accounted for, so that the stop list names the job as long as a node could meet one.
    """
    here = update(JOBS).where(JOBS.c.number == change.job.number)
    if change.job.state == JobState.DRAFT:
        end = {"state": JobState.COMPLETED.value, "result": JobResult.CANCELLED.value, "ended_at": now}
        connection.execute(here.values(**end, reason="cancelled as a draft"))
    elif change.job.state == JobState.ACTIVE:
        connection.execute(here.values(state=JobState.TERMINATING.value, reason=reason))
        for standing in (Standing.BLOCKED, Standing.READY, Standing.SUSPECT, Standing.QUEUED):
            change.change_all(standing, Standing.CANCELLED, reason="the job was cancelled", ended_at=now)
        change.settle()


def check_count(job_id: str, asked: int, found: int) -> None:
    """Refuse to arm a job of which tasks are missing."""
    if asked != found:
        raise ConflictError(f"job {job_id} has {found} tasks, not {asked}; send the missing chunks and arm it again")


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
