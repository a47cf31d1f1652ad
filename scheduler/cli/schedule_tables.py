"""Job schedules and their runs as tables."""

from collections.abc import Iterable

from rich.table import Table

from scheduler.cli.tables import add_row, brief, duration, moment, new_table
from scheduler.explain.schedule import became, overlap, when, window
from scheduler.job_schedule import JobSchedule, ScheduleRun


def schedules_table(schedules: Iterable[JobSchedule]) -> Table:
    """Lay out schedules."""
    table = new_table("schedule", "state", "when", "pool", "tasks", "next", "last", "its job")
    for each in schedules:
        last = each.last_run
        told = ("-", "-") if last is None else (f"{moment(last.occurrence)}, {became(last)}", last.job_id or "-")
        row = (each.schedule_id, each.state.value, when(each.schedule), each.pool, str(each.task_count))
        add_row(table, (*row, moment(next(iter(each.next_occurrences), None)), *told))
    return table


def schedule_table(found: JobSchedule) -> Table:
    """Lay out one schedule."""
    table = Table(box=None, show_header=False)
    schedule = found.schedule
    rows = [
        ("schedule", found.schedule_id),
        ("state", found.state.value),
        ("reason", found.reason),
        ("when", when(schedule)),
        ("not before", "" if schedule.do_not_run_until is None else moment(schedule.do_not_run_until)),
        ("not after", "" if schedule.do_not_run_after is None else moment(schedule.do_not_run_after)),
        ("may be late", window(schedule)),
        ("overlap", overlap(schedule)),
        ("next", ", ".join(map(moment, found.next_occurrences))),
        ("job", f"{found.job_name}, {found.task_count} tasks to pool {found.pool}, priority {found.priority}"),
        ("steps", ", ".join(found.steps)),
        ("active jobs", ", ".join(found.active_jobs)),
        ("created", moment(found.created_at)),
        ("ended", "" if found.ended_at is None else moment(found.ended_at)),
    ]
    for name, value in rows:
        if value:
            add_row(table, (name, value))
    return table


def runs_table(runs: Iterable[ScheduleRun]) -> Table:
    """Lay out what became of occurrences."""
    table = new_table("occurrence", "became", "job", "made", "took", "reason")
    for run in runs:
        took = "-" if run.ended_at is None or run.job_id is None else duration(run.ended_at - run.at)
        by_hand = f"{moment(run.occurrence)}, by hand" if run.manual else moment(run.occurrence)
        add_row(table, (by_hand, became(run), run.job_id or "-", moment(run.at), took, brief(run.reason)))
    return table
