"""What a pool learns of its demand from one look to the next."""

from dataclasses import replace
from datetime import datetime

from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.recurrence import interrupted, seen


def learnt(history: PoolHistory, demand: int, now: datetime, time_zone: str) -> PoolHistory:
    """Learn pauses and what repeats from what the demand is now; the same object where nothing is new."""
    after = observed(history, demand, now)
    recurrence = seen(history.recurrence, history.demand, demand, now, time_zone)
    return after if after.recurrence is recurrence else replace(after, recurrence=recurrence)


def resumed(history: PoolHistory) -> PoolHistory:
    """Go on with what was learned before nobody looked for some time."""
    recurrence = interrupted(history.recurrence)
    return history if recurrence is history.recurrence else replace(history, recurrence=recurrence)


def told(history: PoolHistory) -> PoolHistory:
    """Give what a decision is made from; it is kept with each, so it is to be small."""
    return replace(history, recurrence=history.recurrence.told())
