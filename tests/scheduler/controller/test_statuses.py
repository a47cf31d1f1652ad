"""Silence: what counts as it, however often the scheduler looks."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import NODES, NodeState, NodeStatus, encode, status_blob
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.controller.statuses import Statuses

NODE = "set_0"


def write(blobs: MemoryBlobs, clock: ManualClock) -> None:
    """Write a status as a node does."""
    status = NodeStatus(NODE, "life", NodeState.WORKING, 1, 1, "1", clock.now(), note=clock.now().isoformat())
    blobs.write(NODES, status_blob(NODE), encode(status).encode())


@given(
    st.lists(st.floats(0.05, 300), min_size=1, max_size=40),
    st.floats(1, 60),
)
def test_a_node_that_reports_is_never_silent_for_longer_than_its_interval(gaps: list[float], every: float) -> None:
    """Whatever the pauses between two looks, silence is at most what the node itself leaves between two reports.

    So no deadline above a node's interval declares it lost because the scheduler looked seldom.
    """
    clock = ManualClock()
    blobs = MemoryBlobs(clock)
    statuses = Statuses(blobs)
    write(blobs, clock)
    next_report = every
    elapsed = 0.0
    for gap in gaps:
        until = elapsed + gap
        while next_report <= until:
            clock.advance(timedelta(seconds=next_report - elapsed))
            write(blobs, clock)
            elapsed, next_report = next_report, next_report + every
        clock.advance(timedelta(seconds=until - elapsed))
        elapsed = until
        assert statuses.refresh({NODE}, clock.now())
        assert statuses.silence(NODE, clock.now()) <= timedelta(seconds=every + 0.001)


@given(st.lists(st.floats(0.05, 59), min_size=1, max_size=60))
def test_a_node_that_died_is_silent_for_as_long_as_it_was_looked_for(gaps: list[float]) -> None:
    """Without a report silence grows with time, as long as no pause was so long that the scheduler itself was away."""
    clock = ManualClock()
    blobs = MemoryBlobs(clock)
    statuses = Statuses(blobs)
    write(blobs, clock)
    assert statuses.refresh({NODE}, clock.now())
    for gap in gaps:
        clock.advance(timedelta(seconds=gap))
        assert statuses.refresh({NODE}, clock.now())
    assert abs(statuses.silence(NODE, clock.now()) - timedelta(seconds=sum(gaps))) < timedelta(milliseconds=1)
