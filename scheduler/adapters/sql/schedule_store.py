"""`ScheduleStore` in SQL.

An occurrence makes exactly one job: the job, the run that tells of it, and the schedule's place in time are written in
one transaction of the leader, which first looks whether the schedule still stands as it was when that was decided.
A schedule's row is locked before the rows of its jobs.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.inputs import keep_named, named_by
from scheduler.adapters.sql.job_change import JobChange
from scheduler.adapters.sql.job_making import arm, cancel, insert_new, open_draft
from scheduler.adapters.sql.job_schema import DELETED_JOBS, JOBS
from scheduler.adapters.sql.schedule_rows import (
    open_jobs,
    request_hash,
    row_of,
    runs_of,
    schedule_of,
    specification_of,
    standing_of,
    values_for,
    view_of,
)
from scheduler.adapters.sql.schedule_schema import RUN_IS_OPEN, SCHEDULE_INPUTS, SCHEDULE_RUNS, SCHEDULES
from scheduler.dispatch.checks import step_findings
from scheduler.errors import ConflictError, InvalidRequestError, NotFoundError, PreconditionError
from scheduler.job_schedule import JobSchedule, JobScheduleState, NewJobSchedule, Overlap, RunState, ScheduleRun
from scheduler.model import JobState
from scheduler.recurrence.due import Complete, PassOver, Standing, Start, may_run_now
from scheduler.recurrence.occurrences import following, newest
from scheduler.recurrence.specification import job_of, steps_of, values_of

_INSTANT = timedelta(microseconds=1)
_LIVING = (JobScheduleState.ACTIVE.value, JobScheduleState.DISABLED.value)
_ENDED_JOBS = (JobState.COMPLETED.value, JobState.DELETING.value)
# Runs that are closed in one step, so that its other parts do not wait.
_AT_ONCE = 200


class SqlScheduleStore:
    """`ScheduleStore` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, new: NewJobSchedule, now: datetime, *, replace: bool = False) -> JobSchedule:
        """Keep a schedule; asked for again, it is the same one. With `replace` it takes another's place."""
        findings = step_findings(new.job.steps)
        if findings:
            raise InvalidRequestError(f"schedule {new.schedule_id} cannot be made: {'; '.join(findings)}")
        settled = now - _INSTANT
        progress = {"settled_until": settled, "next_at": following(new.schedule, now, settled)}
        values = {**values_for(new, now), **progress}
        with self._database.write() as connection:
            made = insert_new(connection, SCHEDULES, values)
            row = row_of(connection, new.schedule_id, lock=True)
            if made:
                _name_inputs(connection, row, new)
            elif row.state == JobScheduleState.DELETING or (row.request != request_hash(new) and not replace):
                raise ConflictError(
                    f"there is a schedule {new.schedule_id} already, {row.state}; choose another id, delete it first, "
                    "or replace it"
                )
            elif row.request != request_hash(new):
                _forget_inputs(connection, row, now)
                kept = {"state": row.state} if row.state == JobScheduleState.DISABLED else {"reason": ""}
                _set(connection, row, **{**values, **kept}, ended_at=None)
                _name_inputs(connection, row, new)
            return view_of(connection, row_of(connection, new.schedule_id), now)

    def schedule(self, schedule_id: str, now: datetime) -> JobSchedule:
        """Give a schedule."""
        with self._database.read() as connection:
            return view_of(connection, row_of(connection, schedule_id), now)

    def schedules(self, now: datetime) -> tuple[JobSchedule, ...]:
        """Give all schedules by id."""
        with self._database.read() as connection:
            rows = connection.execute(select(SCHEDULES).order_by(SCHEDULES.c.schedule_id)).all()
            return tuple(view_of(connection, row, now) for row in rows)

    def runs(self, schedule_id: str, limit: int) -> tuple[ScheduleRun, ...]:
        """Give what became of the newest occurrences, newest first."""
        with self._database.read() as connection:
            return runs_of(connection, row_of(connection, schedule_id).number, limit)

    def disable(self, schedule_id: str) -> None:
        """Have an active schedule make no more jobs."""
        with self._database.write() as connection:
            row = _living(connection, schedule_id)
            _set(connection, row, state=JobScheduleState.DISABLED.value, reason="disabled by a user")

    def enable(self, schedule_id: str, now: datetime) -> None:
        """Have a disabled schedule make jobs again, from now on."""
        with self._database.write() as connection:
            row = _living(connection, schedule_id)
            if row.state == JobScheduleState.DISABLED:
                settled = max(row.settled_until, now)
                coming = following(schedule_of(row), row.created_at, settled)
                active = {"state": JobScheduleState.ACTIVE.value, "reason": ""}
                _set(connection, row, **active, settled_until=settled, next_at=coming)

    def run(self, schedule_id: str, key: str, occurrence: datetime, now: datetime) -> ScheduleRun:
        """Make a job now, as if that occurrence had come."""
        with self._database.write() as connection:
            row = row_of(connection, schedule_id, lock=True)
            here = (SCHEDULE_RUNS.c.schedule == row.number, SCHEDULE_RUNS.c.by_hand == key)
            there = connection.execute(select(SCHEDULE_RUNS.c.job_id).where(*here)).scalar()
            if there is None:
                _living(connection, schedule_id)
                unfinished = open_jobs(connection, row.number)
                overlap = Overlap(row.overlap)
                hindrance = may_run_now(overlap, unfinished)
                if hindrance is not None:
                    raise ConflictError(f"schedule {schedule_id}: {hindrance}")
                replaced = unfinished if overlap is Overlap.REPLACE else ()
                there = _make(connection, row, occurrence, "run by a user", replaced, now, by_hand=key)
            (found,) = runs_of(connection, row.number, 1, SCHEDULE_RUNS.c.job_id == there)
            return found

    def terminate(self, schedule_id: str, now: datetime) -> None:
        """Make no more jobs, and cancel those that have not ended."""
        with self._database.write() as connection:
            row = row_of(connection, schedule_id, lock=True)
            if row.state in _LIVING:
                _cancel(connection, open_jobs(connection, row.number), f"schedule {schedule_id} was terminated", now)
                _set(connection, row, state=JobScheduleState.TERMINATING.value, reason="terminated by a user")

    def begin_delete(self, schedule_id: str, now: datetime, *, keep_jobs: bool) -> None:
        """Terminate, and have the schedule removed, with its jobs or without."""
        with self._database.write() as connection:
            row = row_of(connection, schedule_id, lock=True)
            if row.state == JobScheduleState.DELETING:
                return
            if not keep_jobs:
                _cancel(connection, open_jobs(connection, row.number), f"schedule {schedule_id} is deleted", now)
            deleting = {"state": JobScheduleState.DELETING.value, "reason": "deleted by a user"}
            _set(connection, row, **deleting, keeps_jobs=keep_jobs)

    def due(self, now: datetime) -> tuple[Standing, ...]:
        """Give the active schedules of which an occurrence has come, or none is left."""
        active = SCHEDULES.c.state == JobScheduleState.ACTIVE.value
        rows = select(SCHEDULES).where(active, or_(SCHEDULES.c.next_at <= now, SCHEDULES.c.next_at.is_(None)))
        with self._database.read() as connection:
            found = connection.execute(rows.order_by(SCHEDULES.c.next_at, SCHEDULES.c.number)).all()
            return tuple(standing_of(connection, row) for row in found)

    def start(self, epoch: int, seen: Standing, start: Start, now: datetime) -> str:
        """Make the job of an occurrence and move on, in one transaction."""
        with self._database.lead(epoch) as connection:
            row = _same(connection, seen)
            if start.missed:
                last = newest(seen.schedule, seen.created_at, seen.settled_until, start.occurrence - _INSTANT)
                reason = "a later occurrence came before its job could be made"
                _keep_passed(
                    connection, row, PassOver(last or start.occurrence, RunState.MISSED, start.missed, reason), now
                )
            job_id = _make(connection, row, start.occurrence, start.reason, start.cancels, now)
            _move_on(connection, row, seen, start.occurrence)
            return job_id

    def pass_over(self, epoch: int, seen: Standing, passed: PassOver, now: datetime) -> None:
        """Keep that occurrences came to nothing, and move on."""
        with self._database.lead(epoch) as connection:
            row = _same(connection, seen)
            _keep_passed(connection, row, passed, now)
            _move_on(connection, row, seen, passed.occurrence)

    def complete(self, epoch: int, seen: Standing, end: Complete, now: datetime) -> None:
        """Keep that the schedule has no more to do."""
        with self._database.lead(epoch) as connection:
            row = _same(connection, seen)
            _set(connection, row, state=JobScheduleState.COMPLETED.value, reason=end.reason, ended_at=now)

    def settle(self, epoch: int, now: datetime) -> None:
        """Close the runs whose jobs have ended, and end or remove the schedules that waited for no more than that."""
        leaving = (JobScheduleState.TERMINATING.value, JobScheduleState.DELETING.value)
        going = select(SCHEDULES.c.schedule_id).where(SCHEDULES.c.state.in_(leaving)).order_by(SCHEDULES.c.number)
        with self._database.read() as connection:
            jobs = [str(job_id) for job_id in connection.execute(_ENDED_JOBS_OF_RUNS).scalars()]
            schedules = connection.execute(going).scalars().all()
        # Apart, since whoever locks a schedule and a job locks the schedule first.
        if jobs:
            with self._database.lead(epoch) as connection:
                _close_runs(connection, jobs, now)
        if schedules:
            with self._database.lead(epoch) as connection:
                _end(connection, schedules, now)


