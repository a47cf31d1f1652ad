"""Floors by the clock on the wall."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.calendar import least_nodes, next_edge
from scheduler.autoscale.decide import decide
from scheduler.autoscale.plan import Drain, GroupHistory, ReasonKind, ScaleOut
from scheduler.policy import Floor, ScalingPolicy, Weekday
from tests.scheduler.autoscale.fleets import NOW, POOL, fleet, group, node, work

ZURICH = "Europe/Zurich"
WEEK = tuple(Weekday)
WORKDAYS = WEEK[:5]
NONE = timedelta(0)
FIRST = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
OFFICE = Floor(WORKDAYS, time(8), time(18), ZURICH, 4)
NIGHT = Floor((Weekday.FRI,), time(22), time(6), ZURICH, 3)


def utc(text: str) -> datetime:
    """Read an instant of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def least(floor: Floor, at: str, boot: timedelta = NONE) -> int:
    """Give the least number of nodes at an instant of UTC."""
    return least_nodes(ScalingPolicy(max_nodes=10, floors=(floor,)), boot, utc(at)).nodes


# Zurich is an hour ahead of UTC in winter and two in summer; in 2026 the clock changes on 29 March and 25 October.
@pytest.mark.parametrize(
    ("floor", "first", "last"),
    [
        (OFFICE, "2026-03-27 07:00", "2026-03-27 17:00"),
        (OFFICE, "2026-03-30 06:00", "2026-03-30 16:00"),
        (OFFICE, "2026-10-26 07:00", "2026-10-26 17:00"),
        (NIGHT, "2026-03-27 21:00", "2026-03-28 05:00"),
        # The night in which the clock is put forward lasts 7 hours; 02:30 is not there and is 03:30.
        (replace(NIGHT, days=(Weekday.SAT,)), "2026-03-28 21:00", "2026-03-29 04:00"),
        (Floor(WEEK, time(2, 30), time(5), ZURICH, 2), "2026-03-29 01:30", "2026-03-29 03:00"),
        # The one in which it is put back has 02:30 twice: an interval begins with the first and ends with the second.
        (Floor(WEEK, time(2, 30), time(5), ZURICH, 2), "2026-10-25 00:30", "2026-10-25 04:00"),
        (Floor(WEEK, time(1), time(2, 30), ZURICH, 2), "2026-10-24 23:00", "2026-10-25 01:30"),
        (Floor((Weekday.SUN,), time(0), time(0), "UTC", 1), "2026-03-01 00:00", "2026-03-02 00:00"),
    ],
)
def test_a_floor_holds_from_its_beginning_until_its_end(floor: Floor, first: str, last: str) -> None:
    """It holds at its first second and not the one before, and no more at its end."""
    second = timedelta(seconds=1)
    begins, ends = utc(first), utc(last)
    policy = ScalingPolicy(max_nodes=10, floors=(floor,))
    seen = [least_nodes(policy, NONE, at).nodes for at in (begins - second, begins, ends - second, ends)]
    assert seen == [0, floor.nodes, floor.nodes, 0]


def test_nodes_are_up_when_a_floor_begins() -> None:
    """They are bought a boot ahead."""
    boot = timedelta(minutes=4)
    assert least(OFFICE, "2026-03-27 06:55:59", boot) == 0
    assert least(OFFICE, "2026-03-27 06:56:00", boot) == 4
    assert least(OFFICE, "2026-03-27 17:00:00", boot) == 0


