"""The inputs of a decision, as one record: decided upon again they give the same."""

from dataclasses import fields, replace
from inspect import signature

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.decide import decide
from scheduler.autoscale.inputs import DecisionRecord, Inputs, bearing, decide_on, record_of, weigh_pool
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Plan, decision_of
from scheduler.model import GroupKey, PoolDemand
from scheduler.policy import ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, POOL, fleet, group, node, work
from tests.scheduler.autoscale.situations import DEMANDS, FLEETS, LEARNED, POLICIES, Fleets


def two_pools(
    policy: ScalingPolicy, demand: PoolDemand | None, situation: Fleets, learned: PoolHistory | None = None
) -> Inputs:
    """Give the inputs of a step over the pool in a situation and another pool that has work and a node."""
    groups, history = situation
    other = replace(group(), key=GroupKey("other", "main", "g1"))
    idle = fleet(other, node(1, of=other))
    return Inputs(
        policies={POOL: policy, "other": ScalingPolicy(max_nodes=4)},
        demand={POOL: demand, "other": work(active=9)},
        fleet=(*groups, idle),
        history=tuple(history.items()),
        now=NOW,
        learned={} if learned is None else {POOL: learned, "other": PoolHistory(demand=1)},
    )


def test_nothing_is_decided_from_that_is_not_kept() -> None:
    """Every argument of `decide` is a field of the record, so that none can be left out of what is replayed."""
    kept = {each.name for each in fields(Inputs)}
    assert kept - {"proposed"} == set(signature(decide).parameters)


@given(POLICIES, st.none() | DEMANDS, FLEETS, st.none() | LEARNED)
def test_a_record_gives_the_same_decision(
    policy: ScalingPolicy, demand: PoolDemand | None, situation: Fleets, learned: PoolHistory | None
) -> None:
    """The inputs decide as `decide` does, and a pool's record, without the other pool, as the whole step did."""
    inputs = two_pools(policy, demand, situation, learned)
    plan = decide(inputs.policies, inputs.demand, inputs.fleet, dict(inputs.history), NOW, learned=inputs.learned)
    assert decide_on(inputs) == plan
    for pool in (POOL, "other"):
        record = record_of(inputs, plan, pool)
        assert record.inputs == inputs.of(pool)
        assert record.replay() == record.decided
        assert record.decided == tuple(decision_of(each, NOW) for each in plan.actions if each.group.pool == pool)


def test_only_the_pools_own_part_is_kept() -> None:
    """What is about other pools is left out, in every field."""
    inputs = two_pools(ScalingPolicy(), work(active=3), ((fleet(group()),), {}))
    own = inputs.of("other")
    assert (set(own.policies), set(own.demand)) == ({"other"}, {"other"})
    assert {each.group.key.pool for each in own.fleet} == {"other"}
    assert own.history == ()
    assert inputs.of("nobody") == Inputs({}, {}, (), (), NOW)


def test_where_pools_depend_on_each_other_all_is_kept() -> None:
    """A decision that does not follow from the pool's own part is kept with all that the step was decided from."""
    inputs = two_pools(ScalingPolicy(), work(active=3), ((fleet(group()),), {}))
    plan = decide_on(inputs)
    halved = Plan(plan.actions[1:])
    assert record_of(inputs, halved, POOL) == DecisionRecord(POOL, inputs, ())


def test_unknown_work_is_not_weighed() -> None:
    """Where a pool's work could not be read there is nothing to tell of; else there are its slots and groups."""
    assert weigh_pool(two_pools(ScalingPolicy(), None, ((fleet(group()),), {})), POOL) is None
    weighed = weigh_pool(two_pools(ScalingPolicy(), work(active=3), ((fleet(group()),), {})), POOL)
    assert weighed is not None
    assert (weighed.wanted.slots > 0, len(weighed.groups)) == (True, 1)


@given(POLICIES, POLICIES, st.none() | DEMANDS, FLEETS)
def test_a_proposed_policy_decides_in_place_of_the_live_one(
    policy: ScalingPolicy, proposal: ScalingPolicy, demand: PoolDemand | None, situation: Fleets
) -> None:
    """A record says what the proposed policy would have done with the same nodes; the live decision is untouched."""
    inputs = two_pools(policy, demand, situation)
    plan = decide_on(inputs)
    beside = replace(inputs, proposed={POOL: proposal})
    assert decide_on(beside) == plan
    record = record_of(beside, plan, POOL)
    other = decide({POOL: proposal}, {POOL: demand}, situation[0], situation[1], NOW)
    assert record.would_be() == tuple(decision_of(each, NOW) for each in other.actions)
    assert record.decided == record_of(inputs, plan, POOL).decided
    assert record_of(beside, plan, "other").would_be() is None


def test_the_bearing_changes_with_policies_and_ways_alone() -> None:
    """More of the same work is no news of a proposal; another way to go, or another policy, is."""

    def seen(waiting: int, proposal: ScalingPolicy | None = None) -> tuple[object, ...]:
        inputs = two_pools(ScalingPolicy(), work(active=waiting), ((fleet(group()),), {}))
        return bearing(replace(inputs, proposed={} if proposal is None else {POOL: proposal}), POOL)

    nine, eight = ScalingPolicy(max_nodes=9), ScalingPolicy(max_nodes=8)
    assert seen(9, nine) == seen(90, nine)
    assert seen(9, nine) != seen(0, nine)
    assert seen(9, nine) != seen(9, eight)
    assert seen(9) == seen(0)
