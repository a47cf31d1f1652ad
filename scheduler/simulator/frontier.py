"""Points of cost and wait: which beats which, and what the best of others would cost at the same wait."""

import itertools
from collections.abc import Iterable, Sequence

# Two points within one percent of each other are taken as equal.
CLEAR = 0.01

# Wait, overhead: less of both is better.
Point = tuple[float, float]


def dominates(other: Point, point: Point) -> bool:
    """Whether the other is no higher in both, and clearly lower in one."""
    return (
        other[0] <= point[0]
        and other[1] <= point[1]
        and any(theirs < ours * (1 - CLEAR) for theirs, ours in zip(other, point, strict=True))
    )


def lower_hull(points: Iterable[Point]) -> list[Point]:
    """Give the lower convex hull from the least wait to the least overhead, in order of the wait.

    A point between two of them is what a mixture of both policies would come to.
    """
    ordered = sorted(set(points))
    hull: list[Point] = []
    for point in ordered:
        while len(hull) > 1 and _turns_up(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    least = min((overhead for _, overhead in hull), default=0.0)
    end = next((place for place, (_, overhead) in enumerate(hull) if overhead == least), -1)
    return hull[: end + 1]


def overhead_at(hull: Sequence[Point], wait: float) -> float | None:
    """Give the hull's overhead at a wait; None where no point of it waits so little."""
    if not hull or wait < hull[0][0]:
        return None
    for (before, high), (after, low) in itertools.pairwise(hull):
        if wait <= after:
            return high + (low - high) * (wait - before) / (after - before)
    return hull[-1][1]


def _turns_up(first: Point, middle: Point, last: Point) -> bool:
    """Whether the middle lies on or above the line from the first to the last."""
    return (middle[0] - first[0]) * (last[1] - first[1]) <= (middle[1] - first[1]) * (last[0] - first[0])
