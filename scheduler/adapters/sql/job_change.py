"""The one way in which tasks change: checked by the transition table, counted, and followed to its consequences.

A `JobChange` lives within one transaction. It writes the job's row first, so that two transactions on one job cannot
each miss the other's counter; whoever sees 0 releases dependents or ends the job, in that same transaction.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, Update, and_, bindparam, case, func, select, update

from scheduler.adapters.sql.dependents import (
    Following,
    StepMove,
    TaskMove,
    consequences,
    element_edges,
    elements_ready,
    ends_unwell,
)
from scheduler.adapters.sql.job_schema import IN_LIST, JOBS, STEPS, TASK_WAITS, TASKS
from scheduler.errors import ConflictError, NotFoundError
from scheduler.model import REQUEUE_TRANSITIONS, TRANSITIONS, JobResult, JobState, TaskResult, TaskState


@dataclass(frozen=True, slots=True)
class _Meaning:
    state: TaskState
    result: TaskResult | None
    job_counter: str
    step_counters: tuple[str, ...]


class Standing(Enum):
    """Where exactly a task stands: its state, and for active ones whether it waits for a message, alone or not."""

    BLOCKED = _Meaning(TaskState.BLOCKED, None, "blocked", ())
    READY = _Meaning(TaskState.ACTIVE, None, "active", ("active", "ready"))
    SUSPECT = _Meaning(TaskState.ACTIVE, None, "active", ("active", "suspects"))
    QUEUED = _Meaning(TaskState.ACTIVE, None, "active", ("active",))
    RUNNING = _Meaning(TaskState.RUNNING, None, "running", ("running",))
    SUCCEEDED = _Meaning(TaskState.COMPLETED, TaskResult.SUCCESS, "succeeded", ())
    FAILED = _Meaning(TaskState.COMPLETED, TaskResult.FAILURE, "failed", ("unsuccessful",))
    CANCELLED = _Meaning(TaskState.COMPLETED, TaskResult.CANCELLED, "cancelled", ("unsuccessful",))

    @property
    def completed(self) -> bool:
        """Whether this is an end."""
        return self.value.state is TaskState.COMPLETED


_UNSUCCESSFUL = frozenset({Standing.FAILED, Standing.CANCELLED})
_ENDS = {standing.value.result: standing for standing in Standing if standing.completed}


def standing_of(task: Row[Any]) -> Standing:
    """Give where a row of `tasks` stands."""
    if task.state == TaskState.COMPLETED:
        return _ENDS[TaskResult(task.result)]
    if task.state == TaskState.ACTIVE and task.message is None:
        return Standing.SUSPECT if task.suspect else Standing.READY
    return {"blocked": Standing.BLOCKED, "active": Standing.QUEUED, "running": Standing.RUNNING}[task.state]


def end_of(result: TaskResult) -> Standing:
    """Give the end that a result is."""
    return _ENDS[result]


def _where(standing: Standing) -> ColumnElement[bool]:
    state = TASKS.c.state == standing.value.state.value
    if standing in {Standing.READY, Standing.SUSPECT}:
        return and_(TASK_WAITS, TASKS.c.suspect == (standing is Standing.SUSPECT))
    if standing is Standing.QUEUED:
        return and_(state, TASKS.c.message.is_not(None))
    if standing.value.result is not None:
        return and_(state, TASKS.c.result == standing.value.result.value)
    return state


class JobChange:
    """Changes to the tasks of one job within one transaction; `settle` ends it."""

    def __init__(self, connection: Connection, job: Row[Any], now: datetime) -> None:
        """Use `of` instead, which locks the job's row first."""
        self._connection = connection
        self._now = now
        self.job = job
        self._tally: dict[int, Counter[str]] = defaultdict(Counter)
        self._job_tally: Counter[str] = Counter()
        self._tasks: dict[int, list[TaskMove]] = defaultdict(list)
        self._blamed: dict[int, str] = {}

    @classmethod
    def of(cls, connection: Connection, job_id: str, now: datetime) -> Self:
        """Lock a job's row, and begin to change its tasks; `NotFoundError`."""
        return cls(connection, cls.lock(connection, job_id), now)

    @staticmethod
    def lock(connection: Connection, job_id: str) -> Row[Any]:
        """Lock a job's row by writing it; `NotFoundError`."""
        same = update(JOBS).where(JOBS.c.job_id == job_id).values(priority=JOBS.c.priority)
        job = connection.execute(same.returning(*JOBS.c)).first()
        if job is None:
            raise NotFoundError(f"there is no job {job_id}; `millpond job list` shows all")
        return job

    @property
    def terminating(self) -> bool:
        """Whether nothing of the job may start again."""
        return bool(self.job.state == JobState.TERMINATING)

    def armed(self, standing: Standing, count: int) -> None:
        """Count tasks that were just made; their step was made with its own counters."""
        self._job_tally["open_tasks"] += count
        self._job_tally[standing.value.job_counter] += count

    def change_all(self, old: Standing, new: Standing, **values: object) -> None:
        """Change every task of the job that stands so, to the same values."""
        _check(old, new)
        self._change(TASKS.c.job == self.job.number, old, new, values)

    def undo(self, old: Standing, tasks: ColumnElement[bool], **values: object) -> None:
        """Have tasks of the job that stand so wait as if they had never run: what only a requeue may do."""
        if TaskState.BLOCKED not in REQUEUE_TRANSITIONS[old.value.state]:
            raise ValueError(f"a requeue may not change a task that is {old.name}")
        values |= {"message": None, "suspect": False}
        if old.completed:
            values |= _BEGUN_ANEW
        self._change(and_(TASKS.c.job == self.job.number, tasks), old, Standing.BLOCKED, values)

    def _change(self, tasks: ColumnElement[bool], old: Standing, new: Standing, values: Mapping[str, object]) -> None:
        here = and_(tasks, _where(old))
        if self.job.task_edges and (old.completed or new.completed):
            rows = self._connection.execute(select(TASKS.c.step, TASKS.c.task_id).where(here)).all()
            for row in rows:
                self._moved_task(row.step, row.task_id, old, new)
            counts: Iterable[tuple[int, int]] = Counter(row.step for row in rows).items()
        else:
            grouped = select(TASKS.c.step, func.count()).where(here).group_by(TASKS.c.step)
            counts = [(step, count) for step, count in self._connection.execute(grouped)]
        if not counts:
            return
        for step, count in counts:
            self._moved(step, old, new, count)
        self._connection.execute(update(TASKS).where(here).values(**_columns(new), **values))

    def change_each(self, step: int, old: Standing, new: Standing, tasks: Sequence[Mapping[str, object]]) -> None:
        """Change the tasks named by `task_id`, each with its own values of the same columns.

        The update is conditional on where each task stood; one that stands elsewhere is a bug and undoes everything.
        """
        _check(old, new)
        if not tasks:
            return
        statement = _change_statement(old, new, tuple(name for name in tasks[0] if name != "task_id"))
        rows = [{"the_job": self.job.number, **{f"the_{name}": row[name] for name in row}} for row in tasks]
        changed = self._connection.execute(statement, rows).rowcount
        if changed != len(rows):
            raise ConflictError(
                f"job {self.job.job_id}: {changed} of {len(rows)} tasks stood as {old.name}; nothing was written"
            )
        self._moved(step, old, new, len(rows))
        if self.job.task_edges and new.completed:
            for row in tasks:
                self._moved_task(step, int(str(row["task_id"])), old, new)

    def settle(self) -> None:
        """Write the counters, and do what follows: cancel what can never start, release, end the job."""
        while self._tally:
            tally, self._tally = self._tally, defaultdict(Counter)
            tasks, self._tasks = self._tasks, defaultdict(list)
            moves = self._write_steps(tally)
            ordered = {step: sorted(moved, key=lambda move: move.task_id) for step, moved in tasks.items()}
            found = consequences(self._connection, self.job.number, moves, ordered)
            for hopeless in found.hopeless:
                self._cancel(hopeless)
            for free in found.free:
                self.release(free.step, free.task_ids)
        self._write_job()

    def _moved(self, step: int, old: Standing, new: Standing, count: int) -> None:
        self._count(step, old, -count)
        self._count(step, new, count)
        opened = count * (old.completed - new.completed)
        self._tally[step]["open_tasks"] += opened
        self._job_tally["open_tasks"] += opened

    def _moved_task(self, step: int, task_id: int, old: Standing, new: Standing) -> None:
        failed = (new in _UNSUCCESSFUL) - (old in _UNSUCCESSFUL)
        self._tasks[step].append(TaskMove(task_id, old.completed - new.completed, failed))

    def _count(self, step: int, standing: Standing, count: int) -> None:
        self._job_tally[standing.value.job_counter] += count
        tally = self._tally[step]
        for name in standing.value.step_counters:
            tally[name] += count

    def _write_steps(self, tally: Mapping[int, Counter[str]]) -> list[StepMove]:
        moves = []
        for position, changes in sorted(tally.items()):
            here = and_(STEPS.c.job == self.job.number, STEPS.c.position == position)
            values: dict[str, Any] = {name: STEPS.c[name] + change for name, change in changes.items() if change}
            if not values:
                continue
            written = update(STEPS).where(here).values(**values)
            columns = (STEPS.c.open_tasks, STEPS.c.active, STEPS.c.unsuccessful)
            step = self._connection.execute(written.returning(*columns)).one()
            if changes["active"] > 0 and step.active == changes["active"]:
                self._connection.execute(update(STEPS).where(here).values(active_since=self._now))
            moves.append(
                StepMove(position, step.open_tasks, step.unsuccessful, changes["open_tasks"], changes["unsuccessful"])
            )
        return moves

    def _cancel(self, hopeless: Following) -> None:
        """End as cancelled what can never start; the reason names the step in which a task failed first."""
        step = self._step(hopeless.step)
        if hopeless.cause not in self._blamed:
            self._blamed[hopeless.cause] = self._step(hopeless.cause).name
        name = self._blamed.setdefault(hopeless.step, self._blamed[hopeless.cause])
        reason = f"a task of step {name!r} did not succeed, which this one depends on"
        for tasks in self._of_step(step, hopeless.task_ids):
            self._change(tasks, Standing.BLOCKED, Standing.CANCELLED, {"reason": reason, "ended_at": self._now})

    def release(self, position: int, task_ids: tuple[int, ...] | None = None) -> None:
        """Make blocked tasks of a step ready that wait for nothing; what they read is resolved from now on."""
        step = self._step(position)
        if step.open_predecessors:
            return
        edges = element_edges(self._connection, self.job.number, position) if self.job.task_edges else ()
        self._connection.execute(
            update(STEPS).where(STEPS.c.job == self.job.number, STEPS.c.position == position).values(published=False)
        )
        for tasks in self._of_step(step, task_ids):
            self._change(and_(tasks, elements_ready(edges)), Standing.BLOCKED, Standing.READY, {})

    def _step(self, position: int) -> Row[Any]:
        here = select(STEPS).where(STEPS.c.job == self.job.number, STEPS.c.position == position)
        return self._connection.execute(here).one()

    def _of_step(self, step: Row[Any], task_ids: tuple[int, ...] | None) -> Iterator[ColumnElement[bool]]:
        """Give conditions that find the tasks of a step, or those of these ids, each within what a statement holds."""
        if task_ids is None:
            # A step's tasks are a range of the primary key.
            last = step.first_task_id + step.task_count - 1
            yield and_(TASKS.c.job == self.job.number, TASKS.c.task_id.between(step.first_task_id, last))
            return
        for start in range(0, len(task_ids), IN_LIST):
            yield and_(TASKS.c.job == self.job.number, TASKS.c.task_id.in_(task_ids[start : start + IN_LIST]))

    def _write_job(self) -> None:
        here = JOBS.c.number == self.job.number
        values: dict[str, Any] = {name: JOBS.c[name] + change for name, change in self._job_tally.items() if change}
        self._job_tally.clear()
        if not values:
            return
        job = self._connection.execute(update(JOBS).where(here).values(**values).returning(*JOBS.c)).one()
        if job.open_tasks == 0 and job.state in {JobState.ACTIVE, JobState.TERMINATING}:
            ended = update(JOBS).where(here)
            result, reason = _result(job, unwell=ends_unwell(self._connection, job.number))
            self._connection.execute(
                ended.values(state=JobState.COMPLETED.value, result=result.value, reason=reason, ended_at=self._now)
            )


