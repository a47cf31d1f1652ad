"""One step of the scheduler after another: leadership, settings, and parts that fail."""

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest

from node_bootstrap.protocol import SCHEDULER
from scheduler.adapters.memory import LeaderRecord, MemoryLease
from scheduler.adapters.sql.deletion_store import SqlDeletionStore
from scheduler.app import BlobAddress, BlobSettings
from scheduler.controller.clear import Clear
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed
from scheduler.controller.fleet import Fleet
from scheduler.controller.loop import Controller
from scheduler.controller.reconcile import Reconcile
from scheduler.errors import ConflictError, UnavailableError
from scheduler.model import NodePhase
from scheduler.settings import SETTINGS_BLOB, dump_settings
from tests.scheduler.controller.fleet_world import POOL, World, settings

SECOND = timedelta(seconds=1)


class UnsureLease(MemoryLease):
    """A lease that cannot be reached on demand."""

    unreachable = False

    def hold(self, store_id: str) -> bool:
        """Hold, or fail."""
        if self.unreachable:
            raise UnavailableError("storage does not answer")
        return super().hold(store_id)


class Stage:
    """A deployment on which controllers can be started."""

    def __init__(self) -> None:
        self.world = World()
        self.record = LeaderRecord()
        self.deploy("g1")

    def deploy(self, *generations: str) -> None:
        """Publish settings."""
        self.world.blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(settings(*generations)).encode())

    def controller(self) -> tuple[Controller, UnsureLease]:
        """Start a scheduler."""
        world = self.world
        lease = UnsureLease(world.clock, self.record)
        made = Controller(
            lease,
            world.database,
            BlobSettings(world.blobs, BlobAddress("https://b/", SCHEDULER, SETTINGS_BLOB)),
            world.store,
            collect=Collect(world.dispatch, world.queues, world.blobs),
            reconcile=Reconcile(world.dispatch, world.queues, world.blobs),
            feed=Feed(world.dispatch, world.queues, world.blobs),
            fleet=Fleet(world.store, world.dispatch, world.capacity, world.queues, world.blobs),
            clear=Clear(SqlDeletionStore(world.database), world.blobs),
        )
        return made, lease

    def run(self, controller: Controller, steps: int, every: timedelta = 10 * SECOND) -> None:
        """Let a scheduler and the nodes do some steps."""
        for _ in range(steps):
            self.world.clock.advance(every)
            self.world.nodes_report()
            controller.step(self.world.clock.now())


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a deployment."""
    made = Stage()
    yield made
    made.world.database.close()


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
