"""Ready tasks reach queues, through the outbox."""

import json
from datetime import timedelta

import pytest

from node_bootstrap.protocol import INPUTS, TaskDefinition, TaskMessage, decode
from scheduler.dispatch.records import GroupSlots
from scheduler.errors import UnavailableError
from scheduler.model import TaskState
from tests.scheduler.job_world import GROUP, POOL, QUEUE, World, step


def test_a_message_names_what_is_in_storage(world: World) -> None:
    """The definition of a message is there, by its hash, before the message is; a task is then still active."""
    job_id = world.submit(step("a", 0, 3, expected=1.0))
    world.hand_out(slots=1)
    ((_, message),) = world.receive()
    definition = decode(TaskDefinition, world.blobs.read(INPUTS, f"definitions/{message.definition}.json"))
    assert definition == step("a", 0, 3).definition
    assert (message.job_id, message.inputs, len(message.tasks)) == (job_id, None, 3)
    assert {task.state for task in world.tasks(job_id)} == {TaskState.ACTIVE}


def test_only_as_far_ahead_as_the_slots_need(world: World) -> None:
    """A second step hands nothing out while the first's work is not done, and more after it is."""
    world.submit(step("a", 0, 100, expected=600.0))
    world.hand_out(slots=4)
    world.hand_out(slots=4)
    assert world.queues.depth(QUEUE) == 4
    assert world.run_all() == 4
    world.gather()
    world.hand_out(slots=4)
    assert world.queues.depth(QUEUE) > 0


def test_nothing_goes_where_no_node_is(world: World) -> None:
    """A group without slots is given nothing, and the demand stays in sight."""
    world.submit(step("a", 0, 100))
    world.hand_out(slots=0)
    assert world.queues.depth(QUEUE) == 0
    assert world.store.demand(POOL).active_tasks == 100


def test_what_could_not_be_sent_is_sent_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that does not answer leaves messages in the outbox; those sent before it failed are not sent again."""
    world.submit(step("a", 0, 4, expected=600.0))
    send = world.queues.send
    sent: list[str] = []

    def failing(queue: str, body: str) -> None:
        if len(sent) == 2:
            raise UnavailableError("throttled")
        sent.append(body)
        send(queue, body)

    monkeypatch.setattr(world.queues, "send", failing)
    with pytest.raises(UnavailableError):
        world.hand_out()
    monkeypatch.setattr(world.queues, "send", send)
    assert len(world.store.unsent(9)) == 2
    world.hand_out()
    bodies = [message.message_id for _, message in world.receive()]
    assert sorted(bodies) == sorted(set(bodies))
    assert len(bodies) == 4


def test_a_missing_queue_holds_up_nobody_else(world: World) -> None:
    """Messages of a queue that is not there wait; those of others go."""
    world.submit(step("a", 0, 2, expected=600.0))
    world.queues.delete_queue(QUEUE)
    world.hand_out(slots=1)
    assert len(world.store.unsent(9)) == 1
    world.queues.create_queue(QUEUE)
    world.feed.step(world.epoch, [GroupSlots(GROUP, 0)], world.clock.now())
    assert world.store.unsent(9) == ()
    assert world.queues.depth(QUEUE) == 1


def test_a_message_of_ten_thousand_tasks_is_cut(world: World) -> None:
    """However short the tasks are, a message stays under the wire's limit, and the messages are of one step each."""
    world.submit(step("a", 0, 10_000, expected=1e-6), step("b", 10_000, 3, expected=1e-6))
    world.hand_out(slots=2)
    messages = [decode(TaskMessage, item.body) for item, _ in world.receive()]
    assert sum(len(message.tasks) for message in messages) == 10_003
    assert all(len({ref.task_id < 10_000 for ref in message.tasks}) == 1 for message in messages)


def test_measured_times_set_the_size_of_messages(world: World) -> None:
    """Tasks of unknown length go alone; once some are measured as short, they travel together."""
    world.submit(step("a", 0, 1000))
    world.hand_out(slots=2)
    for item, message in world.receive():
        assert len(message.tasks) == 1
        world.tell(world.upload(message, seconds=0.5))
        world.queues.delete(item)
    world.gather()
    world.hand_out(slots=2)
    assert {len(json.loads(item.body)["tasks"]) for item, _ in world.receive()} == {20}


def test_priority_is_decided_in_the_store(world: World) -> None:
    """A job that comes later with a higher priority goes before what is not yet on a queue."""
    world.submit(step("a", 0, 50, expected=600.0), key="low")
    world.hand_out(slots=1)
    world.clock.advance(timedelta(minutes=1))
    high = world.submit(step("a", 0, 1, expected=600.0), key="high", priority=5)
    world.hand_out(slots=2)
    assert [message.job_id for _, message in world.receive()][1] == high
