"""Nodes for work that is known to come, from the store's counters to the order: with the real store and controller."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from node_bootstrap.protocol import TaskDefinition, TaskMessage, decode
from scheduler.decision_document import load_record
from scheduler.dispatch.fate import OVERDUE
from scheduler.dispatch.records import HandOut, Start
from scheduler.model import NewJob, NodePhase, Step
from tests.scheduler.controller.fleet_world import POOL, World, group

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    """Give a fresh world."""
    made = World(store_url)
    yield made
    made.database.close()


def submit(world: World, *, armed: bool = True) -> str:
    """Send a job: one task of a minute, then six of an hour each that read what it makes."""
    now = world.clock.now()
    job = world.jobs.create_job(NewJob("prices", POOL, "prices"), now)
    split = Step(TaskDefinition("split", ("split",), 0, 1), expected_task_seconds=60.0)
    price = Step(TaskDefinition("price", ("price",), 1, 6), ("split",), expected_task_seconds=3600.0)
    world.jobs.add_steps(job.job_id, 0, (split, price))
    if armed:
        world.jobs.arm_job(job.job_id, 7, now)
    return job.job_id


def begin_split(world: World, job_id: str) -> None:
    """Have the one node run the first task."""
    now = world.clock.now()
    order = HandOut(group("g1"), job_id, 0, 1, suspect=False, task_seconds=60.0)
    world.dispatch.hand_out(world.epoch, [("m", order)], now + OVERDUE, now)
    (message,) = world.dispatch.unsent(1)
    tasks = decode(TaskMessage, message.body).tasks
    world.dispatch.record(world.epoch, (Start("m", "set-g1_0", tasks, now + OVERDUE),), (), now)
    world.held["set-g1_0"] = ("m",)


def test_nodes_for_the_next_step_are_bought_while_the_first_runs(world: World) -> None:
    """The six tasks to come are known when the first begins: their nodes boot meanwhile, and the decision says why."""
    job_id = submit(world)
    world.run(2 * MINUTE)
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}
    begin_split(world, job_id)
    world.run(timedelta(seconds=10))
    counts = world.jobs.job(job_id).counts
    assert (counts.blocked, counts.active, counts.running) == (6, 0, 1)
    assert world.decisions() == [("scale_out", 1), ("scale_out", 2)]
    newest = world.store.decisions(POOL, 1)[0]
    assert f"6 tasks of job {job_id} (step price) as split ends (1 left)" in newest.reason
    # It was made from what is written down, what comes included.
    record = load_record(world.store.kept_decisions(POOL, 1)[0].document)
    demand = record.inputs.demand[POOL]
    assert demand is not None
    assert [each.step for each in demand.foreseen] == ["price"]
    assert record.replay() == record.decided
    # Nothing more is bought while it stays so, and what was bought goes when the job is cancelled.
    world.run(MINUTE)
    assert len(world.decisions()) == 2
    world.jobs.cancel_job(job_id, world.clock.now())
    world.run(10 * MINUTE)
    assert world.phases() == {"set-g1_0": NodePhase.WORKING}
    assert world.decisions()[2:] == [("drain", 2), ("remove", 2)]


def test_a_draft_starts_a_node_before_it_is_armed(world: World) -> None:
    """What a draft was sent counts for some minutes; one that is never armed costs a node that goes again."""
    submit(world, armed=False)
    world.step()
    assert world.decisions() == [("scale_out", 1)]
    assert "1 task of job" in world.reasons()[-1]
    assert "which is being sent" in world.reasons()[-1]
    world.run(15 * MINUTE)
    assert world.decisions() == [("scale_out", 1), ("drain", 1), ("remove", 1)]
