"""`millpond task`: list the tasks of a job, show one."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

import typer

from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, JobId, Stack, group
from scheduler.cli.tables import console, print_json, task_table, tasks_table
from scheduler.model import Task, TaskResult, TaskState
from scheduler.ports.job_service import JobService

task = group("task", "Look at the tasks of a job.")

_PAGE = 1000


class Shown(StrEnum):
    """What `--state` may name: the states, and the ends of completed tasks."""

    BLOCKED = "blocked"
    ACTIVE = "active"
    RUNNING = "running"
    COMPLETED = "completed"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


_RESULTS: Mapping[Shown, TaskResult] = MappingProxyType({Shown(result.value): result for result in TaskResult})


@task.command(name="list")
def list_tasks(
    job_id: JobId,
    state: Annotated[Shown | None, typer.Option("--state", help="Only tasks that stand so.")] = None,
    after: Annotated[int, typer.Option("--after", metavar="TASK", help="Only tasks with a higher number.")] = -1,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many; without it, all.")] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """List the tasks of a job, in order of their numbers."""
    with scheduler_of(stack) as service:
        found = tuple(all_tasks(service, job_id, state, after, limit))
    if as_json:
        print_json(found)
    else:
        console().print(tasks_table(found))


@task.command()
def show(
    job_id: JobId,
    number: Annotated[int, typer.Argument(metavar="TASK", help="The task's number.")],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Show one task: where it is, what it has used of its retries, why it ended as it did."""
    with scheduler_of(stack) as service:
        found = service.get_task(job_id, number)
    if as_json:
        print_json(found)
    else:
        console().print(task_table(found))


def all_tasks(
    service: JobService, job_id: str, shown: Shown | None = None, after: int = -1, limit: int | None = None
) -> Iterator[Task]:
    """Give the tasks of a job, a page at a time."""
    result = None if shown is None else _RESULTS.get(shown)
    state = None if shown is None or result is not None else TaskState(shown.value)
    left = limit
    while left is None or left > 0:
        asked = _PAGE if left is None else min(left, _PAGE)
        page = service.list_tasks(job_id, after=after, limit=asked, state=state, result=result)
        yield from page
        if len(page) < asked:
            return
        after = page[-1].task_id
        left = None if left is None else left - len(page)
