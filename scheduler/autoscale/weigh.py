"""The two steps before a pool's actions are chosen: what it should have, and what its groups have and may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.autoscale.assess import Assessment, assess
from scheduler.autoscale.calendar import boot_ahead, least_nodes
from scheduler.autoscale.desire import Desire, desire
from scheduler.autoscale.foresight import foresee, with_foresight
from scheduler.autoscale.plan import GroupFleet, GroupHistory
from scheduler.model import GroupKey, NodePhase, PoolDemand
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy

_NO_PAST = GroupHistory()


@dataclass(frozen=True, slots=True)
class Weighed:
    """A pool's needs and groups; its policy keeps the nodes that the calendar wants now, as `minimum` says.

    wanted   what it should have
    kept     what scale-in leaves, at least what is wanted
    tasks    tasks that wait or run, without those on retired nodes
    """

    policy: ScalingPolicy
    groups: tuple[Assessment, ...]
    wanted: Desire
    kept: Desire
    tasks: int
    minimum: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A pool whose work could not be read; its nodes count all the same."""

    policy: ScalingPolicy
    groups: tuple[Assessment, ...]


def weigh(
    policy: ScalingPolicy,
    demand: PoolDemand | None,
    groups: tuple[GroupFleet, ...],
    history: Mapping[GroupKey, GroupHistory],
    now: datetime,
) -> Weighed | Unread:
    """Sort a pool's nodes, and count what it should have now and what scale-in leaves."""
    assessed = tuple(assess(each, history.get(each.group.key, _NO_PAST), policy, now) for each in groups)
    if demand is None:
        return Unread(policy, assessed)
    first = next((each for each in assessed if each.group.current and each.unknown is None), None)
    boot_time, task_slots = (None, 1) if first is None else (first.boot_time, first.group.task_slots)
    retiring = _retiring_runs(groups)
    horizon = max(each.boot_time or UNMEASURED_BOOT for each in assessed)
    wanted, later = (desire(policy, demand, retiring, at, boot_time, task_slots) for at in (now, now + horizon))
    if (ahead := foresee(demand, horizon, now)) is not None:
        forecast = desire(policy, ahead.demand, retiring, now, boot_time, task_slots)
        wanted = with_foresight(wanted, forecast, ahead.sentence)
    least = least_nodes(policy, boot_ahead(policy, (each.boot_time for each in assessed)), now)
    if least.nodes != policy.min_nodes:
        policy = replace(policy, min_nodes=least.nodes)
    tasks = demand.active_tasks + max(0, demand.running_tasks - retiring)
    return Weighed(policy, assessed, wanted, _kept(wanted, later), tasks, least.sentence)


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
