"""What holds in every replay, whatever the workload, the nodes and the policy."""

import math
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.interface import Detail, Observation, Orders
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.policies.simple import QueueDepth
from scheduler.simulator.run import added_up
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Exponential, Fixed, Group, Pool, Quota, World, one_pool
from tests.scheduler.simulator.worlds import check_laws


@st.composite
def workloads(draw: st.DrawFn, slots: int = 1, most: int = 40) -> Workload:
    """Draw jobs, some of which wait for earlier ones."""
    count = draw(st.integers(1, most))
    jobs = []
    for number in range(count):
        after = draw(st.sets(st.integers(0, number - 1), max_size=2)) if number and draw(st.booleans()) else set()
        jobs.append(
            SimulatedJob(
                submit=draw(st.integers(0, 3000)),
                run=draw(st.integers(1, 900)),
                slots=draw(st.integers(1, slots)),
                after=tuple(after),
            )
        )
    return workload_of("drawn", jobs)


@st.composite
def groups(draw: st.DrawFn, slots: int = 1) -> Group:
    """Draw nodes that boot slowly or not at all, and that may be taken away."""
    return Group(
        slots=slots,
        max_nodes=draw(st.sampled_from([None, 1, 3, 10])),
        boot=draw(st.sampled_from([Fixed(0.0), Fixed(120.0), Exponential(200.0)])),
        boot_failure=draw(st.sampled_from([0.0, 0.4])),
        lifetime=draw(st.sampled_from([None, Exponential(2000.0)])),
        initial=draw(st.sampled_from([0, 1])),
    )


@dataclass(frozen=True)
class Erratic:
    """Orders all kinds of things, by turns."""

    interval: float | None
    name: str = "erratic"
    detail: Detail = Detail.NODES

    def start(self) -> int:
        """Begin with the first."""
        return 0

    def decide(self, seen: Observation, state: int) -> tuple[Orders, int]:
        """Take the next, and see to it that there is always a node for what waits."""
        if not seen.waiting and not seen.running:
            return Orders(stop=tuple(node.number for node in seen.nodes), wake_at=math.inf), state
        turn = state % 8
        some = tuple(node.number for node in seen.nodes)[: 1 + state % 3]
        wanted = 1 if seen.waiting and not seen.up and not seen.booting else 0
        if state >= 200:  # calm at last, or a job might be killed for ever
            return Orders(request=wanted, undrain=tuple(node.number for node in seen.nodes)), state + 1
        orders = (
            Orders(request=wanted + 2),
            Orders(request=wanted, drain=some),
            Orders(request=wanted, cancel=1, idle_timeout=300.0),
            Orders(request=wanted, undrain=some, retire=some),
            Orders(request=wanted, stop_idle=1, keep=1),
            Orders(request=wanted + 1, retire_busy=1, keep=0),
            Orders(request=wanted, shrink=1 if state % 40 == 6 else 0),
            Orders(request=wanted, stop=some if state % 56 == 7 else (), undrain=some, idle_timeout=60.0),
        )
        return orders[turn], state + 1


@settings(deadline=None, max_examples=60)
@given(
    workload=workloads(slots=3), group=groups(slots=3), interval=st.sampled_from([7.0, 60.0]), seed=st.integers(0, 9)
)
def test_nothing_is_lost_and_littles_law_holds(workload: Workload, group: Group, interval: float, seed: int) -> None:
    """Under erratic orders, failed boots and nodes taken away, every job runs once to its end."""
    run = replay(workload, one_pool(group), Erratic(interval), seed=seed)
    assert run.unfinished == 0
    check_laws(run)


@st.composite
def many_pools(draw: st.DrawFn) -> tuple[Workload, World]:
    """Draw pools of one or two groups that may share a quota, and jobs of all of them that may wait for each other."""
    pools = tuple(
        Pool(
            name, tuple(replace(draw(groups(slots=2)), name=f"g{number}") for number in range(draw(st.integers(1, 2))))
        )
        for name in "abc"[: draw(st.integers(2, 3))]
    )
    load = draw(workloads(most=25))
    load = replace(load, pool=tuple(draw(st.sampled_from([pool.name for pool in pools])) for _ in load.submit))
    names = tuple(f"{pool.name}/{group.name}" for pool in pools for group in pool.groups)
    initial = sum(group.initial for pool in pools for group in pool.groups)
    quota = draw(st.none() | st.integers(max(2, initial), 8))
    return load, World(pools, () if quota is None else (Quota(names, quota),))


