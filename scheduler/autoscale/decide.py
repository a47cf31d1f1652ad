"""The decision of section 8 of the design: from demand and fleet to a plan, with a reason for everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from scheduler.autoscale.arbitrate import Purchases, Wants, arbitrate, claim_of, leaves
from scheduler.autoscale.assess import Assessment, assess
from scheduler.autoscale.budget import held_back, open_ledger
from scheduler.autoscale.calendar import boot_ahead, least_nodes
from scheduler.autoscale.desire import Desire, desire
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, GroupFleet, GroupHistory, Hold, Plan, Reason, ReasonKind
from scheduler.autoscale.share import share_out
from scheduler.model import GroupKey, NodePhase, PoolDemand
from scheduler.policy import NO_LIMITS, UNMEASURED_BOOT, Limits, ScalingPolicy

_NOTHING: Mapping[str, PoolHistory] = MappingProxyType({})
_UNKNOWN = Reason(ReasonKind.UNKNOWN_DEMAND, "the pool's work could not be read, so its nodes are left as they are")


def decide(
    policies: Mapping[str, ScalingPolicy],
    demand: Mapping[str, PoolDemand | None],
    fleet: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
    *,
    learned: Mapping[str, PoolHistory] = _NOTHING,
    limits: Limits = NO_LIMITS,
) -> Plan:
    """Plan what to do with every group.

    `demand` is None, or lacks the pool, where it could not be read: then nothing of the pool is changed. A pool that
    lacks a policy is no longer declared; its groups are all retired. `learned` is what each pool has learned up to and
    with this demand (`levels.observed`). All pools together stay within `limits`.
    """
    fleets: dict[str, list[GroupFleet]] = {}
    for each in fleet:
        fleets.setdefault(each.group.key.pool, []).append(each)
    pools = {
        name: _pool(policies.get(name, ScalingPolicy()), demand.get(name), groups, history, now)
        for name, groups in fleets.items()
    }
    purchases = _purchases(pools, limits)
    actions: list[Action] = []
    for name, pool in pools.items():
        if pool.wants is None:
            actions += [Hold(each.group.key, _UNKNOWN) for each in pool.groups]
        else:
            actions += arbitrate(pool.policy, pool.wants, pool.groups, purchases[name], learned.get(name), now)
    return Plan(tuple(actions))


@dataclass(frozen=True, slots=True)
class _Pool:
    """A pool once its nodes are sorted; its policy keeps the nodes that the calendar wants now.

    `wants` is None where its work could not be read.
    """

    policy: ScalingPolicy
    groups: tuple[Assessment, ...]
    wants: Wants | None
    minimum: str


def _pool(
    policy: ScalingPolicy,
    demand: PoolDemand | None,
    groups: Sequence[GroupFleet],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
) -> _Pool:
    assessed = tuple(assess(each, history.get(each.group.key, GroupHistory()), policy, now) for each in groups)
    least = least_nodes(policy, boot_ahead(policy, (each.boot_time for each in assessed)), now)
    kept = policy if least.nodes == policy.min_nodes else replace(policy, min_nodes=least.nodes)
    if demand is None:
        return _Pool(kept, assessed, None, least.sentence)
    first = next((each for each in assessed if each.group.current and each.unknown is None), None)
    boot_time, task_slots = (None, 1) if first is None else (first.boot_time, first.group.task_slots)
    retiring = _retiring_runs(groups)
    horizon = max(each.boot_time or UNMEASURED_BOOT for each in assessed)
    wanted, later = (desire(policy, demand, retiring, at, boot_time, task_slots) for at in (now, now + horizon))
    return _Pool(kept, assessed, Wants(wanted, _kept(wanted, later)), least.sentence)


def _kept(wanted: Desire, later: Desire) -> Desire:
    """Give what scale-in leaves: a node that would be wanted again before its successor could boot stays."""
    if later.slots <= wanted.slots:
        return wanted
    return replace(later, sentence=f"{wanted.sentence}, and {later.slots} a boot from now")


def _purchases(pools: Mapping[str, _Pool], limits: Limits) -> Mapping[str, Purchases]:
    """Share out what may be bought; a pool that drains first is told what it would get after the others."""
    ledger = open_ledger(limits, ((pool.policy, pool.groups) for pool in pools.values()))
    claims = {
        name: claim_of(pool.policy, pool.wants.now, pool.groups, ledger)
        for name, pool in pools.items()
        if pool.wants is not None
    }
    waiting = {name for name in claims if leaves(pools[name].groups)}
    counts = dict(share_out([claim for name, claim in claims.items() if name not in waiting], ledger))
    purchases = {}
    for name, claim in claims.items():
        left = ledger.copy()
        if name in waiting:
            counts |= share_out([claim], left)
        held = {
            offer.group: reason
            for offer in claim.offers
            if (reason := held_back(left.full(offer.use), claim.policy, limits)) is not None
        }
        bought = {offer.group: counts.get(offer.group, 0) for offer in claim.offers}
        purchases[name] = Purchases(bought, held, pools[name].minimum)
    return purchases


def _retiring_runs(groups: Sequence[GroupFleet]) -> int:
    """Count the slots in use on retired nodes: a message keeps one slot."""
    return sum(
        len(node.held)
        for each in groups
        if not each.group.current
        for node in each.nodes
        if node.phase is not NodePhase.GONE
    )
