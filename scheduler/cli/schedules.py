"""`millpond schedule`: create, list, show, enable, disable, run, terminate, delete."""

import uuid
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from scheduler.cli.completion import schedule_ids
from scheduler.cli.connection import scheduler_of, storage_of
from scheduler.cli.group import DEFAULT_STACK, AsJson, Stack, examples, group
from scheduler.cli.job_file import load_job
from scheduler.cli.schedule_tables import runs_table, schedule_table, schedules_table
from scheduler.cli.submission import patiently, send_inputs
from scheduler.cli.tables import console, moment, print_json
from scheduler.durations import parse_duration
from scheduler.errors import InvalidRequestError
from scheduler.job_schedule import JobSchedule, JobSpecification, NewJobSchedule, Overlap, Schedule

schedule = group("schedule", "Have jobs made at set times.")

ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id.", autocompletion=schedule_ids)]
_TIME = "A time such as 2026-12-01T06:00, by the clock of --time-zone unless it names its offset."


@schedule.command(
    epilog=examples(
        "millpond schedule create nightly job.yaml --cron '0 6 * * MON-FRI' --time-zone Europe/Zurich",
        "millpond schedule create prices job.yaml --recurrence-interval 15m --start-window 5m --overlap skip",
        "millpond schedule create once job.yaml --do-not-run-until 2026-12-24T18:00",
    )
)
def create(
    schedule_id: Annotated[str, typer.Argument(metavar="SCHEDULE", help="An id: letters, digits, - and _ .")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The job file, YAML, as `millpond job submit` has it.")],
    *,
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="EXPR", help="Minute, hour, day of month, month, day of week; or @daily."),
    ] = None,
    time_zone: Annotated[
        str, typer.Option("--time-zone", metavar="ZONE", help="IANA name of the clock that --cron goes by.")
    ] = "UTC",
    recurrence_interval: Annotated[
        str | None, typer.Option("--recurrence-interval", metavar="TIME", help="From one job to the next, such as 6h.")
    ] = None,
    do_not_run_until: Annotated[
        str | None, typer.Option("--do-not-run-until", metavar="AT", help=f"No job before; the first at it. {_TIME}")
    ] = None,
    do_not_run_after: Annotated[
        str | None, typer.Option("--do-not-run-after", metavar="AT", help="No job after; the schedule ends then.")
    ] = None,
    start_window: Annotated[
        str | None,
        typer.Option("--start-window", metavar="TIME", help="How late a job may begin; else until the next one."),
    ] = None,
    overlap: Annotated[
        Overlap, typer.Option("--overlap", help="What to do while an earlier job of the schedule has not ended.")
    ] = Overlap.WAIT,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a parameter; may be repeated.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of the schedule of this id; its runs stay.")
    ] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Make a schedule: its jobs are what the job file says now.

    Files are uploaded now, once, and kept while the schedule is there. With neither --cron nor --recurrence-interval
    one job is made. Commands and environments may hold ${{ schedule.date }}, schedule.time, schedule.local_time and
    schedule.id, best as the default of a parameter: then `millpond job submit --set` runs the same file by hand. A
    scheduler that was away makes the newest job that it missed, if its start window allows, and no older ones.
    """
    when = Schedule(
        cron=cron,
        time_zone=time_zone,
        recurrence_interval=_span("--recurrence-interval", recurrence_interval),
        do_not_run_until=_instant("--do-not-run-until", do_not_run_until, time_zone),
        do_not_run_after=_instant("--do-not-run-after", do_not_run_after, time_zone),
        start_window=_span("--start-window", start_window),
        overlap=overlap,
    )
    loaded = load_job(file, settings or (), scheduled=True)
    with scheduler_of(stack) as service:
        sent = send_inputs(service, storage_of(service), loaded)
        job = JobSpecification(loaded.job.name, loaded.job.pool, sent.steps, loaded.job.priority)
        new = NewJobSchedule(schedule_id, when, job)
        made = patiently(partial(service.create_schedule, new, replace=replace))
    if as_json:
        print_json(made)
    else:
        files = f"{sent.files} files sent, {sent.unchanged_files} there already"
        console().print(
            f"schedule {made.schedule_id}: {made.task_count} tasks to pool {made.pool}, next at {_next(made)}; {files}",
            markup=False,
        )


@schedule.command(name="list", epilog=examples("millpond schedule list"))
def list_schedules(stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """List schedules with their next and last runs."""
    with scheduler_of(stack) as service:
        found = service.list_schedules()
    if as_json:
        print_json(found)
    else:
        console().print(schedules_table(found))


@schedule.command(epilog=examples("millpond schedule show nightly", "millpond schedule show nightly --runs 100"))
def show(
    schedule_id: ScheduleId,
    runs: Annotated[int, typer.Option("--runs", min=1, max=100_000, help="So many of the newest runs.")] = 10,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Show one schedule: its next occurrences, and what became of the last ones."""
    with scheduler_of(stack) as service:
        found, its_runs = service.get_schedule(schedule_id), service.list_runs(schedule_id, runs)
    if as_json:
        print_json({"schedule": found, "runs": its_runs})
        return
    console().print(schedule_table(found))
    if its_runs:
        console().print(runs_table(its_runs))


