"""`millpond job`: submit, list, show, watch, logs, outputs, cancel."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scheduler.cli import job_file
from scheduler.cli.connection import scheduler_of, storage_of
from scheduler.cli.download import download
from scheduler.cli.group import DEFAULT_STACK, FAILED, INTERRUPTED, AsJson, Stack, group, verbatim
from scheduler.cli.submission import submit as submit_job
from scheduler.cli.tables import console, job_table, jobs_table, outputs_table, print_json, size, tasks_table
from scheduler.cli.tasks import JobId, TaskNumber, print_logs
from scheduler.cli.watching import ending, progress_on
from scheduler.cli.watching import watch as watch_job
from scheduler.errors import UnavailableError
from scheduler.model import Job, JobResult, Task
from scheduler.ports.job_service import JobService

job = group("job", "Submit jobs, follow them and fetch their results.")

_PAGE = 1000


@job.command(epilog=verbatim(job_file.__doc__))
def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The job file, YAML.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter; may be repeated.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show progress until the job ends.")] = False,
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: the same key never makes a second job.")
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Submit a job file.

    Files are uploaded by content, so unchanged ones are not sent again. With --watch the exit code is 1 if the job did
    not succeed.
    """
    loaded = job_file.load_job(file, settings or ())
    used_key = key or str(uuid.uuid4())
    with scheduler_of(stack) as service:
        try:
            done = submit_job(service, storage_of(service), loaded, used_key)
        except UnavailableError as error:
            raise UnavailableError(f"{error}\n{_go_on(used_key)}") from error
        except KeyboardInterrupt:
            typer.echo(f"interrupted; what was sent is kept\n{_go_on(used_key)}", err=True)
            raise typer.Exit(INTERRUPTED) from None
    if not as_json:
        console().print(
            f"job {done.job.job_id}: {done.job.counts.total} tasks to pool {done.job.pool}; "
            f"{done.sent_files} files sent, {done.unchanged_files} there already",
            markup=False,
        )
    if watch:
        _watch(done.job.job_id, stack, as_json=as_json)
    elif as_json:
        print_json(done.job)


@job.command(name="list")
def list_jobs(stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """List all jobs, newest first."""
    with scheduler_of(stack) as service:
        jobs = service.list_jobs()
    if as_json:
        print_json(jobs)
    else:
        console().print(jobs_table(jobs))


@job.command()
def show(
    job_id: JobId,
    tasks: Annotated[bool, typer.Option("--tasks", help="Show each task, too.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Show one job."""
    with scheduler_of(stack) as service:
        found = service.get_job(job_id)
        its_tasks = tuple(_all_tasks(service, job_id)) if tasks else ()
    if as_json:
        print_json({"job": found, "tasks": its_tasks} if tasks else found)
        return
    console().print(job_table(found))
    if tasks:
        console().print(tasks_table(its_tasks))


@job.command()
def watch(job_id: JobId, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Show a job's progress until it ends; plain lines where there is no terminal."""
    _watch(job_id, stack, as_json=as_json)


@job.command()
def logs(
    job_id: JobId,
    task: TaskNumber,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Print what a task of the job wrote; the same as `millpond task logs`."""
    print_logs(job_id, task, stack, follow=follow)


@job.command()
def outputs(
    job_id: JobId,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Fetch the files into this folder; without it, list them."),
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """List a job's committed files, or fetch them as DIR/STEP/INDEX/FILE straight from storage."""
    with scheduler_of(stack) as service:
        files = service.list_outputs(job_id)
        if to is not None:
            download(storage_of(service), files, to)
    if as_json:
        print_json(files)
    elif to is None:
        console().print(outputs_table(files))
    else:
        total = size(sum(item.file.length for item in files))
        console().print(f"{len(files)} files, {total}, verified, in {to}", markup=False)


@job.command()
def cancel(job_id: JobId, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Cancel a job: nothing of it starts any more, what runs is stopped."""
    with scheduler_of(stack) as service:
        found = service.cancel_job(job_id)
    if as_json:
        print_json(found)
    else:
        console().print(ending(found), markup=False)


def _watch(job_id: str, stack: str, *, as_json: bool) -> None:
    place = Console(stderr=True, highlight=False) if as_json else console()
    shown, view = progress_on(place)
    opened = []

    def connect() -> JobService:
        opened.append(scheduler_of(stack))
        return opened[-1]

    try:
        with shown:
            ended = watch_job(connect, job_id, view)
    except KeyboardInterrupt:
        place.print(f"the job goes on; see it again with `millpond job watch {job_id}`", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        for service in opened:
            service.close()
    if as_json:
        print_json(ended)
    else:
        place.print(ending(ended), markup=False)
    _exit_by(ended)


def _go_on(key: str) -> str:
    return f"to go on where this stopped, submit again with --key {key}"


def _exit_by(ended: Job) -> None:
    if ended.result is not JobResult.SUCCESS:
        raise typer.Exit(FAILED)


def _all_tasks(service: JobService, job_id: str) -> Iterator[Task]:
    after = -1
    while True:
        page = service.list_tasks(job_id, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].task_id