@settings(deadline=None, max_examples=60)
@given(drawn=many_pools(), seed=st.integers(0, 9))
def test_the_laws_hold_in_each_of_many_pools(drawn: tuple[Workload, World], seed: int) -> None:
    """Pools with several groups, a shared quota and jobs that wait for those of other pools lose nothing either."""
    workload, world = drawn
    run = replay(workload, world, Erratic(7.0), seed=seed)
    assert run.unfinished == 0
    check_laws(run)
    whole = added_up(run.series)
    for at, alive, running in list(zip(whole.at, whole.alive, whole.running, strict=True))[::7]:
        assert alive == sum(_alive(series, at) for series in run.series)
        assert running <= alive
    for quota in world.quotas:
        changes = sorted({at for series in run.series for at in series.at})
        assert all(sum(_alive(series, at) for series in run.series) <= 2 * quota.max_nodes for at in changes)


@settings(deadline=None, max_examples=25)
@given(drawn=many_pools(), seed=st.integers(0, 9))
def test_our_policy_keeps_the_laws_in_many_pools(drawn: tuple[Workload, World], seed: int) -> None:
    """The one decision over all pools runs every job, too, where no quota stands against it."""
    workload, world = drawn[0], replace(drawn[1], quotas=())
    run = replay(workload, world, own_policy(world, ScalingPolicy(max_nodes=40)), seed=seed)
    assert run.unfinished == 0
    check_laws(run)


@settings(deadline=None, max_examples=40)
@given(workload=workloads(), group=groups(), seed=st.integers(0, 9))
def test_the_same_arguments_give_the_same_bytes(workload: Workload, group: Group, seed: int) -> None:
    """A replay depends on nothing but its arguments."""
    first, second = (replay(workload, one_pool(group), Erratic(5.0), seed=seed) for _ in range(2))
    assert first.start.tobytes() == second.start.tobytes()
    assert first.end.tobytes() == second.end.tobytes()
    assert first.groups == second.groups
    assert first.series == second.series


@settings(deadline=None, max_examples=40)
@given(workload=workloads(), boot=st.integers(0, 400))
def test_with_a_node_for_each_job_none_waits_longer_than_a_boot(workload: Workload, boot: int) -> None:
    """Without limits and faults the wait is at most the boot time, and only boots and runs are paid for."""
    run = replay(workload, one_pool(Group(boot=Fixed(float(boot)))), QueueDepth(idle_timeout=0.0))
    check_laws(run)
    assert max(run.waits) <= boot
    assert run.node_seconds <= workload.sum_run + len(workload) * boot + 1e-6


def test_a_quota_holds_over_pools() -> None:
    """Two pools that share a quota never have more nodes together, and both get their work done.

    They ask for nodes one by one, since an order beyond the quota is refused whole.
    """
    jobs = [SimulatedJob(number, 100, pool="ab"[number % 2]) for number in range(40)]
    pools = tuple(type(World().pools[0])(name, (Group(),)) for name in "ab")
    world = World(pools, quotas=(Quota(("a/nodes", "b/nodes"), 5),))
    run = replay(workload_of("two", jobs), world, QueueDepth(idle_timeout=30.0, interval=5.0, most_booting=1))
    assert run.unfinished == 0
    changes = sorted({at for series in run.series for at in series.at})
    assert all(sum(_alive(series, at) for series in run.series) <= 5 for at in changes)
    assert sum(totals.refused for totals in run.groups) > 0


def _alive(series: object, at: float) -> int:
    steps = [alive for when, alive in zip(series.at, series.alive, strict=True) if when <= at]  # type: ignore[attr-defined]
    return steps[-1] if steps else 0


def test_what_a_policy_sees_is_as_old_as_the_lag() -> None:
    """With a lag of 20 s, a policy asked every 10 s orders at 20 s what it saw at 0 s."""
    seen_at: list[tuple[float, float]] = []

    @dataclass(frozen=True)
    class Watch(QueueDepth):
        def decide(self, seen: Observation, state: bool) -> tuple[Orders, bool]:
            seen_at.append((seen.taken_at, seen.now))
            return QueueDepth.decide(self, seen, state)

    world = one_pool(Group(boot=Fixed(60.0)), lag=20.0)
    run = replay(workload_of("one", [SimulatedJob(0, 10)]), world, Watch(idle_timeout=100.0, interval=10.0))
    assert seen_at[:2] == [(0.0, 20.0), (10.0, 30.0)]
    assert run.start[0] == 80.0
    # Ordered twice more before the first order was seen: what a policy that forgets its orders comes to.
    assert run.groups[0].started > 1


def test_a_replay_ends_where_no_node_ever_works() -> None:
    """Boots that fail for ever are no reason to go on for ever: after the world's patience the jobs are given up."""
    group = Group(boot=Fixed(100.0), boot_failure=1.0, boot_deadline=300.0)
    world = World((Pool("main", (group,)),), patience=4000.0)
    run = replay(workload_of("vain", [SimulatedJob(0.0, 60.0), SimulatedJob(10.0, 60.0)]), world, QueueDepth())
    assert run.unfinished == 2
    assert 3600.0 <= run.ended <= 4400.0
