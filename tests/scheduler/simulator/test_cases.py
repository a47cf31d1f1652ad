"""Many replays beside each other: in order, and without a process left when one is killed or all are interrupted."""

import multiprocessing
import os
import signal

import pytest

from scheduler.errors import InvalidRequestError, MillpondError
from scheduler.simulator.cases import Case, Judged, grid, run_case, run_cases
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Group, one_pool

WORKLOAD = workload_of("work", [SimulatedJob(float(number), 30.0) for number in range(40)])
WORLD = one_pool(Group())
CASES = grid("queue-depth", {"idle_timeout": ["0", "60", "120"]}, {}, 0)


def test_processes_give_what_one_gives_and_none_is_left() -> None:
    """The same reports in the same order; whoever interrupts them, or kills one, leaves none behind."""
    assert run_cases(WORKLOAD, WORLD, CASES, processes=2) == run_cases(WORKLOAD, WORLD, CASES)

    def interrupt(_: Judged) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cases(WORKLOAD, WORLD, CASES, processes=2, done=interrupt)
    assert not multiprocessing.active_children()

    def kill(_: Judged) -> None:
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGKILL)

    many = grid("queue-depth", {"idle_timeout": [str(number) for number in range(40)]}, {}, 0)
    with pytest.raises(MillpondError, match="was killed"):
        run_cases(WORKLOAD, WORLD, many, processes=2, done=kill)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case("keda", (("queue_length", "0"),)), "the policy keda: queue_length must be more than zero"),
        (Case("batch-formula", (("shape", "x"),)), "shape is average or newest-or-average, not 'x'"),
        (Case("millpond", (("acceptable_wait", "inf"),)), "acceptable_wait is a span of time, not inf"),
        (Case("fixed", (("nodes", "2.5"),)), "nodes=2.5: expected a whole number"),
        (Case("fixed", (("nodes", "100000000"),)), "has at most 1,000,000 at once"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(case: Case, says: str) -> None:
    """The message names the setting and what it may be."""
    with pytest.raises(InvalidRequestError, match=says):
        run_case(WORKLOAD, WORLD, case)


def test_work_that_would_take_centuries_is_refused() -> None:
    """Run times in another unit than seconds are found, before centuries are counted by the minute."""
    long = workload_of("long", [SimulatedJob(0.0, 1e9) for _ in range(10)])
    with pytest.raises(InvalidRequestError, match="the work would take 317 years; allow more nodes"):
        run_case(long, WORLD, Case("fixed", (("nodes", "1"),)))
