"""What a pool has learned of its demand: for how long each level of it pauses.

Level k is needed while at least k tasks wait or run, whatever nodes there are. When demand falls below a level a pause
begins; when it comes back the pause is over, and its length is counted. Where pauses of a level are mostly short, a
node that serves it is worth keeping through them; where they are long, it is not: see `keeping`.
"""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter

from scheduler.autoscale.recurrence import NOTHING_LEARNED, Recurrence

# Pauses are counted by length, in steps of a factor of the square root of two from 5 s to 16 h: shorter ones are within
# the time between two looks, and no node is kept through longer ones.
_SHORTEST, _LENGTHS = 5.0, 28
LONGEST_OF: tuple[float, ...] = tuple(_SHORTEST * 2 ** (step / 2) for step in range(_LENGTHS))
# What was seen a week ago counts half: weekdays stay in sight, and last month's habits do not.
_HALF_LIFE = timedelta(days=7)
# Each of the first levels is counted by itself; higher ones together with their neighbours (about 9 %), since hundreds
# of nodes come and go alike. So 10,000 slots have about a hundred bands.
_SINGLE, _GROWTH, _MOST = 32, 2 ** (1 / 8), 10_000_000

# Each fall is kept by itself while there are no more than these: a level was not needed when its neighbour fell.
# Beyond that, neighbours of one age but for a twentieth are taken together: from 5 s to 16 h these are 184 at most.
MOST_FALLS = 256
_ALIKE = 0.95


def _tops() -> tuple[int, ...]:
    tops = list(range(1, _SINGLE + 1))
    edge = float(_SINGLE)
    while tops[-1] < _MOST:
        edge *= _GROWTH
        tops.append(max(tops[-1] + 1, round(edge)))
    return tuple(tops)


_TOPS = _tops()


@dataclass(frozen=True, slots=True)
class Fall:
    """The levels up to `level`, down to the next fall's or to the demand, have not been needed since `at`."""

    level: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Pauses:
    """How many pauses of each length a band of levels had; what is old counts less. Right as at `at`."""

    band: int
    counts: tuple[float, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class PoolHistory:
    """What a pool has learned, small enough to be kept in one row.

    demand   slots that the pool's work needed when it was last seen
    falls    pauses that have begun and are not over, from the highest level down
    pauses   the pauses that are over, in order of their bands
    recurrence   what repeats by time of day and day of week
    """

    demand: int = 0
    falls: tuple[Fall, ...] = ()
    pauses: tuple[Pauses, ...] = ()
    recurrence: Recurrence = NOTHING_LEARNED


def band_of(level: int) -> int:
    """Give the band that a level, from 1 on, is counted in."""
    return bisect_left(_TOPS, level)


def observed(history: PoolHistory, demand: int, now: datetime) -> PoolHistory:
    """Learn from what the demand is now; the same object where it is as it was."""
    if demand < history.demand:
        return replace(history, demand=demand, falls=_fallen(history.falls, history.demand, now))
    if demand > history.demand:
        return _risen(history, demand, now)
    return history


def unneeded_since(history: PoolHistory, level: int) -> datetime | None:
    """Say since when a level has not been needed; None while it is, or where it was never seen to be."""
    if level <= history.demand:
        return None
    # Falls are in order from the highest level down; the lowest that reaches up to this one is its own.
    place = bisect_right(history.falls, -level, key=lambda fall: -fall.level)
    return history.falls[place - 1].at if place else None


def pauses_of(history: PoolHistory, level: int) -> Pauses | None:
    """Give the pauses of the band that a level is in."""
    band = band_of(level)
    place = bisect_left(history.pauses, band, key=attrgetter("band"))
    found = history.pauses[place] if place < len(history.pauses) else None
    return found if found is not None and found.band == band else None


def _fallen(falls: tuple[Fall, ...], level: int, now: datetime) -> tuple[Fall, ...]:
    """Have levels from this one down pause."""
    falls = (*falls, Fall(level, now))
    return falls if len(falls) <= MOST_FALLS else _taken_together(falls, now)


def _taken_together(falls: tuple[Fall, ...], now: datetime) -> tuple[Fall, ...]:
    """Have neighbours that are almost as old pause together, from the later one's time: rather kept too long."""
    fewer: list[Fall] = []
    oldest = 0.0
    for fall in falls:
        age = (now - fall.at).total_seconds()
        if fewer and max(age, _SHORTEST) >= _ALIKE * min(oldest, LONGEST_OF[-1]):
            fewer[-1] = Fall(fewer[-1].level, fall.at)
        else:
            fewer.append(fall)
            oldest = age
    return tuple(fewer)


def _risen(history: PoolHistory, demand: int, now: datetime) -> PoolHistory:
    """End the pauses of the levels that are needed again."""
    falls = list(history.falls)
    ended: dict[int, list[tuple[timedelta, int]]] = {}
    reached = history.demand
    while falls and reached < demand:
        fall = falls[-1]
        top = min(fall.level, demand)
        for band, levels in _by_band(reached + 1, top):
            ended.setdefault(band, []).append((now - fall.at, levels))
        if fall.level <= demand:
            falls.pop()
        reached = top
    pauses = {each.band: each for each in history.pauses}
    for band, lengths in ended.items():
        pauses[band] = _counted(pauses.get(band), band, lengths, now)
    return PoolHistory(demand, tuple(falls), tuple(pauses[band] for band in sorted(pauses)))


def _by_band(first: int, last: int) -> list[tuple[int, int]]:
    """Split levels into bands, each with how many of the levels are in it."""
    parts = []
    while first <= last:
        band = band_of(first)
        top = min(last, _TOPS[band])
        parts.append((band, top - first + 1))
        first = top + 1
    return parts


def _counted(before: Pauses | None, band: int, lengths: list[tuple[timedelta, int]], now: datetime) -> Pauses:
    counts = [0.0] * _LENGTHS
    if before is not None:
        faded = 0.5 ** max(0.0, (now - before.at) / _HALF_LIFE)
        counts = [count * faded for count in before.counts]
    for length, levels in lengths:
        counts[_step_of(length.total_seconds())] += levels
    return Pauses(band, tuple(counts), now)


def _step_of(seconds: float) -> int:
    if seconds <= _SHORTEST:
        return 0
    return min(_LENGTHS - 1, math.ceil(2 * math.log2(seconds / _SHORTEST)))
