"""For how long a node that holds no message is kept."""

from dataclasses import dataclass
from datetime import timedelta

from scheduler.policy import UNMEASURED_IDLE, ScalingPolicy

# Work that comes in bursts would have a node that boots in seconds come and go all day, and one that takes very long
# must not be kept for ever: an hour's idling is more than any boot should cost.
LEAST, MOST = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class IdleLimit:
    """The time, and the words that say where it comes from."""

    limit: timedelta
    sentence: str


def idle_limit(policy: ScalingPolicy, boot_time: timedelta | None) -> IdleLimit:
    """Take the owner's word; else break even: keep a node for as long as its successor would be paid for to boot.

    Whatever comes next, that costs at most twice what it would have cost to know it (the problem of renting skis).
    """
    if policy.idle_timeout is not None:
        return IdleLimit(policy.idle_timeout, f"{_seconds(policy.idle_timeout)} s")
    if boot_time is None:
        return IdleLimit(UNMEASURED_IDLE, f"{_seconds(UNMEASURED_IDLE)} s (no boot has been measured yet)")
    limit = min(max(boot_time, LEAST), MOST)
    return IdleLimit(limit, f"{_seconds(limit)} s (a boot takes {_seconds(boot_time)} s here)")


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g}"
