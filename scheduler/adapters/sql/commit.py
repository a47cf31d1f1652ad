"""What a node's word does to the tasks of a message: started, reported, given back (design sections 6.3 and 6.6)."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from node_bootstrap.protocol import Manifest, Outcome, TaskRef, TaskReport
from scheduler.adapters.sql.committed import pack_files
from scheduler.adapters.sql.job_change import JobChange, Standing, end_of, standing_of
from scheduler.adapters.sql.job_schema import (
    IN_LIST,
    JOBS,
    MANIFESTS,
    MESSAGES,
    POOL_TIMES,
    STEPS,
    STOPS,
    TASK_IS_OUT,
    TASKS,
)
from scheduler.dispatch.retry import Spent, Verdict, retry_decision
from scheduler.dispatch.run_times import POOL_SPAN, STEP_SPAN, moving_mean
from scheduler.model import RetryPolicy

_LOG = logging.getLogger(__name__)
_WINS = frozenset({Outcome.SUCCESS, Outcome.IGNORABLE})


@dataclass(frozen=True, slots=True)
class _Applied:
    """One report that counts, and what it makes of its task."""

    task: Row[Any]
    report: TaskReport
    verdict: Verdict
    old: Standing
    new: Standing


class _Policies:
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


def start_message(
    connection: Connection,
    message_id: str,
    node_id: str,
    running: tuple[TaskRef, ...],
    deadline: datetime,
    now: datetime,
) -> bool:
    """Record that a node works on a message; False when it is not known."""
    job_id = _job_of(connection, message_id)
    if job_id is None:
        return False
    change = JobChange.of(connection, job_id, now)
    message = _message(connection, message_id)
    if message.closed_at is not None:
        return True
    _mark_started(connection, message, node_id, now)
    later = update(MESSAGES).where(MESSAGES.c.number == message.number, MESSAGES.c.deadline < deadline)
    connection.execute(later.values(deadline=deadline))
    attempts = {(ref.task_id, ref.attempt) for ref in running}
    rows: dict[int, list[dict[str, object]]] = defaultdict(list)
    for task in _tasks_out(connection, message.number):
        if (task.task_id, task.attempt) in attempts and standing_of(task) is Standing.QUEUED:
            rows[task.step].append({"task_id": task.task_id, "node_id": node_id, "started_at": now})
    for step, tasks in rows.items():
        change.change_each(step, Standing.QUEUED, Standing.RUNNING, tasks)
    change.settle()
    return True


def commit_manifest(connection: Connection, blob: str, manifest: Manifest, now: datetime) -> bool:
    """Apply the reports of a manifest, once; False when its message is not known."""
    job_id = _job_of(connection, manifest.message_id)
    if job_id is None or job_id != manifest.job_id:
        return False
    change = JobChange.of(connection, job_id, now)
    if connection.execute(select(MANIFESTS.c.number).where(MANIFESTS.c.blob == blob)).first() is not None:
        return True
    message = _message(connection, manifest.message_id)
    applied = _verdicts(connection, change, message, manifest.reports)
    ended = [item.report for item in applied if item.new.completed]
    number = connection.execute(
        insert(MANIFESTS)
        .values(blob=blob, job=change.job.number, files=pack_files(ended) if ended else None)
        .returning(MANIFESTS.c.number)
    ).scalar_one()
    _write_reports(change, applied, manifest.node_id, number)
    _stop_needless(connection, message, applied)
    _measure(connection, change, applied)
    _mark_started(connection, message, manifest.node_id, now)
    reported = update(MESSAGES).where(MESSAGES.c.number == message.number)
    connection.execute(reported.values(unreported=MESSAGES.c.unreported - len(manifest.reports)))
    # A count of reports alone could be wrong, and a closed message with an open task would be a lost task.
    if message.unreported <= len(manifest.reports) and not _tasks_out(connection, message.number):
        _close(connection, message, now)
    change.settle()
    return True


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
    job_id = _job_of(connection, message_id)
    if job_id is None:
        return False
    change = JobChange.of(connection, job_id, now)
    message = _message(connection, message_id)
    if message.closed_at is not None:
        return True
    policies = _Policies(connection, change.job.number)
    rows: dict[tuple[int, Standing, Standing], list[dict[str, object]]] = defaultdict(list)
    for task in _tasks_out(connection, message.number):
        old = standing_of(task)
        # Who ran the message says what ran; a runner that only meets it a second time cannot, but the store may.
        ran = old is Standing.RUNNING or TaskRef(task.task_id, task.attempt) in running
        if charge and ran:
            verdict = retry_decision(Outcome.NODE_FAULT, _spent(task), policies.of(task.step), reason)
        else:
            verdict = Verdict(None, _spent(task), suspect=task.suspect, reason=reason if ran else task.reason)
        new = _new_standing(change, verdict)
        rows[task.step, old, new].append(
            {
                "task_id": task.task_id,
                "node_faults": verdict.spent.node_faults,
                "ended_at": now if new.completed else None,
                "reason": _reason(new, verdict),
            }
        )
    for (step, old, new), tasks in rows.items():
        change.change_each(step, old, new, tasks)
    _close(connection, message, now)
    change.settle()
    return True


def _verdicts(
    connection: Connection, change: JobChange, message: Row[Any], reports: Sequence[TaskReport]
) -> list[_Applied]:
    """Judge the reports that count: a success at or above the floor, any other of the current attempt only."""
    tasks = _tasks(connection, change.job.number, {report.task_id for report in reports})
    policies = _Policies(connection, change.job.number)
    applied: dict[int, _Applied] = {}
    for report in reports:
        task = tasks.get(report.task_id)
        if task is None or task.step != message.step or report.attempt > task.attempt:
            _LOG.warning("message %s reports a run that was never handed out: %s", message.message_id, report)
            continue
        old = standing_of(task)
        current = report.attempt == task.attempt and task.message == message.number
        wins = report.outcome in _WINS and report.attempt >= task.attempt_floor
        if old.completed or report.task_id in applied or not (current or wins):
            continue
        if report.outcome in _WINS and not wins:
            continue
        verdict = retry_decision(report.outcome, _spent(task), policies.of(task.step), report.reason)
        applied[report.task_id] = _Applied(task, report, verdict, old, _new_standing(change, verdict))
    return list(applied.values())


def _new_standing(change: JobChange, verdict: Verdict) -> Standing:
    if verdict.result is not None:
        return end_of(verdict.result)
    if change.terminating:
        return Standing.CANCELLED
    return Standing.SUSPECT if verdict.suspect else Standing.READY


def _reason(new: Standing, verdict: Verdict) -> str:
    return "the job was cancelled" if new is Standing.CANCELLED else verdict.reason


def _write_reports(change: JobChange, applied: Iterable[_Applied], node_id: str, manifest: int) -> None:
    rows: dict[tuple[int, Standing, Standing], list[dict[str, object]]] = defaultdict(list)
    for item in applied:
        report, spent = item.report, item.verdict.spent
        ends = item.new.completed
        rows[item.task.step, item.old, item.new].append(
            {
                "task_id": report.task_id,
                "retries": spent.retries,
                "node_faults": spent.node_faults,
                "preemptions": spent.preemptions,
                "node_id": node_id,
                "manifest": manifest if ends else None,
                "earlier_manifest": None if item.new is Standing.SUCCEEDED else item.task.earlier_manifest,
                "exit_code": report.exit_code,
                "outcome": report.outcome.value,
                "started_at": report.started_at if ends else None,
                "ended_at": report.ended_at if ends else None,
                "reason": _reason(item.new, item.verdict),
            }
        )
    for (step, old, new), tasks in rows.items():
        change.change_each(step, old, new, tasks)


def _stop_needless(connection: Connection, message: Row[Any], applied: Iterable[_Applied]) -> None:
    """Note to stop the present attempts of tasks that an earlier one has ended."""
    rows = [
        {
            "job": message.job,
            "task_id": item.task.task_id,
            "below_attempt": item.task.attempt + 1,
            "message": item.task.message,
        }
        for item in applied
        if item.new.completed and item.task.message not in {None, message.number}
    ]
    if rows:
        connection.execute(insert(STOPS), rows)


def _measure(connection: Connection, change: JobChange, applied: Iterable[_Applied]) -> None:
    """Follow the run times of successes, for the step and for its pool; a node's clock may have been set back."""
    times: dict[int, list[float]] = defaultdict(list)
    for item in applied:
        if item.report.outcome is Outcome.SUCCESS:
            length = (item.report.ended_at - item.report.started_at).total_seconds()
            times[item.task.step].append(max(length, 0.0))
    for position, lengths in times.items():
        here = (STEPS.c.job == change.job.number) & (STEPS.c.position == position)
        step = connection.execute(select(STEPS.c.mean_seconds, STEPS.c.measured).where(here)).one()
        mean = moving_mean(step.mean_seconds, step.measured, lengths, STEP_SPAN)
        measured = step.measured + len(lengths)
        connection.execute(update(STEPS).where(here).values(mean_seconds=mean, measured=measured))
    lengths = [length for found in times.values() for length in found]
    if not lengths:
        return
    pool = POOL_TIMES.c.pool == change.job.pool
    old = connection.execute(select(POOL_TIMES).where(pool)).first()
    if old is None:
        mean = moving_mean(None, 0, lengths, POOL_SPAN)
        connection.execute(insert(POOL_TIMES).values(pool=change.job.pool, mean_seconds=mean, measured=len(lengths)))
    else:
        mean = moving_mean(old.mean_seconds, old.measured, lengths, POOL_SPAN)
        measured = old.measured + len(lengths)
        connection.execute(update(POOL_TIMES).where(pool).values(mean_seconds=mean, measured=measured))


