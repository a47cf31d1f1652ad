"""What may still be bought: one account of every bound that holds something back, in whole numbers.

Nodes count as nodes, quotas in vCPUs, money in millionths of a dollar an hour, so that no sum of prices drifts.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from scheduler.autoscale.assess import Assessment
from scheduler.autoscale.plan import Reason, ReasonKind
from scheduler.catalog import VM_SIZES, quotas_of
from scheduler.model import GroupPriority, NodeGroup
from scheduler.policy import Limits, ScalingPolicy

_MILLIONTHS = 1_000_000


class LimitKind(StrEnum):
    """What sort of bound it is."""

    GROUP_NODES = "group_nodes"
    POOL_NODES = "pool_nodes"
    STEP = "step"
    POOL_BUDGET = "pool_budget"
    SHARED_BUDGET = "shared_budget"
    QUOTA = "quota"

    # Bounds are looked up all the time; an enumeration's own way to hash is slow.
    __hash__ = str.__hash__


class Limit(NamedTuple):
    """One bound; `name` is the group, the pool, or Azure's name of the quota; a shared budget has none."""

    kind: LimitKind
    name: str = ""


# What one machine takes of each bound; None where the catalogue does not know its size, so that it may not be bought.
Use = Mapping[Limit, int | None]


@dataclass(slots=True)
class Ledger:
    """What is left of each bound; below zero where more is used than allowed, which forces nothing to go."""

    left: dict[Limit, int] = field(default_factory=dict)

    def room(self, use: Use) -> int:
        """Count the machines that still fit."""
        return max(0, min(self._fits(limit, amount) for limit, amount in use.items()))

    def full(self, use: Use) -> tuple[Limit, ...]:
        """Give the bounds that leave no room for one more machine."""
        return tuple(limit for limit, amount in use.items() if self._fits(limit, amount) < 1)

    def take(self, use: Use, count: int) -> None:
        """Count machines that are bought."""
        for limit, amount in use.items():
            self.left[limit] -= count * (amount or 0)

    def part(self, uses: Iterable[Use]) -> "Ledger":
        """Give another account, of the bounds that these machines take of alone: there may be thousands of pools."""
        return Ledger({limit: self.left[limit] for use in uses for limit in use})

    def _fits(self, limit: Limit, amount: int | None) -> int:
        if amount is None:
            return 0
        return self.left[limit] // amount if amount else 1_000_000_000


def open_ledger(limits: Limits, pools: Iterable[tuple[ScalingPolicy, tuple[Assessment, ...]]]) -> Ledger:
    """Open the account: what is allowed less what the machines use that are there, booting, draining, or on order."""
    ledger = Ledger({Limit(LimitKind.QUOTA, name): vcpus for name, vcpus in limits.quota.items()})
    if limits.budget_per_hour is not None:
        ledger.left[Limit(LimitKind.SHARED_BUDGET)] = _millionths(limits.budget_per_hour)
    for policy, groups in pools:
        for pool in {each.group.key.pool for each in groups}:
            ledger.left[Limit(LimitKind.POOL_NODES, pool)] = policy.max_nodes
            if policy.budget_per_hour is not None:
                ledger.left[Limit(LimitKind.POOL_BUDGET, pool)] = _millionths(policy.budget_per_hour)
        for each in groups:
            if each.asked_for:
                ledger.take(use_of(each.group, ledger), each.asked_for)
        steps = _steps(policy, groups)
        for each in groups:
            ledger.left[Limit(LimitKind.GROUP_NODES, str(each.group.key))] = each.room
            if steps is not None:
                ledger.left[Limit(LimitKind.STEP, each.group.key.pool)] = steps
    return ledger


def _steps(policy: ScalingPolicy, groups: tuple[Assessment, ...]) -> int | None:
    steps = []
    if policy.max_step_out is not None:
        steps.append(policy.max_step_out - sum(each.asked_now for each in groups))
    if policy.max_step_out_per_minute is not None:
        steps.append(policy.max_step_out_per_minute - sum(each.asked_lately for each in groups))
    return min(steps, default=None)


def _millionths(dollars: float) -> int:
    return math.floor(dollars * _MILLIONTHS)


def use_of(group: NodeGroup, ledger: Ledger) -> Use:
    """Say what one machine of a group takes of each bound that there is."""
    return {limit: amount for limit, amount in _every_use(group).items() if limit in ledger.left}


@lru_cache(maxsize=4096)
def _every_use(group: NodeGroup) -> Use:
    spot = group.priority is GroupPriority.SPOT
    size = VM_SIZES.get(group.vm_size)
    price = None if size is None else math.ceil(size.usd_per_hour(windows=group.windows, spot=spot) * _MILLIONTHS)
    pool = group.key.pool
    uses: dict[Limit, int | None] = {
        Limit(LimitKind.GROUP_NODES, str(group.key)): 1,
        Limit(LimitKind.POOL_NODES, pool): 1,
        Limit(LimitKind.STEP, pool): 1,
        Limit(LimitKind.POOL_BUDGET, pool): price,
        Limit(LimitKind.SHARED_BUDGET): price,
    }
    for name in quotas_of(group.vm_size, spot=spot):
        uses[Limit(LimitKind.QUOTA, name)] = None if size is None else size.vcpus
    return uses


def held_back(full: tuple[Limit, ...], policy: ScalingPolicy, limits: Limits) -> Reason | None:
    """Say which bounds hold nodes back, with their numbers; the first gives the kind."""
    found = [_words(limit, policy, limits) for limit in full]
    if not found:
        return None
    return Reason(found[0].kind, ", and ".join(reason.sentence for reason in found))


def _words(limit: Limit, policy: ScalingPolicy, limits: Limits) -> Reason:
    match limit.kind:
        case LimitKind.GROUP_NODES:
            return Reason(ReasonKind.AT_MAXIMUM, f"the group {limit.name} takes no more nodes now")
        case LimitKind.POOL_NODES:
            return Reason(ReasonKind.AT_MAXIMUM, f"the pool is at its maximum of {policy.max_nodes} nodes")
        case LimitKind.STEP:
            steps = [] if policy.max_step_out is None else [f"{policy.max_step_out} at a time"]
            if policy.max_step_out_per_minute is not None:
                steps.append(f"{policy.max_step_out_per_minute} within a minute")
            return Reason(ReasonKind.STEP, f"the pool asks for at most {' and '.join(steps)}")
        case LimitKind.POOL_BUDGET:
            sentence = f"the pool's machines may cost {policy.budget_per_hour:g} dollars an hour"
            return Reason(ReasonKind.BUDGET, sentence)
        case LimitKind.SHARED_BUDGET:
            sentence = f"the machines of all pools may cost {limits.budget_per_hour:g} dollars an hour"
            return Reason(ReasonKind.BUDGET, sentence)
        case LimitKind.QUOTA:
            return Reason(ReasonKind.QUOTA, f"the quota {limit.name} is {limits.quota[limit.name]} vCPUs")
