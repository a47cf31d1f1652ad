"""The work of a pool in aggregate: how much, by which steps, and what is to come of them.

A few queries whose cost follows the steps that have waiting or running tasks and the messages that are out, never the
number of tasks.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, case, func, select, text, tuple_, type_coerce

from scheduler.adapters.sql.job_schema import (
    CHUNKS,
    EDGES,
    JOBS,
    MESSAGE_IS_OPEN,
    MESSAGE_STARTED,
    MESSAGES,
    STEP_BUSY,
    STEPS,
    EdgeKind,
)
from scheduler.adapters.sql.run_times import ALL_WORK, to_run_times, work_run_times
from scheduler.adapters.sql.scheduled_demand import foreseen_of, upcoming, works_of
from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind, mean_of_waiting
from scheduler.dispatch.run_times import expected_run_times
from scheduler.model import JobState, PoolDemand
from scheduler.sketch import NONE_SEEN, RunTimes

UNFINISHED = (JobState.ACTIVE.value, JobState.TERMINATING.value)
# The greatest steps are told apart, the others together; a decision reads all of them every few seconds, and is kept
# with them.
_CLASSES = 16
_EDGES = 32
_DRAFTS = 8
# Running tasks are of one age that were begun up to so many seconds before the newest of them.
_AGES = (15, 60, 120, 240, 480, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
# Stands for the job and the step of all that are not told apart.
_OTHERS = -1

_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is needed to make classes of steps."""

    run_times: Mapping[str, RunTimes]
    cohorts: Mapping[_Place, Mapping[int, Cohort]]

    @property
    def of_pool(self) -> RunTimes:
        return self.run_times.get(ALL_WORK, NONE_SEEN)

    def class_of(self, step: Row[Any]) -> DemandClass:
        work = self.run_times.get(step.work, NONE_SEEN)
        return DemandClass(
            job=step.job_id,
            step=step.name,
            active_tasks=step.active,
            running_tasks=step.running,
            times=expected_run_times(to_run_times(step.run_times), step.expected_seconds, work, self.of_pool),
            cohorts=tuple(self.cohorts.get((step.job, step.position), {}).values()),
        )


def pool_demand(connection: Connection, pool: str) -> PoolDemand:
    """Aggregate the pool's open tasks, and say what is to come."""
    sums = (func.coalesce(func.sum(JOBS.c[name]), 0) for name in ("active", "running"))
    here = (JOBS.c.pool == pool, JOBS.c.state.in_(UNFINISHED))
    active, running = (int(count) for count in connection.execute(select(*sums).where(*here)).one())
    busy = active + running > 0
    greatest = _greatest(connection, pool) if busy else ()
    edges = _edges(connection, pool) if busy else ()
    named = _named(connection, edges)
    schedules = upcoming(connection, pool)
    works = {ALL_WORK, *(step.work for step in (*greatest, *named.values())), *works_of(schedules)}
    told = {(step.job, step.position): step for step in greatest} | named
    cohorts = _cohorts(connection, pool, told) if running else {}
    known = _Known(work_run_times(connection, pool, works), cohorts)
    classes = [known.class_of(step) for step in greatest]
    rest = _rest(connection, pool, known, greatest) if len(greatest) == _CLASSES else None
    since = [step.active_since for step in greatest if step.active]
    if rest is not None:
        classes.append(rest.as_class)
        since += [rest.active_since] if rest.active_since is not None else []
    return PoolDemand(
        active_tasks=active,
        running_tasks=running,
        mean_task_seconds=mean_of_waiting(tuple(classes), known.of_pool.expected().mean()),
        oldest_active_at=min(since, default=None),
        classes=tuple(classes),
        foreseen=(
            *_drafts(connection, pool, known.of_pool),
            *_dependents(edges, named, known),
            *foreseen_of(schedules, known.run_times, known.of_pool),
        ),
    )


def _greatest(connection: Connection, pool: str) -> Sequence[Row[Any]]:
    """Give the steps with the most tasks that wait or run."""
    rows = (
        select(STEPS, JOBS.c.job_id)
        .join(JOBS, JOBS.c.number == STEPS.c.job)
        .where(JOBS.c.pool == pool, JOBS.c.state.in_(UNFINISHED), STEP_BUSY)
        .order_by((STEPS.c.active + STEPS.c.running).desc(), STEPS.c.job, STEPS.c.position)
    )
    return connection.execute(rows.limit(_CLASSES)).all()


