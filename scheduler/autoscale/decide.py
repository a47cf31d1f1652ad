"""The decision of section 8 of the design: from demand and fleet to a plan, with a reason for everything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from scheduler.autoscale.arbitrate import arbitrate
from scheduler.autoscale.assess import Assessment, assess
from scheduler.autoscale.desire import Desire, desire
from scheduler.autoscale.foresight import foresee, with_foresight
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, GroupFleet, GroupHistory, Hold, Plan, Reason, ReasonKind
from scheduler.model import GroupKey, NodePhase, PoolDemand
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy

_NOTHING: Mapping[str, PoolHistory] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a pool should have, what scale-in leaves, and what each of its groups has and may ask for."""

    policy: ScalingPolicy
    wanted: Desire
    kept: Desire
    groups: tuple[Assessment, ...]


def decide(
    policies: Mapping[str, ScalingPolicy],
    demand: Mapping[str, PoolDemand | None],
    fleet: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
    *,
    learned: Mapping[str, PoolHistory] = _NOTHING,
) -> Plan:
    """Plan what to do with every group.

    `demand` is None, or lacks the pool, where it could not be read: then nothing of the pool is changed. A pool that
    lacks a policy is no longer declared; its groups are all retired. `learned` is what each pool has learned up to and
    with this demand (`levels.observed`).
    """
    pools: dict[str, list[GroupFleet]] = {}
    for each in fleet:
        pools.setdefault(each.group.key.pool, []).append(each)
    actions: list[Action] = []
    for pool, groups in pools.items():
        actions += _decide_pool(
            policies.get(pool, ScalingPolicy()), demand.get(pool), tuple(groups), history, learned.get(pool), now
        )
    return Plan(tuple(actions))


def _decide_pool(
    policy: ScalingPolicy,
    demand: PoolDemand | None,
    groups: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    learned: PoolHistory | None,
    now: datetime,
) -> tuple[Action, ...]:
    if demand is None:
        reason = Reason(
            ReasonKind.UNKNOWN_DEMAND, "the pool's work could not be read, so its nodes are left as they are"
        )
        return tuple(Hold(each.group.key, reason) for each in groups)
    weighed = weigh(policy, demand, groups, history, now)
    return arbitrate(policy, weighed.wanted, weighed.kept, weighed.groups, learned, now)


def weigh(
    policy: ScalingPolicy,
    demand: PoolDemand,
    groups: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
) -> Weighed:
    """Take the two steps before a pool's actions are chosen, which is what an explanation tells of."""
    assessed = tuple(assess(each, history.get(each.group.key, GroupHistory()), policy, now) for each in groups)
    first = next((each for each in assessed if each.group.current and each.unknown is None), None)
    boot_time, task_slots = (None, 1) if first is None else (first.boot_time, first.group.task_slots)
    retiring = _retiring_runs(groups)
    horizon = max(each.boot_time or UNMEASURED_BOOT for each in assessed)
    wanted, later = (desire(policy, demand, retiring, at, boot_time, task_slots) for at in (now, now + horizon))
    if (ahead := foresee(demand, horizon, now)) is not None:
        forecast = desire(policy, ahead.demand, retiring, now, boot_time, task_slots)
        wanted = with_foresight(wanted, forecast, ahead.sentence)
    return Weighed(policy, wanted, _kept(wanted, later), assessed)


def _kept(wanted: Desire, later: Desire) -> Desire:
    """Give what scale-in leaves: a node that would be wanted again before its successor could boot stays."""
    if later.slots <= wanted.slots:
        return wanted
    return replace(later, sentence=f"{wanted.sentence}, and {later.slots} a boot from now")


def _retiring_runs(groups: tuple[GroupFleet, ...]) -> int:
    """Count the slots in use on retired nodes: a message keeps one slot."""
    return sum(
        len(node.held)
        for each in groups
        if not each.group.current
        for node in each.nodes
        if node.phase is not NodePhase.GONE
    )
