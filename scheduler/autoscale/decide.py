"""The decision of section 8 of the design: from demand and fleet to a plan, with a reason for everything."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from scheduler.autoscale.arbitrate import arbitrate
from scheduler.autoscale.assess import assess
from scheduler.autoscale.desire import desire
from scheduler.autoscale.foresight import UNMEASURED_BOOT, foresee, with_foresight
from scheduler.autoscale.plan import Action, GroupFleet, GroupHistory, Hold, Plan, Reason, ReasonKind
from scheduler.model import GroupKey, NodePhase, PoolDemand
from scheduler.policy import ScalingPolicy


def decide(
    policies: Mapping[str, ScalingPolicy],
    demand: Mapping[str, PoolDemand | None],
    fleet: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
) -> Plan:
    """Plan what to do with every group.

    `demand` is None, or lacks the pool, where it could not be read: then nothing of the pool is changed. A pool that
    lacks a policy is no longer declared; its groups are all retired.
    """
    pools: dict[str, list[GroupFleet]] = {}
    for each in fleet:
        pools.setdefault(each.group.key.pool, []).append(each)
    actions: list[Action] = []
    for pool, groups in pools.items():
        actions += _decide_pool(policies.get(pool, ScalingPolicy()), demand.get(pool), tuple(groups), history, now)
    return Plan(tuple(actions))


def _decide_pool(
    policy: ScalingPolicy,
    demand: PoolDemand | None,
    groups: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
) -> tuple[Action, ...]:
    if demand is None:
        reason = Reason(
            ReasonKind.UNKNOWN_DEMAND, "the pool's work could not be read, so its nodes are left as they are"
        )
        return tuple(Hold(each.group.key, reason) for each in groups)
    assessed = tuple(assess(each, history.get(each.group.key, GroupHistory()), policy, now) for each in groups)
    retiring = _retiring_runs(groups)
    wanted = desire(policy, demand, retiring, now)
    if (ahead := foresee(demand, _boot_time(groups, history), now)) is not None:
        wanted = with_foresight(wanted, desire(policy, ahead.demand, retiring, now), ahead.sentence)
    return arbitrate(policy, wanted, assessed, now)


def _boot_time(groups: tuple[GroupFleet, ...], history: Mapping[GroupKey, GroupHistory]) -> timedelta:
    """Give how long the pool's slowest group takes to boot."""
    known = (history.get(each.group.key, GroupHistory()).boot_time for each in groups if each.group.current)
    return max((boot_time for boot_time in known if boot_time is not None), default=UNMEASURED_BOOT)


def _retiring_runs(groups: tuple[GroupFleet, ...]) -> int:
    """Count the slots in use on retired nodes: a message keeps one slot."""
    return sum(
        len(node.held)
        for each in groups
        if not each.group.current
        for node in each.nodes
        if node.phase is not NodePhase.GONE
    )
