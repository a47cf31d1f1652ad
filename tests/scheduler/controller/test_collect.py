"""Events become results; what cannot be used is dropped."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from node_bootstrap.protocol import EVENTS_QUEUE, OUTPUTS, EventKind, TaskRef, encode
from scheduler.dispatch.records import Holding
from scheduler.errors import UnavailableError
from scheduler.model import JobResult, TaskCounts
from tests.scheduler.job_world import World, step


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    """Give a world with a job of two steps, the first of which is handed out as one message."""
    made = World(store_url)
    made.submit(step("a", 0, 3, expected=1.0), step("b", 3, 1, ("a",)))
    made.hand_out(slots=1)
    with closing(made.database):
        yield made
        made.check_counters()


def counts(world: World) -> TaskCounts:
    """Count the tasks of the one job."""
    return world.jobs.jobs()[0].counts


def test_started_then_finished(world: World) -> None:
    """A task is running once its node says so, and completed once its manifest is read."""
    ((_, message),) = world.receive()
    world.say(EventKind.STARTED, message, (TaskRef(0, 1),))
    assert world.gather() == 1
    assert counts(world) == TaskCounts(blocked=1, active=2, running=1)
    assert world.tasks(message.job_id)[0].node_id == "node"
    world.tell(world.upload(message))
    assert world.gather() == 1
    assert counts(world) == TaskCounts(active=1, succeeded=3)
    assert world.queues.depth(EVENTS_QUEUE) == 0


def test_repeated_and_reordered_events(world: World) -> None:
    """A result may come before its start, and anything may come twice."""
    ((_, message),) = world.receive()
    finished = world.upload(message)
    world.tell(finished)
    world.say(EventKind.STARTED, message, message.tasks)
    world.say(EventKind.RETURNED, message)
    world.tell(finished)
    world.gather()
    assert counts(world) == TaskCounts(active=1, succeeded=3)
    assert [task.node_faults for task in world.tasks(message.job_id)] == [0, 0, 0, 0]


def test_reports_in_parts(world: World) -> None:
    """A message may be reported in several manifests; it is accounted for with the last."""
    ((_, message),) = world.receive()
    world.tell(world.upload(message, message.tasks[:1], number=0))
    world.gather()
    assert counts(world) == TaskCounts(blocked=1, active=2, succeeded=1)
    assert len(world.store.open_messages()) == 1
    world.tell(world.upload(message, message.tasks[1:], number=1))
    world.gather()
    assert world.store.open_messages() == ()


def test_what_cannot_be_used_is_dropped(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage, strangers and manifests that are not there or lie leave the queue with a line in the log."""
    ((_, message),) = world.receive()
    good = world.upload(message)
    world.queues.send(EVENTS_QUEUE, "garbage")
    world.tell(replace(good, message_id="stranger", kind=EventKind.STARTED))
    world.tell(replace(good, manifest=None))
    world.tell(replace(good, manifest=f"{message.job_id}/{message.message_id}/run/9.manifest.json"))
    world.tell(replace(good, manifest="other/message/run/0.manifest.json"))
    broken = f"{message.job_id}/{message.message_id}/run/8.manifest.json"
    world.blobs.write(OUTPUTS, broken, b"{}")
    world.tell(replace(good, manifest=broken))
    foreign = f"{message.job_id}/{message.message_id}/run/7.manifest.json"
    world.blobs.write(OUTPUTS, foreign, encode(replace_manifest(world, good.manifest or "")).encode())
    world.tell(replace(good, manifest=foreign))
    assert world.gather() == 7
    assert counts(world) == TaskCounts(blocked=1, active=3)
    assert len(caplog.records) == 7


def replace_manifest(world: World, blob: str) -> dict[str, object]:
    """Give the manifest as another message's."""
    text = world.blobs.read(OUTPUTS, blob).decode()
    return {"schema_version": 1, "message_id": "other", "job_id": "x", "node_id": "n", "run_id": "r", "reports": ()} | (
        {} if text else {"reports": None}
    )


def test_an_event_stays_until_it_is_applied(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a manifest cannot be read because storage does not answer, its event is kept."""
    ((_, message),) = world.receive()
    world.tell(world.upload(message))

    def refuse(container: str, name: str) -> bytes:
        raise UnavailableError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(world.blobs, "read", refuse)
        with pytest.raises(UnavailableError):
            world.gather()
    world.clock.advance(timedelta(minutes=1))
    world.gather()
    assert counts(world) == TaskCounts(active=1, succeeded=3)


def test_returned_while_a_live_node_holds_it(world: World) -> None:
    """A message that a live node still has is not handed out anew; once that node is silent, it is."""
    ((_, message),) = world.receive()
    held = (Holding(message.message_id, "holder", (), world.clock.now()),)
    world.say(EventKind.RETURNED, message, node="other")
    world.gather(held)
    assert len(world.store.open_messages()) == 1
    world.clock.advance(timedelta(seconds=61))
    world.say(EventKind.RETURNED, message, node="other")
    world.gather(held)
    assert world.store.open_messages() == ()


def test_returned_with_uploaded_results(world: World) -> None:
    """What the former holder uploaded before it vanished is kept; only the rest runs again."""
    ((_, message),) = world.receive()
    world.say(EventKind.STARTED, message, (TaskRef(1, 1),))
    world.gather()
    world.upload(message, message.tasks[:1])
    world.say(EventKind.RETURNED, message, node="other")
    world.gather()
    tasks = world.tasks(message.job_id)
    assert counts(world) == TaskCounts(blocked=1, active=2, succeeded=1)
    assert [task.node_faults for task in tasks] == [0, 1, 0, 0]
    world.finish()
    assert world.jobs.jobs()[0].result is JobResult.SUCCESS
