"""What repeats by time of day and day of week: rises of a pool's demand that came at the same time before.

The highest demand of each five minutes is kept for four weeks. A rise is sure where demand reached a level in three of
four weeks at that time of that day, and was lower just before in as many; or in six of the last seven days. What is not
sure is not acted upon: a mean by hour would have nodes idle for work that comes at any time of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SPAN = timedelta(minutes=5)
_A_DAY = 288
# As far as rises are looked for: nobody boots, or keeps a node for a restart, for longer.
AHEAD = timedelta(hours=1)
_SPANS_AHEAD = AHEAD // SPAN
_DAYS = 28
# Of the weeks that are kept, and of the last days: so many must be known, and so many agree.
_WEEKS, _WEEKS_AGREE = 4, 3
_WEEK, _DAYS_AGREE = 7, 6
# After so many rises in a row that did not come none is believed for some time: today is another kind of day.
MISSES = 2
DOUBT = timedelta(hours=1)
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Day:
    """The highest demand in each five minutes of a day, by the clock of the time zone; below zero where not known."""

    ordinal: int
    peaks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """What was seen of a pool's demand by time: whole days, and the five minutes that are not over.

    Of a span that has been seen in part only, nothing is kept (`whole`).
    """

    zone: str = "UTC"
    days: tuple[Day, ...] = ()
    opened_at: datetime | None = None
    peak: int = 0
    whole: bool = False


_NO_PROFILE = Profile()


@dataclass(frozen=True, slots=True)
class Rise:
    """Tasks that are expected to wait or run in the five minutes from `at` on, and not before."""

    at: datetime
    tasks: int
    seen: str


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A profile, the rises within the next hour, and how many in a row did not come, the last at `missed_at`.

    Rises that are past, or have come, are left out.
    """

    profile: Profile = _NO_PROFILE
    rises: tuple[Rise, ...] = ()
    misses: int = 0
    missed_at: datetime | None = None

    def told(self) -> "Recurrence":
        """Give what a decision is made from: all but the profile."""
        return replace(self, profile=_NO_PROFILE)

    def believed(self, now: datetime) -> tuple[Rise, ...]:
        """Give the rises that are believed."""
        doubted = self.misses >= MISSES and self.missed_at is not None and now - self.missed_at < DOUBT
        return () if doubted else self.rises


def seen(known: Recurrence, before: int, demand: int, now: datetime, zone: str) -> Recurrence:
    """Learn from what the demand is now and has been until now; the same object where nothing is new."""
    profile = known.profile
    at = start_of_span(now)
    if profile.opened_at is None or profile.zone != zone or at < profile.opened_at:
        days = profile.days if profile.zone == zone else ()
        known = replace(known, profile=Profile(zone, days, at, demand, whole=now == at), rises=())
        return _came(replace(known, rises=_ahead(known.profile, at)), demand)
    if at == profile.opened_at:
        if demand > profile.peak:
            known = replace(known, profile=replace(profile, peak=demand))
        return _came(known, demand)
    known = _judged(known, at)
    passed = profile.opened_at + SPAN
    days = _kept(profile.days, profile.opened_at, profile.peak if profile.whole else _UNKNOWN, zone)
    oldest = at - timedelta(days=_DAYS)
    for start in _starts(max(passed, oldest), at):
        days = _kept(days, start, before, zone)
    profile = Profile(zone, days, at, max(before, demand), whole=True)
    rises = tuple(each for each in known.rises if each.at >= at)
    if passed == at:
        rises += tuple(_rises(profile, at + _SPANS_AHEAD * SPAN, at + (_SPANS_AHEAD + 1) * SPAN))
    else:
        rises = _ahead(profile, at)
    return _came(replace(known, profile=profile, rises=rises), demand)


def interrupted(known: Recurrence) -> Recurrence:
    """Forget the five minutes that are not over: nobody looked for some time, and what is unknown is not zero."""
    if known.profile.opened_at is None:
        return known
    return replace(known, profile=replace(known.profile, opened_at=None, peak=0, whole=False), rises=())


def _judged(known: Recurrence, now: datetime) -> Recurrence:
    """Count the rises whose time is over and that did not come; one that came was taken out, and ended the count."""
    missed = [each for each in known.rises if each.at + SPAN <= now]
    if not missed:
        return known
    return replace(known, misses=known.misses + len(missed), missed_at=missed[-1].at + SPAN)


def _came(known: Recurrence, demand: int) -> Recurrence:
    """Take out the rise of now once it has come, for the most part."""
    opened_at = known.profile.opened_at
    if not any(each.at == opened_at and each.tasks <= 2 * demand for each in known.rises):
        return known
    return replace(known, rises=tuple(each for each in known.rises if each.at != opened_at), misses=0)


def _ahead(profile: Profile, at: datetime) -> tuple[Rise, ...]:
    return tuple(_rises(profile, at, at + (_SPANS_AHEAD + 1) * SPAN))


def _rises(profile: Profile, first: datetime, end: datetime) -> Iterator[Rise]:
    """Give the sure rises that begin within a span of time."""
    if not profile.days:
        return
    days = {day.ordinal: day.peaks for day in profile.days}
    for at in _starts(first, end):
        today, place = _place(at, profile.zone)
        yesterday, before = (today, place - 1) if place else (today - 1, _A_DAY - 1)
        found = []
        for what, step, count, agree in (("weeks", _WEEK, _WEEKS, _WEEKS_AGREE), ("days", 1, _WEEK, _DAYS_AGREE)):
            pairs = [
                (peak, lower)
                for back in range(step, step * count + 1, step)
                if (peak := _peak(days, today - back, place)) != _UNKNOWN
                and (lower := _peak(days, yesterday - back, before)) != _UNKNOWN
            ]
            if len(pairs) >= agree:
                level = sorted(peak for peak, _ in pairs)[-agree]
                times = sum(lower < level <= peak for peak, lower in pairs)
                if times >= agree:
                    found.append(Rise(at, level, f"{times} of {len(pairs)} {what}"))
        if found:
            yield max(found, key=lambda rise: rise.tasks)


def _peak(days: dict[int, tuple[int, ...]], ordinal: int, place: int) -> int:
    peaks: Sequence[int] = days.get(ordinal, ())
    return peaks[place] if place < len(peaks) else _UNKNOWN


def _kept(days: tuple[Day, ...], at: datetime, peak: int, zone: str) -> tuple[Day, ...]:
    """Write down what was seen; where an hour is repeated the higher counts."""
    ordinal, place = _place(at, zone)
    last = days[-1] if days and days[-1].ordinal == ordinal else Day(ordinal, ())
    earlier = days[:-1] if last.peaks else tuple(day for day in days if ordinal - _DAYS <= day.ordinal < ordinal)
    peaks = last.peaks
    if place < len(peaks):
        peaks = (*peaks[:place], max(peaks[place], peak), *peaks[place + 1 :])
    else:
        peaks = (*peaks, *(_UNKNOWN,) * (place - len(peaks)), peak)
    return (*earlier, Day(ordinal, peaks))


def _place(at: datetime, zone: str) -> tuple[int, int]:
    local = at.astimezone(_zone(zone))
    return local.toordinal(), (local.hour * 60 + local.minute) * 60 // int(SPAN.total_seconds())


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def start_of_span(now: datetime) -> datetime:
    """Give when the five minutes began that an instant is in."""
    return now - timedelta(minutes=now.minute % 5, seconds=now.second, microseconds=now.microsecond)


def _starts(first: datetime, end: datetime) -> Iterator[datetime]:
    while first < end:
        yield first
        first += SPAN


NOTHING_LEARNED = Recurrence()
