"""Accounts by day: nothing is lost at midnight, and a replay's days are the replay."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import Decision, GroupKey, GroupPriority, NodeGroup, Sample
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from scheduler.simulator.days import Figures, Supply, account, recorded, replayed, world_of
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.report import report
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Fixed, Measured
from tests.scheduler.simulator.worlds import poisson

BEGIN = datetime(2026, 3, 1, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = GroupKey("render", "main", "g1")
INSTANTS = st.integers(0, 10**6).map(lambda seconds: BEGIN + timedelta(seconds=seconds))


def group(name: str = "main", slots: int = 2, priority: GroupPriority = GroupPriority.REGULAR) -> NodeGroup:
    """Make a current group."""
    return NodeGroup(GroupKey("render", name, "g1"), f"set-{name}", name, "Standard_D2s_v5", priority, slots, 40)


@given(
    st.lists(st.tuples(INSTANTS, st.floats(0, 1e5))),
    st.lists(st.tuples(INSTANTS, st.integers(0, 10**5), st.integers(0, 50))),
    st.lists(st.tuples(INSTANTS, st.integers(1, 9))),
)
def test_days_add_up(
    waits: list[tuple[datetime, float]],
    supply: list[tuple[datetime, int, int]],
    starts: list[tuple[datetime, int]],
) -> None:
    """Node-hours, starts and tasks of the days are those of the whole, and waits average to the same."""
    spans = [Supply(begin, begin + timedelta(seconds=length), nodes) for begin, length, nodes in supply]
    made = account("any", waits, spans, starts)
    days = [figures for _, figures in made.days]
    assert math.isclose(sum(day.node_hours for day in days), made.total.node_hours, abs_tol=1e-6)
    assert math.isclose(made.total.node_hours, sum(length * nodes for _, length, nodes in supply) / 3600, abs_tol=1e-6)
    assert sum(day.node_starts for day in days) == made.total.node_starts == sum(count for _, count in starts)
    assert sum(day.tasks for day in days) == made.total.tasks == len(waits)
    weighted = sum(day.mean_wait * day.tasks for day in days)
    assert math.isclose(weighted, sum(wait for _, wait in waits), abs_tol=1e-3)
    assert made.total.longest_wait == max((wait for _, wait in waits), default=0.0)
    assert all(day.mean_wait <= day.longest_wait + 1e-9 and day.p95_wait <= day.longest_wait for day in days)


def test_what_was_recorded_is_laid_out_by_day() -> None:
    """Waits count on the day of submission, nodes on the days that they were there, orders when they were made."""
    jobs = (SimulatedJob(0, 60, recorded_wait=30), SimulatedJob(7300, 60, recorded_wait=90), SimulatedJob(10, 60))
    samples = tuple(
        Sample(BEGIN + hour * HOUR, "render", 0, 0, 9, nodes, 0) for hour, nodes in ((-1, 7), (1, 2), (3, 4), (4, 0))
    )
    bought = Decision(BEGIN + HOUR, KEY, "scale_out", 2, (), "work")
    decisions = (
        Decision(BEGIN - HOUR, KEY, "scale_out", 7, (), ""),
        bought,
        Decision(BEGIN, KEY, "drain", 1, ("a",), ""),
    )
    made = recorded(workload_of("w", jobs), BEGIN, samples, decisions)
    first, second = Figures(7 + 2, 2, 1, 30, 30, 30), Figures(2 + 4, 0, 1, 90, 90, 90)
    assert made.days == ((date(2026, 3, 1), first), (date(2026, 3, 2), second))
    assert (made.total.node_hours, made.total.node_starts, made.total.mean_wait) == (15, 2, 60)


@pytest.mark.parametrize("groups", [(group(),), (group(), group("spare", 4, GroupPriority.SPOT))])
def test_a_replay_by_day_is_the_replay(groups: tuple[NodeGroup, ...]) -> None:
    """Node-hours and waits are those that the simulator reports; starts, too, where all nodes have as many slots."""
    workload = poisson(rate=1 / 40, mean_run=120, count=1500)
    policy, world = ScalingPolicy(max_nodes=30), world_of("render", groups, (100.0, 140.0))
    run = replay(workload, world, own_policy(world, policy))
    told, made = report(run), replayed("live", workload, BEGIN, world, policy)
    assert math.isclose(made.total.node_hours, told.node_hours, rel_tol=1e-6)
    assert (made.total.tasks, made.total.longest_wait) == (1500, told.waits.max)
    assert math.isclose(made.total.mean_wait, told.waits.mean)
    assert len(made.days) == 2
    if len(groups) == 1:
        assert made.total.node_starts == told.node_starts


def test_a_policy_that_pays_for_short_waits_is_told_from_one_that_does_not() -> None:
    """The same work with a shorter acceptable wait: more node-hours, shorter waits."""
    workload = poisson(rate=1 / 10, mean_run=60, count=3000)
    world = world_of("render", (group(slots=1),), (120.0,))
    slow = replayed("slow", workload, BEGIN, world, ScalingPolicy(max_nodes=40, waiting_cost=0.0))
    fast = replayed("fast", workload, BEGIN, world, ScalingPolicy(max_nodes=40, min_nodes=12))
    assert fast.total.mean_wait < slow.total.mean_wait
    assert fast.total.node_hours > slow.total.node_hours


def test_the_world_is_the_pools_own() -> None:
    """Slots, bounds, priority and price are those of the current groups; boots are those measured, if any were."""
    retired = NodeGroup(KEY, "old", "old", "Standard_D2s_v5", GroupPriority.REGULAR, 2, 9, current=False)
    world = world_of("render", (group(), group("spare", 4, GroupPriority.SPOT), retired), ())
    (main, spare) = world.pools[0].groups
    assert (main.name, main.slots, main.max_nodes, main.boot) == ("main", 2, 40, Fixed(UNMEASURED_BOOT.total_seconds()))
    assert (spare.spot, spare.slots) == (True, 4)
    assert 0 < spare.usd_per_hour < main.usd_per_hour
    assert world_of("render", (group(),), (7.0,)).pools[0].groups[0].boot == Measured((7.0,))
