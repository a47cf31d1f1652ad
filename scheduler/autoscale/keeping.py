"""For how long a node is kept that no work needs: by the owner's word, or by what pauses have cost so far."""

from datetime import datetime, timedelta
from functools import lru_cache

from scheduler.autoscale.levels import LONGEST_OF, Pauses, PoolHistory, band_of, pauses_of, unneeded_since
from scheduler.policy import ScalingPolicy

# Before pauses have been seen every length is taken to be as likely as any other; this many pauses of the band count as
# much as that belief.
_BELIEF = 3.0
# A pause's mean length within its step: 0.84 of the longest, and half of the shortest step's.
_MEAN_OF = (LONGEST_OF[0] / 2, *(0.84 * longest for longest in LONGEST_OF[1:]))


class Keeping:
    """Until when the nodes of a group are kept without work, and why; what holds for many of them is worked out once.

    The owner's time-out counts from a node's last work. Else the node stands for a level of the pool, the lowest of its
    slots: what counts is since when that has not been needed, whichever of the nodes took the last tasks.
    """

    def __init__(self, policy: ScalingPolicy, learned: PoolHistory | None, boot_time: timedelta | None) -> None:
        self._timeout = policy.idle_timeout
        self._boot_time = boot_time
        self._restart = policy.restart_cost(boot_time).total_seconds()
        self._learned = learned
        self._limits: dict[int, timedelta] = {}

    def until(self, idle_since: datetime, level: int) -> datetime:
        """Say until when a node is kept that has been idle for some time and stands for a level."""
        if self._timeout is not None:
            return idle_since + self._timeout
        since = None if self._learned is None else unneeded_since(self._learned, level)
        return (idle_since if since is None else since) + self._limit(level)

    def sentence(self, level: int) -> str:
        """Say why a node is kept no longer."""
        if self._timeout is not None:
            return f"no message held for {_seconds(self._timeout)} s"
        boot = self._boot_time
        source = "no boot has been measured yet" if boot is None else f"a boot takes {_seconds(boot)} s here"
        pauses = None if self._learned is None else pauses_of(self._learned, level)
        seen = "no pauses seen yet" if pauses is None else f"by the pauses of about {sum(pauses.counts):.0f} times"
        limit = _seconds(self._limit(level))
        return f"its slot has not been needed for {limit} s, which is as long as pays off ({source}; {seen})"

    def _limit(self, level: int) -> timedelta:
        band = band_of(level)
        limit = self._limits.get(band)
        if limit is None:
            pauses = None if self._learned is None else pauses_of(self._learned, level)
            limit = self._limits[band] = timedelta(seconds=worth_keeping(pauses, self._restart))
        return limit


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
