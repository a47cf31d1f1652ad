"""The machine's decisions, one promise of the protocol at a time."""

import json
from datetime import timedelta

import pytest

from node_bootstrap.protocol import Directive, EventKind, NodeControl, NodeState, Outcome, StopRef, TaskRef, encode
from node_bootstrap.runner.events import (
    ControlRead,
    Delivery,
    Received,
    RenewFailed,
    StatusFailed,
    StopAsked,
    Tick,
)
from node_bootstrap.runner.instructions import (
    DeleteMessage,
    Lease,
    Receive,
    Renew,
    SendEvent,
    StartTask,
    Upload,
    WriteStatus,
)
from tests.node_bootstrap.runner.machine_world import World, delivery, message


@pytest.fixture
def world() -> World:
    """A node that has been admitted, with one slot."""
    world = World()
    world.admit()
    return world


def test_it_leases_nothing_before_its_control_says_work() -> None:
    """An absent control blob means wait."""
    world = World()
    world.control = None
    world.tick(times=40)
    assert world.of(Receive) == []
    assert world.status.state is NodeState.WAITING
    world.control = NodeControl(1, Directive.WORK)
    world.tick(times=8)
    assert world.of(Receive)
    assert (world.status.state, world.status.control_number) == (NodeState.WORKING, 1)


def test_it_leases_nothing_before_its_first_status_is_written() -> None:
    """A node that nobody can see takes no work."""
    world = World()
    world.silent = {WriteStatus}
    world.tick(times=20)
    assert world.of(Receive) == []


def test_a_message_is_run_reported_and_deleted_in_order(world: World) -> None:
    """Tasks run one after the other; blobs, then the event, then the deletion."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    assert [begun.task for begun in world.running] == [TaskRef(1, 1)]
    assert [held.message_id for held in world.status.held] == ["m"]
    world.end()
    assert [begun.task for begun in world.running] == [TaskRef(2, 1)]
    world.end()
    assert world.order == ["StartTask", "started", "StartTask", "Upload", "finished", "DeleteMessage", "Discard"]
    assert [report.task_id for report in world.reports] == [1, 2]
    assert world.status.held == ()


def test_slots_bound_the_messages_held() -> None:
    """Never more messages than slots are asked for or held."""
    world = World(slots=2)
    world.waiting = [delivery(message(name, 1)) for name in "abc"]
    world.tick(times=12)
    assert len(world.running) == 2
    assert len(world.waiting) == 1
    world.end()
    world.tick(times=8)
    assert len(world.running) == 2
    assert world.waiting == []


def test_results_are_uploaded_every_second(world: World) -> None:
    """What ended a second ago is uploaded although the message goes on."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    world.end()
    world.tick(times=5)
    assert len(world.of(Upload)) == 1
    assert world.of(DeleteMessage) == []


def test_long_tasks_are_announced(world: World) -> None:
    """A later task of a message is announced once it has run for two seconds."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    world.end()
    world.tick(times=20)
    started = [event.running for event in world.events if event.kind is EventKind.STARTED]
    assert started == [(TaskRef(1, 1),), (TaskRef(2, 1),)]


@pytest.mark.parametrize("body", [encode(message("m", 1)), "{", '{"message_id": "m", "job_id": "job"}'])
def test_another_delivery_or_schema_is_returned_not_run(world: World, body: str) -> None:
    """It is reported first and deleted then, and nothing of it runs."""
    world.waiting = [Delivery(Lease("q", "r"), body, 2)]
    world.tick(times=8)
    assert world.running == []
    assert world.order == ["returned", "DeleteMessage", "Discard"]
    assert [event.running for event in world.events] == [()]
    assert all(status.status.held == () for status in world.of(WriteStatus))  # type: ignore[attr-defined]


def test_a_newer_schema_is_returned_by_name(world: World) -> None:
    """The scheduler learns which message this runner is too old for."""
    newer = json.loads(encode(message("m", 1))) | {"schema_version": 2}
    world.waiting = [Delivery(Lease("q", "r"), json.dumps(newer), 1)]
    world.tick(times=8)
    (event,) = world.events
    assert (event.kind, event.message_id, event.job_id) == (EventKind.RETURNED, "m", "job")
    assert "schema version 2" in event.reason


def test_leases_are_renewed_at_a_third(world: World) -> None:
    """Every twenty seconds, with the receipt of the last renewal."""
    world.waiting = [delivery(message("m", 1))]
    world.tick(times=8)
    world.tick(1.0, times=65)
    renewals = world.of(Renew)
    assert [renewal.lease.pop_receipt for renewal in renewals] == ["r1", "r1+", "r1++"]  # type: ignore[attr-defined]


def test_nothing_starts_without_a_lease(world: World) -> None:
    """A lease that ran out stops the next task from starting; a late renewal lets it start."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    world.failing = {Renew}
    world.tick(1.0, times=70)
    world.end()
    world.tick(1.0, times=5)
    assert len(world.of(StartTask)) == 1
    world.failing = set()
    world.tick(1.0, times=5)
    assert [begun.task for begun in world.running] == [TaskRef(2, 1)]


