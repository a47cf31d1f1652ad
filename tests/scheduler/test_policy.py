"""What a pool's policy may say."""

from datetime import timedelta

import pytest

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
