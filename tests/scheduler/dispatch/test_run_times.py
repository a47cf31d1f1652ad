"""What is expected of a step's tasks, and which work counts as the same kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import ApplicationPackage, FileRef, TaskDefinition
from scheduler.dispatch.run_times import expected_run_times, work_key
from scheduler.sketch import NONE_SEEN, RunTimes

SEEN = st.lists(st.floats(0.1, 1e4), max_size=20).map(RunTimes.of)


def definition(*command: str, packages: tuple[str, ...] = ()) -> TaskDefinition:
    """Make a definition of this command."""
    file = FileRef("x.zip", "inputs", "x", 0, 1, "0" * 64)
    return TaskDefinition(
        "s", command, 0, 1, application_packages=tuple(ApplicationPackage(name, "1.2", file) for name in packages)
    )


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (definition("python", "price.py", "--day", "2026-03-01"), "python price.py"),
        (definition("python", "price-2026-03-01.py"), "python price-#-#-#.py"),
        (definition("render", packages=("blender", "scenes")), "blender, scenes: render"),
        (definition("", ""), " "),
        (definition(), "#"),
        (definition("x" * 500), "x" * 200),
    ],
)
def test_work_is_named_by_what_it_runs(made: TaskDefinition, expected: str) -> None:
    """Packages without their versions, and the first words of the command without numbers; never nothing."""
    assert work_key(made) == expected


def test_each_leans_on_the_next_that_is_known() -> None:
    """A step's own runs, those of its kind of work, then the author's word, and the pool's runs where he has none."""
    step, work, pool = RunTimes.of([4.0]), RunTimes.of([16.0]), RunTimes.of([256.0])
    assert expected_run_times(NONE_SEEN, None, NONE_SEEN, NONE_SEEN).mean() is None
    assert expected_run_times(NONE_SEEN, None, NONE_SEEN, pool).mean() == 256.0
    assert expected_run_times(NONE_SEEN, 9.0, NONE_SEEN, pool).mean() == 9.0
    assert expected_run_times(NONE_SEEN, None, work, pool).mean() == pytest.approx(64.0)
    assert expected_run_times(step, None, work, pool).mean() == pytest.approx(16.0)
    assert expected_run_times(step, 1.0, work, pool).mean() == pytest.approx(4.0)


@given(SEEN, st.none() | st.floats(0.1, 1e4), SEEN, SEEN)
def test_what_is_expected_lies_among_what_is_known(
    step: RunTimes, author: float | None, work: RunTimes, pool: RunTimes
) -> None:
    """The estimate is between the least and the greatest of the means that it was made from."""
    means = [mean for each in (step, work, pool) if (mean := each.expected().mean()) is not None]
    means += [] if author is None else [author]
    found = expected_run_times(step, author, work, pool).mean()
    assert (found is None) == (not means)
    assert found is None or min(means) * (1 - 1e-9) <= found <= max(means) * (1 + 1e-9)
