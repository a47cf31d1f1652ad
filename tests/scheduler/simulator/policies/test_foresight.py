"""In the simulator our policy is told what the real scheduler knows: steps of workflows, what is to come, limits."""

import random
from datetime import timedelta

import pytest

from scheduler.demand import ForeseenKind
from scheduler.model import PoolDemand
from scheduler.policy import Limits, ScalingPolicy
from scheduler.simulator.clock import ANY_TIME
from scheduler.simulator.engine import replay
from scheduler.simulator.flows import Flows
from scheduler.simulator.interface import Observation
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.policies.seen_work import demand_of
from scheduler.simulator.run import Run
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group, Pool, World, one_pool


def forks(count: int, *, width: int = 12, every: float = 7200.0) -> Workload:
    """Make workflows that split, run wide for ten minutes, and merge; each comes a while after the one before."""
    source = random.Random(1)  # noqa: S311
    jobs: list[SimulatedJob] = []
    for number in range(count):
        first, at = len(jobs), number * every
        jobs.append(SimulatedJob(at, source.uniform(280, 320), work="split"))
        middle = range(first + 1, first + 1 + width)
        jobs += [SimulatedJob(at, source.uniform(550, 650), after=(first,), work="map") for _ in middle]
        jobs.append(SimulatedJob(at, 60.0, after=tuple(middle), work="merge"))
    return workload_of("forks", jobs)


def demand(flows: Flows, now: float) -> PoolDemand:
    """Give the work of the only pool as the decision is told it."""
    seen = Observation(now, now, 0, 0, 0, 0, None, None, 1, None, 0, 0, 0, 0, 0, 0, (), (), 0, 0, 0, work=flows.view(0))
    return demand_of(seen, None, foresight=True)


def test_what_waits_for_work_at_hand_is_foreseen() -> None:
    """A step is told with what is left of those before it, and only once all that it waits for waits or runs."""
    flows = Flows(forks(1, width=3), (), 1, known_runs=False)
    flows.arrive(0)
    flows.begin(0, 10.0)
    ((wide,), (split,)) = demand(flows, 20.0).foreseen, demand(flows, 20.0).classes
    assert (wide.kind, wide.step, wide.tasks) == (ForeseenKind.DEPENDENTS, "s1", 3)
    assert wide.behind == (split,)
    assert (split.running_tasks, split.cohorts[0].started_at) == (1, ANY_TIME.instant(10.0))
    flows.finish(0, 300.0)
    for job in (1, 2, 3):
        flows.arrive(job)
    flows.begin(1, 310.0)
    (merge,) = demand(flows, 320.0).foreseen
    assert (merge.step, merge.tasks, [each.slots for each in merge.behind]) == ("s2", 1, [3])
    flows.finish(1, 600.0)
    (merge,) = demand(flows, 900.0).foreseen
    assert [each.slots for each in merge.behind] == [2]
    # Of the kind of work "map" one run is known, of any other only the pool's.
    assert demand(flows, 900.0).mean_task_seconds == pytest.approx(600.0, rel=0.2)


def run(workload: Workload, *, foresight: bool) -> Run:
    """Replay at the default settings, with nodes that boot in four minutes."""
    world = one_pool(Group(boot=Fixed(240.0)))
    return replay(workload, world, own_policy(world, ScalingPolicy(max_nodes=50), foresight=foresight))


def test_foresight_has_nodes_ready_when_a_workflow_spreads() -> None:
    """Once lengths are known, the wide step of a workflow waits for a part of a boot only, at hardly more cost."""
    workload = forks(6)
    told, untold = run(workload, foresight=True), run(workload, foresight=False)
    assert sum(told.waits) < 0.6 * sum(untold.waits)
    assert told.node_seconds < 1.1 * untold.node_seconds


def test_pools_keep_to_shared_limits_and_their_own_rules() -> None:
    """A budget that all pools share bounds the nodes of all of them; each pool has its own maximum."""
    group = Group(boot=Fixed(60.0), vm_size="Standard_D2s_v5")
    world = World((Pool("a", (group,)), Pool("b", (group,))), limits=Limits({"standardDSv5Family": 8}))
    jobs = [SimulatedJob(0.0, 600.0, pool="ab"[number % 2]) for number in range(40)]
    rules = {
        name: ScalingPolicy(max_nodes=most, acceptable_wait=timedelta(seconds=1)) for name, most in (("a", 1), ("b", 9))
    }
    done = replay(workload_of("both", jobs), world, own_policy(world, rules))
    peaks = [each.peak for each in done.groups]
    assert peaks[0] == 1
    assert sum(peaks) == 4
