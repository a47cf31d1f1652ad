"""Rows of job schedules as records, and records as rows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from node_bootstrap.protocol import decode, encode, sha256_hex
from scheduler.adapters.sql.edges import waits
from scheduler.adapters.sql.fingerprint import fingerprint
from scheduler.adapters.sql.job_schema import JOBS
from scheduler.adapters.sql.schedule_schema import RUN_IS_OPEN, SCHEDULE_RUNS, SCHEDULES
from scheduler.dispatch.run_times import work_key
from scheduler.errors import NotFoundError
from scheduler.job_schedule import (
    JobSchedule,
    JobScheduleState,
    JobSpecification,
    NewJobSchedule,
    Overlap,
    RunState,
    Schedule,
    ScheduleRun,
)
from scheduler.model import JobResult, JobState, Step
from scheduler.recurrence.due import Standing, Wait, due
from scheduler.recurrence.occurrences import occurrences
from scheduler.recurrence.specification import steps_of, values_of

_NEXT_SHOWN = 5
# A job that is there and has not ended.
_UNFINISHED = (JobState.DRAFT.value, JobState.ACTIVE.value, JobState.TERMINATING.value)


@dataclass(frozen=True, slots=True)
class ReadySteps:
    """Tasks of a schedule's job that wait for nothing once it is made, of one step: enough to foresee them."""

    step: str
    tasks: int
    work: str
    expected_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Steps:
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    steps: tuple[ReadySteps, ...]


def row_of(connection: Connection, schedule_id: str, *, lock: bool = False) -> Row[Any]:
    """Give a schedule's row; `NotFoundError`. With `lock`, other writers of it wait until this transaction ends."""
    found = select(SCHEDULES).where(SCHEDULES.c.schedule_id == schedule_id)
    row = connection.execute(found.with_for_update() if lock else found).first()
    if row is None:
        raise NotFoundError(f"there is no schedule {schedule_id}; `millpond schedule list` shows all")
    return row


def values_for(new: NewJobSchedule, now: datetime) -> dict[str, object]:
    """Make a schedule's row of a request, without what is kept of its progress."""
    schedule, job = new.schedule, new.job
    return {
        "schedule_id": new.schedule_id,
        "request": request_hash(new),
        "state": JobScheduleState.ACTIVE.value,
        "created_at": now,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "recurrence_interval": schedule.recurrence_interval,
        "do_not_run_until": schedule.do_not_run_until,
        "do_not_run_after": schedule.do_not_run_after,
        "start_window": schedule.start_window,
        "overlap": schedule.overlap.value,
        "job_name": job.name,
        "pool": job.pool,
        "priority": job.priority,
        "steps": encode(_Steps(job.steps)),
        "step_names": json.dumps([step.definition.step for step in job.steps]),
        "task_count": job.task_count,
        "ready": encode(_Ready(tuple(_ready(new, now)))),
    }


def request_hash(new: NewJobSchedule) -> str:
    """Tell requests apart by their content."""
    schedule = new.schedule
    until, after = (
        None if each is None else each.astimezone(UTC).isoformat()
        for each in (schedule.do_not_run_until, schedule.do_not_run_after)
    )
    spans = (schedule.recurrence_interval, schedule.start_window)
    when = [schedule.cron, schedule.time_zone, *map(str, spans), until, after, schedule.overlap.value]
    return sha256_hex(json.dumps([*when, fingerprint(new.job)]).encode())


def _ready(new: NewJobSchedule, now: datetime) -> Iterable[ReadySteps]:
    # As an occurrence makes them, so that their kind of work is that of the jobs that ran.
    for step in steps_of(new.job.steps, values_of(new.schedule_id, new.schedule, now)):
        if not waits(step):
            definition = step.definition
            yield ReadySteps(definition.step, definition.task_count, work_key(definition), step.expected_task_seconds)


def ready_of(row: Row[Any]) -> tuple[ReadySteps, ...]:
    """Give what is ready as soon as a job of the schedule is made."""
    return decode(_Ready, row.ready).steps


def schedule_of(row: Row[Any]) -> Schedule:
    """Give when a schedule makes jobs."""
    return Schedule(
        cron=row.cron,
        time_zone=row.time_zone,
        recurrence_interval=row.recurrence_interval,
        do_not_run_until=row.do_not_run_until,
        do_not_run_after=row.do_not_run_after,
        start_window=row.start_window,
        overlap=Overlap(row.overlap),
    )


