"""All that a decision is made from, as one record: what is kept of a decision, so that it can be made again."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from scheduler.autoscale.budget import held_back, open_ledger, use_of
from scheduler.autoscale.decide import decide
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import GroupFleet, GroupHistory, Plan, Reason, ScaleOut, decision_of
from scheduler.autoscale.weigh import Weighed, weigh
from scheduler.model import Decision, GroupKey, PoolDemand
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arguments of `decide`. Whoever gives it another one adds a field here, and to `decide_on` and `of`.

    `history` is pairs in place of a mapping, since what is written down has text alone for keys. `proposed` are
    policies that are decided by beside the live ones, for some pools; `decide` itself is not given them.
    """

    policies: Mapping[str, ScalingPolicy]
    demand: Mapping[str, PoolDemand | None]
    fleet: tuple[GroupFleet, ...]
    history: tuple[tuple[GroupKey, GroupHistory], ...]
    now: datetime
    proposed: Mapping[str, ScalingPolicy] = field(default_factory=dict)
    learned: Mapping[str, PoolHistory] = field(default_factory=dict)
    limits: Limits = NO_LIMITS

    def of(self, pool: str) -> "Inputs":
        """Leave out what is about other pools."""
        return Inputs(
            policies=_only(pool, self.policies),
            demand=_only(pool, self.demand),
            fleet=tuple(each for each in self.fleet if each.group.key.pool == pool),
            history=tuple((key, each) for key, each in self.history if key.pool == pool),
            now=self.now,
            proposed=_only(pool, self.proposed),
            learned=_only(pool, self.learned),
            limits=self.limits,
        )

    def proposing(self, pool: str) -> "Inputs | None":
        """Put the policy that is proposed for a pool in the place of its live one; None where none is."""
        if pool not in self.proposed:
            return None
        return replace(self, policies={**self.policies, pool: self.proposed[pool]}, proposed={})


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What was decided about a pool, and all that it was decided from."""

    pool: str
    inputs: Inputs
    decided: tuple[Decision, ...]

    def replay(self) -> tuple[Decision, ...]:
        """Decide again."""
        return _decisions(decide_on(self.inputs), self.pool, self.inputs.now)

    def would_be(self) -> tuple[Decision, ...] | None:
        """Decide by the policy that was proposed for the pool; None where none was."""
        proposing = self.inputs.proposing(self.pool)
        return None if proposing is None else _decisions(decide_on(proposing), self.pool, self.inputs.now)


def decide_on(inputs: Inputs) -> Plan:
    """Decide."""
    return decide(
        inputs.policies,
        inputs.demand,
        inputs.fleet,
        dict(inputs.history),
        inputs.now,
        learned=inputs.learned,
        limits=inputs.limits,
    )


def weigh_pool(inputs: Inputs, pool: str) -> Weighed | None:
    """Give what the decision about a pool was weighed by; None where its work was unknown."""
    own, policy = inputs.of(pool), inputs.policies.get(pool, ScalingPolicy())
    weighed = weigh(policy, inputs.demand.get(pool), own.fleet, dict(own.history), inputs.now, inputs.learned.get(pool))
    return weighed if isinstance(weighed, Weighed) else None


def bounds_reached(inputs: Inputs) -> Mapping[GroupKey, Reason]:
    """Say of each group for which no machine more could be bought once the decision is carried out, by what bounds."""
    pools: dict[str, list[GroupFleet]] = {}
    for each in inputs.fleet:
        pools.setdefault(each.group.key.pool, []).append(each)
    history = dict(inputs.history)
    weighed = [
        weigh(
            inputs.policies.get(pool, ScalingPolicy()),
            inputs.demand.get(pool),
            tuple(fleet),
            history,
            inputs.now,
            inputs.learned.get(pool),
        )
        for pool, fleet in pools.items()
    ]
    ledger = open_ledger(inputs.limits, ((pool.policy, pool.groups) for pool in weighed))
    uses = {each.group.key: use_of(each.group, ledger) for each in inputs.fleet}
    for action in decide_on(inputs).actions:
        if isinstance(action, ScaleOut):
            ledger.take(uses[action.group], action.count)
    reasons = (
        (each.group.key, held_back(ledger.full(uses[each.group.key]), pool.policy, inputs.limits))
        for pool in weighed
        for each in pool.groups
    )
    return {key: reason for key, reason in reasons if reason is not None}


def record_of(inputs: Inputs, plan: Plan, pool: str) -> DecisionRecord:
    """Keep as little as the decision follows from: the pool's own part, or, where pools depend on each other, all."""
    decided = _decisions(plan, pool, inputs.now)
    alone, whole = DecisionRecord(pool, inputs.of(pool), decided), DecisionRecord(pool, inputs, decided)
    return alone if alone.replay() == decided and alone.would_be() == whole.would_be() else whole


def bearing(inputs: Inputs, pool: str) -> tuple[object, ...]:
    """Give what a pool is decided by, and which ways the proposed policy would go: where it changes, that is news.

    Numbers are left out: what is proposed is not done, so the same order is proposed again and again as work comes in.
    """
    proposing = inputs.proposing(pool)
    actions = () if proposing is None else decide_on(proposing).actions
    ways = tuple((each.group, type(each), each.reason.kind) for each in actions if each.group.pool == pool)
    return inputs.policies.get(pool), inputs.proposed.get(pool), ways


def _decisions(plan: Plan, pool: str, now: datetime) -> tuple[Decision, ...]:
    return tuple(decision_of(action, now) for action in plan.actions if action.group.pool == pool)


def _only(pool: str, mapping: Mapping[str, _Value]) -> dict[str, _Value]:
    return {pool: mapping[pool]} if pool in mapping else {}
