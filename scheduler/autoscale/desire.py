"""How many task slots the work of a pool needs, whatever nodes there are."""

import math
from dataclasses import dataclass
from datetime import datetime

from scheduler.model import PoolDemand
from scheduler.policy import ScalingPolicy


@dataclass(frozen=True, slots=True)
class Desire:
    """Slots that a pool's work needs, and the sentence that says how they were counted."""

    slots: int
    sentence: str


def desire(policy: ScalingPolicy, demand: PoolDemand, retiring_runs: int, now: datetime) -> Desire:
    """Count slots so that the backlog is worked off within the acceptable wait.

    Backlog seconds are those of the waiting tasks and half of a mean run for each running one, which is what a running
    task has still before it on average. Running tasks keep their slots; more slots than tasks are never wanted.
    `retiring_runs` of the running tasks are on retired nodes and keep the slots that they have there.

    A task that has waited for longer than the acceptable wait and a whole boot shows that running tasks do not make
    way as fast as the mean says; then waiting tasks get slots of their own.
    """
    active, running = demand.active_tasks, max(0, demand.running_tasks - retiring_runs)
    if active + running == 0:
        return Desire(0, "no task waits or runs")
    known = demand.mean_task_seconds
    mean = policy.default_task_time.total_seconds() if known is None else known
    wait = policy.acceptable_wait.total_seconds()
    seconds = (active + running / 2) * mean
    slots = max(running, math.ceil(seconds / wait), 1)
    overdue = _overdue(policy, demand, now)
    if overdue:
        slots = max(slots, running + max(1, math.ceil(active * mean / wait)))
    slots = min(slots, active + running)
    default = " (the pool's default)" if known is None else ""
    sentence = (
        f"{active} waiting and {running} running tasks of about {_number(mean)} s each{default} "
        f"are {_number(seconds)} s of work, to be begun within {_number(wait)} s: {slots} slots"
    )
    if overdue:
        sentence += ", with slots of their own for waiting tasks since the oldest is overdue"
    return Desire(slots, sentence)


def _overdue(policy: ScalingPolicy, demand: PoolDemand, now: datetime) -> bool:
    if demand.oldest_active_at is None or demand.active_tasks == 0:
        return False
    return now - demand.oldest_active_at > policy.acceptable_wait + policy.boot_deadline


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  three digits are enough to follow it