_ENDED_JOBS_OF_RUNS = (
    select(SCHEDULE_RUNS.c.job_id)
    .outerjoin(JOBS, JOBS.c.job_id == SCHEDULE_RUNS.c.job_id)
    .where(RUN_IS_OPEN, or_(JOBS.c.number.is_(None), JOBS.c.state.in_(_ENDED_JOBS)))
    .order_by(SCHEDULE_RUNS.c.number)
    .limit(_AT_ONCE)
)


def _close_runs(connection: Connection, jobs: Sequence[str], now: datetime) -> None:
    """Close the runs of jobs that have ended; their rows are locked, so that none is run again meanwhile."""
    locked = select(JOBS.c.job_id, JOBS.c.state, JOBS.c.result, JOBS.c.ended_at).where(JOBS.c.job_id.in_(jobs))
    found = {job.job_id: job for job in connection.execute(locked.order_by(JOBS.c.number).with_for_update())}
    for job_id in jobs:
        job = found.get(job_id)
        if job is None or job.state in _ENDED_JOBS:
            end = {"result": None, "ended_at": now} if job is None else {"result": job.result, "ended_at": job.ended_at}
            here = update(SCHEDULE_RUNS).where(SCHEDULE_RUNS.c.job_id == job_id)
            connection.execute(here.values(state=RunState.COMPLETED.value, **end))


