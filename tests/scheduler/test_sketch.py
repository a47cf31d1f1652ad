"""The sketch of run times: what is lost by it, what one run can do to it, and what it says of what it has not seen."""

import math
from datetime import UTC, datetime, timedelta
from statistics import fmean, median_low

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler.demand import Cohort, DemandClass, ending
from scheduler.sketch import NONE_SEEN, NOTHING_KNOWN, OUTLIER, PER_DOUBLING, PRIOR_RUNS, RunTimes

LENGTHS = st.floats(0.002, 1e6)
SEEN = st.lists(LENGTHS, min_size=1, max_size=60)
WIDTH = 2 ** (1 / PER_DOUBLING)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def values(times: RunTimes) -> list[float]:
    """Give the numbers of a sketch, to be compared."""
    return [number for each in times.buckets for number in (each.place, each.runs, each.seconds)]


def cut(lengths: list[float]) -> list[float]:
    """Give the lengths with the longest cut at what `OUTLIER` allows, by the exact ones."""
    *rest, longest = sorted(lengths)
    return [*rest, min(longest, OUTLIER * rest[-1])] if rest else [longest]


@given(SEEN, SEEN, SEEN)
def test_sketches_are_merged_by_adding(one: list[float], two: list[float], three: list[float]) -> None:
    """Merged in whatever order, sketches are that of all their runs."""
    a, b, c = RunTimes.of(one), RunTimes.of(two), RunTimes.of(three)
    whole = values(RunTimes.of([*one, *two, *three]))
    assert values(a.merged(b).merged(c)) == pytest.approx(whole)
    assert values(c.merged(b.merged(a))) == pytest.approx(whole)
    assert values(a.merged(b, 3.0)) == pytest.approx(values(RunTimes.of([*one, *two * 3])))


@given(SEEN)
def test_what_is_read_is_off_by_less_than_a_buckets_width(lengths: list[float]) -> None:
    """The median is a bucket's width from the true one at most, and so is the mean with the longest run cut."""
    times = RunTimes.of(lengths)
    assert times.runs == len(lengths)
    assert len(times.buckets) <= 71
    median, mean = times.expected().median(), times.expected().mean()
    assert median is not None
    assert mean is not None
    assert median_low(lengths) / WIDTH <= median * (1 + 1e-9)
    assert median <= median_low(lengths) * WIDTH * (1 + 1e-9)
    assert fmean(cut(lengths)) / WIDTH <= mean * (1 + 1e-9)
    assert mean <= fmean(lengths) * (1 + 1e-9)


