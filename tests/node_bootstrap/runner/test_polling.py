"""How often an idle node asks, what an hour of it costs, and how soon it begins what comes."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_bootstrap.protocol import Directive, NodeControl
from node_bootstrap.runner.instructions import ReadControl, Receive, StartTask, WriteStatus
from tests.node_bootstrap.runner.machine_world import World, delivery, message

TICK = 0.25
HOUR = 3600.0
# Of one idle node, all requests to storage (what a month costs is in docs/benchmarks.md).
MOST_REQUESTS = 1500
REQUESTS = (ReadControl, Receive, WriteStatus)


def idle_world(seconds: float) -> World:
    """A node that was admitted and then had nothing to do for so long."""
    world = World()
    world.admit()
    world.tick(TICK, round(seconds / TICK))
    return world


def requests(world: World) -> int:
    """How many requests it has made so far."""
    return sum(len(world.of(kind)) for kind in REQUESTS)


def put(world: World, *, wake: bool) -> None:
    """Put a message on the queue; with `wake`, the control blob says so."""
    world.waiting.append(delivery(message("m", 1)))
    if wake:
        assert world.control is not None
        world.control = NodeControl(world.control.number, Directive.WORK, wake=world.control.wake + 1)


def seconds_to_start(world: World, limit: float) -> float:
    """Let time pass until a task starts."""
    began = world.now
    while not world.of(StartTask):
        assert (world.now - began).total_seconds() <= limit, f"nothing started within {limit} s"
        world.tick(TICK)
    return (world.now - began).total_seconds()


def test_an_idle_hour_is_cheap() -> None:
    """The hour after the last work, and every later one, takes at most the requests that are allowed."""
    world = idle_world(0)
    counts = []
    for _ in range(3):
        before = requests(world)
        world.tick(TICK, round(HOUR / TICK))
        counts.append(requests(world) - before)
    assert max(counts) <= MOST_REQUESTS


@given(idle=st.floats(0, 50))
@settings(max_examples=40)
def test_a_node_idle_for_less_than_a_minute_begins_within_a_second(idle: float) -> None:
    """Right after work the queue is asked twice a second, with or without a word in the control blob."""
    world = idle_world(idle)
    put(world, wake=False)
    assert seconds_to_start(world, 2.0) <= 1.0


@given(idle=st.floats(61, 600))
@settings(max_examples=40)
def test_a_node_idle_for_longer_is_woken_within_five_seconds(idle: float) -> None:
    """A changed `wake` has the queue asked at once, whatever its pause would have been."""
    world = idle_world(idle)
    put(world, wake=True)
    assert seconds_to_start(world, 10.0) <= 5.0


@given(idle=st.floats(61, 600))
@settings(max_examples=40)
def test_a_wake_that_is_lost_costs_half_a_minute(idle: float) -> None:
    """The queue is asked now and then in any case."""
    world = idle_world(idle)
    put(world, wake=False)
    assert seconds_to_start(world, 60.0) <= 31.0


def test_work_makes_a_node_quick_again() -> None:
    """The minute counts from the end of the last task, however long that took."""
    world = idle_world(300)
    put(world, wake=True)
    seconds_to_start(world, 10.0)
    world.tick(TICK, round(120 / TICK))
    world.end()
    world.tick(TICK, round(30 / TICK))
    world.asked.clear()
    put(world, wake=False)
    assert seconds_to_start(world, 2.0) <= 1.0


@pytest.mark.parametrize("fails", [False, True])
def test_a_node_whose_other_slot_works_asks_no_more_often(fails: bool) -> None:
    """A slot that stays free beside a long task is filled as seldom as an idle node looks, also while storage fails."""
    world = World(slots=2)
    world.admit()
    put(world, wake=False)
    seconds_to_start(world, 2.0)
    world.tick(TICK, round(90 / TICK))
    world.failing = {Receive} if fails else set()
    before = len(world.of(Receive))
    world.tick(TICK, round(300 / TICK))
    assert len(world.of(Receive)) - before <= 300 / 30 + 1


def test_the_same_wake_wakes_once() -> None:
    """What the control blob goes on to say is no news."""
    world = idle_world(120)
    put(world, wake=True)
    world.waiting.clear()
    world.tick(TICK, round(120 / TICK))
    before = len(world.of(Receive))
    world.tick(TICK, round(timedelta(minutes=5).total_seconds() / TICK))
    assert len(world.of(Receive)) - before <= 11
