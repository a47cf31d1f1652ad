"""How many task slots the work of a pool needs, whatever nodes there are."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.demand import waiting_times
from scheduler.model import PoolDemand
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy

# A sum of parts that is whole but for its rounding must not want a slot more.
_ROUNDING = 1e-9
# Boots under way are given up only where there are clearly more than would be started now: a mean run time that wavers
# must not have nodes come and go.
_CLEARLY = 1.25


@dataclass(frozen=True, slots=True)
class Desire:
    """Slots that a pool's work needs, and the sentence that says how they were counted.

    slots    slots that are worth having now: more are bought up to here
    enough   slots beyond which boots under way are given up; never fewer than `slots`
    """

    slots: int
    enough: int
    sentence: str


def desire(
    policy: ScalingPolicy,
    demand: PoolDemand,
    retiring_runs: int,
    now: datetime,
    boot_time: timedelta | None = None,
    task_slots: int = 1,
) -> Desire:
    """Count the slots that are worth their price, and enough for the backlog to be begun within the acceptable wait.

    Running tasks keep their slots, and more slots than tasks are never wanted. What is worth its price is
    `ScalingPolicy.worth_a_slot`: tasks that take long against the boot get slots of their own, and short ones share.
    Both are added up over the lengths that tasks are expected to have, as far as those are known, not taken from their
    mean: where most are short and few very long, the mean is neither.

    What the acceptable wait needs: backlog seconds are those of the waiting tasks and half of a mean run for each
    running one, which is what a running task has still before it on average; none counts for longer than the wait
    itself, since a slot that is taken for all of it is one slot. `retiring_runs` of the running tasks are on retired
    nodes and keep the slots that they have there.

    A task that has waited for longer than the acceptable wait and a whole boot shows that running tasks do not make
    way as fast as expected; then waiting tasks get slots of their own.
    """
    active, running = demand.active_tasks, max(0, demand.running_tasks - retiring_runs)
    if active + running == 0:
        return Desire(0, 0, "no task waits or runs")
    known = demand.mean_task_seconds
    mean = policy.default_task_time.total_seconds() if known is None else known
    wait = policy.acceptable_wait.total_seconds()
    lengths = waiting_times(active, demand.classes, mean)
    start = policy.start_cost(boot_time, task_slots)
    worth = _whole(sum([tasks * policy.worth_a_slot(each, start) for each, tasks in lengths]) / 1_000_000)
    seconds = sum([tasks * min(each, wait) for each, tasks in lengths]) + running * min(mean / 2, wait)
    in_time = max(0, _whole(seconds / wait) - running)
    late = overdue(policy, demand, now)
    if late:
        in_time = max(in_time, 1, math.ceil(active * mean / wait))
    new = min(active, max(in_time, worth))
    if running == 0:
        new = max(new, 1)
    slots = running + new
    enough = running + min(active, max(new, math.ceil(new * _CLEARLY)))
    default = " (the pool's default)" if known is None else ""
    sentence = f"{active} waiting and {running} running tasks of about {_number(mean)} s each{default}"
    if active:
        boot = (UNMEASURED_BOOT if boot_time is None else boot_time).total_seconds()
        sentence += (
            f" are {_number(seconds)} s of work, none counted for longer than {_number(wait)} s; to be begun within"
            f" {_number(wait)} s it needs {in_time} slots more, and beside a boot of {_number(boot)} s {worth} are"
            " worth their price"
        )
        if late:
            sentence += "; the oldest task is overdue, so waiting tasks get slots of their own"
    return Desire(slots, enough, f"{sentence}: {slots} slots")


def _whole(slots: float) -> int:
    return math.ceil(slots - _ROUNDING)


def overdue(policy: ScalingPolicy, demand: PoolDemand, now: datetime) -> bool:
    """Whether a task has waited for longer than the acceptable wait and a whole boot."""
    if demand.oldest_active_at is None or demand.active_tasks == 0:
        return False
    return now - demand.oldest_active_at > policy.acceptable_wait + policy.boot_deadline


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  three digits are enough to follow it
