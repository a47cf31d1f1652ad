"""What has become of a message."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.dispatch.fate import Fate, fate, held_by_another
from scheduler.dispatch.records import FleetObservation, Holding, OpenMessage
from scheduler.dispatch.run_times import moving_mean

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATE = OpenMessage("m", "j", "q", NOW - timedelta(seconds=1), sent=True, started=True, overtaken=False)
SEEN = FleetObservation(statuses_listed=True)


@pytest.mark.parametrize(
    ("message", "observation", "expected"),
    [
        (LATE, SEEN, Fate.LOST_IF_QUEUE_EMPTY),
        (replace(LATE, overtaken=True), SEEN, Fate.LOST),
        (LATE, replace(SEEN, unread=frozenset({"q"})), Fate.LOST),
        (
            replace(LATE, deadline=NOW + timedelta(seconds=1)),
            replace(SEEN, abandoned=frozenset({"m"})),
            Fate.LOST,
        ),
        (replace(LATE, deadline=NOW + timedelta(seconds=1), overtaken=True), SEEN, Fate.ON_ITS_WAY),
        (replace(LATE, sent=False, overtaken=True), SEEN, Fate.ON_ITS_WAY),
        (replace(LATE, sent=False), replace(SEEN, retired=frozenset({"q"})), Fate.LOST),
        (replace(LATE, overtaken=True), replace(SEEN, statuses_listed=False), Fate.ON_ITS_WAY),
        (LATE, replace(SEEN, statuses_listed=False, retired=frozenset({"q"})), Fate.ON_ITS_WAY),
    ],
)
def test_fate(message: OpenMessage, observation: FleetObservation, expected: Fate) -> None:
    """Unknown is not lost; a retired queue and a lost node lose at once, any other only what is overdue."""
    assert fate(message, observation, NOW) is expected


def test_only_another_nodes_fresh_status_holds() -> None:
    """The node that gives back does not hold, and neither does one that could not have renewed its lease."""
    fresh, stale = NOW - timedelta(seconds=60), NOW - timedelta(seconds=61)
    assert held_by_another("m", "a", (Holding("m", "b", (), fresh),), NOW)
    assert not held_by_another("m", "b", (Holding("m", "b", (), fresh),), NOW)
    assert not held_by_another("m", "a", (Holding("m", "b", (), stale),), NOW)
    assert not held_by_another("m", "a", (Holding("other", "b", (), fresh),), NOW)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.integers(0, 50))
def test_the_mean_is_a_plain_one_at_first(lengths: list[float], cut: int) -> None:
    """Up to its span the mean is the arithmetic one, in however many parts it is told."""
    first = lengths[:cut]
    mean = moving_mean(None, 0, first, 50) if first else None
    assert moving_mean(mean, len(first), lengths[cut:], 50) == pytest.approx(sum(lengths) / len(lengths))


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_mean_follows_a_change(before: float, after: float) -> None:
    """Ten spans after a change the mean is the new value within a thousandth of the change."""
    old = moving_mean(None, 0, [before] * 100, 20)
    assert moving_mean(old, 100, [after] * 200, 20) == pytest.approx(after, abs=abs(after - before) / 1000 + 1e-6)
