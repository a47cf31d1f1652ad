"""The times of a schedule: what comes after an instant, and what came last.

Cron expressions are read as Debian's cron reads them (cronsim), by the clock of their time zone: a time that the clock
leaves out is taken right after, one that it shows twice is taken once. Where the hour is `*`, the expression follows
elapsed time instead, so that what comes every hour or more often neither pauses nor doubles when the clock is set.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from scheduler.errors import InvalidRequestError
from scheduler.job_schedule import LEAST_INTERVAL, LEAST_WINDOW, Schedule

_FIELDS = 5
_MINUTE, _HOUR = 0, 1
_ALIASES = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@yearly": "0 0 1 1 *",
    }
)
# How far to look back at first; more is looked at only where that held none.
_LOOK_BACK = timedelta(hours=1)
_FARTHER = 8
# So many missed occurrences are counted; more need no exact number.
MOST_COUNTED = 1000
_INSTANT = timedelta(microseconds=1)


def findings(schedule: Schedule, now: datetime) -> Iterator[str]:
    """Say what is wrong with a schedule that is made now."""
    interval, window = schedule.recurrence_interval, schedule.start_window
    until, after = schedule.do_not_run_until, schedule.do_not_run_after
    wrong = []
    if schedule.cron is not None and interval is not None:
        wrong.append("give either a cron expression or a recurrence interval")
    if interval is not None and interval < LEAST_INTERVAL:
        wrong.append(f"the recurrence interval is {interval}, must be at least a minute")
    if window is not None and window < LEAST_WINDOW:
        wrong.append(f"the start window is {window}, must be at least a minute")
    wrong += [
        f"{each.isoformat()} names no time zone; end it with Z or +01:00"
        for each in (until, after)
        if each is not None and each.tzinfo is None
    ]
    try:
        zone_of(schedule)
    except InvalidRequestError as error:
        wrong.append(str(error))
    else:
        if schedule.cron is not None:
            wrong += _cron_findings(schedule.cron)
    if not wrong and following(schedule, now, now - _INSTANT) is None:
        wrong.append(
            "it never comes to a job: no time fits, between do_not_run_until and do_not_run_after and from now"
        )
    yield from wrong


def zone_of(schedule: Schedule) -> ZoneInfo:
    """Give the clock that a schedule goes by; `InvalidRequestError` where this machine knows none of its name."""
    try:
        return ZoneInfo(schedule.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidRequestError(
            f"{schedule.time_zone!r} is no time zone; give one of the IANA names, such as Europe/Zurich"
        ) from error


def _cron_findings(cron: str) -> Iterator[str]:
    words = _ALIASES.get(cron.strip().lower(), cron).split()
    if len(words) != _FIELDS:
        yield (
            f"the cron expression {cron!r} has {len(words)} fields, expected 5: minute, hour, day of month, month, "
            "day of week; such as '0 6 * * MON-FRI'"
        )
        return
    try:
        CronSim(_written(cron), datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, ValueError) as error:
        yield f"the cron expression {cron!r} cannot be read: {str(error)[:1].lower()}{str(error)[1:]}"


def following(schedule: Schedule, created_at: datetime, after: datetime) -> datetime | None:
    """Give the first occurrence after an instant; None when there is none."""
    return next(occurrences(schedule, created_at, after), None)


def occurrences(schedule: Schedule, created_at: datetime, after: datetime) -> Iterator[datetime]:
    """Give the occurrences after an instant in their order, without end where the schedule has none."""
    until, last = schedule.do_not_run_until, schedule.do_not_run_after
    if schedule.cron is not None:
        earliest = after if until is None else max(after, until - _INSTANT)
        found = _by_cron(schedule.cron, zone_of(schedule), earliest)
    elif schedule.recurrence_interval is not None:
        found = _by_interval(until or created_at, schedule.recurrence_interval, after)
    else:
        once = created_at if until is None else max(until, created_at)
        found = iter([once] if once > after else [])
    for each in found:
        if last is not None and each > last:
            return
        yield each


def newest(schedule: Schedule, created_at: datetime, after: datetime, until: datetime) -> datetime | None:
    """Give the last occurrence after one instant and up to another; None when there is none between them."""
    span = max(schedule.recurrence_interval or _LOOK_BACK, _LOOK_BACK)
    begin = until
    while begin > after:
        begin = max(after, until - span)
        last = None
        for each in occurrences(schedule, created_at, begin):
            if each > until:
                break
            last = each
        if last is not None:
            return last
        span *= _FARTHER
    return None


def count_between(schedule: Schedule, created_at: datetime, after: datetime, before: datetime) -> int:
    """Count the occurrences after one instant and before another, up to `MOST_COUNTED`."""
    counted = 0
    for each in islice(occurrences(schedule, created_at, after), MOST_COUNTED):
        if each >= before:
            break
        counted += 1
    return counted


def _by_interval(anchor: datetime, interval: timedelta, after: datetime) -> Iterator[datetime]:
    number = max(0, (after - anchor) // interval + 1)
    while True:
        yield anchor + number * interval
        number += 1


def _by_cron(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    last = after
    for each in CronSim(_written(cron), after.astimezone(zone)):
        found = each.astimezone(UTC)
        # While the clock is set back it shows times again that were taken already, and two that it leaves out are one.
        if found > last:
            last = found
            yield found


def _written(cron: str) -> str:
    """Write an expression so that only a plain star for the hour means elapsed time.

    To the library any star in hours or minutes does. Then in the nights in which the clock is set `*/30 2 * * *` would
    be left out or doubled, and `0 */2 * * *` doubled.
    """
    words = _ALIASES.get(cron.strip().lower(), cron).split()
    if words[_HOUR] not in {"*", "*/1"}:
        for field, every in ((_MINUTE, "0-59"), (_HOUR, "0-23")):
            words[field] = re.sub(r"^\*", every, words[field])
    return " ".join(words)
