"""The texts that `time("...")` reads: W3C's date and time format, and RFC 1123."""

import re
from datetime import UTC, datetime, timedelta, timezone

from scheduler.formula.dialect import Dialect
from scheduler.formula.values import Timestamp, timestamp

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_W3C = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[-+]\d\d:\d\d)?)?)?)?", re.ASCII
)
_RFC1123 = re.compile(r"([A-Z][a-z]{2}), (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_EXAMPLES = 'such as "2016-10-13T19:00:00Z" or "Thu, 13 Oct 2016 19:00:00 GMT"'


def parse_time(text: str, dialect: Dialect) -> Timestamp:
    """Read a date and time; `ValueError` says what is wrong with it."""
    found = _RFC1123.fullmatch(text)
    if found is not None:
        return _rfc1123(text, found)
    found = _W3C.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no date and time; write one {_EXAMPLES}')
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    if fraction is not None and len(fraction) > dialect.max_fraction_digits:
        raise ValueError(
            f'"{text}" has {len(fraction)} digits after the second, {dialect.max_fraction_digits} are read: '
            "round the fraction, or leave it out"
        )
    if hour is not None and zone is None and dialect.zone_required:
        raise ValueError(f'"{text}" has no time zone; end it with Z')
    try:
        moment = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            tzinfo=_zone(zone),
        )
        ticks = timestamp(moment).ticks
    except (ValueError, OverflowError) as error:
        raise ValueError(f'"{text}" is no date and time: {error}') from error
    return Timestamp(ticks + (int(fraction[:7].ljust(7, "0")) if fraction else 0))


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def _rfc1123(text: str, found: re.Match[str]) -> Timestamp:
    day_name, day, month, year, hour, minute, second = found.groups()
    if month not in _MONTHS:
        raise ValueError(f'"{text}" has no month {month!r}; months are {", ".join(_MONTHS)}')
    try:
        moment = datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except ValueError as error:
        raise ValueError(f'"{text}" is no date and time: {error}') from error
    if _DAYS[moment.weekday()] != day_name:
        raise ValueError(f'"{text}" is a {_DAYS[moment.weekday()]}, not a {day_name}')
    return timestamp(moment)
