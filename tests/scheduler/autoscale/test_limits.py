"""Quotas, budgets, steps and Spot shares in known situations."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.assess import BACK_OFF, LONGEST_BACK_OFF, back_off
from scheduler.autoscale.decide import decide
from scheduler.autoscale.plan import GroupFleet, GroupHistory, Hold, Plan, ReasonKind, ScaleOut
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, GroupPriority, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, fleet, node

MINUTE = timedelta(minutes=1)
# Long tasks: one slot, and so one node, for each.
LONG = 36_000.0
ROOMY = ScalingPolicy(max_nodes=100)
HALF = replace(ROOMY, spot_share=0.5)


def group(
    pool: str, priority: GroupPriority = GroupPriority.REGULAR, size: str = "Standard_D4s_v5", slots: int = 1
) -> NodeGroup:
    """Make a group of a pool, called as its machines are bought."""
    key = GroupKey(pool, priority.value, "g1")
    return NodeGroup(key, f"set-{pool}-{priority.value}", "q", size, priority, slots, 100)


def both(pool: str = "a") -> tuple[GroupFleet, GroupFleet]:
    """Make an empty regular group and an empty Spot group."""
    return fleet(group(pool)), fleet(group(pool, GroupPriority.SPOT))


def plan_of(
    policies: dict[str, ScalingPolicy],
    tasks: dict[str, int],
    *groups: GroupFleet,
    limits: Limits = NO_LIMITS,
    history: dict[GroupKey, GroupHistory] | None = None,
) -> Plan:
    """Decide for pools with so many long tasks each."""
    demand = {pool: PoolDemand(count, 0, LONG, None) for pool, count in tasks.items()}
    return decide(policies, demand, groups, history or {}, NOW, limits=limits)


def bought(plan: Plan) -> dict[str, int]:
    """Give what is bought, as pool/group."""
    return {
        f"{action.group.pool}/{action.group.name}": action.count
        for action in plan.actions
        if isinstance(action, ScaleOut)
    }


def held(plan: Plan) -> dict[str, ReasonKind]:
    """Give why groups are held, as pool/group."""
    return {
        f"{action.group.pool}/{action.group.name}": action.reason.kind
        for action in plan.actions
        if isinstance(action, Hold)
    }


# D4s_v5: 4 vCPUs, 0.192 dollars an hour.
@pytest.mark.parametrize(
    ("limits", "tasks", "priorities", "expected"),
    [
        # 10 machines for 6 and 12 wanted: a third and two thirds are 3.33 and 6.67.
        (Limits({"standardDSv5Family": 40}), (6, 12), (0, 0), {"a/regular": 3, "b/regular": 7}),
        (Limits(budget_per_hour=1.92), (6, 12), (0, 0), {"a/regular": 3, "b/regular": 7}),
        (Limits(budget_per_hour=1.92), (6, 12), (0, 1), {"b/regular": 10}),
        (Limits(budget_per_hour=1.92), (6, 12), (1, 0), {"a/regular": 6, "b/regular": 4}),
        (Limits(budget_per_hour=0.2), (1, 100), (0, 0), {"b/regular": 1}),
        (Limits({"cores": 39}), (6, 12), (0, 0), {"a/regular": 3, "b/regular": 6}),
        (Limits({"standardDSv5Family": 400}, 192), (6, 12), (0, 0), {"a/regular": 6, "b/regular": 12}),
        (Limits({"lowPriorityCores": 0}), (6, 12), (0, 0), {"a/regular": 6, "b/regular": 12}),
    ],
)
def test_what_is_short_is_shared(
    limits: Limits, tasks: tuple[int, int], priorities: tuple[int, int], expected: dict[str, int]
) -> None:
    """Pools of a higher priority come first; equals share in proportion, whole machines by the largest remainder."""
    policies = {pool: replace(ROOMY, priority=rank) for pool, rank in zip("ab", priorities, strict=True)}
    work = dict(zip("ab", tasks, strict=True))
    plan = plan_of(policies, work, fleet(group("a")), fleet(group("b")), limits=limits)
    assert bought(plan) == expected


def test_what_is_there_in_any_phase_counts() -> None:
    """Nodes that drain, boot or are being removed, and orders not listed yet, take of a quota and a budget."""
    owner = group("a")
    phases = (NodePhase.DRAINING, NodePhase.BOOTING, NodePhase.REMOVING)
    nodes = tuple(node(number, phase, owner, age=MINUTE, ready=False) for number, phase in enumerate(phases))
    there = replace(fleet(owner, *nodes), capacity=3)
    history = {owner.key: GroupHistory(ordered_at=NOW - MINUTE)}
    plan = plan_of({"a": ROOMY}, {"a": 50}, there, limits=Limits({"cores": 24}), history=history)
    assert bought(plan) == {"a/regular": 2}
    (action, *_) = (action for action in plan.actions if isinstance(action, ScaleOut))
    assert "no more, since the quota cores is 24 vCPUs" in action.reason.sentence


@pytest.mark.parametrize(
    ("policy", "limits", "kind", "words"),
    [
        (replace(ROOMY, budget_per_hour=0.1), NO_LIMITS, ReasonKind.BUDGET, "the pool's machines may cost 0.1 dollars"),
        (ROOMY, Limits(budget_per_hour=0.1), ReasonKind.BUDGET, "the machines of all pools may cost 0.1 dollars"),
        (ROOMY, Limits({"cores": 3}), ReasonKind.QUOTA, "the quota cores is 3 vCPUs"),
        (replace(ROOMY, max_nodes=0), NO_LIMITS, ReasonKind.AT_MAXIMUM, "at its maximum of 0 nodes"),
    ],
)
def test_the_reason_says_which_bound_held(policy: ScalingPolicy, limits: Limits, kind: ReasonKind, words: str) -> None:
    """A group that could not buy says by its kind and its numbers what held it back."""
    (action,) = plan_of({"a": policy}, {"a": 5}, fleet(group("a")), limits=limits).actions
    assert isinstance(action, Hold)
    assert action.reason.kind is kind
    assert words in action.reason.sentence


def test_a_step_bounds_one_decision_over_all_groups() -> None:
    """With a step, a decision asks for no more nodes than that, and says so."""
    plan = plan_of({"a": replace(HALF, max_step_out=3)}, {"a": 50}, *both())
    assert sum(bought(plan).values()) == 3
    assert all("at most 3 at a time" in action.reason.sentence for action in plan.actions)


def test_a_minutes_step_counts_what_came_within_it() -> None:
    """What was first listed within the last minute, and what is not listed yet, counts as asked for within it."""
    owner = group("a")
    there = fleet(owner, node(1, NodePhase.BOOTING, owner, age=MINUTE / 2), node(2, of=owner), ordered=1)
    history = {owner.key: GroupHistory(ordered_at=NOW - MINUTE / 3)}
    policy = replace(ROOMY, max_step_out_per_minute=5)
    assert bought(plan_of({"a": policy}, {"a": 50}, there, history=history)) == {"a/regular": 3}
    later = {owner.key: GroupHistory(ordered_at=NOW - 2 * MINUTE)}
    assert bought(plan_of({"a": policy}, {"a": 50}, there, history=later)) == {"a/regular": 4}


def test_machines_without_a_price_are_not_bought_from_a_budget() -> None:
    """A size that the catalogue lacks may not be bought where its money or its vCPUs would count."""
    unknown = fleet(group("a", size="Standard_X1"))
    assert bought(plan_of({"a": ROOMY}, {"a": 5}, unknown)) == {"a/regular": 5}
    assert not bought(plan_of({"a": ROOMY}, {"a": 5}, unknown, limits=Limits(budget_per_hour=100)))
    assert not bought(plan_of({"a": ROOMY}, {"a": 5}, unknown, limits=Limits({"cores": 100})))


def test_windows_costs_its_licence() -> None:
    """A budget buys fewer Windows machines: 0.376 dollars each in place of 0.192."""
    windows = fleet(replace(group("a"), windows=True))
    assert bought(plan_of({"a": replace(ROOMY, budget_per_hour=1.92)}, {"a": 50}, windows)) == {"a/regular": 5}


REFUSED = GroupHistory(refused_at=NOW - MINUTE, refused_kind=CapacityErrorKind.ALLOCATION, refusals=1)
EVICTED = GroupHistory(evicted_at=(NOW - 3 * MINUTE, NOW - 2 * MINUTE))
SPOT_KEY = group("a", GroupPriority.SPOT).key
REGULAR_KEY = group("a").key


@pytest.mark.parametrize(
    ("policy", "history", "limits", "expected"),
    [
        (HALF, {}, NO_LIMITS, {"a/regular": 5, "a/spot": 5}),
        (replace(HALF, spot_share=0.8), {}, NO_LIMITS, {"a/regular": 2, "a/spot": 8}),
        (replace(HALF, spot_share=0.0), {}, NO_LIMITS, {"a/regular": 10}),
        (replace(HALF, spot_share=1.0), {}, NO_LIMITS, {"a/spot": 10}),
        (HALF, {SPOT_KEY: REFUSED}, NO_LIMITS, {"a/regular": 10}),
        (HALF, {SPOT_KEY: EVICTED}, NO_LIMITS, {"a/regular": 10}),
        (HALF, {SPOT_KEY: EVICTED}, Limits({"cores": 12}), {"a/regular": 3, "a/spot": 7}),
        (HALF, {SPOT_KEY: replace(EVICTED, evicted_at=(NOW - MINUTE,))}, NO_LIMITS, {"a/regular": 5, "a/spot": 5}),
        (HALF, {}, Limits({"lowPriorityCores": 8}), {"a/regular": 8, "a/spot": 2}),
        (HALF, {REGULAR_KEY: REFUSED}, NO_LIMITS, {"a/spot": 10}),
        (replace(HALF, spot_fallback=False), {SPOT_KEY: REFUSED}, NO_LIMITS, {"a/regular": 5}),
        (replace(HALF, spot_fallback=False), {SPOT_KEY: EVICTED}, NO_LIMITS, {"a/regular": 5, "a/spot": 5}),
    ],
)
def test_spot_nodes_are_a_share_and_others_stand_in(
    policy: ScalingPolicy, history: dict[GroupKey, GroupHistory], limits: Limits, expected: dict[str, int]
) -> None:
    """Spot gives its share; what is refused, evicted or over quota the other kind gives, where that is allowed."""
    assert bought(plan_of({"a": policy}, {"a": 10}, *both(), limits=limits, history=history)) == expected


def test_without_fall_back_the_spot_share_is_the_reason() -> None:
    """A regular group with room that may not stand in says so."""
    policy = replace(HALF, spot_share=1.0, spot_fallback=False)
    plan = plan_of({"a": policy}, {"a": 10}, *both(), history={SPOT_KEY: REFUSED})
    assert held(plan) == {"a/regular": ReasonKind.SPOT_SHARE, "a/spot": ReasonKind.CAPACITY_REFUSED}


def test_spot_is_come_back_to() -> None:
    """After regular nodes have stood in, the next nodes are Spot until the share is right again."""
    regular, spot = group("a"), group("a", GroupPriority.SPOT)
    there = fleet(regular, *(node(number, of=regular, held=("m",)) for number in range(6)))
    demand = {"a": PoolDemand(4, 6, LONG, None)}
    plan = decide({"a": HALF}, demand, (there, fleet(spot)), {}, NOW)
    assert bought(plan) == {"a/spot": 4}


@given(st.sampled_from(CapacityErrorKind), st.integers(0, 10_000))
def test_refusals_in_a_row_are_waited_out_for_ever_longer(kind: CapacityErrorKind, refusals: int) -> None:
    """Each refusal in a row doubles the time, up to the longest; the first one has the time of its kind."""
    time, longer = back_off(kind, refusals), back_off(kind, refusals + 1)
    assert BACK_OFF[kind] <= time <= longer <= max(LONGEST_BACK_OFF, BACK_OFF[kind])
    if refusals >= 1:
        assert longer == max(BACK_OFF[kind], min(2 * time, LONGEST_BACK_OFF))
    else:
        assert longer == BACK_OFF[kind]
