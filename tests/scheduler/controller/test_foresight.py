"""Nodes for work that is known to come, from the store's counters to the order: with the real store and controller."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from node_bootstrap.protocol import TaskDefinition, TaskMessage, decode
from scheduler.adapters.sql.job_schema import JOBS
from scheduler.adapters.sql.run_times import follow_run_times
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.controller.schedules import Schedules
from scheduler.decision_document import load_record
from scheduler.demand import ForeseenKind
from scheduler.dispatch.fate import OVERDUE
from scheduler.dispatch.records import HandOut, Start
from scheduler.explain.decision import tell
from scheduler.job_schedule import JobSpecification, NewJobSchedule, Overlap, Schedule
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


def schedule(world: World, overlap: Overlap = Overlap.WAIT) -> NewJobSchedule:
    """Have a job of twelve tasks made in ten minutes, and each hour after; they are told the day."""
    steps = (
        Step(TaskDefinition("price", ("price", "day-${{ schedule.date }}"), 0, 12)),
        Step(TaskDefinition("merge", ("merge",), 12, 1), ("price",)),
    )
    now = world.clock.now()
    when = Schedule(recurrence_interval=60 * MINUTE, do_not_run_until=now + 10 * MINUTE, overlap=overlap)
    new = NewJobSchedule("hourly", when, JobSpecification("prices", POOL, steps))
    SqlScheduleStore(world.database).create(new, now)
    return new


def test_nodes_are_up_when_an_occurrence_comes(world: World) -> None:
    """A boot before its time the nodes are bought that its tasks need, by what earlier ones took; and it says why."""
    store = SqlScheduleStore(world.database)
    schedule(world)
    due = world.clock.now() + 10 * MINUTE
    # An earlier job of the schedule took half an hour for each task.
    earlier = store.run("hourly", "by hand", world.clock.now(), world.clock.now())
    with world.database.write() as connection:
        row = connection.execute(select(JOBS).where(JOBS.c.job_id == earlier.job_id)).one()
        follow_run_times(connection, row, {0: [1800.0] * 12}, world.clock.now())
    world.jobs.cancel_job(str(earlier.job_id), world.clock.now())
    store.settle(world.epoch, world.clock.now())
    world.run(5 * MINUTE)
    assert world.decisions() == []
    world.run(5 * MINUTE - timedelta(seconds=10))
    bought = [count for action, count in world.decisions() if action == "scale_out"]
    assert sum(bought) == 5  # twelve tasks of half an hour on two slots a node, and the group's maximum
    (reason,) = [reason for reason in world.reasons() if "schedule hourly" in reason][:1]
    assert f"12 tasks of schedule hourly at {due:%H:%M} UTC" in reason
    assert set(world.phases().values()) == {NodePhase.WORKING}
    assert len(world.phases()) == 5
    # The decision was made from what is written down, and tells when the occurrence is.
    record = load_record(world.store.kept_decisions(POOL, 1)[0].document)
    foreseen = record.inputs.demand[POOL].foreseen  # type: ignore[union-attr]
    assert [(each.kind, each.step, each.tasks, each.earliest) for each in foreseen] == [
        (ForeseenKind.SCHEDULE, "price", 12, due)
    ]
    assert foreseen[0].times.mean() == pytest.approx(1800.0)
    assert "to come are 12 of schedule hourly at" in tell(record).seen[0]
    assert record.replay() == record.decided
    # At its time the job is made, and nothing more is bought for it or for the next one.
    world.run(timedelta(seconds=10))
    Schedules(store, lambda: frozenset({POOL})).step(world.epoch, world.clock.now())
    assert world.jobs.jobs()[0].counts.active == 12
    world.run(MINUTE)
    assert [count for action, count in world.decisions() if action == "scale_out"] == bought


@pytest.mark.parametrize(("overlap", "told"), [(Overlap.WAIT, 0), (Overlap.REPLACE, 0), (Overlap.ALLOW, 1)])
def test_the_next_job_gets_the_nodes_of_the_last_one(world: World, overlap: Overlap, told: int) -> None:
    """While a job has not ended the next is foreseen only where both may run at once; none of a disabled schedule."""
    store = SqlScheduleStore(world.database)
    schedule(world, overlap)
    store.run("hourly", "by hand", world.clock.now(), world.clock.now())
    found = world.dispatch.demand(POOL).foreseen
    assert len([each for each in found if each.kind is ForeseenKind.SCHEDULE]) == told
    store.disable("hourly")
    assert [each for each in world.dispatch.demand(POOL).foreseen if each.kind is ForeseenKind.SCHEDULE] == []
