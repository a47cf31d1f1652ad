"""What holds of the decision in every situation."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.assess import assess
from scheduler.autoscale.plan import Drain, GroupFleet, GroupHistory, Hold, Plan, ReasonKind, Remove, ScaleOut, Undrain
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, after, applied, group, node, plan_for

SPANS = st.sampled_from([timedelta(0), timedelta(seconds=30), timedelta(minutes=6), timedelta(minutes=20)])
DEMANDS = st.builds(
    PoolDemand,
    active_tasks=st.integers(0, 200),
    running_tasks=st.integers(0, 60),
    mean_task_seconds=st.none() | st.floats(0.1, 10_000),
    oldest_active_at=st.none() | SPANS.map(lambda span: NOW - 2 * span),
)
POLICIES = st.tuples(st.integers(0, 6), st.integers(0, 12)).map(
    lambda pair: ScalingPolicy(min_nodes=min(pair), max_nodes=max(pair))
)
HISTORIES = st.builds(
    GroupHistory,
    failed_boots=st.integers(0, 4),
    failed_boot_at=SPANS.map(lambda span: NOW - span),
    refused_at=st.none() | SPANS.map(lambda span: NOW - span),
    refused_kind=st.sampled_from(CapacityErrorKind),
    ordered_at=st.none() | SPANS.map(lambda span: NOW - span),
)
Situation = tuple[tuple[GroupFleet, ...], dict[GroupKey, GroupHistory]]


@st.composite
def members(draw: st.DrawFn, owner: NodeGroup, number: int, *, asked: bool) -> Node:
    """Draw a node in any phase that its life allows; a person may have asked for it to go."""
    phase = draw(st.sampled_from(NodePhase))
    ready = phase is not NodePhase.BOOTING and (phase is not NodePhase.LOST or draw(st.booleans()))
    busy = phase in {NodePhase.WORKING, NodePhase.DRAINING, NodePhase.LOST} and draw(st.booleans())
    idle = draw(SPANS) if phase is NodePhase.WORKING and not busy else None
    held = ("m1", "m2")[: owner.task_slots] if busy else ()
    drawn = node(number, phase, owner, idle=idle, age=draw(SPANS), held=held, ready=ready)
    return replace(drawn, drain_asked_at=NOW) if asked and draw(st.integers(0, 4)) == 0 else drawn


@st.composite
def situations(draw: st.DrawFn, *, retired: bool = True, known: bool = False) -> Situation:
    """Draw groups of one pool in any state, with their histories; `retired`: some nodes may have to go."""
    owners = [group(most=draw(st.integers(0, 10)))]
    if draw(st.booleans()):
        owners.append(group("spare", slots=draw(st.integers(1, 4)), most=draw(st.integers(0, 4))))
    if retired and draw(st.booleans()):
        owners.append(group(generation="g0", current=False))
    groups = []
    for owner in owners:
        nodes = tuple(draw(members(owner, number, asked=retired)) for number in range(draw(st.integers(0, 6))))
        kept = sum(each.phase not in {NodePhase.REMOVING, NodePhase.GONE} for each in nodes)
        unknown = None if known else draw(st.none() | st.just("throttled"))
        groups.append(GroupFleet(owner, nodes, kept + draw(st.integers(0, 3)), unknown))
    return tuple(groups), {owner.key: draw(HISTORIES) for owner in owners}


def total_asked_for(
    policy: ScalingPolicy, groups: tuple[GroupFleet, ...], history: Mapping[GroupKey, GroupHistory]
) -> dict[GroupKey, int]:
    """Machines that each group has or will have."""
    return {each.group.key: assess(each, history[each.group.key], policy, NOW).asked_for for each in groups}


def serving(policy: ScalingPolicy, groups: tuple[GroupFleet, ...], history: Mapping[GroupKey, GroupHistory]) -> int:
    """Slots of current groups that serve or will soon."""
    return sum(
        assess(each, history[each.group.key], policy, NOW).serving_slots for each in groups if each.group.current
    )


def quiet(plan: Plan) -> bool:
    """Whether a plan changes nothing."""
    return all(isinstance(action, Hold) for action in plan.actions)


@given(POLICIES, st.none() | DEMANDS, situations())
def test_every_group_appears_with_a_reason(policy: ScalingPolicy, demand: PoolDemand | None, now: Situation) -> None:
    """Every group has an action, a hold stands alone, and every reason has a sentence."""
    groups, history = now
    plan = plan_for(policy, demand, *groups, history=history)
    assert {action.group for action in plan.actions} == {each.group.key for each in groups}
    held = [action.group for action in plan.actions if isinstance(action, Hold)]
    acted = {action.group for action in plan.actions if not isinstance(action, Hold)}
    assert len(held) == len(set(held))
    assert acted.isdisjoint(held)
    assert all(action.reason.sentence for action in plan.actions)


@given(POLICIES, DEMANDS, situations())
def test_bounds_hold(policy: ScalingPolicy, demand: PoolDemand, now: Situation) -> None:
    """A plan never takes a group or the pool above its maximum, and never drains below the minimum."""
    groups, history = now
    plan = plan_for(policy, demand, *groups, history=history)
    before = total_asked_for(policy, groups, history)
    grown = total_asked_for(policy, applied(plan, groups), history)
    most = {each.group.key: each.group.max_nodes for each in groups}
    for key in before:
        assert grown[key] <= max(before[key], most[key])
    if any(isinstance(action, ScaleOut) for action in plan.actions):
        assert sum(grown.values()) <= policy.max_nodes
    if any(isinstance(action, Drain) and action.reason.kind is ReasonKind.IDLE for action in plan.actions):
        left = [each for each in applied(plan, groups) if each.group.current]
        assert sum(assess(each, history[each.group.key], policy, NOW).serving for each in left) >= policy.min_nodes


@given(POLICIES, DEMANDS, situations())
def test_only_what_may_go_goes(policy: ScalingPolicy, demand: PoolDemand, now: Situation) -> None:
    """Removed nodes are drained, lost or failed to boot; groups unread are held.

    Scale-in drains idle nodes only, besides those that a person asked to go, which are never taken back.
    """
    groups, history = now
    plan = plan_for(policy, demand, *groups, history=history)
    nodes = {member.node_id: member for each in groups for member in each.nodes}
    unknown = {each.group.key for each in groups if each.unknown is not None}
    retired = {each.group.key for each in groups if not each.group.current}
    for action in plan.actions:
        assert isinstance(action, Hold) or action.group not in unknown
        if isinstance(action, Remove):
            for name in action.nodes:
                phase = nodes[name].phase
                never_ready = nodes[name].ready_at is None and nodes[name].first_seen_at <= NOW - policy.boot_deadline
                assert phase in {NodePhase.DRAINED, NodePhase.LOST} or never_ready
        if isinstance(action, Drain) and action.group not in retired:
            asked = action.reason.kind is ReasonKind.ASKED_FOR
            assert all((nodes[name].drain_asked_at is not None) == asked for name in action.nodes)
            idle = (nodes[name].phase is NodePhase.WORKING and not nodes[name].held for name in action.nodes)
            assert asked or all(idle)
        if isinstance(action, Undrain):
            assert action.group not in retired
            assert all(nodes[name].drain_asked_at is None for name in action.nodes)
            assert all(nodes[name].phase in {NodePhase.DRAINING, NodePhase.DRAINED} for name in action.nodes)
    names = [name for action in plan.actions if not isinstance(action, Hold | ScaleOut) for name in action.nodes]
    assert len(names) == len(set(names))


@given(POLICIES, DEMANDS, situations())
def test_whom_a_person_asks_to_go_goes(policy: ScalingPolicy, demand: PoolDemand, now: Situation) -> None:
    """A node that a person asked to go is drained whatever the work and the minimum, where its group could be read."""
    groups, history = now
    drained = {
        name
        for action in plan_for(policy, demand, *groups, history=history).actions
        if isinstance(action, Drain | Remove)
        for name in action.nodes
    }
    for each in groups:
        for member in each.nodes:
            serves = member.phase in {NodePhase.WORKING, NodePhase.BOOTING}
            if each.unknown is None and serves and member.drain_asked_at is not None:
                assert member.node_id in drained


@given(POLICIES, DEMANDS, situations())
def test_a_plan_never_buys_and_drains(policy: ScalingPolicy, demand: PoolDemand, now: Situation) -> None:
    """No plan has both a scale-out and a drain for the pool."""
    groups, history = now
    kinds = {type(action) for action in plan_for(policy, demand, *groups, history=history).actions}
    assert not {ScaleOut, Drain} <= kinds


@given(POLICIES, situations())
def test_unknown_demand_holds(policy: ScalingPolicy, now: Situation) -> None:
    """Where the work could not be read, every group is held."""
    groups, history = now
    assert quiet(plan_for(policy, None, *groups, history=history))


@given(POLICIES, DEMANDS, situations())
def test_the_same_demand_settles(policy: ScalingPolicy, demand: PoolDemand, now: Situation) -> None:
    """Plans carried out one after another for the same demand come to rest, and none undoes another.

    Two may follow the first: an order put off until nodes that are to go drain, and, with groups of unequal slots, the
    drain of small idle nodes that a large one taken back makes needless.
    """
    groups, history = now
    drained: set[str] = set()
    for _ in range(3):
        plan = plan_for(policy, demand, *groups, history=history)
        for action in plan.actions:
            if isinstance(action, Undrain):
                assert drained.isdisjoint(action.nodes)
            if isinstance(action, Drain):
                drained.update(action.nodes)
        groups, history = applied(plan, groups), after(plan, history)
    assert quiet(plan_for(policy, demand, *groups, history=history))


@given(POLICIES, DEMANDS, situations(retired=False))
def test_deciding_again_changes_nothing(policy: ScalingPolicy, demand: PoolDemand, now: Situation) -> None:
    """With one group and nothing to retire, a plan that is carried out leaves nothing more to do."""
    groups, history = now
    first = plan_for(policy, demand, groups[0], history=history)
    assert quiet(plan_for(policy, demand, *applied(first, groups[:1]), history=after(first, history)))


@given(POLICIES, DEMANDS, st.integers(0, 50), st.integers(0, 50), st.floats(0, 100), situations(retired=False))
def test_more_work_never_means_fewer_slots(
    policy: ScalingPolicy, demand: PoolDemand, active: int, running: int, seconds: float, now: Situation
) -> None:
    """With more waiting or running tasks, or longer ones, a plan leaves at least as many slots."""
    groups, history = now
    more = replace(
        demand,
        active_tasks=demand.active_tasks + active,
        running_tasks=demand.running_tasks + running,
        mean_task_seconds=None if demand.mean_task_seconds is None else demand.mean_task_seconds + seconds,
    )
    plans = (plan_for(policy, each, *groups, history=history) for each in (demand, more))
    fewer, enough = (serving(policy, applied(plan, groups), after(plan, history)) for plan in plans)
    assert fewer <= enough


@given(POLICIES, DEMANDS, situations(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_does_not_matter(
    policy: ScalingPolicy, demand: PoolDemand, now: Situation, chance: Random
) -> None:
    """The same nodes in another order give the same plan."""
    groups, history = now
    shuffled = tuple(replace(each, nodes=tuple(chance.sample(each.nodes, len(each.nodes)))) for each in groups)
    assert plan_for(policy, demand, *groups, history=history) == plan_for(policy, demand, *shuffled, history=history)