@schedule.command(epilog=examples("millpond schedule enable nightly"))
def enable(schedule_id: ScheduleId, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Have a disabled schedule make jobs again; what it would have made meanwhile is not made up for."""
    with scheduler_of(stack) as service:
        _tell(service.enable_schedule(schedule_id), as_json=as_json)


@schedule.command(epilog=examples("millpond schedule disable nightly"))
def disable(schedule_id: ScheduleId, stack: Stack = DEFAULT_STACK, as_json: AsJson = False) -> None:
    """Have a schedule make no jobs until it is enabled again; what runs goes on."""
    with scheduler_of(stack) as service:
        _tell(service.disable_schedule(schedule_id), as_json=as_json)


@schedule.command(
    epilog=examples(
        "millpond schedule run nightly",
        "millpond schedule run nightly --time 2026-11-27T06:00Z      for a day that was missed",
    )
)
def run(
    schedule_id: ScheduleId,
    time: Annotated[
        str | None, typer.Option("--time", metavar="AT", help="The time that the job is told; without it, now.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="Idempotency key: the same key never makes a second job.")
    ] = None,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """Make a job of the schedule now, besides those that it makes by itself; also while it is disabled."""
    used_key = key or str(uuid.uuid4())
    with scheduler_of(stack) as service:
        zone = service.get_schedule(schedule_id).schedule.time_zone if time is not None else "UTC"
        occurrence = _instant("--time", time, zone)
        made = patiently(partial(service.run_schedule, schedule_id, used_key, occurrence))
    if as_json:
        print_json(made)
    else:
        console().print(f"job {made.job_id} is made; see it run with `millpond job watch {made.job_id}`", markup=False)


@schedule.command(epilog=examples("millpond schedule terminate nightly"))
def terminate(
    schedule_id: ScheduleId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    stack: Stack = DEFAULT_STACK,
    as_json: AsJson = False,
) -> None:
    """End a schedule for good, and cancel its jobs that have not ended. Its runs stay to be seen."""
    if not yes:
        typer.confirm(f"End schedule {schedule_id} and cancel its jobs that have not ended?", abort=True)
    with scheduler_of(stack) as service:
        _tell(service.terminate_schedule(schedule_id), as_json=as_json)


@schedule.command(
    epilog=examples("millpond schedule delete nightly --yes", "millpond schedule delete nightly --keep-jobs --yes")
)
def delete(
    schedule_id: ScheduleId,
    keep_jobs: Annotated[bool, typer.Option("--keep-jobs", help="Leave its jobs and their outputs alone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    stack: Stack = DEFAULT_STACK,
) -> None:
    """Remove a schedule with all the jobs that it made, their outputs and logs."""
    if not yes:
        what = "but leave its jobs" if keep_jobs else "with ALL the jobs that it made, their outputs and logs"
        typer.confirm(f"Remove schedule {schedule_id}, {what}?", abort=True)
    with scheduler_of(stack) as service:
        service.delete_schedule(schedule_id, keep_jobs=keep_jobs)
    console().print(f"schedule {schedule_id} is being deleted", markup=False)


def _tell(found: JobSchedule, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        console().print(f"schedule {found.schedule_id} is {found.state.value}; next at {_next(found)}", markup=False)


def _next(found: JobSchedule) -> str:
    return moment(next(iter(found.next_occurrences), None))


def _span(option: str, text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidRequestError(f"{option}: {error}") from error


def _instant(option: str, text: str | None, time_zone: str) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(time_zone))
    except (ValueError, KeyError, OSError) as error:
        raise InvalidRequestError(
            f"{option} {text}: expected a time such as 2026-12-01T06:00, and a time zone such as Europe/Zurich"
        ) from error