def test_a_lost_lease_gives_back_what_has_not_started(world: World) -> None:
    """What runs ends and is reported; the rest is returned; the message, another's now, is left alone."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    run_id = world.running[0].run_id
    world.silent = {Renew}
    world.tick(1.0, times=20)
    world.give(RenewFailed(run_id, gone=True))
    assert [held.message_id for held in world.status.held] == ["m"]
    world.end()
    assert world.order == ["StartTask", "started", "Upload", "finished", "returned", "Discard"]
    assert world.events[-1].unfinished == (TaskRef(2, 1),)


def test_a_later_delivery_to_the_same_node_renews_its_run(world: World) -> None:
    """The run that goes on here is not given back by its own node, and not begun twice."""
    world = World(slots=2)
    world.admit()
    world.waiting = [delivery(message("m", 1))]
    world.tick(times=8)
    world.waiting = [delivery(message("m", 1), count=2, receipt="r2")]
    world.tick(times=8)
    world.end()
    assert world.order == ["StartTask", "started", "Upload", "finished", "DeleteMessage", "Discard"]
    (deleted,) = world.of(DeleteMessage)
    assert isinstance(deleted, DeleteMessage)
    assert deleted.lease.pop_receipt == "r2"


def test_drain_ends_what_runs_and_gives_back_the_rest(world: World) -> None:
    """Nothing new is leased or started; drained is said when nothing is held."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    world.direct(Directive.DRAIN)
    world.waiting = [delivery(message("n", 1))]
    world.tick(times=12)
    assert world.status.state is NodeState.DRAINING
    assert world.stops == []
    world.end()
    world.tick(times=4)
    assert (world.status.state, world.status.held) == (NodeState.DRAINED, ())
    assert world.events[-1].kind is EventKind.RETURNED
    assert world.events[-1].unfinished == (TaskRef(2, 1),)
    assert len(world.waiting) == 1
    world.direct(Directive.WORK)
    world.tick(times=16)
    assert [begun.message.message_id for begun in world.running] == ["n"]


def test_a_message_that_comes_while_draining_is_given_back(world: World) -> None:
    """A request to the queue that was under way keeps the node from being drained, and what it brings is returned."""
    world.silent = {Receive}
    world.tick(1.0, times=5)
    world.direct(Directive.DRAIN)
    world.tick(1.0, times=5)
    assert world.status.state is NodeState.DRAINING
    world.give(Received((delivery(message("m", 1)),), world.now))
    world.tick(times=4)
    assert world.running == []
    assert world.order == ["returned", "DeleteMessage", "Discard"]
    assert world.status.state is NodeState.DRAINED