def _end(connection: Connection, schedules: Iterable[str], now: datetime) -> None:
    for schedule_id in schedules:
        with suppress(NotFoundError):
            row = row_of(connection, schedule_id, lock=True)
            if row.state == JobScheduleState.DELETING:
                _remove(connection, row, now)
            elif row.state == JobScheduleState.TERMINATING and not open_jobs(connection, row.number):
                _set(connection, row, state=JobScheduleState.COMPLETED.value, ended_at=now)


def _living(connection: Connection, schedule_id: str) -> Row[Any]:
    row = row_of(connection, schedule_id, lock=True)
    if row.state not in _LIVING:
        raise ConflictError(f"schedule {schedule_id} is {row.state}; make another one")
    return row


def _same(connection: Connection, seen: Standing) -> Row[Any]:
    """Lock a schedule's row, and refuse to act on it when it stands otherwise than was decided on."""
    row = row_of(connection, seen.schedule_id, lock=True)
    if row.state != JobScheduleState.ACTIVE or standing_of(connection, row) != seen:
        raise PreconditionError(f"schedule {seen.schedule_id} changed since it was looked at; look again")
    return row


def _set(connection: Connection, row: Row[Any], **values: object) -> None:
    connection.execute(update(SCHEDULES).where(SCHEDULES.c.number == row.number).values(**values))


def _move_on(connection: Connection, row: Row[Any], seen: Standing, settled: datetime) -> None:
    _set(connection, row, settled_until=settled, next_at=following(seen.schedule, seen.created_at, settled))


