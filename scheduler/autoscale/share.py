"""Who buys how many nodes of which group: pools share quotas and a budget, groups of a pool its Spot share.

Pools of a higher priority are served first. Among equals, where a bound is too narrow for all that they would buy
alone, each gets its part of what is left in proportion to what it lacks, whole machines by the largest remainder.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from scheduler.autoscale.assess import Assessment
from scheduler.autoscale.budget import Ledger, Limit, Use, use_of
from scheduler.model import GroupKey
from scheduler.policy import ScalingPolicy


@dataclass(frozen=True, slots=True)
class Offer:
    """Machines of one group: their slots, what each takes of the bounds, and whether others are to be asked first."""

    group: GroupKey
    slots: int
    spot: bool
    avoided: bool
    use: Use


@dataclass(frozen=True, slots=True)
class Claim:
    """What a pool still lacks, and the groups that it may buy from in declared order.

    `slots` and `nodes` are both to be met. `serving` and `spot` count the nodes that the Spot share is a part of.
    """

    pool: str
    policy: ScalingPolicy
    slots: int
    nodes: int
    serving: int
    spot: int
    offers: tuple[Offer, ...]


@dataclass(slots=True)
class _Buyer:
    """A claim while it is served."""

    claim: Claim
    bought: dict[GroupKey, int] = field(default_factory=dict)

    def buy(self, offer: Offer, count: int) -> None:
        self.bought[offer.group] = self.bought.get(offer.group, 0) + count

    def lacks(self) -> tuple[int, int]:
        slots = sum(self.bought.get(offer.group, 0) * offer.slots for offer in self.claim.offers)
        return self.claim.slots - slots, self.claim.nodes - sum(self.bought.values())

    def spot_and_all(self) -> tuple[int, int]:
        spot = sum(self.bought.get(offer.group, 0) for offer in self.claim.offers if offer.spot)
        return self.claim.spot + spot, self.claim.serving + sum(self.bought.values())


@dataclass(frozen=True, slots=True)
class _Ask:
    """Machines of one offer that a pool would buy if it were alone.

    `weight` is what it would buy of it if nothing were short: what its part of a bound is measured by.
    """

    buyer: _Buyer
    offer: Offer
    count: int
    weight: float


def offers_of(known: Iterable[Assessment], ledger: Ledger) -> tuple[Offer, ...]:
    """Give what groups offer, in their order."""
    return tuple(
        Offer(each.group.key, each.group.task_slots, each.spot, each.avoided, use_of(each.group, ledger))
        for each in known
    )


def share_out(claims: Iterable[Claim], ledger: Ledger) -> Mapping[GroupKey, int]:
    """Buy for all claims, from the ledger, as far as its bounds allow: nothing that is allowed and lacked is left."""
    bought: dict[GroupKey, int] = {}
    ranked = sorted(claims, key=lambda claim: (-claim.policy.priority, claim.pool))
    for _, equals in groupby(ranked, key=lambda claim: claim.policy.priority):
        buyers = [_Buyer(claim) for claim in equals]
        while asks := [
            ask
            for buyer in buyers
            for ask in _weighed(_alone(buyer, ledger.part(offer.use for offer in buyer.claim.offers)))
        ]:
            for ask, count in _parts(asks, ledger):
                ask.buyer.buy(ask.offer, count)
                ledger.take(ask.offer.use, count)
        for buyer in buyers:
            bought |= buyer.bought
    return bought


def _parts(asks: list[_Ask], ledger: Ledger) -> list[tuple[_Ask, int]]:
    """Cut asks to what fits together; at least one machine does, because each pool's asks fit alone."""
    if all(ask.buyer is asks[0].buyer for ask in asks):
        return [(ask, ask.count) for ask in asks]
    parts = _parts_by_weight(asks, ledger)
    shares = [min(ask.count, *(ask.weight * parts.get(limit, math.inf) for limit in ask.offer.use)) for ask in asks]
    # A share that is whole but for the rounding of the division must not lose a machine.
    counts = [min(ask.count, math.floor(share + 1e-9)) for ask, share in zip(asks, shares, strict=True)]
    left = ledger.part(ask.offer.use for ask in asks)
    for index, ask in enumerate(asks):
        counts[index] = min(counts[index], left.room(ask.offer.use))
        left.take(ask.offer.use, counts[index])
    order = sorted(range(len(asks)), key=lambda index: (counts[index] - shares[index], -asks[index].count, index))
    for index in order:
        if counts[index] < asks[index].count and shares[index] > counts[index] and left.room(asks[index].offer.use):
            counts[index] += 1
            left.take(asks[index].offer.use, 1)
    return [(ask, count) for ask, count in zip(asks, counts, strict=True) if count]


