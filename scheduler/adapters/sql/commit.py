"""What a node's word does to the tasks of a message: started, reported (design section 6.6)."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, func, insert, select, update

from node_bootstrap.protocol import Manifest, Outcome, TaskReport
from scheduler.adapters.sql.committed import pack_files
from scheduler.adapters.sql.handed_out import (
    Policies,
    close_messages,
    messages_named,
    new_standing,
    reason_of,
    spent_by,
)
from scheduler.adapters.sql.job_change import JobChange, Standing, standing_of
from scheduler.adapters.sql.job_schema import (
    IN_LIST,
    MANIFESTS,
    MESSAGE_IS_OPEN,
    MESSAGES,
    STOPS,
    TASK_IS_OUT,
    TASKS,
)
from scheduler.adapters.sql.run_times import follow_run_times
from scheduler.dispatch.records import Start
from scheduler.dispatch.retry import Verdict, retry_decision

_LOG = logging.getLogger(__name__)
_WINS = frozenset({Outcome.SUCCESS, Outcome.IGNORABLE})

_MARK = (
    update(MESSAGES)
    .where(MESSAGES.c.number == bindparam("the_number"))
    .values(
        unreported=MESSAGES.c.unreported - bindparam("count", type_=MESSAGES.c.unreported.type),
        node_id=func.coalesce(MESSAGES.c.node_id, bindparam("node", type_=MESSAGES.c.node_id.type)),
        started_at=func.coalesce(MESSAGES.c.started_at, bindparam("at", type_=MESSAGES.c.started_at.type)),
        deadline=case(
            (MESSAGES.c.deadline < bindparam("until", type_=MESSAGES.c.deadline.type), bindparam("until")),
            else_=MESSAGES.c.deadline,
        ),
    )
)


@dataclass(frozen=True, slots=True)
class _Applied:
    """One report that counts, and what it makes of its task."""

    task: Row[Any]
    report: TaskReport
    verdict: Verdict
    old: Standing
    new: Standing


@dataclass(frozen=True, slots=True)
class _Told:
    """A manifest that has not been applied yet, with the row of its message."""

    message: Row[Any]
    blob: str
    manifest: Manifest


@dataclass(slots=True)
class _Words:
    """What nodes said of one job's messages."""

    starts: list[tuple[Row[Any], Start]] = field(default_factory=list)
    manifests: list[_Told] = field(default_factory=list)


def record_words(
    connection: Connection, starts: Sequence[Start], manifests: Sequence[tuple[str, Manifest]], now: datetime
) -> frozenset[str]:
    """Record that nodes work on messages, and apply the reports of manifests, each once; give the unknown messages.

    One pass a job, whatever the number of messages: reading, changing and counting cost by statement, not by row.
    """
    messages = messages_named(
        connection, [start.message_id for start in starts] + [each.message_id for _, each in manifests]
    )
    fresh = _fresh(connection, manifests)
    jobs: dict[str, _Words] = defaultdict(_Words)
    unknown = set()
    for start in starts:
        message = messages.get(start.message_id)
        if message is None:
            unknown.add(start.message_id)
        elif message.closed_at is None:
            jobs[message.job_id].starts.append((message, start))
    for blob, manifest in manifests:
        message = messages.get(manifest.message_id)
        if message is None or message.job_id != manifest.job_id:
            unknown.add(manifest.message_id)
        elif blob in fresh:
            fresh.discard(blob)
            jobs[message.job_id].manifests.append(_Told(message, blob, manifest))
    # In order of name, so that no two transactions wait for each other.
    for job_id, words in sorted(jobs.items()):
        change = JobChange.of(connection, job_id, now)
        for told in _rounds(words.manifests):
            _take_in(connection, change, words.starts, told, now)
            words.starts = []
        _take_in(connection, change, words.starts, [], now)
        change.settle()
    return frozenset(unknown)


def _rounds(told: list[_Told]) -> Iterator[list[_Told]]:
    """Split so that no task is reported twice in one round: what the second report does depends on the first."""
    while told:
        seen: set[int] = set()
        first: list[_Told] = []
        rest: list[_Told] = []
        for each in told:
            tasks = {report.task_id for report in each.manifest.reports}
            (rest if tasks & seen else first).append(each)
            seen |= tasks
        yield first
        told = rest


def _take_in(
    connection: Connection,
    change: JobChange,
    starts: Sequence[tuple[Row[Any], Start]],
    told: Sequence[_Told],
    now: datetime,
) -> None:
    reported = {report.task_id for each in told for report in each.manifest.reports}
    begun = {ref.task_id for _, start in starts for ref in start.running} - reported
    tasks = _tasks(connection, change.job.number, reported | begun)
    _start(connection, change, starts, {task_id: tasks[task_id] for task_id in begun & tasks.keys()}, now)
    if told:
        _commit(connection, change, told, tasks, now)


def _start(
    connection: Connection,
    change: JobChange,
    starts: Sequence[tuple[Row[Any], Start]],
    tasks: Mapping[int, Row[Any]],
    now: datetime,
) -> None:
    rows: dict[int, dict[int, dict[str, object]]] = defaultdict(dict)
    for message, start in starts:
        for ref in start.running:
            task = tasks.get(ref.task_id)
            if task is None or (task.message, task.attempt) != (message.number, ref.attempt):
                continue
            if standing_of(task) is Standing.QUEUED:
                begun = {"task_id": task.task_id, "node_id": start.node_id, "started_at": now}
                rows[task.step].setdefault(task.task_id, begun)
    for step, found in rows.items():
        change.change_each(step, Standing.QUEUED, Standing.RUNNING, list(found.values()))
    _mark(
        connection,
        [
            {"the_number": message.number, "count": 0, "node": start.node_id, "at": now, "until": start.deadline}
            for message, start in starts
        ],
    )


