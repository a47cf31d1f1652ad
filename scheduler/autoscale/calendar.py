"""Nodes that are up at certain hours, by the clock of a time zone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from scheduler.autoscale.plan import GroupHistory
from scheduler.policy import Floor, ScalingPolicy, Weekday

# How long ahead of a floor nodes are bought where no boot has been measured.
UNMEASURED_BOOT = timedelta(minutes=5)

_DAY = timedelta(days=1)
_WEEKDAYS = tuple(Weekday)


@dataclass(frozen=True, slots=True)
class LeastNodes:
    """How many nodes a pool keeps, and the words that say why."""

    nodes: int
    sentence: str


def boot_ahead(policy: ScalingPolicy, histories: Iterable[GroupHistory]) -> timedelta:
    """Say how long ahead of a floor nodes are bought: the slowest group's boot, as far as it has been measured."""
    boots = [history.boot_time for history in histories if history.boot_time is not None]
    return min(max(boots, default=UNMEASURED_BOOT), policy.boot_deadline)


def least_nodes(policy: ScalingPolicy, boot_time: timedelta, now: datetime) -> LeastNodes:
    """Take the highest of `min_nodes` and of the floors that hold now or begin within a boot."""
    least = LeastNodes(policy.min_nodes, f"the pool keeps at least {policy.min_nodes} nodes")
    for floor in policy.floors:
        nodes = min(floor.nodes, policy.max_nodes)
        if nodes > least.nodes and (begins := _begun(floor, now, now + boot_time)) is not None:
            least = LeastNodes(nodes, _sentence(floor, nodes, begins, now))
    return least


def next_edge(policy: ScalingPolicy, boot_time: timedelta, now: datetime) -> datetime | None:
    """Give the first instant after now at which `least_nodes` may say something else, if one comes within a week."""
    edges = (
        edge
        for floor in policy.floors
        for begins, ends in _intervals(floor, now - _DAY, now + 8 * _DAY)
        for edge in (begins - boot_time, ends)
        if edge > now
    )
    return min(edges, default=None)


def _begun(floor: Floor, now: datetime, until: datetime) -> datetime | None:
    """Give when the floor began that holds at some instant from now to `until`."""
    return next((begins for begins, ends in _intervals(floor, now, until) if begins <= until and now < ends), None)


def _intervals(floor: Floor, first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Give the floor's intervals that may touch a span, in order.

    A day begins and ends by the clock on the wall: where it is put forward the skipped hour is the next one, and where
    it is put back an interval covers both of the repeated hours that its ends name.
    """
    zone = ZoneInfo(floor.time_zone)
    # One that began the day before may go on, and dates differ from UTC's by one at most.
    day, end = first.astimezone(zone).date() - _DAY, last.astimezone(zone).date()
    while day <= end:
        if _WEEKDAYS[day.weekday()] in floor.days:
            last_day = day + _DAY if floor.ends <= floor.begins else day
            yield _instant(day, floor.begins, floor.time_zone, 0), _instant(last_day, floor.ends, floor.time_zone, 1)
        day += _DAY


@lru_cache(maxsize=1024)
def _instant(day: date, clock: time, time_zone: str, fold: int) -> datetime:
    return datetime.combine(day, clock, ZoneInfo(time_zone)).replace(fold=fold).astimezone(UTC)


def _sentence(floor: Floor, nodes: int, begins: datetime, now: datetime) -> str:
    hours = f"from {floor.begins:%H:%M} to {floor.ends:%H:%M} ({floor.time_zone}, {' '.join(floor.days)})"
    ahead = ", and it takes a boot for them to be up" if begins > now else ""
    return f"the pool keeps at least {nodes} nodes {hours}{ahead}"
