"""`JobViews` in SQL."""

from collections import defaultdict

from sqlalchemy import Connection, and_, case, func, or_, select

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.job_schema import EDGES, JOBS, MESSAGES, STEPS, TASK_IS_OUT, TASKS
from scheduler.adapters.sql.job_store import TASK_ROWS, job_row, task_view
from scheduler.model import JobState, Task, TaskResult, TaskState
from scheduler.views import Handout, StepView


class SqlJobViews:
    """`JobViews` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def steps(self, job_id: str) -> tuple[StepView, ...]:
        """Give the steps of a job in order."""
        with self._database.read() as connection:
            number = job_row(connection, job_id).number
            rows = connection.execute(select(STEPS).where(STEPS.c.job == number).order_by(STEPS.c.position)).all()
            names = {row.position: row.name for row in rows}
            before = _predecessors(connection, number)
            return tuple(
                StepView(
                    name=row.name,
                    first_task_id=row.first_task_id,
                    task_count=row.task_count,
                    open_tasks=row.open_tasks,
                    active=row.active,
                    unsuccessful=row.unsuccessful,
                    depends_on=tuple(names[position] for position in before[row.position]),
                    mean_seconds=row.mean_seconds,
                )
                for row in rows
            )

    def handout(self, job_id: str, task_id: int) -> Handout | None:
        """Give the message that carries the task's present attempt."""
        with self._database.read() as connection:
            number = job_row(connection, job_id).number
            on_it = MESSAGES.c.number == TASKS.c.message
            query = select(MESSAGES).join(TASKS, on_it).where(TASKS.c.job == number, TASKS.c.task_id == task_id)
            row = connection.execute(query.where(TASK_IS_OUT)).first()
        if row is None:
            return None
        return Handout(
            message_id=row.message_id,
            group=row.group_key,
            queue=row.queue,
            handed_out_at=row.created_at,
            sent_at=row.sent_at,
            started_at=row.started_at,
            node_id=row.node_id,
        )

    def troubled(self, job_id: str, limit: int) -> tuple[Task, ...]:
        """Give tasks that failed, then those that were tried more than once."""
        failed = and_(TASKS.c.state == TaskState.COMPLETED.value, TASKS.c.result == TaskResult.FAILURE.value)
        with self._database.read() as connection:
            number = job_row(connection, job_id).number
            here = TASK_ROWS.where(TASKS.c.job == number, or_(failed, TASKS.c.attempt > 1))
            rows = connection.execute(here.order_by(case((failed, 0), else_=1), TASKS.c.task_id).limit(limit))
            return tuple(task_view(job_id, row) for row in rows)

    def tasks_ahead(self, job_id: str) -> int:
        """Count the ready tasks of other jobs that are not of lower priority."""
        with self._database.read() as connection:
            job = job_row(connection, job_id)
            others = and_(JOBS.c.pool == job.pool, JOBS.c.number != job.number, JOBS.c.priority >= job.priority)
            total = select(func.coalesce(func.sum(JOBS.c.active), 0)).where(
                others, JOBS.c.state == JobState.ACTIVE.value
            )
            return int(connection.execute(total).scalar_one())


def _predecessors(connection: Connection, job: int) -> dict[int, list[int]]:
    before: dict[int, list[int]] = defaultdict(list)
    edges = select(EDGES.c.predecessor, EDGES.c.dependent).where(EDGES.c.job == job).order_by(EDGES.c.predecessor)
    for predecessor, dependent in connection.execute(edges):
        before[dependent].append(predecessor)
    return before
