"""What a schedule does now: one job at most, and a reason for everything."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.job_schedule import Overlap, RunState, Schedule
from scheduler.recurrence.due import Complete, PassOver, Standing, Start, Wait, due, may_run_now

MONDAY = datetime(2026, 6, 1, 6, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
DAILY = Schedule(cron="0 6 * * *")
STANDING = Standing("nightly", DAILY, "risk", MONDAY - DAY, MONDAY - HOUR)


def standing(*open_jobs: str, **schedule: object) -> Standing:
    """Make a schedule that stands an hour before Monday's occurrence."""
    return replace(STANDING, schedule=replace(DAILY, **schedule), open_jobs=open_jobs)  # type: ignore[arg-type]


def test_nothing_happens_before_its_time() -> None:
    """Until an occurrence comes, it says when that is."""
    assert due(STANDING, MONDAY - MINUTE) == Wait(f"the next job is made at {MONDAY.isoformat()}")


def test_a_job_is_made_at_its_time() -> None:
    """The occurrence is the time on the clock, not the moment at which it was noticed."""
    assert due(STANDING, MONDAY + timedelta(seconds=3)) == Start(MONDAY, 0, (), "")


def test_an_outage_is_made_up_for_once() -> None:
    """A scheduler that was away for three days makes the newest occurrence's job, and says what came to nothing."""
    made = due(STANDING, MONDAY + 2 * DAY + 4 * HOUR)
    assert made == Start(MONDAY + 2 * DAY, 2, (), "made 4h late; 2 older occurrences came to nothing")


def test_what_is_later_than_its_window_is_missed() -> None:
    """After the start window nothing is made; what comes next stays."""
    found = due(standing(start_window=HOUR), MONDAY + DAY + 2 * HOUR)
    assert found == PassOver(MONDAY + DAY, RunState.MISSED, 2, "no job was made within the start window of 1h")
    assert due(standing(start_window=HOUR), MONDAY + HOUR) == Start(MONDAY, 0, (), "made 1h late")


def test_overlaps_follow_the_rule() -> None:
    """While a job has not ended, the next waits, is skipped, comes beside it or takes its place."""
    now = MONDAY + MINUTE / 2
    assert due(standing("a"), now) == Wait("job a has not ended; the job is made when it has")
    assert due(standing("a", overlap=Overlap.SKIP), now) == PassOver(MONDAY, RunState.SKIPPED, 1, "job a had not ended")
    assert due(standing("a", overlap=Overlap.ALLOW), now) == Start(MONDAY, 0, (), "")
    replaced = due(standing("a", "b", overlap=Overlap.REPLACE), now)
    assert replaced == Start(MONDAY, 0, ("a", "b"), "in place of job a and 1 more")
    assert may_run_now(Overlap.WAIT, ()) is None
    assert may_run_now(Overlap.REPLACE, ("a",)) is None
    assert "job a of it has not ended" in str(may_run_now(Overlap.SKIP, ("a",)))


def test_one_that_waits_gives_way_to_the_next() -> None:
    """Of those that wait only the newest is left, and waiting ends with the window."""
    assert isinstance(due(standing("a"), MONDAY + 3 * DAY), Wait)
    assert due(standing(), MONDAY + 3 * DAY + HOUR) == Start(
        MONDAY + 3 * DAY, 3, (), "made 1h late; 3 older occurrences came to nothing"
    )
    over = due(standing("a", start_window=HOUR), MONDAY + 2 * HOUR)
    assert isinstance(over, PassOver)
    assert over.reason.endswith("1h: job a had not ended")


def test_a_pool_that_is_not_there_is_waited_for() -> None:
    """A job would wait in a pool that no node serves; so its making waits, where the window can end it."""
    found = due(STANDING, MONDAY, pool_is_known=False)
    assert isinstance(found, Wait)
    assert "there is no pool 'risk'" in found.reason


def test_a_schedule_ends_with_its_last_job() -> None:
    """After its last occurrence it waits for what runs, and is completed then."""
    last = replace(standing(do_not_run_after=MONDAY), settled_until=MONDAY)
    assert isinstance(due(replace(last, open_jobs=("a",)), MONDAY + HOUR), Wait)
    assert isinstance(due(last, MONDAY + HOUR), Complete)
    # What waited for another when the end came is made no more.
    over = due(standing("a", do_not_run_after=MONDAY + HOUR), MONDAY + 2 * HOUR)
    assert isinstance(over, PassOver)
    assert over.reason.startswith("no job was made by do_not_run_after, 2026-06-01T07:00:00+00:00: job a")
    # The last occurrence may stand at the very end.
    assert due(standing(do_not_run_after=MONDAY), MONDAY + timedelta(seconds=5)) == Start(MONDAY, 0, (), "")


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=20),
    st.sampled_from(Overlap),
    st.sampled_from([None, MINUTE, 45 * MINUTE, 5 * HOUR]),
    st.integers(0, 300),
)
def test_every_occurrence_is_accounted_for_once(
    looks: list[int], overlap: Overlap, window: timedelta | None, job_minutes: int
) -> None:
    """However seldom it is looked at, occurrences are made or passed over, each once, in order; then nothing is due."""
    schedule = Schedule(recurrence_interval=30 * MINUTE, start_window=window, overlap=overlap)
    at = Standing("s", schedule, "risk", MONDAY, MONDAY)
    now, ends, told = MONDAY, MONDAY, 0
    for minutes in (*looks, 10_000):
        now += minutes * MINUTE
        jobs = ("job",) if ends > now else ()
        seen = replace(at, open_jobs=jobs)
        found = due(seen, now)
        if isinstance(found, Wait):
            continue
        assert not isinstance(found, Complete)
        assert at.settled_until < found.occurrence <= now
        if isinstance(found, Start):
            told += found.missed + 1
            ends = now + job_minutes * MINUTE
            assert not jobs or overlap in {Overlap.ALLOW, Overlap.REPLACE}
            assert window is None or now - found.occurrence <= window
        else:
            told += found.count
        at = replace(at, settled_until=found.occurrence)
        assert isinstance(due(replace(at, open_jobs=()), now), Wait)
    assert told == (at.settled_until - MONDAY) // (30 * MINUTE)


@pytest.mark.parametrize("overlap", list(Overlap))
def test_the_same_standing_is_decided_alike(overlap: Overlap) -> None:
    """The decision is a function of what it is given."""
    seen = standing("a", overlap=overlap)
    assert due(seen, MONDAY + DAY) == due(replace(seen), MONDAY + DAY)
