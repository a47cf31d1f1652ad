"""What a pool learns of its demand."""

import random
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scheduler.autoscale.levels import LONGEST_OF, MOST_FALLS, PoolHistory, band_of, observed, pauses_of, unneeded_since
from tests.scheduler.autoscale.fleets import NOW

SECOND = timedelta(seconds=1)
NEW = PoolHistory()
# What is taken together more than once may lose a twentieth of its age each time.
LEAST_OF_AGE = 0.8
# Demands, each with the seconds since the one before; beyond 32 levels share bands.
COURSES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 40_000)), max_size=60)
LARGE = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 40_000)), max_size=60)


def after(course: list[tuple[int, int]], history: PoolHistory = NEW) -> PoolHistory:
    """Let a pool see a course of demand."""
    now = NOW
    for demand, seconds in course:
        now += seconds * SECOND
        history = observed(history, demand, now)
    return history


@given(COURSES)
def test_a_level_pauses_from_the_last_time_that_it_was_needed(course: list[tuple[int, int]]) -> None:
    """For each level it is known since when demand has been below it; None where it is needed or never was."""
    history = after(course)
    now, needed_until = NOW, dict.fromkeys(range(1, 22), None)
    before = 0
    for demand, seconds in course:
        now += seconds * SECOND
        for level in range(demand + 1, before + 1):
            needed_until[level] = now
        before = demand
    for level, until in needed_until.items():
        assert unneeded_since(history, level) == (None if level <= before else until)


@given(COURSES)
def test_each_pause_is_counted_once(course: list[tuple[int, int]]) -> None:
    """As many pauses of a level are counted as times that demand came back to it; old ones fade, but never all."""
    history = after(course)
    for level in range(1, 21):
        begun = over = 0
        before = 0
        for demand, _ in course:
            begun += demand < level <= before
            over += before < level <= demand and begun > 0
            before = demand
        counted = pauses_of(history, level)
        total = 0.0 if counted is None else sum(counted.counts)
        assert total <= over + 1e-9
        assert (total > 0) == (over > 0)


@given(LARGE)
def test_what_is_learned_stays_small(course: list[tuple[int, int]]) -> None:
    """However many levels there are, pauses and falls are as few as bands, in order, and each level finds its own."""
    history = after(course)
    most = band_of(20_000) + 1
    assert len(history.pauses) <= most
    assert len(history.falls) <= MOST_FALLS
    assert [each.band for each in history.pauses] == sorted({each.band for each in history.pauses})
    levels = [fall.level for fall in history.falls]
    assert levels == sorted(levels, reverse=True)
    assert [fall.at for fall in history.falls] == sorted(fall.at for fall in history.falls)
    assert all(level > history.demand for level in levels)


@given(LARGE)
def test_it_is_kept_without_loss(course: list[tuple[int, int]]) -> None:
    """What is written as a document and read again is the same."""
    adapter = TypeAdapter(PoolHistory)
    history = after(course)
    assert adapter.validate_json(adapter.dump_json(history)) == history


@given(LARGE, st.integers(0, 20_000))
def test_the_same_demand_teaches_nothing(course: list[tuple[int, int]], demand: int) -> None:
    """Seen again without a change, a pool's history is the very object, so that nothing needs writing."""
    history = observed(after(course), demand, NOW + timedelta(days=60))
    assert observed(history, demand, NOW + timedelta(days=61)) is history


@given(st.integers(1, 9_999_999))
def test_bands_are_in_order(level: int) -> None:
    """The first levels stand alone, and a band has about a tenth of its levels' number at most."""
    assert band_of(level) <= band_of(level + 1)
    if level <= 31:
        assert band_of(level) != band_of(level + 1)
    assert band_of(level) != band_of(level + 2 + level // 8)


def test_what_is_long_ago_counts_less() -> None:
    """After a week a pause counts half."""
    once = after([(1, 0), (0, 0), (1, 60)])
    twice = after([(0, 0), (1, int(timedelta(days=7).total_seconds()))], once)
    later = pauses_of(twice, 1)
    assert later is not None
    assert abs(sum(later.counts) - 1.5) < 1e-3


@given(st.integers())
@settings(max_examples=12)
def test_many_falls_are_few(seed: int) -> None:
    """Of any number of falls few are kept; none is told earlier than it was, nor much younger than it is."""
    source = random.Random(seed)  # noqa: S311
    steps = [(source.randint(1, 40), source.uniform(0, 3)) for _ in range(600)]
    level, now = sum(by for by, _ in steps), NOW
    history = observed(NEW, level, now)
    fell: dict[int, datetime] = {}
    for by, wait in steps:
        now += timedelta(seconds=10**wait)
        fell |= dict.fromkeys(range(level - by + 1, level + 1), now)
        level -= by
        history = observed(history, level, now)
        assert len(history.falls) <= MOST_FALLS
    for each, at in fell.items():
        told = unneeded_since(history, each)
        assert told is not None
        assert told >= at
        assert (now - told).total_seconds() >= LEAST_OF_AGE * min((now - at).total_seconds(), LONGEST_OF[-1]) - 5
