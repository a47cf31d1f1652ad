"""The timeline as a picture."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.page.chart import HEIGHT, WIDTH, WINDOW, chart_of
from scheduler.model import Sample

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _sample(second: int, waiting: int = 0, nodes: int = 0) -> Sample:
    return Sample(NOW + timedelta(seconds=second), "p", waiting, 0, nodes, nodes, 0)


@given(
    st.lists(st.tuples(st.integers(-9000, 100), st.integers(0, 10**6), st.integers(0, 500)), min_size=1, max_size=900)
)
def test_every_line_stays_inside_and_moves_on(rows: list[tuple[int, int, int]]) -> None:
    """Whatever the samples, points lie in the picture, in order of time, and the newest value is the last one."""
    samples = [_sample(*row) for row in sorted(rows)]
    chart = chart_of(samples, NOW)
    assert chart is not None
    for panel in chart.panels:
        for line in panel.lines:
            points = [tuple(map(float, point.split(","))) for point in line.points.split(" ")]
            assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
            assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert chart.panels[1].lines[1].newest == samples[-1].current_nodes


def test_the_highest_point_survives_thinning() -> None:
    """A short peak among thousands of samples is not thinned away."""
    samples = [_sample(second - 3000, 99 if second == 1234 else 1) for second in range(3000)]
    chart = chart_of(samples, NOW)
    assert chart is not None
    assert chart.panels[0].top == 99
    assert ",0.0 " in chart.panels[0].lines[0].points
    assert "99 waiting tasks" in chart.told


def test_before_the_window_only_what_still_holds_is_shown() -> None:
    """A pool that has been quiet for longer than the window shows its last state."""
    start = -2 * int(WINDOW.total_seconds())
    chart = chart_of([_sample(start, 50, 1), _sample(start + 60, 0, 2)], NOW)
    assert chart is not None
    assert (chart.panels[0].top, chart.panels[1].top) == (1, 2)


def test_without_samples_there_is_no_picture() -> None:
    """Nothing is drawn of nothing."""
    assert chart_of((), NOW) is None
