"""When our decision has to be made again: before that, unless something happens, it would be to hold.

The tests compare replays in which questions are left out by this with replays in which none is.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from scheduler.autoscale.assess import back_off
from scheduler.autoscale.calendar import boot_ahead, next_edge
from scheduler.autoscale.keeping import Keeping
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, Drain, GroupHistory, ReasonKind, Remove, ScaleOut, Undrain
from scheduler.autoscale.recurrence import DOUBT, SPAN, Recurrence, start_of_span
from scheduler.model import NodeGroup
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from scheduler.simulator.interface import Observation


def has_steps(policy: ScalingPolicy) -> bool:
    """Whether what one decision holds back is asked for in the next one."""
    return policy.max_step_out is not None or policy.max_step_out_per_minute is not None


def at_rest(policy: ScalingPolicy, seen: Sequence[Observation]) -> bool:
    """Whether nothing of a pool waits, boots or drains: then it holds until one of its deadlines is over."""
    work = seen[0].work
    return (
        not seen[0].waiting
        and not any(one.booting or one.draining for one in seen)
        and sum(one.alive for one in seen) >= policy.min_nodes
        and (work is None or not work.coming)
        and not (policy.floors or policy.anticipate or policy.gang_nodes > 1 or has_steps(policy))
    )


def left_after(
    policy: ScalingPolicy, seen: Observation, actions: Sequence[Action], history: GroupHistory
) -> int | None:
    """Count the nodes that a group has once its actions are carried out; None if they are to be looked at again.

    What drains is removed next, what is taken back may begin to work, nodes that come after a refusal end it, and a
    step is followed by the next.
    """
    if has_steps(policy):
        return None
    alive = seen.alive
    for action in actions:
        match action:
            case Drain() | Undrain():
                return None
            case ScaleOut():
                if history.refused_at is not None:
                    return None
                alive += action.count
            case Remove() if action.reason.kind is not ReasonKind.DRAINED:
                alive -= len(action.nodes)
    return alive


def wants_no_more(policy: ScalingPolicy, seen: Observation, nodes: int, actions: Sequence[Action]) -> bool:
    """Whether a pool that will have so many nodes would buy none in the place of those that it removes."""
    gave_up = any(isinstance(each, Remove) and each.reason.kind is ReasonKind.NOT_NEEDED for each in actions)
    return gave_up or (not seen.waiting and nodes >= policy.min_nodes)


def deadlines(
    group: NodeGroup, policy: ScalingPolicy, seen: Observation, history: GroupHistory, learned: PoolHistory, slots: int
) -> Iterator[float]:
    """Give the next times, or past ones, at which the decision about a group may change; its pool has so many slots."""
    seconds, now = seen.clock.seconds, seen.clock.instant(seen.now)
    boot = policy.boot_deadline.total_seconds()
    if seen.idle_since:
        # Of a group's idle nodes the longest idle goes first, and the others are looked at once it has gone.
        keeping = Keeping(policy, learned, history.boot_time)
        yield seconds(keeping.until(seen.clock.instant(seen.idle_since[0]), slots - group.task_slots + 1))
    for since in seen.booting_since:
        if since + boot > seen.now:  # the others have had their time, and are decided about now
            yield since + boot
            break
    if seen.oldest_waiting_at is not None:
        # A task is overdue only when it has waited for longer than both together; scale-in looks a boot ahead.
        overdue_at = seen.oldest_waiting_at + policy.acceptable_wait.total_seconds() + boot
        for ahead in (0.0, (history.boot_time or UNMEASURED_BOOT).total_seconds()):
            yield math.nextafter(overdue_at - ahead, math.inf)
    if history.refused_at is not None and history.refused_kind is not None:
        yield seconds(history.refused_at + back_off(history.refused_kind, history.refusals))
    if history.failed_boot_at is not None:
        yield seconds(history.failed_boot_at + policy.boot_deadline)
    edge = next_edge(policy, boot_ahead(policy, (history.boot_time,)), now) if policy.floors else None
    if edge is not None:
        yield seconds(edge)
    if policy.anticipate:
        yield from map(seconds, _expectations(policy, history, learned.recurrence, now))


def _expectations(
    policy: ScalingPolicy, history: GroupHistory, recurrence: Recurrence, now: datetime
) -> Iterator[datetime]:
    """Give the times at which what repeats may make a difference: spans begin, and rises are near or are past."""
    yield start_of_span(now) + SPAN
    if recurrence.missed_at is not None:
        yield recurrence.missed_at + DOUBT
    again = policy.restart_cost(history.boot_time)
    for rise in recurrence.rises:
        yield rise.at - (history.boot_time or UNMEASURED_BOOT)
        yield rise.at + min(again, SPAN)
