"""`millpond job`: submit, list, show, watch, logs, outputs, cancel, requeue, set-priority, delete."""

import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scheduler.cli import job_file
from scheduler.cli.bars import counted
from scheduler.cli.connection import scheduler_of, storage_of
from scheduler.cli.download import download
from scheduler.cli.group import DEFAULT_STACK, FAILED, INTERRUPTED, AsJson, Stack, examples, group, verbatim
from scheduler.cli.submission import submit as submit_job
from scheduler.cli.tables import console, job_table, jobs_table, outputs_table, print_json, size, tasks_table
from scheduler.cli.tasks import JobId, TaskNumber, all_tasks, print_logs
from scheduler.cli.watching import ending, progress_on
from scheduler.cli.watching import watch as watch_job
from scheduler.errors import InvalidRequestError, UnavailableError
from scheduler.model import Job, JobResult, OutputFile
from scheduler.ports.job_service import JobService

job = group("job", "Submit jobs, follow them and fetch their results.")

_PAGE = 1000


@job.command(
    epilog=f"{examples('millpond job submit job.yaml --set tasks=48 --watch')}\n\n{verbatim(job_file.__doc__)}"
)
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


@job.command(name="list", epilog=examples("millpond job list --json | jq '.[0]'"))
def list_jobs(
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many; without it, all.")] = None,
    before: Annotated[
        str | None, typer.Option("--before", metavar="JOB", help="Only jobs older than this one.")
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with scheduler_of(stack) as service:
        jobs = tuple(islice(_all_jobs(service, before), limit))
    if as_json:
        print_json(jobs)
    else:
        console().print(jobs_table(jobs))


@job.command(epilog=examples("millpond job show JOB", "millpond job show JOB --tasks"))
def show(
    job_id: JobId,
    tasks: Annotated[bool, typer.Option("--tasks", help="Show each task, too.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Show one job."""
    with scheduler_of(stack) as service:
        found = service.get_job(job_id)
        its_tasks = tuple(all_tasks(service, job_id)) if tasks else ()
    if as_json:
        print_json({"job": found, "tasks": its_tasks} if tasks else found)
        return
    console().print(job_table(found))
    if tasks:
        console().print(tasks_table(its_tasks))


@job.command(epilog=examples("millpond job watch JOB && echo it succeeded"))
def watch(job_id: JobId, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Show a job's progress until it ends; plain lines where there is no terminal."""
    _watch(job_id, stack, as_json=as_json)


@job.command(epilog=examples("millpond job logs JOB 3 --follow"))
def logs(
    job_id: JobId,
    task: TaskNumber,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Print what a task of the job wrote; the same as `millpond task logs`."""
    print_logs(job_id, task, stack, follow=follow)


@job.command(
    epilog=examples(
        "millpond job outputs JOB                 list them",
        "millpond job outputs JOB --to results    fetch them; interrupted, the same again goes on",
    )
)
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
            _fetch(service, files, to)
    if as_json:
        print_json(files)
    elif to is None:
        console().print(outputs_table(files))
    else:
        total = size(sum(item.file.length for item in files))
        console().print(f"{len(files)} files, {total}, verified, in {to}", markup=False)


@job.command(epilog=examples("millpond job cancel JOB"))
def cancel(job_id: JobId, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Cancel a job: nothing of it starts any more, what runs is stopped."""
    with scheduler_of(stack) as service:
        found = service.cancel_job(job_id)
    _tell(found, as_json=as_json)


@job.command(epilog=examples("millpond job requeue JOB", "millpond job requeue JOB --task 3 --task 7"))
def requeue(
    job_id: JobId,
    failed: Annotated[
        bool, typer.Option("--failed", help="All tasks that did not succeed; so without --task.")
    ] = False,
    task: Annotated[
        list[int] | None, typer.Option("--task", metavar="TASK", help="This task, however it ended; may be repeated.")
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Run tasks of a job again that have ended.

    A job that has ended is active again, and what was cancelled because a task had failed comes back. Outputs stay
    until a new run has succeeded; runs from before are never committed any more.
    """
    if failed and task:
        raise InvalidRequestError("--failed and --task exclude each other; name tasks, or take all that failed")
    with scheduler_of(stack) as service:
        found = service.requeue_job(job_id, tuple(task) if task else None)
    _tell(found, as_json=as_json)


@job.command(name="set-priority", epilog=examples("millpond job set-priority JOB 10"))
def set_priority(
    job_id: JobId,
    priority: Annotated[int, typer.Argument(metavar="PRIORITY", help="Higher goes first.")],
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Change a job's priority; what is on a queue already keeps its place."""
    with scheduler_of(stack) as service:
        found = service.set_priority(job_id, priority)
    _tell(found, as_json=as_json)


@job.command(epilog=examples("millpond job delete JOB --yes"))
def delete(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Remove a job that has ended, with its outputs and logs.

    Its files go first; inputs that no other job names go a day later.
    """
    if not yes:
        typer.confirm(f"Remove job {job_id} with all of its outputs and logs?", abort=True)
    with scheduler_of(stack) as service:
        service.delete_job(job_id)
    console().print(f"job {job_id} is being deleted", markup=False)


def _tell(found: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        console().print(ending(found), markup=False)


def _fetch(service: JobService, files: tuple[OutputFile, ...], to: Path) -> None:
    try:
        with counted(Console(stderr=True), "fetching", len(files)) as fetched:
            download(storage_of(service), files, to, fetched)
    except KeyboardInterrupt:
        text = f"interrupted; what is in {to} is whole. To go on, run the same again: it fetches only what is missing"
        typer.echo(text, err=True)
        raise typer.Exit(INTERRUPTED) from None


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


def _all_jobs(service: JobService, before: str | None) -> Iterator[Job]:
    while True:
        page = service.list_jobs(before, _PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        before = page[-1].job_id
