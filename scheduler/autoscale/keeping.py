"""For how long a node is kept that no work needs: by the owner's word, or by what pauses have cost so far."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from scheduler.autoscale.levels import LONGEST_OF, Pauses, PoolHistory, pauses_of, unneeded_since
from scheduler.policy import ScalingPolicy

# Before pauses have been seen every length is taken to be as likely as any other; this many pauses of the band count as
# much as that belief.
_BELIEF = 3.0
# A pause's mean length within its step: 0.84 of the longest, and half of the shortest step's.
_MEAN_OF = (LONGEST_OF[0] / 2, *(0.84 * longest for longest in LONGEST_OF[1:]))


@dataclass(frozen=True, slots=True)
class Keeping:
    """Until when a node is kept without work, and the words that say why."""

    until: datetime
    sentence: str


def keeping(
    policy: ScalingPolicy, learned: PoolHistory | None, boot_time: timedelta | None, idle_since: datetime, level: int
) -> Keeping:
    """Say how long a node without work is kept while the lowest of its slots is the pool's `level`th.

    The owner's time-out counts from the node's last work. Else the node stands for the level: what counts is since when
    that has not been needed, whichever of the nodes took the last tasks.
    """
    if policy.idle_timeout is not None:
        return Keeping(idle_since + policy.idle_timeout, f"no message held for {_seconds(policy.idle_timeout)} s")
    pauses = None if learned is None else pauses_of(learned, level)
    limit = timedelta(seconds=worth_keeping(pauses, policy.restart_cost(boot_time).total_seconds()))
    since = None if learned is None else unneeded_since(learned, level)
    source = "no boot has been measured yet" if boot_time is None else f"a boot takes {_seconds(boot_time)} s here"
    seen = "no pauses seen yet" if pauses is None else f"by the pauses of about {sum(pauses.counts):.0f} times"
    sentence = f"its slot has not been needed for {_seconds(limit)} s, which is as long as pays off ({source}; {seen})"
    return Keeping((idle_since if since is None else since) + limit, sentence)


@lru_cache(maxsize=1024)
def worth_keeping(pauses: Pauses | None, restart: float) -> float:
    """Choose the time, in seconds, after which giving a node up would have cost least over the pauses seen.

    A pause costs its length where the node was kept through it, else that time and a restart. No node is kept for
    longer than a restart costs: then it has cost as much as the mistake (the problem of renting skis).
    """
    belief = _BELIEF / len(LONGEST_OF)
    counts = [belief + count for count in pauses.counts] if pauses is not None else [belief] * len(LONGEST_OF)
    longer = sum(counts)
    least, best = longer * restart, 0.0
    kept_through = 0.0
    for count, longest, mean in zip(counts, LONGEST_OF, _MEAN_OF, strict=True):
        if longest > restart:
            break
        kept_through += count * mean
        longer -= count
        cost = kept_through + longer * (longest + restart)
        if cost < least:
            least, best = cost, longest
    return best


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f}"
