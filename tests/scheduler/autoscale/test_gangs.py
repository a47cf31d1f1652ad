"""Nodes in whole gangs."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.gangs import keep_whole, nodes_for, whole_purchases
from scheduler.autoscale.plan import Drain, Hold, Reason, ReasonKind, Remove, ScaleOut
from scheduler.model import NodePhase
from scheduler.policy import ScalingPolicy
from tests.scheduler.autoscale.fleets import applied, fleet, group, node, plan_for, work

COUNTS = st.integers(0, 40)
GANGS = st.integers(1, 7)
WHY = Reason(ReasonKind.IDLE, "idle")
LONG = 36_000.0


@given(COUNTS, st.integers(1, 4), COUNTS, GANGS)
def test_needs_are_rounded_up_to_whole_gangs(slots: int, task_slots: int, least: int, gang: int) -> None:
    """The nodes have the slots, are as many as asked, are whole gangs, and no gang could be spared."""
    nodes = nodes_for(slots, task_slots, least, gang)
    assert nodes % gang == 0
    assert nodes * task_slots >= slots
    assert nodes >= least
    fewer = nodes - gang
    assert nodes == 0 or fewer * task_slots < slots or fewer < least


@given(st.lists(COUNTS, max_size=4), COUNTS, GANGS)
def test_purchases_complete_gangs(counts: list[int], serving: int, gang: int) -> None:
    """What is left of a purchase completes gangs or is nothing; less than a gang is left out."""
    asked = {group(f"g{number}").key: count for number, count in enumerate(counts)}
    kept = whole_purchases(asked, serving, gang)
    assert all(0 <= kept[key] <= asked[key] for key in asked)
    bought, left_out = sum(kept.values()), sum(asked.values()) - sum(kept.values())
    assert bought == 0 or (serving + bought) % gang == 0
    assert left_out < gang


@given(COUNTS, COUNTS, st.integers(0, 40), GANGS)
def test_no_gang_is_broken(drained: int, removed: int, staying: int, gang: int) -> None:
    """What stays is whole gangs, unless nothing goes; fewer nodes than a gang stay for it."""
    key, serving = group().key, drained + removed + staying
    names = [f"n{number}" for number in range(drained + removed)]
    going = (Remove(key, tuple(names[:removed]), WHY), Drain(key, tuple(names[removed:]), WHY))
    left = keep_whole(going, serving, gang)
    gone = sum(len(action.nodes) for action in left if isinstance(action, Drain | Remove))
    assert gone == 0 or (serving - gone) % gang == 0
    assert len(names) - gone < gang


FOURS = ScalingPolicy(max_nodes=10, gang_nodes=4, idle_timeout=timedelta(minutes=1))


@pytest.mark.parametrize(
    ("policy", "tasks", "there", "count"),
    [
        (FOURS, 1, 0, 4),
        (FOURS, 5, 0, 8),
        (FOURS, 50, 0, 8),
        (FOURS, 4, 3, 1),
        (replace(FOURS, max_nodes=7), 50, 4, 0),
    ],
)
def test_gangs_are_bought_whole(policy: ScalingPolicy, tasks: int, there: int, count: int) -> None:
    """Needs are rounded up to whole gangs, bounds down, and a gang that lost a node is completed."""
    owner = group(slots=1)
    now = fleet(owner, *(node(number, of=owner, held=("m",)) for number in range(there)))
    (action,) = plan_for(policy, work(tasks - there if tasks > there else 0, there, LONG), now).actions
    assert (action.count if isinstance(action, ScaleOut) else 0) == count
    if count == 0:
        assert isinstance(action, Hold)
        assert action.reason.kind is ReasonKind.GANG


@given(st.integers(0, 60), st.lists(st.booleans(), max_size=10))
def test_a_pool_of_gangs_comes_to_rest_with_whole_ones(tasks: int, busy: list[bool]) -> None:
    """From whole gangs, a plan leaves whole ones, whatever the work."""
    owner = group(slots=1)
    whole = busy[: len(busy) // 4 * 4]
    now = fleet(
        owner,
        *(
            node(number, of=owner, held=("m",) if each else (), idle=None if each else timedelta(minutes=9))
            for number, each in enumerate(whole)
        ),
    )
    plan = plan_for(FOURS, work(tasks, sum(whole), LONG), now)
    (after,) = applied(plan, (now,))
    going = sum(each.phase in {NodePhase.DRAINING, NodePhase.REMOVING} for each in after.nodes)
    assert (after.capacity - going) % 4 == 0
