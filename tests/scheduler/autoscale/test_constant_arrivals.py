"""On tasks that arrive at a constant rate, nodes stop coming and going, or do so because it costs less.

What a swing is must be said against what it would cost not to have one. Where each pause of a level is shorter than a
restart is worth, no node may start once the pauses are known. Where pauses are longer, or random, nodes that go and
come again may cost, with what waits for them, twice what the best number of nodes does that never changes, and no more:
each node is kept for no longer than its restart costs, which is the problem of renting skis, and its bound. (Of numbers
that can catch up: with exactly as many nodes as the load is, all tasks wait for ever for as long as the first one did.
There we start nodes on and on, and give them up; it costs less than one node more.)
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.policies.simple import FixedPool
from scheduler.simulator.run import Run
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool

_JOBS = 600
_INTERVAL = 5.0
_POLICY = ScalingPolicy(max_nodes=200)


@dataclass(frozen=True)
class Arrivals:
    """A task each `gap` seconds, of `length` on average: always so long, or without memory."""

    gap: float
    length: float
    boot: float
    random: bool = False

    def workload(self, before: int = 0) -> Workload:
        """Make it, behind so many tasks that hold a node for a boot."""
        source = random.Random(1)  # noqa: S311
        runs = (source.expovariate(1 / self.length) if self.random else self.length for _ in range(_JOBS))
        tasks = [SimulatedJob(number * self.gap, run) for number, run in enumerate(runs)]
        return workload_of("arrivals", [*[SimulatedJob(0.0, self.boot)] * before, *tasks])

    @property
    def since(self) -> float:
        """When a third of the tasks have come, and their run times and pauses are known."""
        return self.gap * _JOBS / 3

    @property
    def until(self) -> float:
        """When the last task comes."""
        return self.gap * (_JOBS - 1)

    @property
    def restart(self) -> float:
        """What it costs to start a node again, in seconds."""
        return _POLICY.restart_cost(timedelta(seconds=self.boot)).total_seconds()

    def ours(self) -> Run:
        """Replay it through our policy."""
        world = one_pool(Group(boot=Fixed(self.boot)))
        return replay(self.workload(), world, own_policy(world, _POLICY, interval=_INTERVAL))

    def fixed(self, nodes: int) -> Run:
        """Replay it through a fixed number of nodes, all of which boot when the first task comes."""
        return replay(self.workload(nodes), one_pool(Group(initial=nodes)), FixedPool())

    def overhead(self, run: Run) -> float:
        """Add up what was paid for and did not run, and what tasks waited, once all is known."""
        series, total = run.series[0], 0.0
        steps = zip(series.at, [*series.at[1:], run.ended], series.waiting, series.running, series.alive, strict=True)
        for begin, end, waiting, running, alive in steps:
            length = max(0.0, min(end, self.until) - max(begin, self.since))
            total += length * (alive - running + _POLICY.waiting_cost * waiting)
        return total

    def starts(self, run: Run) -> int:
        """Count nodes asked for once all is known."""
        series, count = run.series[0], 0
        for step in range(1, len(series.at)):
            if self.since <= series.at[step] <= self.until:
                count += max(0, series.alive[step] - series.alive[step - 1])
        return count


@settings(max_examples=4)
@given(gap=st.integers(20, 2000), part=st.floats(0.05, 0.95), boot=st.sampled_from([60.0, 240.0, 600.0]))
def test_a_node_with_short_pauses_stays(gap: int, part: float, boot: float) -> None:
    """A task at a time, and pauses shorter than half of a restart: once they are known no node is started."""
    arrivals = Arrivals(float(gap), gap * part, boot)
    run = arrivals.ours()
    if gap - gap * part < arrivals.restart / 2:
        assert arrivals.starts(run) == 0
    else:
        assert arrivals.starts(run) <= _JOBS * 2 / 3 + 1


@settings(max_examples=6)
@given(
    load=st.sampled_from([0.1, 0.5, 1.0, 1.3, 3.0, 7.9, 10.0, 20.0]),
    length=st.sampled_from([120.0, 300.0, 1200.0]),
    boot=st.sampled_from([60.0, 240.0]),
    chance=st.booleans(),
)
def test_coming_and_going_costs_at_most_twice_the_best_fixed_pool(
    load: float, length: float, boot: float, chance: bool
) -> None:
    """What is paid for without work, and what waits, against the best number of nodes for these very tasks."""
    arrivals = Arrivals(length / load, length, boot, random=chance)
    ours = arrivals.overhead(arrivals.ours())
    counts = range(int(load) + 1, int(load) + 14)
    fixed = min(arrivals.overhead(arrivals.fixed(nodes)) for nodes in counts)
    # Each task, and each node that goes, may be seen an interval late.
    late = 2 * _INTERVAL * _JOBS * 2 / 3
    assert ours <= 2 * fixed + late