def _make(
    connection: Connection,
    row: Row[Any],
    occurrence: datetime,
    reason: str,
    replaces: tuple[str, ...],
    now: datetime,
    by_hand: str | None = None,
) -> str:
    """Make the job of an occurrence and the run that tells of it, in place of others."""
    _cancel(connection, replaces, f"the next job of schedule {row.schedule_id} takes its place", now)
    schedule, job = schedule_of(row), specification_of(row)
    steps = steps_of(job.steps, values_of(row.schedule_id, schedule, occurrence))
    job_id, new = job_of(row.schedule_id, row.created_at, job, occurrence, by_hand)
    if open_draft(connection, job_id, new, now):
        change = JobChange.of(connection, job_id, now)
        keep_named(connection, change.job.number, steps)
        arm(connection, change, steps, job.task_count, now)
    run = {"occurrence": occurrence, "by_hand": by_hand or "", "state": RunState.ACTIVE.value, "reason": reason}
    connection.execute(insert(SCHEDULE_RUNS).values(schedule=row.number, job_id=job_id, at=now, **run))
    return job_id


def _cancel(connection: Connection, jobs: Iterable[str], reason: str, now: datetime) -> None:
    for job_id in jobs:
        cancel(connection, JobChange.of(connection, job_id, now), reason, now)


def _keep_passed(connection: Connection, row: Row[Any], passed: PassOver, now: datetime) -> None:
    """Keep what came to nothing; what came to nothing just before for the same reason is one with it."""
    here = select(SCHEDULE_RUNS).where(SCHEDULE_RUNS.c.schedule == row.number)
    before = connection.execute(here.order_by(SCHEDULE_RUNS.c.number.desc()).limit(1)).first()
    values = {"occurrence": passed.occurrence, "at": now, "reason": passed.reason}
    if before is not None and (before.state, before.reason) == (passed.state.value, passed.reason):
        same = update(SCHEDULE_RUNS).where(SCHEDULE_RUNS.c.number == before.number)
        connection.execute(same.values(**values, times=before.times + passed.count))
    else:
        fresh = {"schedule": row.number, "state": passed.state.value, "times": passed.count}
        connection.execute(insert(SCHEDULE_RUNS).values(**fresh, **values))


def _remove(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Remove a schedule once its jobs are gone, and have what it named looked at when it may be garbage."""
    if not row.keeps_jobs:
        of_schedule = select(SCHEDULE_RUNS.c.job_id).where(
            SCHEDULE_RUNS.c.schedule == row.number, SCHEDULE_RUNS.c.job_id.is_not(None)
        )
        here = JOBS.c.job_id.in_(of_schedule)
        ended = update(JOBS).where(here, JOBS.c.state == JobState.COMPLETED.value)
        connection.execute(ended.values(state=JobState.DELETING.value))
        if connection.execute(select(JOBS.c.number).where(here).limit(1)).first() is not None:
            return
    _forget_inputs(connection, row, now)
    connection.execute(delete(SCHEDULE_RUNS).where(SCHEDULE_RUNS.c.schedule == row.number))
    connection.execute(delete(SCHEDULES).where(SCHEDULES.c.number == row.number))


def _name_inputs(connection: Connection, row: Row[Any], new: NewJobSchedule) -> None:
    """Keep what the jobs of a schedule will name."""
    named = [{"schedule": row.number, "blob": blob} for blob in sorted(named_by(new.job.steps))]
    if named:
        connection.execute(insert(SCHEDULE_INPUTS), named)


def _forget_inputs(connection: Connection, row: Row[Any], now: datetime) -> None:
    """Name them no more, and have them looked at when they may be garbage."""
    here = SCHEDULE_INPUTS.c.schedule == row.number
    inputs = json.dumps(sorted(connection.execute(select(SCHEDULE_INPUTS.c.blob).where(here)).scalars()))
    gone = {"job_id": f"schedule/{row.schedule_id}/{row.created_at.isoformat()}", "deleted_at": now, "inputs": inputs}
    connection.execute(insert(DELETED_JOBS).values(**gone))
    connection.execute(delete(SCHEDULE_INPUTS).where(here))