def _commit(
    connection: Connection, change: JobChange, told: Sequence[_Told], tasks: Mapping[int, Row[Any]], now: datetime
) -> None:
    policies = Policies(connection, change.job.number)
    applied = [_verdicts(change, policies, each, tasks) for each in told]
    numbers = _insert_manifests(connection, change.job.number, told, applied)
    _write_reports(change, [(each, found, number) for each, found, number in zip(told, applied, numbers, strict=True)])
    _stop_needless(connection, told, applied)
    _measure(connection, change, [item for found in applied for item in found], now)
    _mark(
        connection,
        [
            {
                "the_number": each.message.number,
                "count": len(each.manifest.reports),
                "node": each.manifest.node_id,
                "at": now,
                "until": each.message.deadline,
            }
            for each in told
        ],
    )
    _close_reported(connection, {each.message.number for each in told}, now)


def _insert_manifests(
    connection: Connection, job: int, told: Sequence[_Told], applied: Sequence[Sequence[_Applied]]
) -> Sequence[int]:
    rows = []
    for each, found in zip(told, applied, strict=True):
        ended = [item.report for item in found if item.new.completed]
        rows.append({"blob": each.blob, "job": job, "files": pack_files(ended) if ended else None})
    made = insert(MANIFESTS).returning(MANIFESTS.c.number, sort_by_parameter_order=True)
    return connection.execute(made, rows).scalars().all()


def _mark(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Mark messages as begun, and as reported by so many."""
    if rows:
        connection.execute(_MARK, rows)


def _close_reported(connection: Connection, messages: set[int], now: datetime) -> None:
    """Close what is wholly accounted for.

    A count of reports alone could be wrong, and a closed message with an open task would be a lost task.
    """
    told = select(MESSAGES.c.number).where(
        MESSAGES.c.number.in_(sorted(messages)), MESSAGES.c.unreported <= 0, MESSAGE_IS_OPEN
    )
    reported = set(connection.execute(told).scalars())
    if reported:
        out = select(TASKS.c.message).where(TASKS.c.message.in_(sorted(reported)), TASK_IS_OUT).distinct()
        reported -= set(connection.execute(out).scalars())
    if reported:
        close_messages(connection, sorted(reported), now)


def _verdicts(change: JobChange, policies: Policies, told: _Told, tasks: Mapping[int, Row[Any]]) -> list[_Applied]:
    """Judge the reports that count: a success at or above the floor, any other of the current attempt only."""
    message = told.message
    applied: dict[int, _Applied] = {}
    for report in told.manifest.reports:
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
        verdict = retry_decision(report.outcome, spent_by(task), policies.of(task.step), report.reason)
        applied[report.task_id] = _Applied(task, report, verdict, old, new_standing(change, verdict))
    return list(applied.values())


def _write_reports(change: JobChange, told: Iterable[tuple[_Told, Sequence[_Applied], int]]) -> None:
    rows: dict[tuple[int, Standing, Standing], list[dict[str, object]]] = defaultdict(list)
    for each, applied, manifest in told:
        for item in applied:
            report, spent = item.report, item.verdict.spent
            ends = item.new.completed
            rows[item.task.step, item.old, item.new].append(
                {
                    "task_id": report.task_id,
                    "retries": spent.retries,
                    "node_faults": spent.node_faults,
                    "preemptions": spent.preemptions,
                    "node_id": each.manifest.node_id,
                    "manifest": manifest if ends else None,
                    "earlier_manifest": None if item.new is Standing.SUCCEEDED else item.task.earlier_manifest,
                    "exit_code": report.exit_code,
                    "outcome": report.outcome.value,
                    "started_at": report.started_at if ends else None,
                    "ended_at": report.ended_at if ends else None,
                    "reason": reason_of(item.new, item.verdict),
                }
            )
    for (step, old, new), tasks in rows.items():
        change.change_each(step, old, new, tasks)


def _stop_needless(connection: Connection, told: Sequence[_Told], applied: Sequence[Sequence[_Applied]]) -> None:
    """Note to stop the present attempts of tasks that an earlier one has ended."""
    rows = [
        {
            "job": each.message.job,
            "task_id": item.task.task_id,
            "below_attempt": item.task.attempt + 1,
            "message": item.task.message,
        }
        for each, found in zip(told, applied, strict=True)
        for item in found
        if item.new.completed and item.task.message not in {None, each.message.number}
    ]
    if rows:
        connection.execute(insert(STOPS), rows)


def _measure(connection: Connection, change: JobChange, applied: Iterable[_Applied], now: datetime) -> None:
    """Follow the run times of successes; a node's clock may have been set back."""
    times: dict[int, list[float]] = defaultdict(list)
    for item in applied:
        if item.report.outcome is Outcome.SUCCESS:
            length = (item.report.ended_at - item.report.started_at).total_seconds()
            times[item.task.step].append(max(length, 0.0))
    if times:
        follow_run_times(connection, change.job, times, now)


def _fresh(connection: Connection, manifests: Sequence[tuple[str, Manifest]]) -> set[str]:
    """Give the manifests that have not been applied before."""
    blobs = [blob for blob, _ in manifests]
    known = connection.execute(select(MANIFESTS.c.blob).where(MANIFESTS.c.blob.in_(blobs))).scalars()
    return set(blobs).difference(known)


def _tasks(connection: Connection, job: int, task_ids: set[int]) -> dict[int, Row[Any]]:
    wanted = sorted(task_ids)
    found = {}
    for start in range(0, len(wanted), IN_LIST):
        some = wanted[start : start + IN_LIST]
        for row in connection.execute(select(TASKS).where(TASKS.c.job == job, TASKS.c.task_id.in_(some))):
            found[row.task_id] = row
    return found