def test_sigterm_kills_reports_and_leaves(world: World) -> None:
    """What runs is killed and reported as preempted, the rest is given back, then the runner ends."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    world.give(StopAsked("SIGTERM", at_once=True, leave=True))
    (stop,) = world.stops
    assert stop.outcome is Outcome.PREEMPTED
    assert world.exit is None
    world.end(Outcome.PREEMPTED)
    world.tick(times=4)
    assert world.order[-5:] == ["Upload", "finished", "returned", "DeleteMessage", "Discard"]
    assert world.exit is not None
    assert not world.exit.retired
    assert world.status.state is NodeState.DRAINED
    assert world.machine.handle(Tick(), world.now) == ()


def test_a_notice_to_reboot_lets_tasks_end(world: World) -> None:
    """The node drains and says why; the runner stays."""
    world.waiting = [delivery(message("m", 1))]
    world.tick(times=8)
    world.give(StopAsked("Azure announces: Reboot", at_once=False, leave=False))
    world.tick(times=4)
    assert world.stops == []
    assert (world.status.state, world.status.note) == (NodeState.DRAINING, "Azure announces: Reboot")
    world.end()
    world.tick(times=40)
    assert world.status.state is NodeState.DRAINED
    assert world.exit is None


def test_retire_kills_and_ends_for_good(world: World) -> None:
    """A node that is given up ends its runner, which must not be started again."""
    world.waiting = [delivery(message("m", 1))]
    world.tick(times=8)
    world.direct(Directive.RETIRE)
    world.tick(times=12)
    world.end(world.stops[0].outcome)
    world.tick(times=4)
    assert world.exit is not None
    assert world.exit.retired


def test_leaving_does_not_wait_for_storage(world: World) -> None:
    """When the last status cannot be written, the runner ends all the same."""
    world.silent = {WriteStatus}
    world.give(StopAsked("SIGTERM", at_once=True, leave=True))
    assert world.exit is None
    world.give(StatusFailed())
    assert world.exit is not None


@pytest.mark.parametrize(
    ("stop", "stopped"),
    [
        (StopRef("job"), [1, 2, 3]),
        (StopRef("job", 1), [1]),
        (StopRef("job", 1, 2), [1]),
        (StopRef("job", 1, 1), []),
        (StopRef("job", 3), [3]),
        (StopRef("other"), []),
    ],
)
def test_stop_lists_cancel_what_they_name(world: World, stop: StopRef, stopped: list[int]) -> None:
    """What runs is killed, what waits is reported as cancelled without being started, the rest goes on."""
    world.waiting = [delivery(message("m", 1, 2, 3))]
    world.tick(times=8)
    world.stop(stop)
    world.tick(times=12)
    while world.running:
        world.end(world.stops.pop().outcome if world.stops else Outcome.SUCCESS)
    cancelled = sorted(report.task_id for report in world.reports if report.outcome is Outcome.CANCELLED)
    assert cancelled == stopped
    assert sorted(report.task_id for report in world.reports) == [1, 2, 3]


def test_a_silent_node_leases_nothing_until_admitted_anew(world: World) -> None:
    """After three intervals without a written status it waits for a higher control number."""
    world.failing = {WriteStatus}
    world.tick(1.0, times=40)
    world.failing = set()
    before = len(world.of(Receive))
    world.tick(1.0, times=10)
    assert world.status.state is NodeState.WAITING
    assert len(world.of(Receive)) == before
    world.direct(Directive.WORK)
    world.tick(1.0, times=5)
    assert world.status.state is NodeState.WORKING
    assert len(world.of(Receive)) > before


def test_an_older_control_changes_nothing(world: World) -> None:
    """Numbers only grow; a late answer is not obeyed."""
    world.direct(Directive.DRAIN)
    world.tick(times=12)
    world.give(ControlRead(NodeControl(1, Directive.WORK)))
    assert world.status.state is NodeState.DRAINED


def test_a_node_fault_gives_the_rest_back_and_slows_the_node_down(world: World) -> None:
    """What broke here is likely to break the next; a node at fault does not empty the queue at full speed."""
    world.waiting = [delivery(message(name, 1, 2)) for name in "abc"]
    world.tick(times=8)
    world.end(Outcome.NODE_FAULT)
    assert world.events[-1].kind is EventKind.RETURNED
    assert (world.events[-1].unfinished, world.events[-1].running) == ((TaskRef(2, 1),), ())
    assert world.running == []
    world.tick(times=8)
    world.end(Outcome.NODE_FAULT)
    receives = len(world.of(Receive))
    world.tick(times=7)
    assert len(world.of(Receive)) == receives


def test_uploads_are_tried_again_then_given_up(world: World) -> None:
    """The same upload again with growing pauses; after five minutes its tasks are returned as having run."""
    world.waiting = [delivery(message("m", 1, 2))]
    world.tick(times=8)
    world.failing = {Upload}
    world.end()
    world.tick(1.0, times=2)
    world.end()
    world.tick(1.0, times=340)
    assert len(set(world.of(Upload))) == 1
    assert 8 < len(world.of(Upload)) < 20
    returned = world.events[-1]
    assert returned.kind is EventKind.RETURNED
    assert returned.running == returned.unfinished == (TaskRef(1, 1), TaskRef(2, 1))
    assert world.order[-2:] == ["DeleteMessage", "Discard"]


def test_a_failing_upload_lets_no_further_task_start(world: World) -> None:
    """Results that cannot be saved are not piled up."""
    world.waiting = [delivery(message("m", 1, 2, 3))]
    world.tick(times=8)
    world.failing = {Upload}
    world.end()
    world.tick(1.0, times=2)
    world.end()
    assert world.running == []
    world.failing = set()
    world.tick(1.0, times=2)
    assert [begun.task for begun in world.running] == [TaskRef(3, 1)]


def test_an_event_is_sent_before_the_message_is_deleted(world: World) -> None:
    """Until storage has taken it, it is sent again and the message stays."""
    world.waiting = [delivery(message("m", 1))]
    world.tick(times=8)
    world.failing = {SendEvent}
    world.end()
    world.tick(1.0, times=20)
    assert world.of(DeleteMessage) == []
    world.failing = set()
    world.tick(1.0, times=32)
    assert world.order[-2:] == ["DeleteMessage", "Discard"]


def test_a_deletion_is_tried_until_the_lease_is_over(world: World) -> None:
    """After that the message is another's, and everything about it has been said."""
    world.waiting = [delivery(message("m", 1))]
    world.tick(times=8)
    world.failing = {DeleteMessage, Renew}
    world.end()
    world.tick(1.0, times=100)
    assert world.order[-1] == "Discard"
    assert len(world.of(DeleteMessage)) > 2


def test_statuses_are_bounded_in_pace(world: World) -> None:
    """Which task runs is told at most once a second, however short the tasks are."""
    world.waiting = [delivery(message("m", *range(100)))]
    world.tick(times=8)
    before, start = len(world.of(WriteStatus)), world.now
    for _ in range(99):
        world.end()
        world.tick(0.1)
    seconds = (world.now - start) / timedelta(seconds=1)
    assert len(world.of(WriteStatus)) - before <= seconds + 1
