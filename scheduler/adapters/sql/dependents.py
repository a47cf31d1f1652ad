"""What follows for other steps when tasks of a step have ended: which can start, and which never can.

An edge stands between a step and one that depends on it. Whole edges are told by the step's own counters; an edge on
some of its tasks has counters of its own; an edge from task to task has none and is looked up by the primary key.
Nothing here walks the tasks of a step.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from scheduler.adapters.sql.job_schema import EDGES, STEPS, TASKS, EdgeKind
from scheduler.model import TaskResult, TaskState


@dataclass(frozen=True, slots=True)
class StepMove:
    """Counters of a step after a change, and by how much they changed."""

    position: int
    open_tasks: int
    unsuccessful: int
    opened: int
    failed: int


@dataclass(frozen=True, slots=True)
class TaskMove:
    """A task that has ended, or is open again; `failed` says by how much the unsuccessful became more."""

    task_id: int
    opened: int
    failed: int


@dataclass(frozen=True, slots=True)
class Following:
    """Tasks of a step that are to be looked at: all, or those of these ids. `cause` is the step that brought it."""

    step: int
    cause: int
    task_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Consequences:
    """Steps of which blocked tasks may be free now, and steps of which they can never start."""

    free: list[Following]
    hopeless: list[Following]


def consequences(
    connection: Connection, job: int, moves: Sequence[StepMove], tasks: Mapping[int, Sequence[TaskMove]]
) -> Consequences:
    """Count what has changed for the dependents of these steps, and say what follows. `tasks` by step, where kept."""
    found = Consequences([], [])
    for move in moves:
        if not move.opened and not move.failed:
            continue
        if move.open_tasks and move.failed <= 0 and move.position not in tasks:
            continue  # a success among others that are open: nobody waits for it alone
        here = and_(EDGES.c.job == job, EDGES.c.predecessor == move.position)
        for edge in connection.execute(select(EDGES).where(here).order_by(EDGES.c.dependent, EDGES.c.first)).all():
            if edge.kind == EdgeKind.EACH:
                _each(edge, tasks.get(move.position, ()), found)
            else:
                now = move if edge.kind == EdgeKind.STEP else _counted(connection, edge, tasks.get(move.position, ()))
                if now is not None:
                    _judge(connection, edge, now, found)
    return found


def _judge(connection: Connection, edge: Row[Any], move: StepMove, found: Consequences) -> None:
    total = edge.last - edge.first + 1
    possible = total - move.unsuccessful >= edge.needed
    if not possible and total - (move.unsuccessful - move.failed) >= edge.needed:
        found.hopeless.append(Following(edge.dependent, edge.predecessor))
    if possible and move.opened < 0 and move.open_tasks == 0:
        here = and_(STEPS.c.job == edge.job, STEPS.c.position == edge.dependent)
        fewer = update(STEPS).where(here).values(open_predecessors=STEPS.c.open_predecessors - 1)
        if connection.execute(fewer.returning(STEPS.c.open_predecessors)).scalar_one() == 0:
            found.free.append(Following(edge.dependent, edge.predecessor))


def _counted(connection: Connection, edge: Row[Any], moves: Sequence[TaskMove]) -> StepMove | None:
    inside = moves[bisect_left(moves, edge.first, key=_id) : bisect_right(moves, edge.last, key=_id)]
    opened, failed = sum(move.opened for move in inside), sum(move.failed for move in inside)
    if not opened and not failed:
        return None
    counted = update(EDGES).where(
        EDGES.c.job == edge.job,
        EDGES.c.predecessor == edge.predecessor,
        EDGES.c.dependent == edge.dependent,
        EDGES.c.first == edge.first,
    )
    new = connection.execute(
        counted.values(open_tasks=EDGES.c.open_tasks + opened, unsuccessful=EDGES.c.unsuccessful + failed).returning(
            EDGES.c.open_tasks, EDGES.c.unsuccessful
        )
    ).one()
    return StepMove(edge.predecessor, new.open_tasks, new.unsuccessful, opened, failed)


def _each(edge: Row[Any], moves: Iterable[TaskMove], found: Consequences) -> None:
    ended = [move for move in moves if move.opened < 0]
    away = edge.dependent_first - edge.first
    good = tuple(move.task_id + away for move in ended if move.failed <= 0 or not edge.needed)
    bad = tuple(move.task_id + away for move in ended if move.failed > 0 and edge.needed)
    if good:
        found.free.append(Following(edge.dependent, edge.predecessor, good))
    if bad:
        found.hopeless.append(Following(edge.dependent, edge.predecessor, bad))


def _id(move: TaskMove) -> int:
    return move.task_id


def element_edges(connection: Connection, job: int, dependent: int) -> Sequence[Row[Any]]:
    """Give the edges from task to task that lead to a step."""
    here = and_(EDGES.c.job == job, EDGES.c.dependent == dependent, EDGES.c.kind == EdgeKind.EACH)
    return connection.execute(select(EDGES).where(here)).all()


def elements_ready(edges: Iterable[Row[Any]]) -> ColumnElement[bool]:
    """Say of a task, in a statement on `TASKS`, whether each task that it waits for alone has ended as it must."""
    return and_(
        True,  # noqa: FBT003  the empty conjunction
        *(_element(edge, ended=True, results=(TaskResult.SUCCESS,) if edge.needed else ()) for edge in edges),
    )


def elements_open(edges: Iterable[Row[Any]]) -> ColumnElement[bool]:
    """Say of a task whether a task that it waits for alone has not ended."""
    return or_(False, *(_element(edge, ended=False) for edge in edges))  # noqa: FBT003  the empty disjunction


def elements_hopeless(edges: Iterable[Row[Any]]) -> ColumnElement[bool]:
    """Say of a task whether a task that it waits for alone, and that had to succeed, has not."""
    unsuccessful = (TaskResult.FAILURE, TaskResult.CANCELLED)
    found = (_element(edge, ended=True, results=unsuccessful) for edge in edges if edge.needed)
    return or_(False, *found)  # noqa: FBT003  the empty disjunction


def _element(edge: Row[Any], *, ended: bool, results: Sequence[TaskResult] = ()) -> ColumnElement[bool]:
    other = TASKS.alias()
    own = other.c.task_id == TASKS.c.task_id - (edge.dependent_first - edge.first)
    completed = other.c.state == TaskState.COMPLETED.value
    found = select(other.c.task_id).where(other.c.job == edge.job, own, completed if ended else ~completed)
    if results:
        found = found.where(other.c.result.in_([result.value for result in results]))
    return found.exists()


def ends_unwell(connection: Connection, job: int) -> bool:
    """Say whether a failure was not allowed for: a step with one, after which no step says what to make of it.

    What cannot start because of a failure is cancelled, so that each failure that matters shows in a last step.
    """
    follows = select(EDGES.c.dependent).where(
        EDGES.c.job == STEPS.c.job, EDGES.c.predecessor == STEPS.c.position, EDGES.c.kind != EdgeKind.TASKS
    )
    last = select(STEPS.c.position).where(STEPS.c.job == job, STEPS.c.unsuccessful > 0, ~follows.exists())
    return connection.execute(last.limit(1)).first() is not None