@given(SEEN, st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_odds_of_ending_are_those_of_the_runs_seen(lengths: list[float], age: float, span: float) -> None:
    """Of the runs seen that took longer, the share that ended in time, each run being right to a bucket's width."""
    assume(max(lengths) > age * WIDTH**2)
    # The longest is not to be cut: it appears twice.
    lengths = [*lengths, max(lengths)]
    odds = RunTimes.of(lengths).expected().ends_within(span, age)
    assert odds is not None
    longer = [length for length in lengths if length > age]
    surely_over = sum(length * WIDTH * (1 + 1e-9) <= age + span for length in longer)
    surely_longer = sum(length > age * WIDTH * (1 + 1e-9) for length in lengths)
    maybe_over = sum(length <= (age + span) * WIDTH * (1 + 1e-9) for length in lengths)
    maybe_longer = sum(length * WIDTH * (1 + 1e-9) > age for length in lengths)
    surely_over -= sum(length * WIDTH * (1 + 1e-9) <= age + span and length <= age * WIDTH for length in longer)
    assert max(0, surely_over) / maybe_longer - 1e-9 <= odds <= min(1.0, maybe_over / max(surely_longer, 1)) + 1e-9


@given(SEEN, st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_time_ends_more(lengths: list[float], age: float, span: float, more: float) -> None:
    """The odds of ending are between 0 and 1 and never fall with the time that is given."""
    times = RunTimes.of(lengths).expected()
    soon, later = times.ends_within(span, age), times.ends_within(span + more, age)
    assert soon is not None
    assert later is not None
    assert 0.0 <= soon <= later <= 1.0


def test_equal_runs_are_known_exactly() -> None:
    """Tasks that always take a minute have 15 s left after 45 s, and end by then and not before."""
    times = RunTimes.of([60.0] * 5).expected()
    assert (times.mean(), times.median()) == (60.0, 60.0)
    assert times.remaining(45.0) == pytest.approx(15.0)
    assert (times.ends_within(15.0, 45.0), times.ends_within(14.0, 45.0)) == (1.0, 0.0)


def test_what_has_outlived_all_takes_as_long_again() -> None:
    """A run that is longer than any that was seen has its own age before it, with even odds within 0.41 of it."""
    times = RunTimes.of([60.0] * 5).expected()
    assert times.remaining(600.0) == 600.0
    assert times.ends_within(600.0 * (math.sqrt(2) - 1), 600.0) == pytest.approx(0.5)


def test_no_history_says_nothing() -> None:
    """Without a run there is no estimate, and none is made up; similar work is then all that is known."""
    nothing = NONE_SEEN.expected()
    assert nothing == NOTHING_KNOWN
    assert (nothing.mean(), nothing.median(), nothing.remaining(5.0)) == (None, None, None)
    assert nothing.ends_within(5.0, 0.0) is None
    known = RunTimes.of([3.0, 5.0]).expected()
    assert nothing.leaning_on(known) == known
    assert known.leaning_on(nothing) == known


@given(st.lists(st.floats(10, 20), min_size=2, max_size=60), st.floats(0, 1e7))
def test_one_run_moves_the_mean_by_no_more_than_its_share(lengths: list[float], outlier: float) -> None:
    """One run, however long or short, counts as one of four times the longest at most: the mean of n moves by 4/n."""
    mean = RunTimes.of([*lengths, outlier]).expected().mean()
    assert mean is not None
    count = len(lengths)
    assert sum(lengths) / (count + 1) - 1e-6 <= mean <= max(lengths) * (count + OUTLIER) / (count + 1) + 1e-6


def test_a_second_long_run_counts_whole() -> None:
    """Two are no accident any more: heavy tails are not cut off."""
    assert RunTimes.of([10.0] * 98 + [1000.0] * 2).expected().mean() == pytest.approx((980 + 2000) / 100)


@given(SEEN, SEEN, st.integers(1, 30))
def test_old_runs_fade(before: list[float], after: list[float], span: int) -> None:
    """All runs together stand for no more than the span, and after many spans the old ones count for nothing."""
    times = NONE_SEEN.followed_by(before, span)
    assert times.runs == pytest.approx(min(len(before), span))
    for _ in range(40):
        times = times.followed_by(after * span, span)
    now, fresh = times.buckets, RunTimes.of(after).buckets
    shares = {each.place: each.runs / span for each in now}
    for each in fresh:
        assert shares.pop(each.place) == pytest.approx(each.runs / len(after), abs=1e-3)
    assert sum(shares.values()) <= 1e-3


@given(SEEN, SEEN)
def test_leaning_is_by_the_stated_weights(own: list[float], prior: list[float]) -> None:
    """The logarithm of the mean is n/(n + k) of its own and k/(n + k) of the prior's, which so weighs k runs."""
    mine, theirs = RunTimes.of(own).expected(), RunTimes.of(prior).expected()
    own_mean, prior_mean, leaning = mine.mean(), theirs.mean(), mine.leaning_on(theirs)
    assert own_mean is not None
    assert prior_mean is not None
    share = len(own) / (len(own) + PRIOR_RUNS)
    assert leaning.mean() == pytest.approx(own_mean**share * prior_mean ** (1 - share))
    assert leaning.runs == pytest.approx(len(own) + PRIOR_RUNS)
    assert list(leaning.lengths) == sorted(leaning.lengths)


def test_what_ends_soon_is_told_from_ages() -> None:
    """Of runs of 60 and 600 s, what runs for 30 s ends within a minute by half, and what runs for 100 s does not."""
    times = RunTimes.of([60.0] * 5 + [600.0] * 5).expected()
    young = DemandClass("j", "s", 0, 4, times, (Cohort(NOW - timedelta(seconds=30), 4),))
    old = DemandClass("j", "s", 0, 4, times, (Cohort(NOW - timedelta(seconds=100), 4),))
    span = timedelta(minutes=1)
    assert (young.ending(span, NOW), old.ending(span, NOW)) == (2.0, 0.0)
    mixed = DemandClass("j", "s", 9, 8, times, (*young.cohorts, *old.cohorts))
    assert mixed.ending(span, NOW) == pytest.approx(2.0)
    assert ending((young, old, mixed), span, NOW) == pytest.approx(4.0)
    assert DemandClass("j", "s", 0, 3, times).ending(span, NOW) == pytest.approx(1.5)
    assert DemandClass("j", "s", 0, 3).ending(span, NOW) == 0.0
