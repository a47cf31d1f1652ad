"""Dominance and the lower convex hull of points of wait and overhead."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from scheduler.simulator.frontier import CLEAR, dominates, lower_hull, overhead_at

POINTS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=30)


def test_a_point_is_dominated_by_one_clearly_lower() -> None:
    """No higher in both, and more than one percent lower in one."""
    assert dominates((10.0, 98.0), (10.0, 100.0))
    assert not dominates((10.0, 99.5), (10.0, 100.0))
    assert not dominates((10.1, 50.0), (10.0, 100.0))
    assert not dominates((10.0, 100.0), (10.0, 100.0))
    assert dominates((0.0, 100.0), (10.0, 100.0))


def test_the_overhead_between_two_points_is_their_mixture() -> None:
    """Halfway between two corners it is their mean; a point above their line does not count."""
    hull = lower_hull([(0, 100), (10, 20), (5, 90), (20, 10), (30, 15)])
    assert hull == [(0, 100), (10, 20), (20, 10)]
    assert overhead_at(hull, 5) == 60
    assert overhead_at(hull, 1000) == 10
    assert overhead_at(lower_hull([(3, 4)]), 2) is None


@given(POINTS)
def test_no_point_lies_below_the_hull(points: list[tuple[int, int]]) -> None:
    """The hull's corners are points, fall in overhead, and at no point's wait is the hull above the point."""
    hull = lower_hull(points)
    assert set(hull) <= set(points)
    assert all(before[0] < after[0] and before[1] > after[1] for before, after in itertools.pairwise(hull))
    for wait, overhead in points:
        best = overhead_at(hull, wait)
        assert best is not None
        assert best <= overhead + 1e-9


@given(POINTS, st.tuples(st.integers(0, 50), st.integers(1, 50)))
def test_a_dominated_point_is_not_below_the_hull(points: list[tuple[int, int]], point: tuple[int, int]) -> None:
    """Who costs less than every mixture of the others is dominated by none of them."""
    best = overhead_at(lower_hull(points), point[0])
    if best is None or point[1] < best * (1 - CLEAR):
        assert not any(dominates(each, point) for each in points)
