"""One step of the scheduler after another: leadership, settings, and parts that fail."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from node_bootstrap.protocol import (
    EVENTS_QUEUE,
    OUTPUTS,
    SCHEDULER,
    Event,
    EventKind,
    Manifest,
    Outcome,
    TaskMessage,
    TaskReport,
    decode,
    encode,
    manifest_blob,
)
from scheduler.adapters.sql.identity import VERSION
from scheduler.controller.loop import Controller
from scheduler.errors import ConflictError, OutdatedProgramError, UnavailableError
from scheduler.model import NodePhase
from scheduler.settings import SETTINGS_BLOB
from tests.scheduler.controller.fleet_world import POOL
from tests.scheduler.controller.stage import SECOND, Stage


@pytest.fixture
def stage(store_url: str) -> Iterator[Stage]:
    """Give a deployment."""
    made = Stage(store_url)
    yield made
    made.close()


def test_work_brings_nodes_and_messages(stage: Stage) -> None:
    """Steps of one controller buy nodes for a job and put its tasks on their queue."""
    controller, _ = stage.controller()
    stage.world.submit(4)
    stage.run(controller, 12)
    assert controller.leads
    assert set(stage.world.phases().values()) == {NodePhase.WORKING}
    assert stage.world.queues.depth("work-g1") > 0
    assert stage.world.store.samples(POOL, 10)


def test_only_one_leads(stage: Stage) -> None:
    """A second scheduler waits until the first one's lease has run out, and then goes on."""
    (first, _), (second, _) = stage.controller(), stage.controller()
    stage.world.submit(4)
    stage.run(first, 2)
    second.step(stage.world.clock.now())
    assert (first.leads, second.leads) == (True, False)
    stage.run(second, 12)
    assert second.leads
    assert set(stage.world.phases().values()) == {NodePhase.WORKING}
    first.step(stage.world.clock.now())
    assert not first.leads


def test_a_released_lease_is_taken_at_once(stage: Stage) -> None:
    """A scheduler that stops as it should leaves the lead to the next one without delay."""
    (first, _), (second, _) = stage.controller(), stage.controller()
    stage.run(first, 1)
    first.release()
    second.step(stage.world.clock.now())
    assert second.leads


