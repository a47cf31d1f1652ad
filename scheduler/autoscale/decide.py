"""The decision of section 8 of the design: from demand and fleet to a plan, with a reason for everything."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from scheduler.autoscale.arbitrate import NOTHING_BOUGHT, Purchases, Standing, arbitrate, claim_of, stand
from scheduler.autoscale.budget import held_back, open_ledger
from scheduler.autoscale.gangs import whole_purchases
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, GroupFleet, GroupHistory, Hold, Plan, Reason, ReasonKind
from scheduler.autoscale.share import share_out
from scheduler.autoscale.weigh import Unread, Weighed, weigh
from scheduler.model import GroupKey, PoolDemand
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy

_UNKNOWN = Reason(ReasonKind.UNKNOWN_DEMAND, "the pool's work could not be read, so its nodes are left as they are")
_UNDECLARED = ScalingPolicy()
_NOTHING: Mapping[str, PoolHistory] = MappingProxyType({})


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
        name: weigh(policies.get(name, _UNDECLARED), demand.get(name), tuple(groups), history, now, learned.get(name))
        for name, groups in fleets.items()
    }
    standings = {name: stand(pool) for name, pool in pools.items() if isinstance(pool, Weighed)}
    lacking = any(each.shortage.exists for each in standings.values())
    purchases = _purchases(pools, standings, limits) if lacking else {}
    actions: list[Action] = []
    for name, pool in pools.items():
        if isinstance(pool, Unread):
            actions += [Hold(each.group.key, _UNKNOWN) for each in pool.groups]
        else:
            bought = purchases.get(name, NOTHING_BOUGHT)
            actions += arbitrate(pool, standings[name], bought, learned.get(name), now)
    return Plan(tuple(actions))


def _purchases(
    pools: Mapping[str, Weighed | Unread], standings: Mapping[str, Standing], limits: Limits
) -> Mapping[str, Purchases]:
    """Share out what may be bought, and say what holds more of it back."""
    ledger = open_ledger(limits, ((pool.policy, pool.groups) for pool in pools.values()))
    read = {name: pool for name, pool in pools.items() if isinstance(pool, Weighed)}
    claims = {name: claim_of(pool, standings[name], ledger) for name, pool in read.items()}
    counts = share_out(claims.values(), ledger)
    purchases = {}
    for name, claim in claims.items():
        left = ledger.part(offer.use for offer in claim.offers)
        held = {
            offer.group: reason
            for offer in claim.offers
            if (reason := held_back(left.full(offer.use), claim.policy, limits)) is not None
        }
        bought = {offer.group: counts.get(offer.group, 0) for offer in claim.offers}
        whole = whole_purchases(bought, claim.serving, claim.policy.gang_nodes)
        if whole != bought:
            held = {offer.group: _no_gang(claim.policy, held.get(offer.group)) for offer in claim.offers}
        purchases[name] = Purchases(whole, held)
    return purchases


def _no_gang(policy: ScalingPolicy, held: Reason | None) -> Reason:
    because = f": {held.sentence}" if held is not None else ""
    return Reason(ReasonKind.GANG, f"nodes are bought in gangs of {policy.gang_nodes}, and no other fits{because}")