def _cohorts(connection: Connection, pool: str, told: Iterable[_Place]) -> dict[_Place, dict[int, Cohort]]:
    """Say since when messages are worked on, oldest first by age, of these steps each and of all others together.

    A message keeps one slot, and long tasks have a message each.
    """
    here = (MESSAGES.c.pool == pool, MESSAGE_IS_OPEN, MESSAGE_STARTED)
    newest = connection.execute(select(func.max(MESSAGES.c.started_at)).where(*here)).scalar()
    if newest is None:
        return {}
    start = type_coerce(MESSAGES.c.started_at, BigInteger)
    age = bindparam("newest", newest, MESSAGES.c.started_at.type) - start
    age_class = case(*((age < seconds * 1_000_000, number) for number, seconds in enumerate(_AGES)), else_=len(_AGES))
    is_told = tuple_(MESSAGES.c.job, MESSAGES.c.step).in_(sorted(told))
    job, step = (
        case((is_told, column), else_=_OTHERS).label(column.name) for column in (MESSAGES.c.job, MESSAGES.c.step)
    )
    rows = connection.execute(
        select(job, step, age_class.label("age_class"), func.avg(age).label("age"), func.count().label("messages"))
        .where(*here)
        .group_by(text("1"), text("2"), text("3"))
        .order_by(text("1"), text("2"), text("3 DESC"))
    )
    found: dict[_Place, dict[int, Cohort]] = defaultdict(dict)
    for row in rows:
        begun = newest - timedelta(microseconds=float(row.age))
        found[row.job, row.step][row.age_class] = Cohort(begun, row.messages)
    return found


def _together(cohorts: Iterable[Mapping[int, Cohort]]) -> tuple[Cohort, ...]:
    """Add up tasks of one age, of whichever step; each age keeps the mean start of its tasks."""
    found: dict[int, Cohort] = {}
    for age_class, cohort in (pair for some in cohorts for pair in some.items()):
        known = found.get(age_class, Cohort(cohort.started_at, 0))
        tasks = known.tasks + cohort.tasks
        later = (cohort.started_at - known.started_at) * (cohort.tasks / tasks)
        found[age_class] = Cohort(known.started_at + later, tasks)
    return tuple(found[age_class] for age_class in sorted(found, reverse=True))


@dataclass(frozen=True, slots=True)
class _Rest:
    """The steps that are not told apart."""

    as_class: DemandClass
    active_since: datetime | None


def _rest(connection: Connection, pool: str, known: _Known, greatest: Iterable[Row[Any]]) -> _Rest | None:
    told = {(step.job, step.position) for step in greatest}
    expected = known.of_pool.expected()
    pool_mean = expected.mean()
    seconds = func.coalesce(STEPS.c.mean_seconds, STEPS.c.expected_seconds, pool_mean)
    row = connection.execute(
        select(
            func.coalesce(func.sum(STEPS.c.active), 0).label("active"),
            func.coalesce(func.sum(STEPS.c.running), 0).label("running"),
            func.sum((STEPS.c.active + STEPS.c.running) * seconds).label("seconds"),
            func.sum(STEPS.c.active + STEPS.c.running).filter(seconds.is_not(None)).label("measured"),
            func.min(STEPS.c.active_since).filter(STEPS.c.active > 0).label("active_since"),
        )
        .join(JOBS, JOBS.c.number == STEPS.c.job)
        .where(JOBS.c.pool == pool, JOBS.c.state.in_(UNFINISHED), STEP_BUSY)
        .where(tuple_(STEPS.c.job, STEPS.c.position).not_in(sorted(told)))
    ).one()
    if row.active + row.running == 0:
        return None
    if row.measured:
        mean = row.seconds / row.measured
        expected = expected.scaled(mean / pool_mean) if pool_mean else RunTimes.of([mean]).expected()
    cohorts = _together(ages for place, ages in known.cohorts.items() if place not in told)
    return _Rest(DemandClass("", "", int(row.active), int(row.running), expected, cohorts), row.active_since)


