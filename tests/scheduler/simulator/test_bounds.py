"""The bounds are bounds, and the clairvoyant one is the optimum."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.simulator.bounds import bounds
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.simple import QueueDepth
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.scheduler.simulator.worlds import needs_traces, trace

JOBS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), min_size=1, max_size=8)


def load(jobs: list[tuple[int, int]]) -> Workload:
    """Make a workload of (submission, run time)."""
    return workload_of("drawn", (SimulatedJob(submit, run) for submit, run in jobs))


def cheapest(workload: Workload, boot: int) -> float:
    """Find the least cost of numbers of nodes that always cover demand, each rise paying for boots, by trying all."""
    end = int(max(s + r for s, r in zip(workload.submit, workload.run, strict=True)))
    demand = [sum(s <= at < s + r for s, r in zip(workload.submit, workload.run, strict=True)) for at in range(end)]
    peak = max(demand)

    @cache
    def rest(at: int, before: int) -> float:
        if at == end:
            return 0.0
        return min(nodes + boot * max(0, nodes - before) + rest(at + 1, nodes) for nodes in range(demand[at], peak + 1))

    return rest(0, 0)


@settings(deadline=None)
@given(JOBS, st.integers(0, 9))
def test_the_clairvoyant_cost_is_the_optimum(jobs: list[tuple[int, int]], boot: int) -> None:
    """Level by level gives the same as trying every number of nodes at every second."""
    workload = load(jobs)
    assert bounds(workload, 1, boot).clairvoyant == pytest.approx(cheapest(workload, boot))


@given(JOBS, st.integers(0, 9), st.integers(1, 4))
def test_the_bounds_are_in_order(jobs: list[tuple[int, int]], boot: int, slots: int) -> None:
    """Work alone, then the clairvoyant; ski rental is at most twice the clairvoyant's."""
    found = bounds(load(jobs), slots, boot)
    assert found.work <= found.clairvoyant + 1e-9
    assert found.clairvoyant <= found.ski_rental + 1e-9
    assert found.ski_rental <= 2 * found.clairvoyant + 1e-9


@given(JOBS, st.integers(0, 9), st.integers(0, 20))
def test_no_policy_costs_less_than_the_work(jobs: list[tuple[int, int]], boot: int, timeout: int) -> None:
    """What any replay pays for is at least the sum of run times; with no boot time that is reached."""
    workload = load(jobs)
    run = replay(workload, one_pool(Group(boot=Fixed(float(boot)))), QueueDepth(idle_timeout=float(timeout)))
    assert run.node_seconds >= bounds(workload, 1, boot).work - 1e-9
    free = bounds(workload, 1, 0)
    assert free.work == pytest.approx(free.clairvoyant) == pytest.approx(free.ski_rental)


def test_dependents_count_from_when_they_are_ready() -> None:
    """A chain of three jobs needs one node for as long as its runs take."""
    chain = workload_of("chain", [SimulatedJob(0, 10), SimulatedJob(0, 20, after=(0,)), SimulatedJob(5, 1, after=(1,))])
    found = bounds(chain, 1, 100)
    assert (found.work, found.clairvoyant, found.starts, found.peak) == (31, 131, 1, 1)


@needs_traces("linkerd-gha-2020")
def test_the_peak_without_boots_is_the_peak_of_the_bound() -> None:
    """On a real trace the levels agree with a replay that starts every job at once."""
    workload = trace("linkerd-gha-2020")
    run = replay(workload, one_pool(Group(boot=Fixed(0.0))), QueueDepth(idle_timeout=0.0))
    found = bounds(workload, 1, 240.0)
    assert found.peak == run.groups[0].peak == 20
    assert found.work == pytest.approx(run.node_seconds)
