"""Job schedules in words."""

from collections.abc import Iterator, Sequence

from scheduler.durations import write_duration
from scheduler.explain.words import at, clause, facts, listed
from scheduler.job_schedule import JobSchedule, JobScheduleState, Overlap, RunState, Schedule, ScheduleRun
from scheduler.views import Explanation

_OVERLAPS = {
    Overlap.WAIT: "a job waits for the one before it",
    Overlap.SKIP: "skipped while a job has not ended",
    Overlap.ALLOW: "jobs may run side by side",
    Overlap.REPLACE: "a job takes the place of the one before it",
}


def when(schedule: Schedule) -> str:
    """Say at what times a schedule makes jobs."""
    if schedule.cron is not None:
        return f"{schedule.cron}, {schedule.time_zone}"
    if schedule.recurrence_interval is not None:
        return f"every {write_duration(schedule.recurrence_interval)}"
    return "once"


def overlap(schedule: Schedule) -> str:
    """Say what becomes of an occurrence while an earlier job has not ended."""
    return f"{schedule.overlap.value}: {_OVERLAPS[schedule.overlap]}"


def window(schedule: Schedule) -> str:
    """Say how late a job may be made."""
    return "until the next one" if schedule.start_window is None else f"up to {write_duration(schedule.start_window)}"


def became(run: ScheduleRun) -> str:
    """Say in a word or two what became of an occurrence, or of several."""
    if run.state is RunState.COMPLETED:
        return "removed" if run.result is None else run.result.value
    return f"{run.count} {run.state.value}" if run.count > 1 else run.state.value


def explain_schedule(found: JobSchedule, runs: Sequence[ScheduleRun]) -> Explanation:
    """Say in a paragraph what a schedule does and why; `runs` are its newest, newest first."""
    return Explanation(
        f"schedule {found.schedule_id}",
        " ".join(_sentences(found, runs)),
        facts(
            ("state", found.state.value),
            ("when", when(found.schedule)),
            ("next", listed(map(at, found.next_occurrences))),
            ("may be late", window(found.schedule)),
            ("overlap", overlap(found.schedule)),
            ("active jobs", listed(found.active_jobs)),
            *((f"at {at(run.occurrence)}", _told(run)) for run in runs),
        ),
    )


def _sentences(found: JobSchedule, runs: Sequence[ScheduleRun]) -> Iterator[str]:
    match found.state:
        case JobScheduleState.ACTIVE:
            if found.reason:
                yield f"It waits: {clause(found.reason)}."
            elif found.next_occurrences:
                yield f"It makes its next job at {at(found.next_occurrences[0])}."
        case JobScheduleState.DISABLED:
            yield f"It makes no jobs until `millpond schedule enable {found.schedule_id}`, and none is made up for."
        case JobScheduleState.TERMINATING | JobScheduleState.DELETING:
            yield f"It is being ended ({clause(found.reason)}) and waits for its jobs."
        case JobScheduleState.COMPLETED:
            yield f"It makes no more jobs: {clause(found.reason)}."
    if runs:
        yield f"Last, for {at(runs[0].occurrence)}: {_told(runs[0])}."


def _told(run: ScheduleRun) -> str:
    by_hand = ", by hand" if run.manual else ""
    reason = f"; {clause(run.reason)}" if run.reason and not run.manual else ""
    return f"{f'job {run.job_id}, ' if run.job_id else ''}{became(run)}{by_hand}{reason}"
