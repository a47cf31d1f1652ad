"""The faithful engine runs the real controller, and the fast one comes to the same within its intervals."""

import math
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.autoscale.assess import back_off
from scheduler.errors import CapacityErrorKind, InvalidRequestError
from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.faithful.engine import replay_faithfully
from scheduler.simulator.faithful.jobs import submissions
from scheduler.simulator.policies.own import OwnPolicy, own_policy
from scheduler.simulator.policies.simple import FixedPool
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Exponential, Fixed, Group, Pool, Quota, World, one_pool
from tests.scheduler.simulator.worlds import check_laws

# A node is admitted and drained by a talk of a few looks (5 s) and readings of its control blob (up to 4.5 s).
TALK = 40.0


def ours(world: World, *, interval: float = 5.0, min_nodes: int = 0, max_nodes: int = 10) -> OwnPolicy:
    """Make our policy with an acceptable wait of a minute."""
    rules = ScalingPolicy(acceptable_wait=timedelta(seconds=60), min_nodes=min_nodes, max_nodes=max_nodes)
    return own_policy(world, rules, interval=interval)


def drawn(source: random.Random, count: int, span: int, longest: int) -> Workload:
    """Draw jobs at whole seconds."""
    jobs = (SimulatedJob(source.randrange(span), source.randrange(20, longest)) for _ in range(count))
    return workload_of("drawn", jobs)


