"""The two steps before a pool's actions are chosen: what it should have, and what its groups have and may ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.autoscale.assess import Assessment, assess
from scheduler.autoscale.calendar import boot_ahead, least_nodes
from scheduler.autoscale.desire import Desire, desire, overdue
from scheduler.autoscale.foresight import foresee, with_foresight
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import GroupFleet, GroupHistory
from scheduler.autoscale.recurrence import SPAN, Rise
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
    learned: PoolHistory | None = None,
) -> Weighed | Unread:
    """Sort a pool's nodes, and count what it should have now and what scale-in leaves."""
    assessed = tuple(assess(each, history.get(each.group.key, _NO_PAST), policy, now) for each in groups)
    if demand is None:
        return Unread(policy, assessed)
    first = next((each for each in assessed if each.group.current and each.unknown is None), None)
    boot_time, task_slots = (None, 1) if first is None else (first.boot_time, first.group.task_slots)
    retiring = _retiring_runs(groups)
    horizon = max([each.boot_time or UNMEASURED_BOOT for each in assessed])
    wanted = later = desire(policy, demand, retiring, now, boot_time, task_slots)
    # Time alone makes a difference only where a task becomes overdue.
    if overdue(policy, demand, now + horizon) and not overdue(policy, demand, now):
        later = desire(policy, demand, retiring, now + horizon, boot_time, task_slots)
    if (ahead := foresee(demand, horizon, now)) is not None:
        forecast = desire(policy, ahead.demand, retiring, now, boot_time, task_slots)
        wanted = with_foresight(wanted, forecast, ahead.sentence)
    kept = _kept(wanted, later)
    for rise in learned.recurrence.believed(now) if policy.anticipate and learned is not None else ():
        # A node goes too early only where its successor would have to boot for the rise; one that has not come is
        # waited for no longer than that would have cost.
        again = policy.restart_cost(boot_time)
        if rise.at - max(again, horizon) <= now < rise.at + min(again, SPAN):
            risen = replace(demand, active_tasks=max(demand.active_tasks, rise.tasks - demand.running_tasks))
            forecast = desire(policy, risen, retiring, now, boot_time, task_slots)
            kept = with_foresight(kept, forecast, _words(rise))
            if now < rise.at <= now + horizon:
                wanted = with_foresight(wanted, forecast, _words(rise))
    least = least_nodes(policy, boot_ahead(policy, [each.boot_time for each in assessed]), now)
    if least.nodes != policy.min_nodes:
        policy = replace(policy, min_nodes=least.nodes)
    tasks = demand.active_tasks + max(0, demand.running_tasks - retiring)
    return Weighed(policy, assessed, wanted, kept, tasks, least.sentence)


def _words(rise: Rise) -> str:
    return f"{rise.tasks} tasks are expected from {rise.at:%H:%M} UTC on, as in {rise.seen} before"


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
