"""Following a job until it ends."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from scheduler.cli.watching import PATIENCE_SECONDS, LiveProgress, PlainProgress, Time, ending, watch
from scheduler.errors import ConflictError, UnavailableError
from scheduler.model import Job, JobResult, JobState, PoolView, TaskCounts

_JOB = Job(
    job_id="j1",
    name="var",
    pool="demo",
    priority=0,
    state=JobState.ACTIVE,
    result=None,
    counts=TaskCounts(active=3),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    armed_at=datetime(2026, 1, 1, tzinfo=UTC),
    ended_at=None,
    steps=("simulate",),
)
_RUNNING = replace(_JOB, counts=TaskCounts(running=2, succeeded=1))
_ENDED = replace(_JOB, state=JobState.COMPLETED, result=JobResult.SUCCESS, counts=TaskCounts(succeeded=3))


class _Script:
    """A scheduler's answers in order; an exception stands for no answer, and the last answer is repeated."""

    def __init__(self, *answers: Job | Exception) -> None:
        self._answers = iter(answers)
        self._last: Job | Exception = answers[-1]

    def get_job(self, job_id: str) -> Job:
        answer = next(self._answers, self._last)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def list_pools(self) -> tuple[PoolView, ...]:
        return ()


def _time() -> Time:
    ticks: Iterator[float] = iter(range(10_000))
    return Time(monotonic=lambda: float(next(ticks)), sleep=lambda _: None)


def _watched(*answers: Job | Exception) -> tuple[Job, list[str]]:
    page = io.StringIO()
    script = _Script(*answers)
    ended = watch(lambda: script, "j1", PlainProgress(Console(file=page, width=200)), _time())
    return ended, [line[9:] for line in page.getvalue().splitlines()]


def test_plain_lines_tell_each_change_once() -> None:
    """Without a terminal there is one line for each change, and none without one."""
    ended, lines = _watched(_JOB, _JOB, _RUNNING, _RUNNING, _ENDED)
    assert ended == _ENDED
    assert lines == [
        "0/3 done (3 active)",
        "1/3 done (2 running, 1 succeeded)",
        "3/3 done (3 succeeded)",
    ]
    assert ending(ended) == "job j1 completed, success (3 succeeded)"


def test_a_scheduler_that_comes_back_is_found() -> None:
    """While the scheduler is away the job is watched on, and it ends as it would have."""
    ended, lines = _watched(_JOB, UnavailableError("gone"), _ENDED)
    assert ended == _ENDED
    assert lines[1] == "the scheduler does not answer, asking again (gone)"


def test_patience_ends() -> None:
    """A scheduler that stays away is an error after a while, not a command that hangs for ever."""
    with pytest.raises(UnavailableError, match="gone"):
        _watched(*([UnavailableError("gone")] * int(PATIENCE_SECONDS * 2)))


def test_a_draft_is_not_watched() -> None:
    """A job whose submission was cut off would never end; the message says how to go on."""
    with pytest.raises(ConflictError, match="--key"):
        _watched(replace(_JOB, state=JobState.DRAFT))


def test_the_bar_shows_the_job() -> None:
    """On a terminal the live picture holds the job's name, its count and where its tasks are."""
    page = io.StringIO()
    with LiveProgress(Console(file=page, force_terminal=True, width=100)) as bar:
        bar.show(_RUNNING, None)
        bar.note("[not markup]")
    text = page.getvalue()
    for part in ("var", "1/3", "2 running, 1 succeeded", "[not markup]"):
        assert part in text
