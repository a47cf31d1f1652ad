"""The times of schedules: through changes of the clock, between bounds, and from both ends."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.job_schedule import Schedule
from scheduler.recurrence.occurrences import count_between, findings, following, newest, occurrences

ZURICH = ZoneInfo("Europe/Zurich")
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def zurich(day: str, count: int, cron: str) -> list[str]:
    """Give occurrences by Zurich's clock from the beginning of a day on, written with their offset."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZURICH) - timedelta(seconds=1)
    found = occurrences(Schedule(cron=cron, time_zone="Europe/Zurich"), CREATED, begin.astimezone(UTC))
    return [each.astimezone(ZURICH).isoformat(timespec="minutes")[5:] for each in islice(found, count)]


def test_a_time_of_day_stays_one_through_the_year() -> None:
    """Six in the morning is six in the morning on both sides of a change of the clock."""
    assert zurich("2026-03-28", 3, "0 6 * * *") == ["03-28T06:00+01:00", "03-29T06:00+02:00", "03-30T06:00+02:00"]
    assert zurich("2026-10-24", 3, "0 6 * * *") == ["10-24T06:00+02:00", "10-25T06:00+01:00", "10-26T06:00+01:00"]


@pytest.mark.parametrize("cron", ["30 2 * * *", "10,30 2 * * *", "*/30 2 * * *"])
def test_a_time_that_the_clock_leaves_out_is_taken_once_right_after(cron: str) -> None:
    """In spring 2:30 does not exist: it is taken at 3:00, however many of the left out times an expression names."""
    found = [each for each in zurich("2026-03-29", 4, cron) if each.startswith("03-29")]
    assert found == ["03-29T03:00+02:00"]


@pytest.mark.parametrize(("cron", "times"), [("30 2 * * *", 1), ("0,30 2 * * *", 2), ("*/15 2 * * *", 4)])
def test_a_time_that_the_clock_shows_twice_is_taken_once(cron: str, times: int) -> None:
    """In autumn 2:30 comes twice: the first is taken."""
    found = [each for each in zurich("2026-10-25", 9, cron) if each.startswith("10-25")]
    assert len(found) == times
    assert all(each.endswith("+02:00") for each in found)


def test_every_other_hour_goes_by_the_clock() -> None:
    """An hour that is named by a step is one by name: left out it is taken right after, shown twice once."""
    spring, autumn = (zurich(day, 3, "0 */2 * * *") for day in ("2026-03-29", "2026-10-25"))
    assert spring == ["03-29T00:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"]
    assert autumn == ["10-25T00:00+02:00", "10-25T02:00+02:00", "10-25T04:00+01:00"]


def test_what_runs_every_hour_follows_elapsed_time() -> None:
    """No hour is left out or doubled for what has no hour of its own."""
    for day in ("2026-03-29", "2026-10-25"):
        begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
        for cron, apart in (("0 * * * *", HOUR), ("*/20 * * * *", 20 * MINUTE)):
            found = list(islice(occurrences(Schedule(cron=cron, time_zone="Europe/Zurich"), CREATED, begin), 30))
            assert {after - before for before, after in pairwise(found)} == {apart}


def test_intervals_keep_to_their_beginning() -> None:
    """What comes at an interval is a whole number of them after the first, whenever it is asked for."""
    first = datetime(2026, 5, 1, 7, 30, tzinfo=UTC)
    schedule = Schedule(recurrence_interval=90 * MINUTE, do_not_run_until=first)
    assert following(schedule, CREATED, CREATED) == first
    assert following(schedule, CREATED, first) == first + 90 * MINUTE
    assert following(schedule, CREATED, first + 7 * DAY) == first + 7 * DAY + 90 * MINUTE
    from_creation = Schedule(recurrence_interval=DAY)
    assert following(from_creation, CREATED, CREATED - MINUTE) == CREATED


def test_with_neither_there_is_one_occurrence() -> None:
    """A schedule of one time has it then, or at once where that has passed."""
    later = CREATED + DAY
    assert list(occurrences(Schedule(do_not_run_until=later), CREATED, CREATED - MINUTE)) == [later]
    assert list(occurrences(Schedule(do_not_run_until=CREATED - DAY), CREATED, CREATED - MINUTE)) == [CREATED]
    assert list(occurrences(Schedule(), CREATED, CREATED)) == []