def burst(source: random.Random, *, array: bool) -> list[SimulatedJob]:
    """Draw jobs that come together: of one application at one instant, or each of its own."""
    runs = [source.randrange(5, 40) for _ in range(25)]
    return [SimulatedJob(0 if array else n // 6, run, work="" if array else str(n)) for n, run in enumerate(runs)]


@pytest.mark.parametrize("seed", range(3))
def test_on_a_fixed_pool_both_engines_agree_exactly(seed: int) -> None:
    """With nodes that stay and look at their queue each second, every job begins and ends at the very same instant.

    Be they jobs of their own or one array. Of several arrays the real scheduler serves the one with the least work out
    first, where the fast engine is first come, first served.
    """
    source = random.Random(seed)  # noqa: S311
    nodes = source.randrange(1, 5)
    load = workload_of("burst", burst(source, array=seed == 2))
    world = replace(one_pool(Group(max_nodes=nodes, initial=nodes)), wind_down=60.0)
    fast = replay(load, world, FixedPool())
    faithful = replay_faithfully(load, world, ours(world, interval=1.0, min_nodes=nodes, max_nodes=nodes))
    assert faithful.ready == fast.ready
    assert faithful.start == fast.start
    assert faithful.end == fast.end
    assert faithful.node_seconds == fast.node_seconds


def test_on_elastic_pools_both_engines_agree_within_the_intervals() -> None:
    """Over drawn workloads, waits and node-hours differ by the talk that admits and drains a node, and by single boots.

    A decision a few seconds earlier or later may find one more task waiting and buy a node more or less: so a single
    workload is held to one boot for the mean wait, and to one node's life for the cost, and their sum to 10 and 5 %.
    """
    waits, costs = [0.0, 0.0], [0.0, 0.0]
    for seed in range(4):
        source = random.Random(seed)  # noqa: S311
        load = drawn(source, source.randrange(5, 20), 1800, 600)
        boot = source.choice([60.0, 240.0])
        world = one_pool(
            Group(max_nodes=source.choice([3, 10]), slots=source.choice([1, 2]), boot=Fixed(boot)),
        )
        fast, faithful = replay(load, world, ours(world)), replay_faithfully(load, world, ours(world))
        assert faithful.unfinished == 0
        check_laws(faithful)
        means = [math.fsum(run.waits) / len(load) for run in (fast, faithful)]
        assert abs(means[1] - means[0]) < boot
        starts = max(run.groups[0].started for run in (fast, faithful))
        assert abs(faithful.node_seconds - fast.node_seconds) < starts * TALK + 2 * boot + 600
        for place, run in enumerate((fast, faithful)):
            waits[place] += means[place]
            costs[place] += run.node_seconds
    assert waits[1] == pytest.approx(waits[0], rel=0.1)
    assert costs[1] == pytest.approx(costs[0], rel=0.05)


@pytest.mark.parametrize("seed", range(2))
def test_steps_that_are_left_out_change_nothing(seed: int) -> None:
    """With every step of the controller taken, each number of the run is the same."""
    load = drawn(random.Random(seed), 6, 300, 150)  # noqa: S311
    # One more after some time in which nothing happens.
    late = SimulatedJob(1300, 200)
    load = workload_of("drawn", [*(SimulatedJob(*each) for each in zip(load.submit, load.run, strict=True)), late])
    world = one_pool(Group(max_nodes=3, boot=Fixed(60.0)))
    skipping, stepping = (
        replay_faithfully(load, world, ours(world, max_nodes=3), skips=skips) for skips in (True, False)
    )
    assert (skipping.start, skipping.end, skipping.groups) == (stepping.start, stepping.end, stepping.groups)
    assert skipping.questions < stepping.questions


def test_faults_are_survived_and_counted() -> None:
    """With failed boots, evictions, a refusal and a quota every job ends and what was lost is counted, twice alike."""
    load = drawn(random.Random(5), 14, 900, 400)  # noqa: S311
    spot = Group(
        "spot",
        max_nodes=4,
        boot=Fixed(60.0),
        boot_failure=0.3,
        boot_deadline=120.0,
        lifetime=Exponential(300.0),
        refused=((0.0, 40.0),),
        listed_after=7.0,
        deleted_after=11.0,
        spot=True,
    )
    pool = Pool("pool", (spot, Group("regular", max_nodes=2, boot=Fixed(60.0))))
    world = World((pool,), quotas=(Quota(("pool/spot", "pool/regular"), 5),))
    first, second = (replay_faithfully(load, world, ours(world, max_nodes=6), seed=3) for _ in range(2))
    assert first.unfinished == 0
    check_laws(first, twice=True)
    totals = first.groups[0]
    assert min(totals.failed_boots, totals.preempted, totals.refused, first.restarts) > 0
    assert first.lost_slot_seconds > 0
    assert (first.start, first.end, first.series, first.groups) == (
        second.start,
        second.end,
        second.series,
        second.groups,
    )


def test_a_workflow_is_one_job_of_steps() -> None:
    """Tasks begin after those that they wait for, soon after them; so do jobs whose clients wait for other jobs."""
    fork = [SimulatedJob(0, 30), *(SimulatedJob(0, 20 + n, after=(0,)) for n in range(3))]
    join = SimulatedJob(0, 15, after=(1, 2, 3))
    late = SimulatedJob(20, 10, after=(4,))
    pool = "a"
    load = workload_of("dag", [replace(job, pool=pool) for job in (*fork, join, late)])
    world = replace(World((Pool("a", (Group(max_nodes=4, initial=4),)),)), wind_down=60.0)
    same = workload_of("dag", [replace(job, pool=pool) for job in (*fork, join)])
    for each in (load, same):
        run = replay_faithfully(each, world, ours(world, interval=1.0, min_nodes=4, max_nodes=4))
        assert run.unfinished == 0
        check_laws(run)
        assert all(wait <= 10 for wait in run.waits)


def test_two_pools_keep_to_themselves() -> None:
    """Jobs run on the nodes of their pool, and each pool comes to rest."""
    jobs = [SimulatedJob(number * 20, 60, pool="ab"[number % 2]) for number in range(10)]
    world = World(tuple(Pool(name, (Group(boot=Fixed(30.0), max_nodes=2),)) for name in "ab"))
    run = replay_faithfully(workload_of("two", jobs), world, ours(world, max_nodes=2))
    assert run.unfinished == 0
    check_laws(run)
    assert all(0 < totals.peak <= 2 for totals in run.groups)


def test_what_the_real_system_does_not_do_is_refused() -> None:
    """Jobs of several slots, backfilling and an artificial lag have no counterpart, and the message says so."""
    wide = workload_of("wide", [SimulatedJob(0, 10, slots=2)])
    for load, world in (
        (wide, one_pool(Group(slots=2))),
        (workload_of("one", [SimulatedJob(0, 10)]), one_pool(Group(), lag=10.0)),
        (workload_of("one", [SimulatedJob(0, 10)]), World((Pool(most_waiting=3),))),
    ):
        with pytest.raises(InvalidRequestError, match="the faithful engine runs the real scheduler"):
            replay_faithfully(load, world, ours(world))


def test_jobs_that_come_at_once_are_one_array() -> None:
    """Jobs of one instant and pool are tasks of one step, whose order is theirs; each runs once, for its own time."""
    jobs = [SimulatedJob(at, 20 + number, pool=pool) for number, (at, pool) in enumerate([(0, "a"), (0, "b")] * 3)]
    load = workload_of("arrays", [*jobs, SimulatedJob(30, 5, pool="a")])
    world = World(tuple(Pool(name, (Group(initial=1, max_nodes=1),)) for name in "ab"), wind_down=60.0)
    made = submissions(load, world)
    assert [each.tasks for each in made] == [(0, 2, 4), (1, 3, 5), (6,)]
    assert [len(each.steps) for each in made] == [1, 1, 1]
    run = replay_faithfully(load, world, ours(world, interval=1.0, min_nodes=1, max_nodes=1))
    assert run.unfinished == run.restarts == 0
    check_laws(run)
    assert [round(end - start) for start, end in zip(run.start, run.end, strict=True)] == list(map(round, load.run))


def test_an_order_beyond_a_quota_is_refused_whole() -> None:
    """A policy that does not know of the quota asks for two nodes where one is left: it gets none, then tries one."""
    load = workload_of("two", [SimulatedJob(0, 30), SimulatedJob(0, 30)])
    world = World((Pool("pool", (Group(max_nodes=9, boot=Fixed(60.0)),)),), quotas=(Quota(("pool/nodes",), 1),))
    run = replay_faithfully(load, world, ours(world))
    assert run.unfinished == 0
    assert run.groups[0].refused >= 2
    assert run.groups[0].peak == 1
    assert min(run.start) >= back_off(CapacityErrorKind.QUOTA, 1).total_seconds() + 60
