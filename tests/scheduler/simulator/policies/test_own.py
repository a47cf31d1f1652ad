"""Our policy in the simulator, asked only when it matters, decides as if it were asked at every interval."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.policy import Floor, ScalingPolicy, Weekday
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.run import Run
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Exponential, Fixed, Group, Measured, Pool, Quota, World, one_pool

# Times at which two deadlines of a policy fall together, or just miss each other, and times in between.
_SPANS = st.sampled_from([1, 5, 30, 60, 119, 120, 121, 300, 600, 900, 1205]) | st.integers(1, 4000)
POLICIES = st.builds(
    lambda wait, nodes, time, idle, deadline, failures, cost: ScalingPolicy(
        acceptable_wait=timedelta(seconds=wait),
        min_nodes=min(nodes),
        max_nodes=max(nodes),
        default_task_time=timedelta(seconds=time),
        idle_timeout=None if idle is None else timedelta(seconds=idle),
        boot_deadline=timedelta(seconds=deadline),
        max_failed_boots=failures,
        waiting_cost=cost,
    ),
    _SPANS,
    st.tuples(st.sampled_from([0, 0, 0, 2]), st.sampled_from([2, 5, 50])),
    _SPANS,
    st.none() | _SPANS,
    st.sampled_from([60, 300, 900]),
    st.integers(1, 3),
    st.sampled_from([1.0, 0.1, 30.0]),
)


@st.composite
def groups(draw: st.DrawFn, name: str) -> Group:
    """Draw nodes that boot in all kinds of times, fail to, are refused at times, and are taken away."""
    refused = draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 900)), max_size=2))
    return Group(
        name=name,
        slots=draw(st.integers(1, 4)),
        max_nodes=draw(st.sampled_from([None, 1, 4])),
        boot=draw(
            st.sampled_from(
                [Fixed(0.0), Fixed(120.0), Fixed(59.5), Exponential(200.0), Measured((30.0, 240.0, 1000.0))]
            )
        ),
        boot_failure=draw(st.sampled_from([0.0, 0.0, 0.5])),
        boot_deadline=draw(st.sampled_from([300.0, 900.0])),
        lifetime=draw(st.sampled_from([None, None, Exponential(2000.0)])),
        refused=tuple((float(begin), float(begin + length)) for begin, length in refused),
        initial=draw(st.sampled_from([0, 1, 3])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw one or two pools of one or two groups, which may share a quota."""
    names = "ab"[: draw(st.integers(1, 2))]
    pools = tuple(
        Pool(name, tuple(draw(groups(kind)) for kind in ("main", "spare")[: draw(st.integers(1, 2))])) for name in names
    )
    every = tuple(f"{pool.name}/{group.name}" for pool in pools for group in pool.groups)
    quotas = (Quota(every, draw(st.integers(1, 6))),) if draw(st.booleans()) else ()
    return World(pools, quotas, offset=float(draw(st.sampled_from([0, 0, 3]))), wind_down=1500.0, patience=4000.0)


@st.composite
def workloads(draw: st.DrawFn, pools: tuple[str, ...]) -> Workload:
    """Draw bursts and single jobs, short and long, some after others; long silences between them."""
    times = draw(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 6)), min_size=1, max_size=8))
    jobs: list[SimulatedJob] = []
    for submit, count in times:
        for _ in range(count):
            after = (draw(st.integers(0, len(jobs) - 1)),) if jobs and draw(st.integers(0, 3)) == 0 else ()
            jobs.append(SimulatedJob(submit, draw(_SPANS), after=after, pool=draw(st.sampled_from(pools))))
    return workload_of("drawn", jobs)


def supply(run: Run) -> list[list[tuple[float, ...]]]:
    """Give each pool's history up to its last job; when a replay is given up after that is nobody's decision."""
    steps = [zip(each.at, each.waiting, each.running, each.up, each.alive, strict=True) for each in run.series]
    return [[step for step in pool if step[0] < run.last_finish] for pool in steps]


@settings(deadline=None, max_examples=15)
@given(data=st.data(), world=worlds(), rules=POLICIES, interval=st.sampled_from([30.0, 47.0, 60.0]))
def test_a_question_left_out_changes_nothing(
    data: st.DataObject, world: World, rules: ScalingPolicy, interval: float
) -> None:
    """Over pools, groups, refusals, failed boots and nodes taken away: the same starts, ends, nodes, supply, costs."""
    workload = data.draw(workloads(tuple(pool.name for pool in world.pools)))
    skipping, asking = (
        replay(workload, world, own_policy(world, rules, interval=interval, skips=skips), seed=1)
        for skips in (True, False)
    )
    assert skipping.start.tobytes() == asking.start.tobytes()
    assert skipping.end.tobytes() == asking.end.tobytes()
    if asking.unfinished:
        return  # jobs were given up, at the next question or event, whichever came first
    assert skipping.groups == asking.groups
    assert supply(skipping) == supply(asking)
    assert skipping.questions <= asking.questions


def test_a_quota_that_nobody_told_of_is_found_out_one_node_at_a_time() -> None:
    """An order beyond the quota is refused whole; five minutes later one node is tried, and then as many as fit.

    With room for two the first order, for six, gets none, which is seen 5 s later; the second, for one, is given, and
    once that is seen the third, for five, is refused again: five minutes for each node, and never more than the quota.
    """
    world = World((Pool("pool", (Group(boot=Fixed(60.0)),)),), (Quota(("pool/nodes",), 2),))
    load = workload_of("six", [SimulatedJob(0, 3600) for _ in range(6)])
    run = replay(load, world, own_policy(world, ScalingPolicy(max_nodes=9)), seed=1)
    assert run.unfinished == 0
    assert run.groups[0].peak == 2
    assert sorted(run.start)[:2] == [5 + 300 + 60, 10 + 305 + 300 + 60]


def test_floors_go_by_the_clock_of_the_workload() -> None:
    """A floor from eight on is up at eight by the jobs' dates; without any, they begin as the year 2026 does."""
    world = one_pool(Group(boot=Fixed(120.0)))
    rules = ScalingPolicy(floors=(Floor(tuple(Weekday), time(8), time(9), "Europe/Zurich", 3),))
    load = workload_of("two", [SimulatedJob(0.0, 1.0), SimulatedJob(30_000.0, 1.0)])
    ups = []
    for begins_at in (None, datetime(2026, 7, 6, 4, 30, tzinfo=UTC)):
        run = replay(replace(load, begins_at=begins_at), world, own_policy(world, rules), seed=1)
        (series,) = run.series
        ups.append(next(at for at, up in zip(series.at, series.up, strict=True) if up == 3))
    assert ups == [7 * 3600.0, 90 * 60.0]


def test_a_boot_too_many_is_given_up_at_the_next_look() -> None:
    """Where the second group's nodes are larger, an order of both has a slot too many, and the small one goes again."""
    world = World((Pool("pool", (Group("small", max_nodes=1), Group("large", slots=3))),))
    load = workload_of("two", [SimulatedJob(0, 3600), SimulatedJob(0, 3600)])
    runs = [replay(load, world, own_policy(world, ScalingPolicy(), skips=skips), seed=1) for skips in (True, False)]
    assert [run.groups[0].boot_seconds for run in runs] == [5.0, 5.0]
    assert runs[0].groups == runs[1].groups
    assert runs[0].questions < runs[1].questions
