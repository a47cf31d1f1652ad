"""Job schedules in words."""

from datetime import timedelta

from scheduler.job_schedule import Overlap, RunState, Schedule, ScheduleRun

_OVERLAPS = {
    Overlap.WAIT: "a job waits for the one before it",
    Overlap.SKIP: "skipped while a job has not ended",
    Overlap.ALLOW: "jobs may run side by side",
    Overlap.REPLACE: "a job takes the place of the one before it",
}
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def when(schedule: Schedule) -> str:
    """Say at what times a schedule makes jobs."""
    if schedule.cron is not None:
        return f"{schedule.cron}, {schedule.time_zone}"
    if schedule.recurrence_interval is not None:
        return f"every {span(schedule.recurrence_interval)}"
    return "once"


def overlap(schedule: Schedule) -> str:
    """Say what becomes of an occurrence while an earlier job has not ended."""
    return f"{schedule.overlap.value}: {_OVERLAPS[schedule.overlap]}"


def window(schedule: Schedule) -> str:
    """Say how late a job may be made."""
    return "until the next one" if schedule.start_window is None else f"up to {span(schedule.start_window)}"


def became(run: ScheduleRun) -> str:
    """Say in a word or two what became of an occurrence, or of several."""
    if run.state is RunState.COMPLETED:
        return "removed" if run.result is None else run.result.value
    return f"{run.count} {run.state.value}" if run.count > 1 else run.state.value


def span(length: timedelta) -> str:
    """Write a length of time in its two greatest units."""
    left, parts = int(length.total_seconds()), []
    for unit, seconds in _UNITS:
        number, left = divmod(left, seconds)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"
