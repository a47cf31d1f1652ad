"""`millpond task`: list the tasks of a job, show one, read what it wrote."""

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

import typer

from scheduler.cli.completion import job_ids
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, INTERRUPTED, AsJson, Stack, examples, group
from scheduler.cli.logs import LOGS, read_logs
from scheduler.cli.tables import console, print_json, task_table, tasks_table
from scheduler.model import Task, TaskResult, TaskState
from scheduler.ports.job_service import JobService

task = group("task", "Look at the tasks of a job.")

_PAGE = 1000

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id that `job submit` printed.", autocompletion=job_ids)]
TaskNumber = Annotated[int, typer.Argument(metavar="TASK", min=0, help="The task's number within its job.")]


@task.command(
    epilog=examples(
        "millpond task logs JOB 3 --follow             until it has ended",
        "millpond task logs JOB 3 --stderr | tail      its standard error alone",
    )
)
def logs(
    job_id: JobId,
    number: TaskNumber,
    stderr: Annotated[
        bool, typer.Option("--stderr", help="Only what it wrote to standard error, on standard output here.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Print what a task wrote: its standard output and its standard error, each to the same place here.

    Of a task that runs, what it has written so far; of one that has ended, what was kept.
    """
    print_logs(job_id, number, stack, follow=follow, stderr_only=stderr)


def print_logs(job_id: str, number: int, stack: str, *, follow: bool, stderr_only: bool = False) -> None:
    """Print a task's logs; a note tells where there is nothing, or where a new attempt begins."""
    wanted = LOGS[1:] if stderr_only else LOGS
    attempt = None
    with scheduler_of(stack) as service:
        state = service.get_task(job_id, number).state
        try:
            for part in read_logs(service, job_id, number, wanted, follow=follow):
                if attempt is not None and part.attempt != attempt:
                    typer.echo(f"-- attempt {part.attempt} begins --", err=True)
                attempt = part.attempt
                stream = sys.stderr if part.log == LOGS[1] and not stderr_only else sys.stdout
                stream.buffer.write(part.data)
                stream.flush()
        except KeyboardInterrupt:
            again = f"millpond task logs {job_id} {number} --follow"
            typer.echo(f"the task is not touched by this; follow it again with `{again}`", err=True)
            raise typer.Exit(INTERRUPTED) from None
    if attempt is None:
        ended = "it wrote nothing, or never ran" if state is TaskState.COMPLETED else "it has written nothing so far"
        typer.echo(f"task {number} is {state.value}: {ended}; `millpond why {job_id}/{number}` says more", err=True)


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


@task.command(name="list", epilog=examples("millpond task list JOB --state failure"))
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


@task.command(epilog=examples("millpond task show JOB 3"))
def show(
    job_id: JobId,
    number: TaskNumber,
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
