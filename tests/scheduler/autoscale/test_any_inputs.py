"""What holds of the decision whatever it is made from: pools that share bounds, gangs, Spot, and what is to come.

`test_decide_properties` has what one pool may be; here everything is drawn at once, as a stranger would put it.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from scheduler.autoscale.assess import assess
from scheduler.autoscale.inputs import Inputs, decide_on
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import Drain, Hold, Plan, ScaleOut, Undrain
from scheduler.model import NodePhase, PoolDemand
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from tests.scheduler.autoscale.anything import SEEDS, Kind, World
from tests.scheduler.autoscale.fleets import NOW, after, applied, kept, node
from tests.scheduler.autoscale.situations import quiet

# Money, Spot shares and gangs are counted in machines and not in slots: with them more work may mean other machines, of
# fewer slots.
SLOTS_ALONE = Kind(known=True, retired=False, gangs=False, spot=False, money=False)
often = settings(max_examples=max(250, int(os.environ.get("MILLPOND_EXPLORE", "0"))))


def carried_out(now: Inputs, plan: Plan) -> Inputs:
    """Give what there is once a plan is carried out, and nothing has come yet of what was ordered."""
    return replace(now, fleet=applied(plan, now.fleet), history=tuple(after(plan, dict(now.history)).items()))


def at_once(now: Inputs, plan: Plan) -> Inputs:
    """Give the same with ordered nodes listed already, and those taken back idle for as long as they have been."""
    later = carried_out(now, plan)
    idle = {member.node_id: member.idle_since for each in now.fleet for member in each.nodes}
    orders = {action.group: action.count for action in plan.actions if isinstance(action, ScaleOut)}
    fleet = []
    for each in later.fleet:
        there = tuple(replace(member, idle_since=idle[member.node_id]) for member in each.nodes)
        numbers = range(100, 100 + orders.get(each.group.key, 0))
        new = tuple(node(number, NodePhase.BOOTING, each.group, age=timedelta(0)) for number in numbers)
        fleet.append(replace(each, nodes=there + new))
    return replace(later, fleet=tuple(fleet))


# Once a large node that was bought for a single slot is listed, a small one is not needed any more.
@pytest.mark.parametrize(("carry", "kind"), [(carried_out, Kind()), (at_once, Kind(groups=1))])
@often
@given(seed=SEEDS)
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(
    carry: Callable[[Inputs, Plan], Inputs], kind: Kind, seed: int
) -> None:
    """Decided upon again at the same instant, all groups are held: nothing was put off, and no step is made twice."""
    now = World(seed, kind).inputs()
    again = decide_on(carry(now, decide_on(now)))
    assert quiet(again), again


def slots_of(now: Inputs, pool: str) -> int:
    """Count the slots that serve or will soon."""
    history = dict(now.history)
    own = [each for each in now.fleet if each.group.key.pool == pool and each.group.current]
    return sum(assess(each, history[each.group.key], now.policies[pool], NOW).serving_slots for each in own)


def working(now: Inputs, pool: str, demand: PoolDemand) -> Inputs:
    """Give a pool other work, and what it learns from that."""
    learned = observed(now.learned.get(pool, PoolHistory()), demand.active_tasks + demand.running_tasks, NOW)
    return replace(now, demand={**now.demand, pool: demand}, learned={**now.learned, pool: learned})


def busier(world: World, demand: PoolDemand) -> PoolDemand:
    """Draw work that is more in one way: of what waits or runs, how long it takes or has waited, or what is to come."""
    match world.chance.randrange(6):
        case 0:
            return replace(demand, active_tasks=demand.active_tasks + world.more())
        case 1:
            return replace(demand, running_tasks=demand.running_tasks + world.more())
        case 2:
            known = demand.mean_task_seconds
            return replace(demand, mean_task_seconds=None if known is None else known + world.more())
        case 3:
            oldest = demand.oldest_active_at or NOW
            return replace(demand, oldest_active_at=oldest - timedelta(seconds=world.chance.randint(1, 5000)))
        case 4:
            return replace(demand, foreseen=(*demand.foreseen, world.foreseen()))
        case _:
            more = tuple(replace(each, tasks=each.tasks + world.more()) for each in demand.foreseen)
            return replace(demand, foreseen=more)


@often
@given(SEEDS)
def test_more_work_never_means_fewer_slots(seed: int) -> None:
    """More work in any way, also as far as it is learned from or foreseen, leaves the pool at least as many slots."""
    world = World(seed, SLOTS_ALONE)
    now = world.inputs()
    pool = world.chance.choice(sorted(now.policies))
    demand = now.demand[pool]
    assert demand is not None
    more = working(now, pool, busier(world, demand))
    now = working(now, pool, demand)
    assert slots_of(carried_out(now, decide_on(now)), pool) <= slots_of(carried_out(more, decide_on(more)), pool)


def asking(world: World, policy: ScalingPolicy) -> ScalingPolicy:
    """Draw rules that ask for more: a higher minimum or maximum, a shorter acceptable wait, dearer waiting."""
    match world.chance.randrange(4):
        case 0:
            return replace(policy, min_nodes=world.chance.randint(policy.min_nodes, policy.max_nodes))
        case 1:
            return replace(policy, max_nodes=policy.max_nodes + world.more())
        case 2:
            return replace(policy, acceptable_wait=policy.acceptable_wait / world.chance.uniform(1, 100))
        case _:
            return replace(policy, waiting_cost=policy.waiting_cost + world.chance.uniform(0, 100))


@often
@given(SEEDS)
def test_an_owner_who_asks_for_more_never_gets_fewer_slots(seed: int) -> None:
    """Whatever is made more demanding of a pool's rules, its plan leaves at least as many slots."""
    world = World(seed, SLOTS_ALONE)
    now = world.inputs()
    pool = world.chance.choice(sorted(now.policies))
    more = replace(now, policies={**now.policies, pool: asking(world, now.policies[pool])})
    assert slots_of(carried_out(now, decide_on(now)), pool) <= slots_of(carried_out(more, decide_on(more)), pool)


