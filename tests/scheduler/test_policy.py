"""What a pool's policy may say."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.policy import ScalingPolicy


@pytest.mark.parametrize(("fewest", "most"), [(-1, 1), (3, 2)])
def test_bounds_are_in_order(fewest: int, most: int) -> None:
    """Bounds that cross or are negative are refused, with both named."""
    with pytest.raises(ValueError, match=f"min_nodes {fewest} and max_nodes {most}"):
        ScalingPolicy(min_nodes=fewest, max_nodes=most)


@pytest.mark.parametrize(
    "name", ["acceptable_wait", "default_task_time", "idle_timeout", "boot_deadline", "silence_deadline"]
)
def test_durations_are_longer_than_zero(name: str) -> None:
    """A duration of zero is refused by its name."""
    with pytest.raises(ValueError, match=f"{name} must be longer than zero"):
        ScalingPolicy(**{name: timedelta(0)})  # type: ignore[arg-type]  # the names are parameters of the test


def test_some_failed_boot_is_allowed() -> None:
    """Buying never stops before a boot has failed."""
    with pytest.raises(ValueError, match="max_failed_boots must be at least 1"):
        ScalingPolicy(max_failed_boots=0)


def test_defaults_hold() -> None:
    """The defaults are a valid policy of a pool that goes to zero."""
    assert ScalingPolicy().min_nodes == 0


@pytest.mark.parametrize("cost", [-0.1, float("inf"), float("nan")])
def test_waiting_costs_something_finite(cost: float) -> None:
    """What waiting costs is a number from zero on."""
    with pytest.raises(ValueError, match="waiting_cost must be 0 or more"):
        ScalingPolicy(waiting_cost=cost)


_POSITIVE = st.floats(1e-3, 1e6)
_BOOTS = st.none() | st.timedeltas(timedelta(seconds=1), timedelta(hours=2))


@given(st.floats(0, 1e6), _POSITIVE, _BOOTS, st.integers(1, 64), st.integers(1, 1_000_000))
def test_one_slot_more_or_less_than_is_worth_its_price_would_cost_more(
    cost: float, seconds: float, boot: timedelta | None, slots: int, tasks: int
) -> None:
    """Of all numbers of slots for some tasks, what these wait and the starts cost is least at the part worth a slot."""
    start = 0.5 * (boot or timedelta(minutes=2)).total_seconds() / slots

    def total(new: float) -> float:
        return cost * tasks**2 * seconds / (2 * new) + new * start

    policy = ScalingPolicy(waiting_cost=cost)
    assert policy.start_cost(boot, slots) == start
    best = policy.worth_a_slot(seconds, start) / 1_000_000 * tasks
    assert 0 <= best <= tasks
    for other in (best * 0.9, min(best * 1.1, tasks)):
        assert best < tasks / 1000 or total(best) <= total(other) * (1 + 1e-6)


@given(st.floats(0, 1e3), _POSITIVE, _POSITIVE, _BOOTS, st.integers(1, 64))
def test_longer_tasks_and_dearer_waiting_are_worth_more(
    cost: float, seconds: float, more: float, boot: timedelta | None, slots: int
) -> None:
    """With longer tasks, or waiting that costs more, no smaller part of the tasks is worth a slot."""
    start = ScalingPolicy().start_cost(boot, slots)
    least = ScalingPolicy(waiting_cost=cost).worth_a_slot(seconds, start)
    assert least <= ScalingPolicy(waiting_cost=cost).worth_a_slot(seconds + more, start)
    assert least <= ScalingPolicy(waiting_cost=cost + more).worth_a_slot(seconds, start)
    assert ScalingPolicy(waiting_cost=cost).restart_cost(boot) <= ScalingPolicy(waiting_cost=cost + 1).restart_cost(
        boot
    )
