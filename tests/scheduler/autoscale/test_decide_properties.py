"""What holds of the decision in every situation."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.assess import BACK_OFF
from scheduler.autoscale.decide import decide
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import (
    Action,
    Drain,
    GroupFleet,
    Hold,
    Plan,
    ReasonKind,
    Remove,
    ScaleOut,
    Undrain,
)
from scheduler.model import GroupKey, NodePhase, PoolDemand
from scheduler.policy import UNMEASURED_BOOT
from tests.scheduler.autoscale.fleets import NOW, POOL, kept
from tests.scheduler.autoscale.situations import Situation, quiet, situations


@given(situations())
def test_every_group_appears_with_a_reason(now: Situation) -> None:
    """Every group has an action, a hold stands alone, every reason has a sentence, and no action is about nothing."""
    plan = now.plan()
    assert {action.group for action in plan.actions} == {each.group.key for each in now.groups}
    held = [action.group for action in plan.actions if isinstance(action, Hold)]
    acted = {action.group for action in plan.actions if not isinstance(action, Hold)}
    assert len(held) == len(set(held))
    assert acted.isdisjoint(held)
    assert all(action.reason.sentence for action in plan.actions)
    assert all(_size(action) > 0 for action in plan.actions if not isinstance(action, Hold))


def _size(action: Action) -> int:
    match action:
        case Hold():
            return 0
        case ScaleOut():
            return action.count
        case _:
            return len(action.nodes)


@given(situations())
def test_bounds_hold(now: Situation) -> None:
    """A plan never takes a group or the pool above its maximum, and never drains below the minimum."""
    plan, later = now.plan(), now.carried_out()
    for before, grown in zip(now.assessed, later.assessed, strict=True):
        assert grown.asked_for <= max(before.asked_for, before.group.max_nodes)
    if any(isinstance(action, ScaleOut) for action in plan.actions):
        assert sum(each.asked_for for each in later.assessed) <= now.policy.max_nodes
    if gone_for_want_of_work(now):
        assert sum(each.serving for each in later.assessed if each.group.current) >= now.policy.min_nodes


@given(situations(known=True))
def test_the_minimum_is_asked_for(now: Situation) -> None:
    """Below the minimum as many are taken back and asked for as there is room; what has to go first, goes first."""
    now = now.undisturbed()
    plan, later = now.plan(), now.carried_out()
    if any(isinstance(action, Drain) for action in plan.actions):
        return
    current = [each for each in later.assessed if each.group.current]
    lacks = sum(each.serving for each in current) < now.policy.min_nodes
    full = sum(each.asked_for for each in later.assessed) >= now.policy.max_nodes
    closed = all(
        before.room == 0 or grown.asked_for - before.asked_for == before.room
        for before, grown in zip(now.assessed, later.assessed, strict=True)
        if before.group.current
    )
    assert not lacks or full or closed


@given(situations())
def test_no_more_is_asked_for_than_there_are_tasks(now: Situation) -> None:
    """Nodes are bought for tasks that there are or are expected, or for the minimum, the last one of an order too."""
    plan = now.plan()
    last = [action.group for action in plan.actions if isinstance(action, ScaleOut)][-1:]
    if not last:
        return
    task_slots = {each.group.key: each.group.task_slots for each in now.groups}
    gained = [(action.group, _size(action)) for action in plan.actions if isinstance(action, ScaleOut | Undrain)]
    expected = now.learned.recurrence.rises if now.learned is not None and now.policy.anticipate else ()
    tasks = max(now.demand.active_tasks + now.demand.running_tasks, *(rise.tasks for rise in expected), 0)
    slots = now.slots + sum(count * task_slots[key] for key, count in gained)
    serving = sum(each.serving for each in now.assessed if each.group.current) + sum(count for _, count in gained)
    assert slots - task_slots[last[0]] < tasks or serving <= now.policy.min_nodes


@given(situations())
def test_only_what_may_go_goes(now: Situation) -> None:
    """Removed nodes are drained, lost or failed to boot; groups unread are held.

    Scale-in drains idle nodes only, besides those that a person asked to go, which are never taken back.
    """
    plan, nodes = now.plan(), now.nodes
    unknown = {each.group.key for each in now.groups if each.unknown is not None}
    retired = {each.group.key for each in now.groups if not each.group.current}
    for action in plan.actions:
        assert isinstance(action, Hold) or action.group not in unknown
        assert not isinstance(action, ScaleOut | Undrain) or action.group not in retired
        if isinstance(action, Drain) and action.group not in retired:
            asked = action.reason.kind is ReasonKind.ASKED_FOR
            assert all((nodes[name].drain_asked_at is not None) == asked for name in action.nodes)
        if isinstance(action, Undrain):
            assert all(nodes[name].drain_asked_at is None for name in action.nodes)
            assert all(nodes[name].phase in {NodePhase.DRAINING, NodePhase.DRAINED} for name in action.nodes)
    names = [name for action in plan.actions if not isinstance(action, Hold | ScaleOut) for name in action.nodes]
    assert len(names) == len(set(names))


@given(situations())
def test_a_busy_node_is_never_picked(now: Situation) -> None:
    """A node that holds a message is drained only where its generation or a person says so, removed only when lost.

    Scale-in looks at what was seen and nothing else: the node works, and has been idle for some time up to now.
    """
    nodes = now.nodes
    for action in now.plan().actions:
        for name in action.nodes if isinstance(action, Drain | Remove) else ():
            member = nodes[name]
            if isinstance(action, Remove):
                never_ready = member.ready_at is None and member.first_seen_at <= NOW - now.policy.boot_deadline
                unneeded = action.reason.kind is ReasonKind.NOT_NEEDED and member.phase is NodePhase.BOOTING
                assert member.phase in {NodePhase.DRAINED, NodePhase.LOST} or never_ready or unneeded
                assert not member.held or member.phase is NodePhase.LOST
            elif action.reason.kind not in {ReasonKind.RETIRED, ReasonKind.ASKED_FOR}:
                assert member.phase is NodePhase.WORKING
                assert not member.held
                assert member.idle_since is not None
                assert member.idle_since < NOW


@given(situations(retired=False))
def test_a_busy_node_may_be_counted_in_place_of_named(now: Situation) -> None:
    """Where all that was asked for is listed and no step is counted, the plan is the same to the word."""
    rules = replace(now.policy, max_step_out=None, max_step_out_per_minute=None)
    listed = tuple(replace(each, capacity=kept(each.nodes)) for each in now.groups)
    named = replace(now, policy=rules, groups=listed)
    counted = replace(named, groups=tuple(_counted(each) for each in listed))
    assert counted.plan() == named.plan()


def _counted(fleet: GroupFleet) -> GroupFleet:
    busy = [node for node in fleet.nodes if node.phase is NodePhase.WORKING and node.held and node.ready_at]
    return replace(fleet, nodes=tuple(node for node in fleet.nodes if node not in busy), busy=len(busy))


@given(situations())
def test_whom_a_person_asks_to_go_goes(now: Situation) -> None:
    """A node that a person asked to go is drained whatever the work and the minimum, where its group could be read."""
    drained = {name for action in now.plan().actions if isinstance(action, Drain | Remove) for name in action.nodes}
    for each in now.groups:
        for member in each.nodes:
            serves = member.phase in {NodePhase.WORKING, NodePhase.BOOTING}
            if each.unknown is None and serves and member.drain_asked_at is not None:
                assert member.node_id in drained


@given(situations())
def test_a_plan_never_buys_and_lets_go(now: Situation) -> None:
    """No plan buys for the pool and lets nodes go for want of work; what retires, or was asked to go, goes anyway."""
    assert not (gone_for_want_of_work(now) and any(isinstance(action, ScaleOut) for action in now.plan().actions))


@given(situations())
def test_what_drains_is_taken_back_before_any_is_bought(now: Situation) -> None:
    """Where nodes are bought, none of a current group that could be read goes on draining, unless it was asked to."""
    plan = now.plan()
    if not any(isinstance(action, ScaleOut) for action in plan.actions):
        return
    taken_back = {name for action in plan.actions if isinstance(action, Undrain) for name in action.nodes}
    for each in now.assessed:
        if each.group.current and each.unknown is None:
            for member in each.draining + each.drained:
                assert member.node_id in taken_back or member.drain_asked_at is not None


@given(situations())
def test_a_set_that_refused_is_left_alone_for_a_time(now: Situation) -> None:
    """Within the back-off of its kind nothing is asked of a set; after boots that failed, one node at a time."""
    for action in now.plan().actions:
        if not isinstance(action, ScaleOut):
            continue
        past = now.history[action.group]
        if past.refused_at is not None and past.refused_kind is not None:
            assert past.refused_at + BACK_OFF[past.refused_kind] <= NOW
        if past.failed_boots >= now.policy.max_failed_boots and past.failed_boot_at is not None:
            assert past.failed_boot_at + now.policy.boot_deadline <= NOW
            assert action.count == 1


@given(situations(), st.booleans())
def test_unknown_demand_holds(now: Situation, missing: bool) -> None:
    """Where the work could not be read, every group is held, whatever else is to be done."""
    demand: dict[str, PoolDemand | None] = {} if missing else {POOL: None}
    plan = decide({POOL: now.policy}, demand, now.groups, now.history, NOW, learned=now.known)
    assert quiet(plan)
    assert all(action.reason.kind is ReasonKind.UNKNOWN_DEMAND for action in plan.actions)


@given(situations())
def test_without_what_could_not_be_read_there_is_enough(now: Situation) -> None:
    """Nodes go for idleness only while the groups that could be read have slots for all that runs, by themselves."""
    plan = now.plan()
    if any(isinstance(action, Drain) and action.reason.kind is ReasonKind.IDLE for action in plan.actions):
        later = now.carried_out()
        readable = replace(later, groups=tuple(each for each in later.groups if each.unknown is None))
        on_retired = sum(
            len(member.held)
            for each in now.groups
            if not each.group.current
            for member in each.nodes
            if member.phase is not NodePhase.GONE
        )
        assert readable.slots >= now.demand.running_tasks - on_retired


@given(situations())
def test_no_node_goes_for_one_that_is_not_there_yet(now: Situation) -> None:
    """Boots are given up, and idle nodes drained, as if nothing more were on its way: an order may come to nothing."""
    alone = replace(now, groups=tuple(replace(each, capacity=kept(each.nodes)) for each in now.groups))
    assert gone_for_want_of_work(now) <= gone_for_want_of_work(alone)


def gone_for_want_of_work(now: Situation) -> set[str]:
    """Name the nodes that are let go as there is no work for them."""
    kinds = {ReasonKind.IDLE, ReasonKind.NOT_NEEDED}
    goes = [action for action in now.plan().actions if isinstance(action, Drain | Remove)]
    return {name for action in goes if action.reason.kind in kinds for name in action.nodes}


@given(situations())
def test_the_same_demand_settles(now: Situation) -> None:
    """Plans carried out one after another for the same demand come to rest, and none undoes another."""
    drained: set[str] = set()
    for _ in range(4):
        for action in now.plan().actions:
            if isinstance(action, Undrain):
                assert drained.isdisjoint(action.nodes)
            if isinstance(action, Drain):
                drained.update(action.nodes)
        now = now.carried_out()
    assert quiet(now.plan())


@given(situations(groups=1, retired=False))
def test_deciding_again_changes_nothing(now: Situation) -> None:
    """With one group and nothing to retire, a plan that is carried out leaves nothing more to do."""
    assert quiet(now.undisturbed().carried_out().plan())


@given(situations(retired=False), st.integers(0, 50) | st.integers(0, 1_000_000))
def test_more_waiting_tasks_never_mean_fewer_slots(now: Situation, more: int) -> None:
    """With more waiting tasks a plan leaves at least as many slots."""
    busier = replace(now, demand=replace(now.demand, active_tasks=now.demand.active_tasks + more))
    assert now.carried_out().slots <= busier.carried_out().slots


@given(situations(retired=False), st.integers(0, 50), st.floats(0, 100))
def test_more_or_longer_running_tasks_never_mean_fewer_slots(now: Situation, running: int, seconds: float) -> None:
    """With more running tasks, or longer ones, a plan leaves at least as many slots."""
    known = now.demand.mean_task_seconds
    busier = replace(
        now.demand,
        running_tasks=now.demand.running_tasks + running,
        mean_task_seconds=None if known is None else known + seconds,
    )
    assert now.carried_out().slots <= replace(now, demand=busier).carried_out().slots


@given(situations(settled=True, retired=False))
def test_no_scale_in_is_regretted_within_a_boot(now: Situation) -> None:
    """Where nothing but time goes by, what was drained for idleness is not asked for again within a boot time."""
    plan, later = now.plan(), now.carried_out()
    drained = {name for action in plan.actions if isinstance(action, Drain) for name in action.nodes}
    if not drained:
        return
    left = tuple(
        replace(each, nodes=tuple(member for member in each.nodes if member.node_id not in drained))
        for each in later.groups
    )
    gone = tuple(
        replace(each, capacity=sum(member.phase is not NodePhase.REMOVING for member in each.nodes)) for each in left
    )
    horizon = max(past.boot_time or UNMEASURED_BOOT for past in now.history.values())
    for part in (0.0, 0.5, 1.0):
        for groups in (later.groups, gone):
            then = replace(later, groups=groups).plan(NOW + part * horizon)
            assert not any(isinstance(action, ScaleOut | Undrain) for action in then.actions)


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_does_not_matter(now: Situation, chance: Random) -> None:
    """The same nodes in another order give the same plan."""
    shuffled = tuple(replace(each, nodes=tuple(chance.sample(each.nodes, len(each.nodes)))) for each in now.groups)
    assert now.plan() == replace(now, groups=shuffled).plan()


@given(situations(), situations(), st.randoms(use_true_random=False))
def test_pools_do_not_matter_to_each_other_nor_does_their_order(
    now: Situation, other: Situation, chance: Random
) -> None:
    """A pool's actions are those that it gets alone, wherever its groups, rules and work stand among another pool's."""
    elsewhere = tuple(_moved(each, "other") for each in other.groups)
    between = [*now.groups, *elsewhere]
    places = sorted(range(len(between)), key=lambda _: chance.random())
    # Groups of a pool stay in the order in which they are declared.
    mine, theirs = iter(now.groups), iter(elsewhere)
    fleet = tuple(next(mine) if place < len(now.groups) else next(theirs) for place in places)
    history = [*now.history.items(), *((_elsewhere(key, "other"), past) for key, past in other.history.items())]
    policies = [(POOL, now.policy), ("other", other.policy)]
    demands = [(POOL, now.demand), ("other", other.demand)]
    learned = [(POOL, now.learned or PoolHistory()), ("other", other.learned or PoolHistory())]
    for each in (history, policies, demands, learned):
        chance.shuffle(each)
    plan = decide(dict(policies), dict(demands), fleet, dict(history), NOW, learned=dict(learned))
    alone = replace(now, learned=now.learned or PoolHistory())
    assert Plan(tuple(action for action in plan.actions if action.group.pool == POOL)) == alone.plan()


def _elsewhere(key: GroupKey, pool: str) -> GroupKey:
    return replace(key, pool=pool)


def _moved(each: GroupFleet, pool: str) -> GroupFleet:
    key = _elsewhere(each.group.key, pool)
    nodes = tuple(replace(member, group=key) for member in each.nodes)
    return replace(each, group=replace(each.group, key=key), nodes=nodes)