def specification_of(row: Row[Any]) -> JobSpecification:
    """Give what the jobs of a schedule are."""
    return JobSpecification(row.job_name, row.pool, decode(_Steps, row.steps).steps, row.priority)


def standing_of(connection: Connection, row: Row[Any]) -> Standing:
    """Give how an active schedule stands."""
    return Standing(
        schedule_id=row.schedule_id,
        schedule=schedule_of(row),
        pool=row.pool,
        created_at=row.created_at,
        settled_until=row.settled_until,
        open_jobs=open_jobs(connection, row.number),
    )


def open_jobs(connection: Connection, number: int) -> tuple[str, ...]:
    """Give the jobs of a schedule that have not ended, oldest first."""
    rows = (
        select(SCHEDULE_RUNS.c.job_id)
        .join(JOBS, JOBS.c.job_id == SCHEDULE_RUNS.c.job_id)
        .where(SCHEDULE_RUNS.c.schedule == number, RUN_IS_OPEN, JOBS.c.state.in_(_UNFINISHED))
        .order_by(SCHEDULE_RUNS.c.number)
    )
    return tuple(str(job_id) for job_id in connection.execute(rows).scalars())


def reopen(connection: Connection, job_id: str) -> None:
    """Have the run of a job that is active again count as open, if a schedule made it."""
    here = update(SCHEDULE_RUNS).where(SCHEDULE_RUNS.c.job_id == job_id)
    connection.execute(here.values(state=RunState.ACTIVE.value, result=None, ended_at=None))


def runs_of(connection: Connection, number: int, limit: int, *only: ColumnElement[bool]) -> tuple[ScheduleRun, ...]:
    """Give the newest runs, as their jobs are now where these are there, newest first."""
    rows = (
        select(
            SCHEDULE_RUNS,
            JOBS.c.state.label("job_state"),
            JOBS.c.result.label("job_result"),
            JOBS.c.ended_at.label("job_ended_at"),
        )
        .outerjoin(JOBS, JOBS.c.job_id == SCHEDULE_RUNS.c.job_id)
        .where(SCHEDULE_RUNS.c.schedule == number, *only)
        .order_by(SCHEDULE_RUNS.c.number.desc())
        .limit(limit)
    )
    return tuple(map(_run, connection.execute(rows)))


def _run(row: Row[Any]) -> ScheduleRun:
    state, result, ended_at = RunState(row.state), row.result, row.ended_at
    if row.job_state is not None:
        state = RunState.ACTIVE if row.job_state in _UNFINISHED else RunState.COMPLETED
        result, ended_at = row.job_result, row.job_ended_at
    return ScheduleRun(
        occurrence=row.occurrence,
        state=state,
        at=row.at,
        manual=row.by_hand != "",
        job_id=row.job_id,
        result=None if result is None else JobResult(result),
        ended_at=ended_at,
        reason=row.reason,
        count=row.times,
    )


def view_of(connection: Connection, row: Row[Any], now: datetime) -> JobSchedule:
    """Make a schedule as people see it."""
    standing = standing_of(connection, row)
    state = JobScheduleState(row.state)
    coming: tuple[datetime, ...] = ()
    reason = row.reason
    if state is JobScheduleState.ACTIVE:
        after = max(row.settled_until, now)
        coming = tuple(islice(occurrences(standing.schedule, row.created_at, after), _NEXT_SHOWN))
        # While nothing is due there is nothing to say but when it will be.
        decided = due(standing, now) if row.next_at is None or row.next_at <= now else None
        reason = decided.reason if isinstance(decided, Wait) else ""
    return JobSchedule(
        schedule_id=row.schedule_id,
        state=state,
        schedule=standing.schedule,
        job_name=row.job_name,
        pool=row.pool,
        priority=row.priority,
        steps=tuple(json.loads(row.step_names)),
        task_count=row.task_count,
        created_at=row.created_at,
        ended_at=row.ended_at,
        next_occurrences=coming,
        active_jobs=standing.open_jobs,
        last_run=next(iter(runs_of(connection, row.number, 1)), None),
        reason=reason,
    )
