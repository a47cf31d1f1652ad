"""What job schedules will bring to a pool: the nearest occurrence of each, with the tasks that are ready at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, and_, or_, select

from scheduler.adapters.sql.schedule_rows import ReadySteps, ready_of
from scheduler.adapters.sql.schedule_schema import RUN_IS_OPEN, SCHEDULE_RUNS, SCHEDULES
from scheduler.demand import Foreseen, ForeseenKind
from scheduler.dispatch.run_times import expected_run_times
from scheduler.job_schedule import JobScheduleState, Overlap
from scheduler.sketch import NONE_SEEN, RunTimes

# The nearest schedules are told of, and of each the steps with the most tasks; a decision reads them every few seconds.
_SCHEDULES = 8
_STEPS = 8


def upcoming(connection: Connection, pool: str) -> Sequence[Row[Any]]:
    """Give the schedules whose jobs come next.

    One whose last job has not ended is left out unless jobs may overlap: the nodes of that one will serve the next.
    """
    open_run = select(SCHEDULE_RUNS.c.number).where(SCHEDULE_RUNS.c.schedule == SCHEDULES.c.number, RUN_IS_OPEN)
    free = or_(SCHEDULES.c.overlap == Overlap.ALLOW.value, ~open_run.exists())
    coming = and_(SCHEDULES.c.state == JobScheduleState.ACTIVE.value, SCHEDULES.c.next_at.is_not(None))
    # Not the steps, which may be long.
    columns: tuple[Column[Any], ...] = (SCHEDULES.c.schedule_id, SCHEDULES.c.next_at, SCHEDULES.c.ready)
    rows = select(*columns).where(SCHEDULES.c.pool == pool, coming, free)
    return connection.execute(rows.order_by(SCHEDULES.c.next_at, SCHEDULES.c.number).limit(_SCHEDULES)).all()


def works_of(schedules: Iterable[Row[Any]]) -> set[str]:
    """Give the kinds of work that these bring."""
    return {step.work for row in schedules for step in _steps(row)}


def foreseen_of(schedules: Iterable[Row[Any]], works: Mapping[str, RunTimes], of_pool: RunTimes) -> Iterator[Foreseen]:
    """Give what these bring, and when; how long it takes is known from the same kind of work before."""
    for row in schedules:
        for step in _steps(row):
            seen = works.get(step.work, NONE_SEEN)
            times = expected_run_times(NONE_SEEN, step.expected_seconds, seen, of_pool)
            yield Foreseen(ForeseenKind.SCHEDULE, row.schedule_id, step.step, step.tasks, times, earliest=row.next_at)


def _steps(row: Row[Any]) -> list[ReadySteps]:
    return sorted(ready_of(row), key=lambda step: (-step.tasks, step.step))[:_STEPS]
