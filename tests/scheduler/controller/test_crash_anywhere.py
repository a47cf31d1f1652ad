"""The scheduler may die at any call of a port, and be started again."""

import logging
from datetime import timedelta

import pytest

from node_bootstrap.protocol import EVENTS_QUEUE, EventKind
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed
from scheduler.controller.reconcile import Reconcile
from scheduler.dispatch.fate import OVERDUE
from scheduler.model import JobResult
from tests.scheduler.controller.fuse import Crash, Fuse
from tests.scheduler.job_world import World, step


def lead(world: World, fuse: Fuse) -> None:
    """Become leader with new parts, all of whose calls go through the fuse."""
    store, queues, blobs = (fuse.guard(port) for port in (world.store, world.queues, world.blobs))
    world.epoch = world.database.begin_epoch()
    world.feed = Feed(store, queues, blobs, world.new_id)
    world.collect = Collect(store, queues, blobs)
    world.reconcile = Reconcile(store, queues, blobs)


def run(world: World, fuse: Fuse) -> None:
    """Step until nothing is left; a crash brings a new leader, for whom nothing fails."""
    lead(world, fuse)
    drop = False
    for _ in range(40):
        try:
            world.hand_out(slots=2)
            for item, message in world.receive():
                world.say(EventKind.STARTED, message, message.tasks[:1])
                if item.dequeue_count > 1:
                    world.say(EventKind.RETURNED, message, node="other")
                else:
                    world.tell(world.upload(message))
                world.queues.delete(item)
                drop = not drop
            if drop:  # every second round loses its events
                world.queues.delete_queue(EVENTS_QUEUE)
                world.queues.create_queue(EVENTS_QUEUE)
            world.gather()
            world.clock.advance(OVERDUE + timedelta(seconds=1))
            world.settle()
        except Crash:
            lead(world, Fuse(10**9, after=False))
        if all(job.result is not None for job in world.jobs.jobs()):
            return
    raise AssertionError("the job does not end")


@pytest.mark.parametrize("after", [False, True])
def test_crash_anywhere(world: World, after: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Whichever call it dies in, before or after it took effect, the job ends whole and every counter is right."""
    caplog.set_level(logging.ERROR)
    postgresql = world.database.address.startswith("postgresql")
    crash_at = 0
    blown = True
    while blown:
        # PostgreSQL sees every seventh of these crashes; what is between the calls is the same code.
        crash_at += 7 if postgresql else 1
        job_id = world.submit(
            step("a", 0, 4, expected=6.0), step("b", 4, 1, ("a",), ("a",)), key=f"crash at call {crash_at}"
        )
        fuse = Fuse(crash_at, after=after)
        run(world, fuse)
        job = world.jobs.job(job_id)
        assert job.result is JobResult.SUCCESS
        assert job.counts.succeeded == 5
        assert {(task.retries, task.preemptions) for task in world.tasks(job_id)} == {(0, 0)}
        assert len(world.jobs.outputs(job_id, None)) == 10
        blown = fuse.blown
    world.check_counters()
    assert crash_at > 20