@given(
    st.datetimes(FIRST, FIRST + timedelta(days=365)),
    st.sets(st.sampled_from(WEEK), min_size=1),
    st.times().map(lambda each: each.replace(second=0, microsecond=0)),
    st.times().map(lambda each: each.replace(second=0, microsecond=0)),
    st.sampled_from([ZURICH, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_a_floor_holds_as_the_clock_on_the_wall_says(
    wall: datetime, days: set[Weekday], begins: time, ends: time, zone: str
) -> None:
    """At any time of a day on which the clock does not change, a floor holds exactly when the wall clock is within."""
    here = wall.replace(tzinfo=ZoneInfo(zone))
    spans = {(here + timedelta(hours=hours)).utcoffset() for hours in range(-30, 31)}
    clock, today = wall.time(), WEEK[wall.weekday()]
    yesterday = WEEK[wall.weekday() - 1]
    if begins < ends:
        expected = today in days and begins <= clock < ends
    else:
        expected = (today in days and clock >= begins) or (yesterday in days and clock < ends)
    floor = Floor(tuple(days), begins, ends, zone, 1)
    found = least_nodes(ScalingPolicy(floors=(floor,)), NONE, here.astimezone(UTC)).nodes == 1
    assert len(spans) > 1 or found == expected


FLOORS = st.lists(
    st.builds(
        Floor,
        st.sets(st.sampled_from(WEEK), min_size=1).map(tuple),
        st.times(),
        st.times(),
        st.sampled_from([ZURICH, "UTC", "Pacific/Auckland"]),
        st.integers(0, 10),
    ),
    max_size=3,
).map(tuple)
INSTANTS = st.datetimes(FIRST, FIRST + timedelta(days=365), timezones=st.just(UTC))
BOOTS = st.timedeltas(NONE, timedelta(minutes=15))


@given(FLOORS, st.integers(0, 10), INSTANTS, BOOTS)
def test_floors_are_within_the_pools_bounds(
    floors: tuple[Floor, ...], fewest: int, now: datetime, boot: timedelta
) -> None:
    """Whatever floors there are, the least is from `min_nodes` to `max_nodes`, and a longer boot never lowers it."""
    policy = ScalingPolicy(min_nodes=fewest, max_nodes=10, floors=floors)
    found = least_nodes(policy, boot, now).nodes
    assert fewest <= found <= 10
    assert least_nodes(policy, NONE, now).nodes <= found


@given(FLOORS, INSTANTS, BOOTS, st.floats(0, 1, exclude_max=True))
def test_nothing_changes_before_the_next_edge(
    floors: tuple[Floor, ...], now: datetime, boot: timedelta, part: float
) -> None:
    """From now to the next edge the least number of nodes is the same."""
    policy = ScalingPolicy(max_nodes=10, floors=floors)
    edge = next_edge(policy, boot, now)
    later = now + ((edge or now + timedelta(days=7)) - now) * part
    assert least_nodes(policy, boot, later).nodes == least_nodes(policy, boot, now).nodes


# NOW is a Sunday noon.
SUNDAY = Floor((Weekday.SUN,), time(12, 3), time(18), "UTC", 3)


def test_a_floor_is_bought_a_measured_boot_ahead() -> None:
    """The decision buys for a floor that begins within the time that a boot takes here, and says so."""
    policy = {POOL: ScalingPolicy(max_nodes=10, floors=(SUNDAY,))}
    slow, quick = ({group().key: GroupHistory(boot_time=timedelta(minutes=minutes))} for minutes in (4, 2))
    (action,) = decide(policy, {POOL: work()}, (fleet(group()),), slow, NOW).actions
    assert isinstance(action, ScaleOut)
    assert (action.count, action.reason.kind) == (3, ReasonKind.MINIMUM)
    assert "at least 3 nodes from 12:03 to 18:00 (UTC, sun), and it takes a boot" in action.reason.sentence
    assert not any(
        isinstance(action, ScaleOut) for action in decide(policy, {POOL: work()}, (fleet(group()),), quick, NOW).actions
    )


@pytest.mark.parametrize(("floor", "drained"), [(replace(SUNDAY, begins=time(11)), 1), (SUNDAY, 4)])
def test_idle_nodes_of_a_floor_stay(floor: Floor, drained: int) -> None:
    """Nodes that a floor keeps are not drained, however long they idle; without it they all are."""
    policy = {POOL: ScalingPolicy(max_nodes=10, floors=(floor,), idle_timeout=timedelta(minutes=1))}
    history = {group().key: GroupHistory(boot_time=timedelta(minutes=1))}
    nodes = (node(number, idle=timedelta(minutes=9)) for number in range(4))
    actions = decide(policy, {POOL: work()}, (fleet(group(), *nodes),), history, NOW).actions
    assert sum(len(action.nodes) for action in actions if isinstance(action, Drain)) == drained