@often
@given(SEEDS)
def test_what_is_drained_is_not_wanted_within_a_boot(seed: int) -> None:
    """Where nothing but time goes by, no scale-in is regretted: with gangs, too, or groups of unequal nodes."""
    now = World(seed, Kind(pools=1, retired=False, settled=True, floors=False, foreseen=False)).inputs()
    plan = decide_on(now)
    drained = {name for action in plan.actions if isinstance(action, Drain) for name in action.nodes}
    if not drained:
        return
    later = carried_out(now, plan)
    left = (
        replace(each, nodes=tuple(member for member in each.nodes if member.node_id not in drained))
        for each in later.fleet
    )
    gone = replace(later, fleet=tuple(replace(each, capacity=kept(each.nodes)) for each in left))
    horizon = max(past.boot_time or UNMEASURED_BOOT for _, past in now.history)
    for then in (later, gone):
        for part in (0.0, 0.5, 1.0):
            actions = decide_on(replace(then, now=NOW + part * horizon)).actions
            assert not any(isinstance(action, ScaleOut | Undrain) for action in actions)


@often
@given(SEEDS)
def test_the_same_inputs_give_the_same_plan(seed: int) -> None:
    """A decision has no memory and no chance; it says something of every group, and holds what could not be read."""
    now = World(seed, Kind(pools=3)).inputs()
    plan = decide_on(now)
    assert decide_on(World(seed, Kind(pools=3)).inputs()) == plan
    assert {action.group for action in plan.actions} == {each.group.key for each in now.fleet}
    unread = {each.group.key for each in now.fleet if each.unknown or now.demand[each.group.key.pool] is None}
    assert all(isinstance(action, Hold) for action in plan.actions if action.group in unread)
