"""What the service has measured of a pool: samples of each metric, and the pool's sizes now."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from scheduler.formula.language import TICKS_PER_SECOND
from scheduler.formula.values import timestamp

# "The Batch service takes samples every 30 seconds": the article.
SAMPLE_PERIOD = 30
PERIOD_TICKS = SAMPLE_PERIOD * TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class MetricSamples:
    """One metric's samples, oldest first: `ticks` says when each was taken (`values.timestamp(...).ticks`).

    Both may be lists that a simulator goes on filling; they are searched, never copied.
    """

    ticks: Sequence[int] = ()
    values: Sequence[float] = ()

    @staticmethod
    def of(samples: Iterable[tuple[datetime, float]]) -> "MetricSamples":
        """Take samples over, in any order."""
        pairs = sorted((timestamp(moment).ticks, float(value)) for moment, value in samples)
        return MetricSamples(tuple(ticks for ticks, _ in pairs), tuple(value for _, value in pairs))

    def latest(self, count: int, until: int) -> tuple[float, ...]:
        """Give the newest samples that were taken until then, oldest first."""
        end = bisect_right(self.ticks, until)
        return tuple(self.values[max(0, end - count) : end])

    def window(self, after: int, until: int, seen_until: int) -> tuple[float, ...]:
        """Give the samples taken after one moment and until another, as far as they can be seen yet."""
        begin, end = bisect_right(self.ticks, after), bisect_right(self.ticks, min(until, seen_until))
        return tuple(self.values[begin:end])

    def percent(self, after: int, until: int, seen_until: int) -> float:
        """Say how many of the samples that a window should have can be seen, in percent and at most 100."""
        begin, end = bisect_right(self.ticks, after), bisect_right(self.ticks, min(until, seen_until))
        found = max(0, end - begin)
        return min(100.0, 100.0 * found * PERIOD_TICKS / (until - after)) if found else 0.0

    def count(self, until: int) -> int:
        """Count the samples taken until then."""
        return bisect_right(self.ticks, until)


NO_SAMPLES = MetricSamples()


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as an evaluation finds it: its nodes, the targets that were set last, and its slots on a node."""

    current_dedicated: int = 0
    current_low_priority: int = 0
    target_dedicated: int = 0
    target_low_priority: int = 0
    task_slots_per_node: int = 1
    samples: Mapping[str, MetricSamples] = field(default_factory=lambda: MappingProxyType({}))
