"""`millpond task`: one task of a job."""

import sys
from typing import Annotated

import typer

from scheduler.cli.completion import job_ids
from scheduler.cli.connection import scheduler_of
from scheduler.cli.group import DEFAULT_STACK, INTERRUPTED, Stack, examples, group
from scheduler.cli.logs import LOGS, read_logs
from scheduler.model import TaskState

task = group("task", "See one task of a job.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id that `job submit` printed.", autocompletion=job_ids)]
TaskNumber = Annotated[int, typer.Argument(metavar="TASK", min=0, help="The task's number within its job.")]


@task.callback()
def _group() -> None:
    # A group of one command stays a group, so that the command keeps its name.
    pass


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
