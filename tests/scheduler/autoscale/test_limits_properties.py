"""What holds of quotas, budgets, steps and the Spot share, whatever the inputs: over several pools at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.assess import STEP_SPAN, assess
from scheduler.autoscale.decide import decide
from scheduler.autoscale.plan import Action, Drain, GroupFleet, GroupHistory, Hold, Plan, ReasonKind, ScaleOut
from scheduler.catalog import VM_SIZES, quotas_of
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import Limits, ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, applied, node

SIZES = ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_E4ds_v5", "Unheard_of")
QUOTAS = ("cores", "lowPriorityCores", "standardDSv5Family", "standardEDSv5Family")
SPANS = st.sampled_from([timedelta(seconds=20), timedelta(minutes=6), timedelta(minutes=20)])
REASONS_TO_WAIT = {
    ReasonKind.AT_MAXIMUM,
    ReasonKind.BUDGET,
    ReasonKind.QUOTA,
    ReasonKind.STEP,
    ReasonKind.CAPACITY_REFUSED,
    ReasonKind.BOOT_BREAKER,
    ReasonKind.ORDER_OVERDUE,
    ReasonKind.UNKNOWN_FLEET,
    ReasonKind.RETIRED,
}


@dataclass(frozen=True)
class Market:
    """Everything that a decision over several pools is made from."""

    policies: Mapping[str, ScalingPolicy]
    demand: Mapping[str, PoolDemand | None]
    fleet: tuple[GroupFleet, ...]
    history: Mapping[GroupKey, GroupHistory]
    limits: Limits

    def plan(self) -> Plan:
        """Decide."""
        return decide(self.policies, self.demand, self.fleet, self.history, NOW, limits=self.limits)

    def asked_for(self, fleet: tuple[GroupFleet, ...]) -> Mapping[GroupKey, int]:
        """Count the machines that each group has or will have."""
        policies, history = self.policies, self.history
        return {
            each.group.key: assess(each, history[each.group.key], policies[each.group.key.pool], NOW).asked_for
            for each in fleet
        }


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    """Draw objectives with or without each bound."""
    fewest, most = sorted((draw(st.integers(0, 4)), draw(st.integers(0, 30))))
    return ScalingPolicy(
        min_nodes=fewest,
        max_nodes=most,
        priority=draw(st.integers(0, 2)),
        budget_per_hour=draw(st.none() | st.floats(0, 5)),
        spot_share=draw(st.none() | st.floats(0, 1)),
        spot_fallback=draw(st.booleans()),
        max_step_out=draw(st.none() | st.integers(1, 8)),
        max_step_out_per_minute=draw(st.none() | st.integers(1, 8)),
    )


DEMANDS = st.builds(
    PoolDemand,
    active_tasks=st.integers(0, 200),
    running_tasks=st.integers(0, 20),
    mean_task_seconds=st.none() | st.floats(0.1, 10_000),
    oldest_active_at=st.none(),
)
HISTORIES = st.builds(
    GroupHistory,
    refused_at=st.none() | SPANS.map(lambda span: NOW - span),
    refused_kind=st.sampled_from(CapacityErrorKind),
    refusals=st.integers(0, 5),
    ordered_at=st.none() | SPANS.map(lambda span: NOW - span),
    evicted_at=st.lists(SPANS.map(lambda span: NOW - span), max_size=4).map(tuple),
)


@st.composite
def groups(draw: st.DrawFn, pool: str, name: str, *, current: bool) -> GroupFleet:
    """Draw a group with nodes in any phase."""
    owner = NodeGroup(
        key=GroupKey(pool, name, "g1" if current else "g0"),
        scale_set=f"vmss-{pool}-{name}-{current}",
        queue="q",
        vm_size=draw(st.sampled_from(SIZES)),
        priority=draw(st.sampled_from(GroupPriority)),
        task_slots=draw(st.integers(1, 4)),
        max_nodes=draw(st.integers(0, 20)),
        current=current,
        windows=draw(st.booleans()),
    )

    def member(number: int) -> Node:
        phase = draw(st.sampled_from(NodePhase))
        return node(number, phase, owner, age=draw(SPANS), idle=draw(SPANS) if phase is NodePhase.WORKING else None)

    nodes = tuple(member(number) for number in range(draw(st.integers(0, 3))))
    kept = sum(each.phase not in {NodePhase.REMOVING, NodePhase.GONE} for each in nodes)
    return GroupFleet(owner, nodes, kept + draw(st.integers(0, 2)), draw(st.sampled_from([None, None, "throttled"])))


@st.composite
def markets(draw: st.DrawFn, *, retired: bool = True) -> Market:
    """Draw up to three pools of up to three groups with everything that bounds them."""
    pools = [f"pool{number}" for number in range(draw(st.integers(1, 3)))]
    fleet = [
        draw(groups(pool, f"g{number}", current=True)) for pool in pools for number in range(draw(st.integers(1, 3)))
    ]
    if retired and draw(st.booleans()):
        fleet.append(draw(groups(pools[0], "g0", current=False)))
    quota = draw(st.dictionaries(st.sampled_from(QUOTAS), st.integers(0, 100)))
    return Market(
        policies={pool: draw(policies()) for pool in pools},
        demand={pool: draw(st.none() | DEMANDS) for pool in pools},
        fleet=tuple(fleet),
        history={each.group.key: draw(HISTORIES) for each in fleet},
        limits=Limits(quota, draw(st.none() | st.floats(0, 10))),
    )


def cost(market: Market, machines: Mapping[GroupKey, int], pool: str | None = None) -> float:
    """Add up the prices of machines, of one pool or of all; sizes that the catalogue lacks are worth nothing here."""
    total = 0.0
    for each in market.fleet:
        size = VM_SIZES.get(each.group.vm_size)
        if size is not None and pool in {None, each.group.key.pool}:
            spot = each.group.priority is GroupPriority.SPOT
            total += machines[each.group.key] * size.usd_per_hour(windows=each.group.windows, spot=spot)
    return total


def vcpus(market: Market, machines: Mapping[GroupKey, int], quota: str) -> int:
    """Add up the vCPUs that a quota counts."""
    return sum(
        machines[each.group.key] * VM_SIZES[each.group.vm_size].vcpus
        for each in market.fleet
        if each.group.vm_size in VM_SIZES
        and quota in quotas_of(each.group.vm_size, spot=each.group.priority is GroupPriority.SPOT)
    )


@given(markets())
def test_no_bound_is_exceeded(market: Market) -> None:
    """No plan buys above a bound of a group, a pool, a quota or a budget, with all counted that is there or to come."""
    plan = market.plan()
    bought = {action.group: action.count for action in plan.actions if isinstance(action, ScaleOut)}
    before, grown = market.asked_for(market.fleet), dict(market.asked_for(market.fleet))
    for key, count in bought.items():
        grown[key] += count
    by_key = {each.group.key: each.group for each in market.fleet}
    assert all(grown[key] <= by_key[key].max_nodes for key in bought)
    for pool, policy in market.policies.items():
        buys = [key for key in bought if key.pool == pool]
        if not buys:
            continue
        assert sum(count for key, count in grown.items() if key.pool == pool) <= policy.max_nodes
        if policy.budget_per_hour is not None:
            assert cost(market, grown, pool) <= policy.budget_per_hour + 1e-9
            assert all(by_key[key].vm_size in VM_SIZES for key in buys)
        if policy.max_step_out is not None:
            assert sum(bought[key] for key in buys) <= policy.max_step_out
    if bought and market.limits.budget_per_hour is not None:
        assert cost(market, grown) <= market.limits.budget_per_hour + 1e-9
    for quota, most in market.limits.quota.items():
        if vcpus(market, grown, quota) > vcpus(market, before, quota):
            assert vcpus(market, grown, quota) <= most


@given(markets())
def test_no_minute_sees_more_than_its_step(market: Market) -> None:
    """What is bought, together with what was first listed within the last minute, is within the step of a minute."""
    bought = [action for action in market.plan().actions if isinstance(action, ScaleOut)]
    for pool, policy in market.policies.items():
        most, count = policy.max_step_out_per_minute, sum(each.count for each in bought if each.group.pool == pool)
        lately = sum(
            member.phase is not NodePhase.GONE and NOW - member.first_seen_at < STEP_SPAN
            for each in market.fleet
            if each.group.key.pool == pool
            for member in each.nodes
        )
        assert most is None or count == 0 or count + lately <= most


@given(markets(), st.floats(0, 10))
def test_a_budget_that_falls_drains_nothing(market: Market, budget: float) -> None:
    """A smaller budget or none at all changes what is bought, and no drain."""
    wide, narrow = (replace(market, limits=replace(market.limits, budget_per_hour=each)) for each in (None, budget))
    drained, drained_too = (
        {(action.group, action.nodes) for action in each.plan().actions if isinstance(action, Drain)}
        for each in (wide, narrow)
    )
    assert drained == drained_too


def by_group(plan: Plan) -> Mapping[GroupKey, list[Action]]:
    """Sort actions by their groups."""
    sorted_: dict[GroupKey, list[Action]] = {}
    for action in plan.actions:
        sorted_.setdefault(action.group, []).append(action)
    return sorted_


@given(markets(), st.randoms(use_true_random=False))
def test_the_order_of_pools_and_nodes_does_not_matter(market: Market, chance: Random) -> None:
    """Pools and nodes in another order get the same actions; so do dictionaries that were filled in another one."""
    names = chance.sample(sorted(market.policies), len(market.policies))
    fleet = tuple(
        replace(each, nodes=tuple(chance.sample(each.nodes, len(each.nodes))))
        for name in names
        for each in market.fleet
        if each.group.key.pool == name
    )
    other = replace(
        market,
        fleet=fleet,
        policies={name: market.policies[name] for name in names},
        limits=replace(market.limits, quota=dict(reversed(market.limits.quota.items()))),
    )
    assert by_group(market.plan()) == by_group(other.plan())


@given(markets(retired=False))
def test_a_group_with_room_is_found(market: Market) -> None:
    """Where a pool still lacks nodes after a plan, no group that could be read had room within all bounds.

    A group is passed over only for the Spot share, and only where the owner allows no fall-back.
    """
    plan = market.plan()
    actions = by_group(plan)
    for pool, policy in market.policies.items():
        lacking = any(
            action.reason.kind in {ReasonKind.AT_MAXIMUM, ReasonKind.BUDGET, ReasonKind.QUOTA, ReasonKind.STEP}
            for each in market.fleet
            if each.group.key.pool == pool
            for action in actions[each.group.key]
        )
        if not lacking:
            continue
        for each in market.fleet:
            for action in actions[each.group.key] if each.group.key.pool == pool else ():
                strict = policy.spot_share is not None and not policy.spot_fallback
                allowed = REASONS_TO_WAIT | ({ReasonKind.SPOT_SHARE} if strict else set())
                assert not isinstance(action, Hold) or action.reason.kind in allowed


@given(markets(retired=False))
def test_after_its_plan_a_market_is_at_rest_but_for_steps(market: Market) -> None:
    """Once a plan is carried out, the next one for the same work buys nothing more, unless steps had held it back.

    After a quota's refusal one node is tried before the rest, which is a step, too.
    """
    free = {
        pool: replace(policy, max_step_out=None, max_step_out_per_minute=None)
        for pool, policy in market.policies.items()
    }
    untried = {
        key: replace(history, refused_kind=CapacityErrorKind.ALLOCATION) for key, history in market.history.items()
    }
    market = replace(market, policies=free, history=untried)
    orders = {action.group for action in market.plan().actions if isinstance(action, ScaleOut)}
    settled = {
        key: replace(history, ordered_at=NOW, refused_at=None) if key in orders else history
        for key, history in market.history.items()
    }
    fleet = applied(market.plan(), market.fleet)
    again = replace(market, fleet=fleet, history=settled).plan()
    assert not any(isinstance(action, ScaleOut) for action in again.actions)


@given(st.floats(0, 1), st.integers(1, 40))
def test_the_spot_share_is_the_nearest_whole_one(share: float, nodes: int) -> None:
    """From nothing, with room in both groups, the Spot nodes are the share of all, rounded."""
    fleet = tuple(
        GroupFleet(
            NodeGroup(GroupKey("p", priority.value, "g"), priority.value, "q", "Standard_D2s_v5", priority, 1, 100),
            (),
            0,
        )
        for priority in GroupPriority
    )
    policy = ScalingPolicy(max_nodes=100, spot_share=share)
    plan = decide({"p": policy}, {"p": PoolDemand(nodes, 0, 10_000.0, None)}, fleet, {}, NOW)
    bought = {action.group.name: action.count for action in plan.actions if isinstance(action, ScaleOut)}
    assert sum(bought.values()) == nodes
    assert bought.get("spot", 0) == math.floor(share * nodes + 0.5)