def _drafts(connection: Connection, pool: str, of_pool: RunTimes) -> Iterator[Foreseen]:
    """Give the newest drafts with what they were sent that will be ready as soon as they are armed."""
    newest = (
        select(JOBS.c.number, JOBS.c.job_id, JOBS.c.created_at)
        .where(JOBS.c.pool == pool, JOBS.c.state == JobState.DRAFT.value)
        .order_by(JOBS.c.number.desc())
        .limit(_DRAFTS)
        .subquery()
    )
    rows = (
        select(newest.c.job_id, newest.c.created_at, func.sum(CHUNKS.c.ready_tasks).label("tasks"))
        .join(CHUNKS, CHUNKS.c.job == newest.c.number)
        .group_by(newest.c.number, newest.c.job_id, newest.c.created_at)
        .order_by(newest.c.number)
    )
    for row in connection.execute(rows):
        if row.tasks:
            yield Foreseen(
                ForeseenKind.FEEDING, row.job_id, "", int(row.tasks), of_pool.expected(), earliest=row.created_at
            )


def _edges(connection: Connection, pool: str) -> Sequence[Row[Any]]:
    """Give edges from the steps that have the fewest tasks left before they end."""
    left = STEPS.c.open_tasks.label("left"), (STEPS.c.active + STEPS.c.running).label("at_hand")
    rows = (
        select(EDGES, *left)
        .join(STEPS, (STEPS.c.job == EDGES.c.job) & (STEPS.c.position == EDGES.c.predecessor))
        .join(JOBS, JOBS.c.number == STEPS.c.job)
        .where(JOBS.c.pool == pool, JOBS.c.state == JobState.ACTIVE.value, STEP_BUSY)
        .order_by(STEPS.c.open_tasks, EDGES.c.job, EDGES.c.dependent, EDGES.c.predecessor, EDGES.c.first)
    )
    return connection.execute(rows.limit(_EDGES)).all()


def _named(connection: Connection, edges: Sequence[Row[Any]]) -> dict[_Place, Row[Any]]:
    """Give the steps at both ends of edges."""
    places = {(edge.job, position) for edge in edges for position in (edge.predecessor, edge.dependent)}
    if not places:
        return {}
    rows = select(STEPS, JOBS.c.job_id).join(JOBS, JOBS.c.number == STEPS.c.job)
    here = rows.where(tuple_(STEPS.c.job, STEPS.c.position).in_(sorted(places)))
    return {(step.job, step.position): step for step in connection.execute(here)}


def _dependents(edges: Iterable[Row[Any]], named: Mapping[_Place, Row[Any]], known: _Known) -> Iterator[Foreseen]:
    """Give the blocked tasks that wait for nothing but tasks at hand, by what they wait for.

    A step is left out that waits, too, for one which itself is not ready yet.
    """
    by_dependent: dict[_Place, list[Row[Any]]] = defaultdict(list)
    for edge in edges:
        by_dependent[edge.job, edge.dependent].append(edge)
    for place, found in by_dependent.items():
        step = named[place]
        blocked = step.open_tasks - step.active - step.running
        counted = [
            edge for edge in found if edge.kind == EdgeKind.STEP or (edge.kind == EdgeKind.TASKS and edge.open_tasks)
        ]
        if blocked <= 0 or len(counted) < step.open_predecessors or any(edge.left > edge.at_hand for edge in found):
            continue
        kind = ForeseenKind.DEPENDENTS if counted else ForeseenKind.ONE_BY_ONE
        times = known.class_of(step).times
        yield Foreseen(kind, step.job_id, step.name, blocked, times, behind=_behind(found, named, known))


def _behind(edges: Iterable[Row[Any]], named: Mapping[_Place, Row[Any]], known: _Known) -> tuple[DemandClass, ...]:
    """Give the open tasks of each step that are waited for: all, or so many of those that were to start first."""
    counts: dict[_Place, int] = defaultdict(int)
    for edge in edges:
        counts[edge.job, edge.predecessor] += edge.open_tasks if edge.kind == EdgeKind.TASKS else edge.left
    found = []
    for place, count in counts.items():
        whole = known.class_of(named[place])
        running = min(whole.running_tasks, count)
        found.append(replace(whole, running_tasks=running, active_tasks=min(whole.active_tasks, count - running)))
    return tuple(found)
