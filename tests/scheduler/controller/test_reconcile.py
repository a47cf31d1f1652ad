"""With every event lost, every job still ends."""

from datetime import timedelta
from typing import Any

import pytest

from node_bootstrap.protocol import EVENTS_QUEUE
from scheduler.dispatch.fate import OVERDUE
from scheduler.dispatch.records import FleetObservation, Holding, Start
from scheduler.model import JobResult, JobState, TaskCounts
from tests.scheduler.job_world import QUEUE, World, step

LATER = OVERDUE + timedelta(seconds=1)


def submitted(world: World) -> str:
    """Submit two steps and hand the first out."""
    job_id = world.submit(step("a", 0, 6, expected=1.0), step("b", 6, 1, ("a",), ("a",)))
    world.hand_out(slots=2)
    return job_id


def test_every_event_dropped(world: World) -> None:
    """The job ends from manifests alone, with each task run once."""
    job_id = submitted(world)
    for _ in range(2):
        world.run_all()
        world.queues.delete_queue(EVENTS_QUEUE)
        world.queues.create_queue(EVENTS_QUEUE)
        world.settle()
        assert world.jobs.job(job_id).state is JobState.ACTIVE
        world.clock.advance(LATER)
        world.settle()
        world.hand_out(slots=2)
    job = world.jobs.job(job_id)
    assert (job.result, job.counts) == (JobResult.SUCCESS, TaskCounts(succeeded=7))
    assert {task.attempt for task in world.tasks(job_id)} == {1}


def test_every_message_dropped(world: World) -> None:
    """A queue that loses what it was sent costs an attempt, charged to nobody."""
    job_id = submitted(world)
    world.queues.delete_queue(QUEUE)
    world.queues.create_queue(QUEUE)
    world.clock.advance(LATER)
    world.settle()
    world.finish()
    assert world.jobs.job(job_id).result is JobResult.SUCCESS
    tasks = world.tasks(job_id)
    assert [task.attempt for task in tasks] == [2] * 6 + [1]
    assert {(task.retries, task.node_faults, task.preemptions) for task in tasks} == {(0, 0, 0)}


def test_what_a_live_node_holds_is_left_alone(world: World) -> None:
    """However long it takes, a held message is not handed out again; and it counts as started."""
    job_id = submitted(world)
    received = [message for _, message in world.receive()]
    held = tuple(Holding(message.message_id, "n", message.tasks[:1], world.clock.now()) for message in received)
    world.clock.advance(timedelta(days=1))
    world.settle(held)
    assert len(world.store.open_messages()) == 2
    assert world.jobs.job(job_id).counts == TaskCounts(blocked=1, active=4, running=2)


def test_what_waits_on_its_queue_is_left_alone(world: World) -> None:
    """An overdue message is not lost while its queue still has messages and none sent later has started."""
    submitted(world)
    world.clock.advance(timedelta(hours=5))
    world.settle()
    assert len(world.store.open_messages()) == 2


def test_an_overtaken_message_is_lost(world: World) -> None:
    """Once a later message of its queue has started, an overdue one that nobody holds will not come."""
    job_id = submitted(world)
    first, second = world.receive()
    now = world.clock.now()
    world.store.record(world.epoch, (Start(second[1].message_id, "n", second[1].tasks[:1], now),), (), now)
    world.clock.advance(LATER)
    world.settle((Holding(second[1].message_id, "n", (), now),))
    assert [message.message_id for message in world.store.open_messages()] == [second[1].message_id]
    assert {task.attempt for task in world.tasks(job_id)[:3]} == {1}
    assert first[1].message_id != second[1].message_id


@pytest.mark.parametrize("kind", ["unread", "retired"])
def test_a_queue_that_nobody_reads(world: World, kind: str) -> None:
    """Messages on a queue without readers are taken back: at once when its generation is retired, else when overdue."""
    job_id = submitted(world)
    observed: dict[str, Any] = {kind: frozenset({QUEUE})}
    world.settle(**observed)
    assert len(world.store.open_messages()) == (0 if kind == "retired" else 2)
    world.clock.advance(LATER)
    world.settle(**observed)
    assert world.store.open_messages() == ()
    assert world.jobs.job(job_id).counts == TaskCounts(blocked=1, active=6)


def test_unknown_is_not_lost(world: World) -> None:
    """While statuses cannot be listed nothing is taken back, however late it is."""
    submitted(world)
    world.receive()
    world.clock.advance(timedelta(days=1))
    observation = FleetObservation(statuses_listed=False, retired=frozenset({QUEUE}))
    world.reconcile.step(world.epoch, observation, world.clock.now())
    assert len(world.store.open_messages()) == 2


def test_a_cancelled_job_ends_although_its_node_is_silent(world: World) -> None:
    """What ran when the job was cancelled is given up once its message is lost; nothing of it starts again."""
    job_id = submitted(world)
    for item, message in world.receive():
        now = world.clock.now()
        world.store.record(world.epoch, (Start(message.message_id, "n", message.tasks[:1], now),), (), now)
        world.queues.delete(item)
    world.jobs.cancel_job(job_id, world.clock.now())
    world.clock.advance(LATER)
    world.settle()
    job = world.jobs.job(job_id)
    assert (job.result, job.counts) == (JobResult.CANCELLED, TaskCounts(cancelled=7))


def test_what_a_lost_node_held_is_handed_out_at_once(world: World) -> None:
    """Nobody waits for a lease to run out: the unfinished tasks are ready again, and what ran there is charged."""
    job_id = submitted(world)
    received = [message for _, message in world.receive()]
    held = tuple(Holding(message.message_id, "n", message.tasks[:1], world.clock.now()) for message in received)
    world.settle(held)
    observation = FleetObservation(
        statuses_listed=True, abandoned=frozenset(message.message_id for message in received)
    )
    world.reconcile.step(world.epoch, observation, world.clock.now())
    assert world.store.open_messages() == ()
    assert world.jobs.job(job_id).counts == TaskCounts(blocked=1, active=6)
    faults = {task.task_id: task.node_faults for task in world.tasks(job_id) if task.step == "a"}
    ran = {message.tasks[0].task_id for message in received}
    assert faults == {task_id: int(task_id in ran) for task_id in range(6)}
