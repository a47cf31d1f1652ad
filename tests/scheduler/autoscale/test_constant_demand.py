"""On work that stays as it is the number of nodes comes to rest: the decision in a loop with nodes that boot."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.interface import Observation, Orders
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.policies.simple import QueueDepth
from scheduler.simulator.run import Run
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool

_HOUR = 3600.0
_MOST_JOBS = 4000


@dataclass(frozen=True)
class Constant:
    """So many tasks at any time, each `length` long: a new one becomes ready in the moment in which one ends."""

    tasks: int
    length: float
    slots: int
    boot: float
    interval: float
    policy: ScalingPolicy
    initial: int = 0

    @property
    def settled_after(self) -> float:
        """How long it may take: a task's length becomes known, a wave of boots follows, and surplus nodes leave.

        Twice over, since the first wave may answer to the default run time or to tasks that are overdue.
        """
        overdue = (self.policy.acceptable_wait + self.policy.boot_deadline).total_seconds()
        idle = (self.policy.idle_timeout or self.policy.restart_cost(timedelta(seconds=self.boot))).total_seconds()
        return 2 * (self.length + self.boot + overdue + max(idle, 300.0))

    def run(self, hours: float) -> Run:
        """Replay it through our policy until so long after it has settled."""
        links = int((self.settled_after + hours * _HOUR) // self.length) + 2
        chains = range(self.tasks)
        jobs = [
            SimulatedJob(0.0, self.length, after=(link * self.tasks + chain - self.tasks,) if link else ())
            for link in range(links)
            for chain in chains
        ]
        world = one_pool(Group(slots=self.slots, boot=Fixed(self.boot), initial=self.initial))
        # Chains are how work stays the same, and not a workflow of which more is known than what waits and runs.
        ours = own_policy(world, self.policy, interval=self.interval, foresight=False)
        return replay(workload_of("constant", jobs), world, ours)


@st.composite
def constants(draw: st.DrawFn) -> Constant:
    """Draw work that may be anything but too much to replay."""
    tasks = draw(st.integers(1, 30) | st.integers(31, 200))
    shortest = max(1, int(tasks * 5 * _HOUR / _MOST_JOBS))
    return Constant(
        tasks=tasks,
        length=float(draw(st.integers(shortest, shortest + 300) | st.integers(shortest, shortest + 20_000))),
        slots=draw(st.sampled_from([1, 2, 3, 4, 16])),
        boot=float(draw(st.sampled_from([0, 1, 20, 60, 240, 600, 890]))),
        interval=draw(st.sampled_from([5.0, 15.0, 60.0])),
        policy=ScalingPolicy(
            acceptable_wait=timedelta(seconds=draw(st.sampled_from([1, 60, 300, 3600]))),
            min_nodes=draw(st.sampled_from([0, 0, 1, 5])),
            max_nodes=draw(st.sampled_from([5, 40, 250])),
            default_task_time=timedelta(seconds=draw(st.sampled_from([1, 60, 3600]))),
            idle_timeout=draw(st.sampled_from([None, None, timedelta(seconds=1), timedelta(minutes=5)])),
        ),
        initial=draw(st.sampled_from([0, 0, 1, 30])),
    )


def changes(run: Run, since: float, until: float) -> list[float]:
    """Give the times at which the number of nodes that take jobs, or of those paid for, changed."""
    series = run.series[0]
    sizes = list(zip(series.at, series.alive, series.up, strict=True))
    return [at for (_, *before), (at, *now) in pairwise(sizes) if before != now and since <= at < until]


@settings(max_examples=30, deadline=None)
@given(constants())
def test_constant_work_settles_and_stays(work: Constant) -> None:
    """For hours after it has settled no node is asked for, drained or removed, whatever tasks, boots and rules are."""
    hours = 4.0
    run = work.run(hours)
    assert run.unfinished == 0
    since = work.settled_after
    # The last tasks of the chains end apart; until the first of them begins the work is as it was.
    last = min(run.ready[len(run.ready) - work.tasks :])
    assert last > since
    assert not changes(run, since, last)


def test_a_swing_would_be_seen() -> None:
    """A rule that counts waiting tasks only, and stops a node for each that runs, is found out by the same check."""

    @dataclass(frozen=True)
    class Swinging(QueueDepth):
        def decide(self, seen: Observation, state: bool) -> tuple[Orders, bool]:
            return Orders(request=seen.waiting if not seen.booting else 0, retire_busy=seen.busy), state

    world = one_pool(Group(boot=Fixed(60.0)))
    jobs = [SimulatedJob(0.0, 600.0, after=(number - 4,) if number >= 4 else ()) for number in range(100)]
    run = replay(workload_of("constant", jobs), world, Swinging(interval=15.0))
    assert run.unfinished == 0
    assert len(changes(run, 3600.0, run.last_finish - 600.0)) > 10