# The floor lets no run of before be committed; what was committed stays listed until a new run succeeds.
_BEGUN_ANEW: Mapping[str, Any] = {
    "attempt_floor": TASKS.c.attempt + 1,
    "earlier_manifest": case(
        (TASKS.c.result == TaskResult.SUCCESS.value, TASKS.c.manifest),
        else_=func.coalesce(TASKS.c.earlier_manifest, TASKS.c.manifest),
    ),
    "manifest": None,
    **dict.fromkeys(("retries", "node_faults", "preemptions"), 0),
    **dict.fromkeys(("node_id", "exit_code", "outcome", "started_at", "ended_at")),
}


def _check(old: Standing, new: Standing) -> None:
    if new.value.state is not old.value.state and new.value.state not in TRANSITIONS[old.value.state]:
        raise ValueError(f"a task may not go from {old.name} to {new.name}")
    if old.completed:
        raise ValueError(f"{old.name} is final")


@cache
def _change_statement(old: Standing, new: Standing, columns: tuple[str, ...]) -> Update:
    """Give the update of one task; made once each, since making it costs more than running it."""
    return (
        update(TASKS)
        .where(TASKS.c.job == bindparam("the_job"), TASKS.c.task_id == bindparam("the_task_id"), _where(old))
        .values(**{**_columns(new), **{name: bindparam(f"the_{name}") for name in columns}})
    )


def _columns(new: Standing) -> dict[str, object]:
    """Give what the new standing itself says of a row."""
    result = new.value.result
    columns: dict[str, object] = {"state": new.value.state.value, "result": None if result is None else result.value}
    if new in {Standing.READY, Standing.SUSPECT}:
        columns |= {"message": None, "suspect": new is Standing.SUSPECT, "started_at": None}
    return columns


def _result(job: Row[Any], *, unwell: bool) -> tuple[JobResult, str]:
    if job.state == JobState.TERMINATING and job.cancelled:
        return JobResult.CANCELLED, job.reason
    failed = f"{job.failed} of {job.succeeded + job.failed + job.cancelled} tasks failed" if job.failed else ""
    if unwell:
        return JobResult.FAILURE, failed or "tasks were cancelled"
    return JobResult.SUCCESS, f"{failed}, which the steps after them allow" if failed else ""
