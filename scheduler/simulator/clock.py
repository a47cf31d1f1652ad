"""Which instant a replay's time 0 is: floors by the calendar, and what repeats by time of day, depend on it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Of workloads that do not say when they were: a Thursday.
_ANY = datetime(2026, 1, 1, tzinfo=UTC)
# What weekdays are counted from.
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
_WEEK = 604800.0


@dataclass(frozen=True, slots=True)
class Clock:
    """`begins_at` is the instant of time 0, where it is known."""

    begins_at: datetime | None = None

    def instant(self, seconds: float) -> datetime:
        """Give the instant that a time of the workload stands for."""
        return (self.begins_at or _ANY) + timedelta(seconds=seconds)

    def seconds(self, at: datetime) -> float:
        """Give the time of the workload that an instant stands for."""
        return (at - (self.begins_at or _ANY)).total_seconds()

    @property
    def into_week(self) -> float:
        """Seconds from midnight before a Monday (UTC) to time 0; none where it is not known."""
        if self.begins_at is None:
            return 0.0
        return (self.begins_at - MONDAY).total_seconds() % _WEEK


ANY_TIME = Clock()
