"""Following a job until it ends: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from scheduler.cli.tables import decision_line, outcome, tally
from scheduler.errors import AccessDeniedError, ConflictError, UnavailableError
from scheduler.model import Job, JobState, PoolView
from scheduler.ports.job_service import JobService

_INTERVAL_SECONDS = 0.5
# A scheduler that is stopped and started again is waited for this long; its jobs go on meanwhile.
PATIENCE_SECONDS = 120.0


class Progressing(Protocol):
    """What shows a job's progress."""

    def show(self, job: Job, pool: PoolView | None) -> None:
        """Show where the job and its pool are now."""
        ...

    def note(self, text: str) -> None:
        """Show a remark."""
        ...


class PlainProgress:
    """A line whenever something changed; a decision stands on a line of its own, once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""
        self._last_decision = ""

    def show(self, job: Job, pool: PoolView | None) -> None:
        """Print where the job is, unless that was printed last."""
        line = f"{job.counts.completed}/{job.counts.total} done ({tally(job.counts)})"
        if pool is not None:
            line += f"; nodes {pool.current_nodes} of {pool.target_nodes}"
            decision = "" if pool.last_decision is None else decision_line(pool.last_decision)
            if decision != self._last_decision:
                self._last_decision = decision
                self._print(f"  why: {decision}")
        if line != self._last:
            self._last = line
            self._print(line)

    def note(self, text: str) -> None:
        """Print a remark."""
        self._print(text)

    def _print(self, text: str) -> None:
        stamp = datetime.now().astimezone().strftime("%H:%M:%S")
        self._console.print(f"{stamp} {text}", markup=False, soft_wrap=True)


class LiveProgress:
    """A bar that stays in place, with the pool below it."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._row = self._bar.add_task("tasks", total=None)
        self._below: tuple[str, ...] = ()
        self._remark = ""
        self._live = Live(console=console, auto_refresh=True, refresh_per_second=4, get_renderable=self._picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, job: Job, pool: PoolView | None) -> None:
        """Move the bar."""
        self._bar.update(self._row, description=job.name, completed=job.counts.completed, total=job.counts.total)
        below = [f"tasks  {tally(job.counts)}"]
        if pool is not None:
            below.append(f"nodes  {pool.current_nodes} current, {pool.target_nodes} target")
            if pool.last_decision is not None:
                below.append(f"why    {decision_line(pool.last_decision)}")
        self._below = tuple(below)
        self._remark = ""

    def note(self, text: str) -> None:
        """Put a remark below the bar until the next news."""
        self._remark = text

    def _picture(self) -> Group:
        lines = [Text(line, overflow="ellipsis", no_wrap=True) for line in (*self._below, self._remark) if line]
        return Group(self._bar, *lines)


@dataclass(frozen=True, slots=True)
class Time:
    """The time that watching passes in; another one in tests."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def watch(connect: Callable[[], JobService], job_id: str, view: Progressing, passing: Time | None = None) -> Job:
    """Show a job's progress until it is completed, and give it.

    A scheduler that goes away is looked for again by `connect` for `PATIENCE_SECONDS`, then `UnavailableError`.
    """
    passing = passing or Time()
    service = connect()
    answered = passing.monotonic()
    while True:
        try:
            job = service.get_job(job_id)
            pool = next((pool for pool in service.list_pools() if pool.name == job.pool), None)
            answered = passing.monotonic()
        except (UnavailableError, AccessDeniedError) as error:
            if passing.monotonic() - answered > PATIENCE_SECONDS:
                raise
            view.note(f"the scheduler does not answer, asking again ({error})")
            passing.sleep(_INTERVAL_SECONDS)
            service = _reconnected(connect, service)
            continue
        view.show(job, pool)
        if job.state in {JobState.COMPLETED, JobState.DELETING}:
            return job
        if job.state is JobState.DRAFT:
            raise ConflictError(
                f"job {job_id} is a draft: its submission did not end; submit the file again with the --key it had"
            )
        passing.sleep(_INTERVAL_SECONDS)


def progress_on(console: Console) -> tuple[AbstractContextManager[object], Progressing]:
    """Choose how progress is shown on a console; the first item is open while it is."""
    if console.is_terminal:
        live = LiveProgress(console)
        return live, live
    return nullcontext(), PlainProgress(console)


def ending(job: Job) -> str:
    """Say how a job ended."""
    reason = f": {job.reason}" if job.reason else ""
    return f"job {job.job_id} {outcome(job)} ({tally(job.counts)}){reason}"


def _reconnected(connect: Callable[[], JobService], before: JobService) -> JobService:
    # A scheduler that was started again has another port and another token.
    try:
        return connect()
    except UnavailableError:
        return before
