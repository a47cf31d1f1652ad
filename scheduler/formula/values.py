"""The values that a formula computes with, and how the service prints them.

A double is a `float`, a doubleVec a tuple of them, a string a `str`. Times are in ticks of 100 ns, the language's
finest interval, so that no sum of them is rounded.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.formula.dialect import Dialect
from scheduler.formula.language import TICKS_PER_SECOND

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_TICKS_PER_DAY = 86_400 * TICKS_PER_SECOND
# The end of the year 9999, and 64 bits: beyond them neither .NET nor Python has a time.
LAST_TICK = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).days * _TICKS_PER_DAY + _TICKS_PER_DAY - 1
LONGEST_TICKS = 2**63 - 1
_LARGEST_WHOLE = 1e15


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """An instant in UTC."""

    ticks: int

    @property
    def moment(self) -> datetime:
        """The instant to the microsecond."""
        return _EPOCH + timedelta(microseconds=self.ticks // 10)


@dataclass(frozen=True, slots=True, order=True)
class TimeInterval:
    """A span of time."""

    ticks: int


Value = float | tuple[float, ...] | str | Timestamp | TimeInterval


def timestamp(moment: datetime) -> Timestamp:
    """Take an instant over; it must have a time zone."""
    since = moment.astimezone(UTC) - _EPOCH
    return Timestamp(since.days * _TICKS_PER_DAY + since.seconds * TICKS_PER_SECOND + since.microseconds * 10)


def interval(span: timedelta) -> TimeInterval:
    """Take a span over."""
    return TimeInterval(span.days * _TICKS_PER_DAY + span.seconds * TICKS_PER_SECOND + span.microseconds * 10)


def type_name(value: Value) -> str:
    """Name a value's type as the documents do."""
    match value:
        case tuple():
            return "doubleVec"
        case str():
            return "string"
        case Timestamp():
            return "timestamp"
        case TimeInterval():
            return "timeinterval"
        case _:
            return "double"


def printed(value: Value, dialect: Dialect) -> str:
    """Print a value as in the service's result string."""
    match value:
        case tuple():
            return f"[{','.join(printed(each, dialect) for each in value)}]"
        case str():
            return value
        case Timestamp():
            milliseconds = value.ticks // 10_000 % 1000
            return f"{value.moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{milliseconds:03}Z"
        case TimeInterval():
            return _span(value)
        case _:
            return _double(value, dialect)


def _double(value: float, dialect: Dialect) -> str:
    if value != value:  # noqa: PLR0124  only not-a-number differs from itself
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < _LARGEST_WHOLE:
        return str(int(value))
    return f"{value:.{dialect.fraction_digits}g}".replace("e", "E")


def _span(value: TimeInterval) -> str:
    # No document shows one; this is .NET's constant form, [-][d.]hh:mm:ss[.fffffff].
    seconds, ticks = divmod(abs(value.ticks), TICKS_PER_SECOND)
    days, seconds = divmod(seconds, 86_400)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    sign = "-" if value.ticks < 0 else ""
    return sign + (f"{days}." if days else "") + text + (f".{ticks:07}" if ticks else "")
