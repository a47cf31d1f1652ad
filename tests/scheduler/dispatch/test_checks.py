"""Which drafts make a job."""

from dataclasses import replace

import pytest

from scheduler.dispatch.checks import step_findings
from scheduler.model import RetryPolicy, Step
from tests.scheduler.job_world import step

GOOD = (step("split", 0, 1), step("run", 1, 10, ("split",)), step("merge", 11, 1, ("run", "split"), ("run",)))


def test_a_good_job() -> None:
    """Contiguous ids and earlier steps only: no finding."""
    assert step_findings(GOOD) == ()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((), "no steps"),
        ((step("a", 1, 1),), "first_task_id is 1, expected 0"),
        ((step("a", 0, 2), step("b", 3, 1)), "first_task_id is 3, expected 2"),
        ((step("a", 0, 1), step("a", 1, 1)), "two steps of this name"),
        ((step("a", 0, 1, ("b",)), step("b", 1, 1)), "must stand before it"),
        ((step("a", 0, 1, ("a",)),), "must stand before it"),
        ((step("a", 0, 1, ("c",)),), "no step of this job"),
        ((step("a", 0, 1), step("b", 1, 1, (), ("a",))), "must be depended on, too"),
        ((step("a", 0, 1), step("b", 1, 1, ("a", "a"))), "depends on 'a' twice"),
        ((step("a", 0, 0),), "task_count is 0"),
        ((step("a/b", 0, 1),), "one path segment"),
        ((step("a", 0, 1, expected=0.0),), "expected_task_seconds"),
        ((step("a", 0, 1, retry=RetryPolicy(max_preemptions=-1)),), "max_preemptions is -1"),
        ((replace(GOOD[0], definition=replace(GOOD[0].definition, command=())),), "command is empty"),
        (
            (replace(GOOD[0], definition=replace(GOOD[0].definition, wall_clock_limit_seconds=-1.0)),),
            "wall_clock_limit_seconds",
        ),
    ],
)
def test_findings(steps: tuple[Step, ...], words: str) -> None:
    """Each mistake has a finding that names it."""
    findings = step_findings(steps)
    assert len(findings) == 1
    assert words in findings[0]


def test_every_finding_at_once() -> None:
    """A job with three mistakes is told of three."""
    assert len(step_findings((step("a", 0, 0), step("a", 5, 1, ("x",))))) == 4
