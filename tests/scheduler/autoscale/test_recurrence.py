"""What repeats by time of day and week is learned from what was seen, and only what is sure of it is expected."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.autoscale.recurrence import (
    AHEAD,
    DOUBT,
    NOTHING_LEARNED,
    SPAN,
    Recurrence,
    Rise,
    interrupted,
    seen,
)

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
DAY, WEEK, MINUTE = timedelta(days=1), timedelta(days=7), timedelta(minutes=1)
Steps = Iterable[tuple[datetime, int]]


def learned(steps: Steps, until: datetime, zone: str = "UTC") -> Recurrence:
    """Look at each change of the demand, and at the end."""
    known, before = seen(NOTHING_LEARNED, 0, 0, BEGIN, zone), 0
    for at, demand in steps:
        known, before = seen(known, before, demand, at, zone), demand
    return seen(known, before, before, until, zone)


def nightly(days: Iterable[int], *, tasks: int = 20, hour: float = 2.0) -> list[tuple[datetime, int]]:
    """Make work of ten minutes that comes at one time of some days, counted from the first Monday."""
    starts = (BEGIN + day * DAY + timedelta(hours=hour) for day in days)
    return [step for start in starts for step in ((start, tasks), (start + 10 * MINUTE, 0))]


def expected_at(days: Iterable[int], now: datetime) -> tuple[Rise, ...]:
    """Give what is expected at a time after nights with work."""
    return learned(nightly(days), now).rises


def test_what_came_at_the_same_time_before_is_expected() -> None:
    """After three weeks of one weekday, or six nights of the last seven, and not after fewer; only its beginning is."""
    night = BEGIN + timedelta(hours=1, minutes=30)
    assert expected_at((0, 7), night + 2 * WEEK) == ()
    assert expected_at((0, 7, 14), night + 3 * WEEK) == (Rise(night + 3 * WEEK + 30 * MINUTE, 20, "3 of 3 weeks"),)
    assert expected_at((0, 14, 21), night + 4 * WEEK) == (Rise(night + 4 * WEEK + 30 * MINUTE, 20, "3 of 4 weeks"),)
    assert expected_at((0, 7, 14), night + 3 * WEEK + DAY) == ()
    assert expected_at(range(5), night + 5 * DAY) == ()
    assert expected_at((0, 1, 3, 4, 5, 6), night + WEEK) == (Rise(night + WEEK + 30 * MINUTE, 20, "6 of 7 days"),)
    assert expected_at(range(28), night + 4 * WEEK)[0].at == night + 4 * WEEK + 30 * MINUTE


def test_demand_that_is_always_there_is_not_expected() -> None:
    """Without a rise there is nothing to be started ahead."""
    assert learned([(BEGIN, 50)], BEGIN + 4 * WEEK).rises == ()


def test_the_clock_is_that_of_the_time_zone() -> None:
    """Work at two by the clock on the wall is expected at two, also after the clock was put forward."""
    zone = ZoneInfo("Europe/Zurich")
    starts = [datetime(2026, 3, day, 14, tzinfo=zone).astimezone(UTC) for day in range(22, 29)]
    steps = [step for start in starts for step in ((start, 9), (start + SPAN, 0))]
    wanted = datetime(2026, 3, 29, 14, tzinfo=zone).astimezone(UTC)
    (rise,) = learned(steps, wanted - 20 * MINUTE, "Europe/Zurich").rises
    assert (rise.at, rise.tasks) == (wanted, 9)
    assert learned(steps, wanted - 20 * MINUTE).rises == ()


def test_after_two_rises_that_did_not_come_none_is_believed_for_an_hour() -> None:
    """Rises at two and half past are missed: then those of the next hour are doubted; one that came ends that."""
    nights = [*nightly(range(14)), *nightly(range(14), hour=2.5), *nightly(range(14), hour=3.0)]
    night = BEGIN + 14 * DAY
    at = night + timedelta(hours=2, minutes=40)
    missed = learned(sorted(nights), night)
    for minutes in range(0, 165, 5):
        missed = seen(missed, 0, 0, night + minutes * MINUTE, "UTC")
    assert [rise.at.minute for rise in missed.rises] == [0]
    assert missed.misses == 2
    assert missed.believed(at) == ()
    assert missed.missed_at is not None
    assert missed.believed(missed.missed_at + DOUBT) == missed.rises
    came = seen(missed, 0, 20, night + timedelta(hours=3), "UTC")
    assert (came.misses, came.rises) == (0, ())


def test_what_nobody_saw_is_not_known() -> None:
    """Five minutes in which nobody looked are neither a quiet night nor work; what is told has no profile."""
    known = learned(nightly(range(6)), BEGIN + 6 * DAY)
    gone = interrupted(known)
    again = seen(gone, 0, 0, BEGIN + 6 * DAY + timedelta(hours=3, minutes=1), "UTC")
    night = seen(again, 0, 0, BEGIN + 7 * DAY + timedelta(hours=1, minutes=55), "UTC")
    assert [(rise.at.hour, rise.seen) for rise in night.rises] == [(2, "6 of 6 days")]
    assert interrupted(gone) is gone
    assert night.told().rises == night.rises
    assert night.told().profile == NOTHING_LEARNED.profile


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([0, 0, 1, 3]),
        st.sampled_from([0, 1, 119, 299, 300, 301, 600, 3600, 86_399]),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=8)
@given(CHANGES, st.sampled_from([0, 7, 300, 3600]))
def test_rises_are_those_of_the_definition(changes: list[tuple[int, int, int, int]], rest: int) -> None:
    """The highest demand of each five minutes is kept, for four weeks, and rises follow from it, however one looks."""
    steps = sorted(
        {
            BEGIN + week * WEEK + day * DAY + timedelta(seconds=second): tasks for week, day, second, tasks in changes
        }.items()
    )
    end = BEGIN + 5 * WEEK + DAY + timedelta(seconds=rest)
    steps = [step for step in steps if step[0] < end]
    known = learned(steps, end)
    places = ((day.ordinal, place, peak) for day in known.profile.days for place, peak in enumerate(day.peaks))
    peaks = {ordinal * 288 + place: peak for ordinal, place, peak in places if peak >= 0}
    assert max(peaks) - min(peaks) == len(peaks) - 1
    assert len(peaks) >= 28 * 288
    assert len(known.profile.days) <= 29
    by_span: dict[int, list[int]] = {}
    for at, tasks in steps:
        by_span.setdefault(BEGIN.toordinal() * 288 + (at - BEGIN) // SPAN, []).append(tasks)
    before = [tasks for at, tasks in steps if BEGIN.toordinal() * 288 + (at - BEGIN) // SPAN < min(peaks)][-1:]
    for span, peak in sorted(peaks.items()):
        assert peak == max([*before, *by_span.get(span, [0 if not before else before[0]])])
        before = by_span.get(span, before)[-1:]
    now = BEGIN + ((end - BEGIN) // SPAN) * SPAN
    wanted = {}
    for ahead in range(AHEAD // SPAN + 1):
        span = BEGIN.toordinal() * 288 + (now - BEGIN) // SPAN + ahead
        for step, count, agree in ((7 * 288, 4, 3), (288, 7, 6)):
            pairs = [
                (peaks[span - back * step], peaks[span - back * step - 1])
                for back in range(1, count + 1)
                if span - back * step - 1 in peaks
            ]
            levels = [x for x in range(1, 4) if sum(lower < x <= peak for peak, lower in pairs) >= agree]
            if levels:
                wanted[now + ahead * SPAN] = max([*levels, wanted.get(now + ahead * SPAN, 0)])
    found = {rise.at: rise.tasks for rise in known.rises}
    assert {at: tasks for at, tasks in found.items() if at > now} == {at: t for at, t in wanted.items() if at > now}