def _job_of(connection: Connection, message_id: str) -> str | None:
    job = select(JOBS.c.job_id).join(MESSAGES, MESSAGES.c.job == JOBS.c.number)
    return connection.execute(job.where(MESSAGES.c.message_id == message_id)).scalar()


def _message(connection: Connection, message_id: str) -> Row[Any]:
    return connection.execute(select(MESSAGES).where(MESSAGES.c.message_id == message_id)).one()


def _tasks_out(connection: Connection, message: int) -> Sequence[Row[Any]]:
    here = select(TASKS).where(TASKS.c.message == message, TASK_IS_OUT)
    return connection.execute(here.order_by(TASKS.c.task_id)).all()


def _tasks(connection: Connection, job: int, task_ids: set[int]) -> dict[int, Row[Any]]:
    wanted = sorted(task_ids)
    found = {}
    for start in range(0, len(wanted), IN_LIST):
        some = wanted[start : start + IN_LIST]
        for row in connection.execute(select(TASKS).where(TASKS.c.job == job, TASKS.c.task_id.in_(some))):
            found[row.task_id] = row
    return found


def _spent(task: Row[Any]) -> Spent:
    return Spent(task.retries, task.node_faults, task.preemptions)


def _mark_started(connection: Connection, message: Row[Any], node_id: str, now: datetime) -> None:
    here = update(MESSAGES).where(MESSAGES.c.number == message.number, MESSAGES.c.started_at.is_(None))
    connection.execute(here.values(started_at=now, node_id=node_id))


def _close(connection: Connection, message: Row[Any], now: datetime) -> None:
    connection.execute(
        update(MESSAGES).where(MESSAGES.c.number == message.number).values(closed_at=now, body=None, inputs=None)
    )
    connection.execute(delete(STOPS).where(STOPS.c.message == message.number))