def _alone(buyer: _Buyer, ledger: Ledger) -> list[_Ask]:
    """Give what a pool would buy if no other were there."""
    claim, slots, nodes = buyer.claim, *buyer.lacks()
    if slots <= 0 and nodes <= 0:
        return []
    asks: dict[GroupKey, _Ask] = {}

    def take(offers: Iterable[Offer], most: int) -> None:
        nonlocal slots, nodes
        for offer in offers:
            count = max(0, min(_needed(slots, nodes, offer), most, ledger.room(offer.use)))
            if count:
                ledger.take(offer.use, count)
                earlier = asks[offer.group].count if offer.group in asks else 0
                asks[offer.group] = _Ask(buyer, offer, earlier + count, 0.0)
                slots, nodes, most = slots - count * offer.slots, nodes - count, most - count

    in_order = sorted(claim.offers, key=lambda offer: offer.avoided)
    if claim.policy.spot_share is None:
        take(in_order, max(slots, nodes))
        return list(asks.values())
    freely = claim.policy.spot_fallback
    spot = [offer for offer in claim.offers if offer.spot and not (offer.avoided and freely)]
    regular = [offer for offer in claim.offers if not offer.spot]
    most, aimed = _aim(claim.policy.spot_share, slots, nodes, _first(spot, ledger), _first(regular, ledger), buyer)
    take(spot, aimed)
    take(regular, most - aimed)
    if freely:
        take(in_order, max(slots, nodes))
    return list(asks.values())


def _aim(
    share: float, slots: int, nodes: int, spot: Offer | None, regular: Offer | None, buyer: _Buyer
) -> tuple[int, int]:
    """Count the nodes that are lacked, and how many of them are to be Spot for the share to be right with them."""
    of_spot, of_regular = (offer.slots if offer is not None else 0 for offer in (spot, regular))
    mean = share * (of_spot or of_regular) + (1 - share) * (of_regular or of_spot)
    most = max(math.ceil(slots / mean) if mean else 0, nodes, 0)
    spot_nodes, all_nodes = buyer.spot_and_all()
    return most, min(max(0, math.floor(share * (all_nodes + most) + 0.5) - spot_nodes), most)


def _first(offers: list[Offer], ledger: Ledger) -> Offer | None:
    """Give the offer that is taken first, which one node counts by."""
    return next((offer for offer in offers if ledger.room(offer.use)), next(iter(offers), None))


def _needed(slots: int, nodes: int, offer: Offer) -> int:
    return max(math.ceil(slots / offer.slots), nodes, 0)


def _weighed(asks: list[_Ask]) -> list[_Ask]:
    """Measure the asks of one pool by what it lacks, each by its part of them."""
    if not asks:
        return asks
    slots, nodes = asks[0].buyer.lacks()
    all_of_them = sum(ask.count for ask in asks)
    return [replace(ask, weight=_needed(slots, nodes, ask.offer) * ask.count / all_of_them) for ask in asks]


def _parts_by_weight(asks: list[_Ask], ledger: Ledger) -> Mapping[Limit, float]:
    """Say how much of a bound that is too narrow there is for each unit of weight."""
    counted: Counter[Limit] = Counter()
    weighed: dict[Limit, float] = {}
    for ask in asks:
        for limit, amount in ask.offer.use.items():
            counted[limit] += ask.count * (amount or 0)
            weighed[limit] = weighed.get(limit, 0.0) + ask.weight * (amount or 0)
    return {
        limit: ledger.left[limit] / weighed[limit]
        for limit, total in counted.items()
        if total > ledger.left[limit] and weighed[limit]
    }