def test_bounds_hold_for_cron() -> None:
    """Nothing comes before the one bound or after the other; both belong to it."""
    until, after = datetime(2026, 6, 1, 6, tzinfo=UTC), datetime(2026, 6, 3, 6, tzinfo=UTC)
    schedule = Schedule(cron="0 6 * * *", do_not_run_until=until, do_not_run_after=after)
    assert list(occurrences(schedule, CREATED, CREATED)) == [until, until + DAY, after]


CRONS = st.sampled_from(
    ["* * * * *", "30 2 * * *", "*/7 1-3 * * *", "0 0 1 * *", "0 6 * * MON-FRI", "15 */5 * * *", "5 4 L * *", "@daily"]
)
SCHEDULES = st.one_of(
    st.builds(lambda cron, zone: Schedule(cron=cron, time_zone=zone), CRONS,
              st.sampled_from(["UTC", "Europe/Zurich", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])),
    st.builds(lambda minutes: Schedule(recurrence_interval=minutes * MINUTE), st.integers(1, 5000)),
)  # fmt: skip
# Around the nights in which clocks are set, and anywhere.
INSTANTS = st.one_of(
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001  made aware below
    st.sampled_from([datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 4, 4)]).flatmap(  # noqa: DTZ001
        lambda day: st.integers(0, 2000).map(lambda minutes: day + minutes * MINUTE)
    ),
).map(lambda naive: naive.replace(tzinfo=UTC, microsecond=0))


@given(SCHEDULES, INSTANTS, st.integers(0, 4000))
def test_looking_back_finds_what_looking_ahead_does(schedule: Schedule, after: datetime, minutes: int) -> None:
    """Occurrences only grow, do not depend on where one begins to look, and the newest is the last that has come."""
    until = after + minutes * MINUTE
    seen = []
    for each in islice(occurrences(schedule, CREATED, after), 5000):
        if each > until:
            break
        seen.append(each)
    assert seen == sorted(set(seen))
    assert all(after < each for each in seen)
    assert newest(schedule, CREATED, after, until) == (seen[-1] if seen else None)
    if seen:
        middle = seen[len(seen) // 2]
        assert following(schedule, CREATED, middle - timedelta(microseconds=1)) == middle
        assert count_between(schedule, CREATED, after, seen[-1]) == min(len(seen) - 1, 1000)


@pytest.mark.parametrize(
    ("schedule", "finding"),
    [
        (Schedule(cron="0 6 * *"), "has 4 fields, expected 5"),
        (Schedule(cron="0 25 * * *"), "cannot be read: bad hour"),
        (Schedule(cron="0 0 30 2 *"), "cannot be read: bad day-of-month"),
        (Schedule(cron="0 6 * * *", time_zone="Mars/Olympus"), "'Mars/Olympus' is no time zone"),
        (Schedule(cron="0 6 * * *", time_zone="../etc"), "is no time zone"),
        (Schedule(cron="0 6 * * *", recurrence_interval=HOUR), "either a cron expression or a recurrence interval"),
        (Schedule(recurrence_interval=timedelta(seconds=59)), "must be at least a minute"),
        (Schedule(start_window=timedelta(seconds=1)), "the start window is 0:00:01"),
        (Schedule(do_not_run_until=datetime(2026, 1, 1)), "names no time zone"),  # noqa: DTZ001  that is the finding
        (Schedule(cron="0 6 * * *", do_not_run_after=CREATED + HOUR), "never comes to a job"),
        (Schedule(do_not_run_until=CREATED + DAY, do_not_run_after=CREATED + HOUR), "never comes to a job"),
    ],
)
def test_what_cannot_be_a_schedule_is_said(schedule: Schedule, finding: str) -> None:
    """Each mistake is told in its own words."""
    assert finding in "; ".join(findings(schedule, CREATED))


@given(st.text("0123456789*/,-#LW MONJAN?", max_size=20))
def test_any_text_is_a_schedule_or_a_finding(text: str) -> None:
    """Whatever is written as a cron expression is understood or refused; nothing else is raised."""
    schedule = Schedule(cron=text, time_zone="Europe/Zurich")
    if not list(findings(schedule, CREATED)):
        assert following(schedule, CREATED, CREATED) is not None
