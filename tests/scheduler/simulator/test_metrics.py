"""Numbers that judge a policy keep their laws."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.simulator.metrics import elasticity, mean_bounded_slowdown, mean_elastic_slowdown, quantile

PAIRS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 600)).map(
        lambda each: (float(each[0]), float(each[1]), float(each[2]))
    ),
    min_size=1,
    max_size=30,
)


@given(PAIRS)
def test_what_is_missing_and_too_much_is_the_distance(steps: list[tuple[float, float, float]]) -> None:
    """Under- and over-provisioning add up to the mean distance of supply and demand; their shares to at most one."""
    demand, supply, lengths = zip(*steps, strict=True)
    found = elasticity(demand, supply, lengths, 50)
    distance = sum(abs(d - s) * length for d, s, length in steps) / (sum(lengths) * 50)
    assert found.under + found.over == pytest.approx(distance)
    assert found.under_share + found.over_share <= 1 + 1e-12
    assert found.over_of_supply <= found.over_share + 1e-12
    assert max(found.under, found.over_share, found.rises) <= found.deviation + 1e-9
    for value in (found.under, found.over, found.under_share, found.over_share, found.rises, found.falls):
        assert 0 <= value <= 1 + 1e-12


@given(PAIRS, st.integers(2, 9))
def test_scale_does_not_matter(steps: list[tuple[float, float, float]], scale: int) -> None:
    """Demand, supply and resources all multiplied give the same numbers."""
    demand, supply, lengths = zip(*steps, strict=True)
    plain = elasticity(demand, supply, lengths, 50)
    scaled = elasticity([scale * d for d in demand], [scale * s for s in supply], lengths, 50 * scale)
    for name in plain.__slots__:
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name))


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 20))
def test_what_is_constant_is_stable(demand: int, supply: int, steps: int) -> None:
    """Constant series have neither instability nor jitter, one step alone too; perfect supply has no error."""
    found = elasticity([demand] * steps, [supply] * steps, [1.0] * steps, 10)
    assert (found.rises, found.falls, found.jitter) == (0, 0, 0)
    perfect = elasticity([demand] * steps, [demand] * steps, [1.0] * steps, 10)
    assert (perfect.under, perfect.over, perfect.under_share, perfect.over_share) == (0, 0, 0, 0)


@given(PAIRS)
def test_moments_without_demand_do_not_divide_by_it(steps: list[tuple[float, float, float]]) -> None:
    """Relative numbers leave out moments without demand and are finite."""
    demand, supply, lengths = zip(*steps, strict=True)
    found = elasticity(demand, supply, lengths, 50)
    total = sum(lengths)
    wanted = sum((s - d) / d * length for d, s, length in steps if d and s > d) / total
    assert found.relative_over == pytest.approx(wanted)
    assert math.isfinite(found.relative_under)
    assert found.relative_under <= 1 + 1e-12


def test_idling_and_the_forms_of_too_much_by_hand() -> None:
    """Four up for one wanted and two at work, for half of the time: three quarters of the supply are too much."""
    found = elasticity([1, 4], [4, 4], [10.0, 10.0], 8, idle=[2, 0])
    assert (found.over, found.relative_over, found.over_of_supply) == (3 / 16, 3 / 2, 3 / 8)
    assert found.idle == 1 / 8
    assert found.deviation == pytest.approx(((3 / 16) ** 3 + 0.5**3 + 1) ** (1 / 3))


def test_instability_by_hand() -> None:
    """Supply that rises while demand falls counts as a rise, and the other way round as a fall."""
    found = elasticity([3, 2, 2, 4], [1, 2, 2, 1], [1.0] * 4, 4)
    assert (found.rises, found.falls, found.jitter) == (1 / 3, 1 / 3, 0)


@given(st.lists(st.integers(0, 100), min_size=1), st.floats(0, 1))
def test_a_quantile_is_reached_by_its_part(values: list[int], part: float) -> None:
    """At least such a part of the values is no greater, and it is the least value of which that holds."""
    ordered = sorted(values)
    found = quantile(ordered, part)
    assert sum(value <= found for value in ordered) >= part * len(ordered) - 1e-9
    below = [value for value in ordered if value < found]
    assert len(below) < part * len(ordered) + 1e-9 or not below
    assert all(quantile(ordered, low / 10) <= quantile(ordered, high / 10) for low, high in pairwise(range(11)))


def test_slowdown_is_bounded_below() -> None:
    """A run of a second that waits five counts as one of ten seconds; nothing is faster than its run."""
    assert mean_elastic_slowdown([(6, 1), (20, 10)]) == 4
    assert mean_elastic_slowdown([]) == 0
    assert mean_bounded_slowdown([(6, 1)]) == 1
    assert mean_bounded_slowdown([(40, 20), (20, 20)]) == 1.5
    assert mean_bounded_slowdown([]) == 0
