"""What a node's row becomes, by what is seen of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import HeldMessage, NodeState, NodeStatus
from scheduler.controller.fold import Sighting, fold, new_node
from scheduler.controller.statuses import StatusReading
from scheduler.model import GroupKey, Instance, InstanceState, Node, NodePhase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUNNING = Instance("1", "set_1", InstanceState.RUNNING)
ROW = replace(
    new_node(GroupKey("pool", "main", "g1"), RUNNING, NOW - timedelta(hours=1)),
    phase=NodePhase.WORKING,
    control_number=5,
    incarnation="a",
    ready_at=NOW - timedelta(minutes=50),
)


def said(state: NodeState, control: int = 5, incarnation: str = "a", held: tuple[str, ...] = ()) -> StatusReading:
    """Make a reading of a status."""
    messages = tuple(HeldMessage(name, "job", ()) for name in held)
    status = NodeStatus("set_1", incarnation, state, control, 2, "1", NOW, messages, "told so")
    return StatusReading("etag", NOW, NOW, status)


def seen(reading: StatusReading | None, instance: Instance | None = RUNNING, *, silent: bool = False) -> Sighting:
    """Make a sighting."""
    return Sighting(instance, reading, silent)


def row(phase: NodePhase) -> Node:
    """Give the row in a phase."""
    if phase is NodePhase.BOOTING:
        return replace(ROW, phase=phase, ready_at=None, incarnation=None, control_number=0)
    return replace(ROW, phase=phase, gone_at=NOW - timedelta(minutes=1) if phase is NodePhase.GONE else None)


@pytest.mark.parametrize(
    ("before", "sighting", "after", "renew"),
    [
        (NodePhase.BOOTING, seen(None), NodePhase.BOOTING, False),
        (NodePhase.BOOTING, seen(said(NodeState.WAITING, 0)), NodePhase.WORKING, True),
        (NodePhase.BOOTING, seen(None, replace(RUNNING, state=InstanceState.FAILED)), NodePhase.LOST, False),
        (NodePhase.WORKING, seen(said(NodeState.WORKING)), NodePhase.WORKING, False),
        (NodePhase.WORKING, seen(said(NodeState.WAITING)), NodePhase.WORKING, True),
        (NodePhase.WORKING, seen(said(NodeState.WAITING, 4)), NodePhase.WORKING, False),
        (NodePhase.WORKING, seen(said(NodeState.DRAINING)), NodePhase.DRAINING, True),
        (NodePhase.WORKING, seen(said(NodeState.DRAINED, 4)), NodePhase.WORKING, False),
        (NodePhase.WORKING, seen(said(NodeState.WORKING, incarnation="b")), NodePhase.WORKING, True),
        (NodePhase.WORKING, seen(said(NodeState.WORKING), silent=True), NodePhase.LOST, False),
        (NodePhase.WORKING, seen(None, None), NodePhase.GONE, False),
        (
            NodePhase.WORKING,
            seen(said(NodeState.WORKING), replace(RUNNING, state=InstanceState.DELETING)),
            NodePhase.REMOVING,
            False,
        ),
        (NodePhase.DRAINING, seen(said(NodeState.DRAINED)), NodePhase.DRAINED, False),
        (NodePhase.DRAINING, seen(said(NodeState.DRAINED, 4)), NodePhase.DRAINING, False),
        (NodePhase.DRAINING, seen(said(NodeState.DRAINED, held=("m",))), NodePhase.DRAINING, False),
        (NodePhase.DRAINING, seen(said(NodeState.DRAINED, incarnation="b")), NodePhase.DRAINING, True),
        (NodePhase.DRAINED, seen(said(NodeState.DRAINED)), NodePhase.DRAINED, False),
        (NodePhase.DRAINED, seen(said(NodeState.WORKING)), NodePhase.DRAINING, False),
        (NodePhase.DRAINED, seen(said(NodeState.DRAINED, 4)), NodePhase.DRAINING, False),
        (NodePhase.LOST, seen(said(NodeState.WORKING)), NodePhase.WORKING, True),
        (NodePhase.LOST, seen(said(NodeState.WORKING), silent=True), NodePhase.LOST, False),
        (NodePhase.REMOVING, seen(said(NodeState.WORKING)), NodePhase.REMOVING, False),
        (NodePhase.REMOVING, seen(None, None), NodePhase.GONE, False),
        (NodePhase.GONE, seen(None, None), NodePhase.GONE, False),
        (NodePhase.GONE, seen(None), NodePhase.BOOTING, False),
    ],
)
def test_phases(before: NodePhase, sighting: Sighting, after: NodePhase, renew: bool) -> None:
    """Each sighting leads from each phase to the next one of a node's life."""
    folded = fold(row(before), sighting, NOW)
    assert (folded.node.phase, folded.renew) == (after, renew)


def test_idle_time_begins_with_the_last_message() -> None:
    """A working node is idle from the first status without a message, and not while it holds one."""
    idle = fold(ROW, seen(said(NodeState.WORKING)), NOW).node
    assert idle.idle_since == NOW
    assert fold(idle, seen(said(NodeState.WORKING)), NOW + timedelta(minutes=1)).node.idle_since == NOW
    busy = fold(idle, seen(said(NodeState.WORKING, held=("m",))), NOW).node
    assert (busy.idle_since, busy.held) == (None, ("m",))


def test_a_listing_that_left_an_instance_out_is_not_another_machine() -> None:
    """A node whose own status is still there goes on as it was; without it, another machine begins its life."""
    same = fold(row(NodePhase.GONE), seen(said(NodeState.DRAINED)), NOW).node
    assert (same.first_seen_at, same.gone_at) == (ROW.first_seen_at, None)
    other = fold(row(NodePhase.GONE), seen(said(NodeState.WAITING, 0, "b")), NOW).node
    assert (other.first_seen_at, other.ready_at, other.control_number) == (NOW, None, 5)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (InstanceState.STOPPED, "Azure stopped its machine"),
        (InstanceState.RUNNING, "no status came for the silence deadline"),
    ],
)
def test_a_preempted_node_that_stays_listed_was_taken_away(state: InstanceState, reason: str) -> None:
    """A silent node whose machine Azure stopped is lost by that, which counts as an eviction."""
    machine = replace(RUNNING, state=state)
    after = fold(row(NodePhase.WORKING), seen(said(NodeState.WORKING), machine, silent=True), NOW).node
    assert (after.phase, after.reason) == (NodePhase.LOST, reason)


@given(
    st.sampled_from(NodePhase),
    st.none() | st.builds(said, st.sampled_from(NodeState), st.integers(3, 5), st.sampled_from("ab")),
    st.sampled_from(InstanceState),
    st.booleans(),
)
def test_drained_and_removing_are_earned(
    before: NodePhase,
    reading: StatusReading | None,
    state: InstanceState,
    silent: bool,
) -> None:
    """A node becomes drained only by its own newest word, and removing only because Azure deletes it already."""
    after = fold(row(before), seen(reading, replace(RUNNING, state=state), silent=silent), NOW).node
    if after.phase is NodePhase.DRAINED:
        status = reading.status if reading is not None else None
        if status is None:
            assert before is NodePhase.DRAINED
        else:
            assert (status.state, status.control_number, status.incarnation) == (NodeState.DRAINED, 5, "a")
    if after.phase is NodePhase.REMOVING and before is not NodePhase.REMOVING:
        assert state is InstanceState.DELETING
    assert after.control_number == row(before).control_number
