"""How spans, instants and numbers are said in an explanation."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from scheduler.views import Fact

_MINUTE = 60
_HOUR = 3600
_DAY = 86400


def span(length: timedelta) -> str:
    """Say how long something takes; a span set back by another machine's clock is none."""
    seconds = max(0.0, length.total_seconds())
    if seconds < 10:  # noqa: PLR2004  below, a decimal is worth reading
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:.1f} days"


def ago(instant: datetime, now: datetime) -> str:
    """Say how long ago something happened."""
    return f"{span(now - instant)} ago"


def at(instant: datetime) -> str:
    """Write an instant, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def number(count: int, noun: str) -> str:
    """Count things: `1 task`, `2 tasks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clause(text: str) -> str:
    """Make a reason fit within a sentence: in one line, without a full stop at its end."""
    return " ".join(text.split()).rstrip(".")


def facts(*pairs: tuple[str, object]) -> tuple[Fact, ...]:
    """Make facts of pairs; what is None or empty is left out."""
    return tuple(Fact(name, _value(value)) for name, value in pairs if value is not None and value not in ("", ()))


def listed(names: Iterable[str]) -> str:
    """Write names one after another."""
    return ", ".join(names)


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return at(value)
    if isinstance(value, timedelta):
        return span(value)
    return str(value)