def test_an_epoch_that_ended_ends_leadership(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A leader that was overtaken stops in that step and may lead again, in a new epoch, in the next."""
    controller, _ = stage.controller()
    stage.run(controller, 1)
    stage.world.database.begin_epoch()
    stage.world.submit(4)
    stage.run(controller, 1)
    assert not controller.leads
    assert stage.world.capacity.raised == []
    assert "leadership has ended" in caplog.text
    stage.run(controller, 2)
    assert controller.leads
    assert len(stage.world.capacity.raised) == 1


def test_a_newer_scheduler_ends_older_ones(stage: Stage) -> None:
    """Once a newer scheduler has upgraded the store, older leaders and stand-bys end and do no more."""
    (leader, _), (stand_by, other_lease) = stage.controller(), stage.controller()
    name = stage.world.database.store_id
    stage.run(leader, 1)
    stand_by.step(stage.world.clock.now())
    stage.world.submit(4)
    with stage.world.database.write() as connection:
        connection.execute(update(VERSION).values(version_num="9999"))
    for controller in (leader, stand_by):
        with pytest.raises(OutdatedProgramError, match="Run that newer scheduler"):
            stage.run(controller, 1)
    assert stage.world.capacity.raised == []
    leader.release()
    assert other_lease.hold(name)


def test_a_lease_that_cannot_be_reached_stops_nothing_for_good(stage: Stage) -> None:
    """While the lease is unreachable nothing is done; afterwards the same leader goes on."""
    controller, lease = stage.controller()
    stage.run(controller, 1)
    lease.unreachable = True
    stage.world.submit(4)
    stage.run(controller, 2)
    assert stage.world.capacity.raised == []
    lease.unreachable = False
    stage.run(controller, 1)
    assert len(stage.world.capacity.raised) == 1


def test_another_store_refuses_to_start(stage: Stage) -> None:
    """A scheduler whose store is not the deployment's says so instead of running."""
    stage.record.store_id = "another"
    controller, _ = stage.controller()
    with pytest.raises(ConflictError, match="another"):
        controller.step(stage.world.clock.now())


def test_new_settings_are_taken_up_without_a_restart(stage: Stage) -> None:
    """When the settings blob changes, its groups are current in the same step."""
    controller, _ = stage.controller()
    stage.run(controller, 1)
    stage.deploy("g2")
    stage.run(controller, 1)
    assert [group.key.generation for group in stage.world.store.groups(POOL) if group.current] == ["g2"]


def test_bad_settings_leave_the_old_ones(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Settings that cannot be read are told once and change nothing."""
    controller, _ = stage.controller()
    stage.run(controller, 1)
    stage.world.blobs.write(SCHEDULER, SETTINGS_BLOB, b"{}")
    stage.run(controller, 3)
    assert caplog.text.count("run `millpond up` again") == 1
    assert [group.key.generation for group in stage.world.store.groups(POOL)] == ["g1"]


def test_a_part_that_fails_does_not_stop_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With events unreadable and feeding broken, nodes are bought all the same, and both are told."""
    controller, _ = stage.controller()

    def unavailable(limit: int) -> None:
        raise UnavailableError("the events cannot be read")

    def broken(pool: str) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(stage.world.queues, "receive_events", unavailable)
    monkeypatch.setattr(stage.world.dispatch, "ready_steps", broken)
    stage.world.submit(4)
    stage.run(controller, 12)
    assert set(stage.world.phases().values()) == {NodePhase.WORKING}
    assert caplog.text.count("collect: the events cannot be read") == 1
    assert "feed failed unexpectedly" in caplog.text


def test_a_part_that_works_again_is_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of a failure is logged as its beginning is."""
    controller, _ = stage.controller()
    caplog.set_level(logging.INFO)

    def unavailable(limit: int) -> None:
        raise UnavailableError("the events cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(stage.world.queues, "receive_events", unavailable)
        stage.run(controller, 2)
    stage.run(controller, 1)
    assert "collect: works again" in caplog.text


def idle(stage: Stage) -> Controller:
    """Bring a pool to rest with one node that has nothing to do."""
    controller, _ = stage.controller()
    stage.world.submit(1)
    stage.run(controller, 9)
    for item in stage.world.queues.receive("work-g1", timedelta(minutes=1)):
        message = decode(TaskMessage, item.body)
        report = TaskReport(0, 1, Outcome.SUCCESS, 0, "", stage.world.clock.now(), stage.world.clock.now())
        blob = manifest_blob(message.job_id, message.message_id, "run", 0)
        manifest = Manifest(message.message_id, message.job_id, "set-g1_0", "run", (report,))
        stage.world.blobs.write(OUTPUTS, blob, encode(manifest).encode())
        now = stage.world.clock.now()
        event = Event(EventKind.FINISHED, message.message_id, message.job_id, "set-g1_0", now, blob)
        stage.world.queues.send(EVENTS_QUEUE, encode(event))
        stage.world.queues.delete(item)
    stage.live(controller, 60 * SECOND)
    assert not stage.world.dispatch.has_work()
    assert list(stage.world.phases().values()) == [NodePhase.WORKING]
    stage.requests.clear()
    return controller


@pytest.mark.parametrize("store_url", ["sqlite://"])
def test_an_idle_hour_costs_few_requests(stage: Stage) -> None:
    """With nothing to do and one node that idles, an hour is at most 2,000 requests, and the node is not lost."""
    controller = idle(stage)
    stage.keep_a_node()
    stage.live(controller, timedelta(hours=1))
    assert 500 < stage.requests.total() <= 2000, stage.requests
    assert list(stage.world.phases().values()) == [NodePhase.WORKING]


def test_work_that_comes_is_handed_out_at_once(stage: Stage) -> None:
    """The step after a submit puts its tasks on the queue of an idle node, before all is looked at again."""
    controller = idle(stage)
    stage.world.submit(1)
    assert controller.step(stage.world.clock.now()) == timedelta(0)
    assert stage.world.queues.depth("work-g1") == 1
    assert stage.requests.total() < 6


def test_an_idle_node_is_woken(stage: Stage) -> None:
    """A message on the queue of a node that idles raises the wake number in its control blob once, and nothing else."""
    controller = idle(stage)
    before = stage.world.control("set-g1_0")
    stage.world.submit(1)
    stage.live(controller, SECOND)
    assert before is not None
    assert stage.world.control("set-g1_0") == replace(before, wake=before.wake + 1)
    stage.live(controller, 30 * SECOND)
    assert stage.world.control("set-g1_0") == replace(before, wake=before.wake + 1)


def test_a_stand_by_says_so_once_and_takes_over_soon(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A scheduler beside a leader stands by, and leads two seconds after a dead one's lease has run out."""
    caplog.set_level(logging.INFO)
    (first, _), (second, _) = stage.controller(), stage.controller()
    first.step(stage.world.clock.now())
    stage.live(second, 29 * SECOND)
    assert not second.leads
    assert caplog.text.count("stands by") == 1
    stage.live(second, 4 * SECOND)
    assert second.leads
