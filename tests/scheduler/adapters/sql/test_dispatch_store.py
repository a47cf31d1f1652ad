"""Handing out and taking back, in each database."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from node_bootstrap.protocol import INPUTS, EventKind, Manifest, Outcome, ResolvedInputs, StopRef, TaskRef, decode
from scheduler.adapters.sql.job_schema import JOBS, MESSAGES
from scheduler.dispatch.fate import OVERDUE
from scheduler.dispatch.records import HandOut, Start
from scheduler.errors import NotFoundError, StaleLeaderError
from scheduler.model import JobResult, JobState, PoolDemand, RetryPolicy, TaskCounts, TaskResult, TaskState
from tests.scheduler.job_world import GROUP, POOL, World, step


def order(job_id: str, count: int = 1, *, suspect: bool = False, position: int = 0) -> HandOut:
    """Ask for one message."""
    return HandOut(GROUP, job_id, position, count, suspect, 1.0)


def give(world: World, message_id: str, wanted: HandOut) -> None:
    """Hand one message out."""
    now = world.clock.now()
    world.store.hand_out(world.epoch, [(message_id, wanted)], now + OVERDUE, now)


def test_a_stale_leader_writes_nothing(world: World) -> None:
    """Whoever leads no more is refused by every method that writes, and leaves no trace."""
    job_id = world.submit(step("a", 0, 2))
    give(world, "m", order(job_id))
    old, now, store = world.epoch, world.clock.now(), world.store
    world.epoch = world.database.begin_epoch()
    before = (world.tasks(job_id), store.unsent(9), store.open_messages(), store.ready_steps(POOL))
    calls: list[Callable[[], object]] = [
        lambda: store.hand_out(old, [("n", order(job_id))], now, now),
        lambda: store.mark_published(old, job_id, 0, None),
        lambda: store.mark_sent(old, ["m"], now),
        lambda: store.record(old, (Start("m", "node", (TaskRef(0, 1),), now),), (), now),
        lambda: store.record(old, (), (("blob", Manifest("m", job_id, "node", "run", ())),), now),
        lambda: store.give_back(old, "m", now, reason=""),
    ]
    for call in calls:
        with pytest.raises(StaleLeaderError, match="stop acting"):
            call()
    assert (world.tasks(job_id), store.unsent(9), store.open_messages(), store.ready_steps(POOL)) == before


def test_an_unknown_message_is_said_to_be_unknown(world: World) -> None:
    """What another store made is not ours to apply."""
    now = world.clock.now()
    assert world.store.record(world.epoch, (Start("x", "node", (), now),), (), now) == {"x"}
    assert not world.store.give_back(world.epoch, "x", now, reason="")
    assert world.store.record(world.epoch, (), (("blob", Manifest("x", "j", "node", "run", ())),), now) == {"x"}
    with pytest.raises(NotFoundError, match="has no step 3"):
        world.store.step_sources("x", 3)


def test_handing_out_takes_tasks_in_order(world: World) -> None:
    """Each message has the next tasks, its attempt is one more, and what is not there is not handed out."""
    job_id = world.submit(step("a", 0, 3))
    give(world, "m1", order(job_id, 2))
    give(world, "m2", order(job_id, 2))
    give(world, "m3", order(job_id, 2))
    assert [(each.message_id, json.loads(each.body)["tasks"]) for each in world.store.unsent(9)] == [
        ("m1", [{"attempt": 1, "task_id": 0}, {"attempt": 1, "task_id": 1}]),
        ("m2", [{"attempt": 1, "task_id": 2}]),
    ]
    assert [(load.queue, load.messages, load.seconds) for load in world.store.loads(POOL)] == [(GROUP.queue, 2, 3.0)]
    assert world.store.ready_steps(POOL) == ()


def test_the_outbox_forgets_what_was_sent(world: World) -> None:
    """Unsent messages come oldest first until they are marked."""
    job_id = world.submit(step("a", 0, 3))
    for message_id in ("z", "y", "x"):
        give(world, message_id, order(job_id))
    assert [each.message_id for each in world.store.unsent(2)] == ["z", "y"]
    world.store.mark_sent(world.epoch, ["z", "x"], world.clock.now())
    assert [each.message_id for each in world.store.unsent(9)] == ["y"]
    assert [(each.message_id, each.sent) for each in world.store.open_messages()] == [
        ("z", True),
        ("y", False),
        ("x", True),
    ]


def test_a_cancelled_job_hands_nothing_out(world: World) -> None:
    """An order planned just before the cancel makes no message."""
    job_id = world.submit(step("a", 0, 3))
    world.jobs.cancel_job(job_id, world.clock.now())
    give(world, "m", order(job_id))
    assert world.store.unsent(9) == ()


def test_steps_follow_each_other(world: World) -> None:
    """A step starts when every step that it depends on has succeeded; the last one ends the job."""
    job_id = world.submit(step("a", 0, 2), step("b", 2, 1), step("c", 3, 2, ("a", "b")), step("d", 5, 1, ("c",)))
    assert {each.step for each in world.store.ready_steps(POOL)} == {0, 1}
    world.hand_out()
    received = world.receive()
    for _, message in received[:-1]:
        world.tell(world.upload(message))
    world.gather()
    assert world.jobs.job(job_id).counts == TaskCounts(blocked=3, active=1, succeeded=2)
    world.tell(world.upload(received[-1][1]))
    world.gather()
    assert [(each.step, each.ready) for each in world.store.ready_steps(POOL)] == [(2, 2)]
    world.clock.advance(timedelta(minutes=3))
    world.finish()
    job = world.jobs.job(job_id)
    assert (job.state, job.result, job.ended_at) == (JobState.COMPLETED, JobResult.SUCCESS, world.clock.now())


def test_inputs_come_from_committed_runs_only(world: World) -> None:
    """The reduce step's files are those of the winning runs, by step and index, without logs."""
    job_id = world.submit(step("a", 0, 2), step("b", 2, 1, ("a",), ("a",)))
    world.hand_out()
    (_, first), (_, second) = world.receive()
    world.tell(world.upload(first, run="winner"))
    world.tell(world.upload(first, run="loser"))
    world.tell(world.upload(second, run="only"))
    world.gather()
    world.hand_out()
    ((_, reduce),) = world.receive()
    assert reduce.inputs is not None
    resolved = decode(ResolvedInputs, world.blobs.read(INPUTS, f"resolved/{reduce.inputs}.json"))
    assert [(file.path, file.blob.split("/")[2]) for file in resolved.files] == [
        ("a/0/out.json", "winner"),
        ("a/1/out.json", "only"),
    ]
    assert decode(ResolvedInputs, world.store.step_sources(job_id, 1).inputs or "") == resolved


def test_a_failed_task_cancels_what_depends_on_it(world: World) -> None:
    """Dependents, direct or not, end as cancelled with the reason; what is independent goes on."""
    no_retry = RetryPolicy(max_task_retries=0)
    job_id = world.submit(
        step("a", 0, 2, retry=no_retry), step("b", 2, 1, ("a",)), step("c", 3, 1, ("b",)), step("free", 4, 1)
    )
    world.hand_out()
    messages = [message for _, message in world.receive()]
    world.tell(world.upload(messages[0], outcome=Outcome.RETRYABLE))
    world.gather()
    tasks = world.tasks(job_id)
    assert [task.result for task in tasks[2:4]] == [TaskResult.CANCELLED] * 2
    assert "step 'a'" in tasks[3].reason
    assert tasks[0].reason == "retryable; all 0 allowed retries are used"
    assert world.jobs.job(job_id).state is JobState.ACTIVE
    for message in messages[1:]:
        world.tell(world.upload(message))
    world.gather()
    job = world.jobs.job(job_id)
    assert (job.result, job.reason) == (JobResult.FAILURE, "1 of 5 tasks failed")
    assert job.counts == TaskCounts(succeeded=2, failed=1, cancelled=2)


def test_an_ignorable_failure_counts_as_success(world: World) -> None:
    """Dependents of an ignorable failure start, and its reason is kept."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 1, ("a",)))
    world.hand_out()
    world.run_all(Outcome.IGNORABLE)
    world.gather()
    first, second = world.tasks(job_id)
    assert (first.result, first.outcome) == (TaskResult.SUCCESS, Outcome.IGNORABLE)
    assert first.reason == "ignorable failure: ignorable"
    assert second.state is TaskState.ACTIVE


def test_a_retry_is_a_new_attempt(world: World) -> None:
    """A retryable failure hands the task out again, with the failure kept in sight while it waits."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    world.run_all(Outcome.RETRYABLE)
    world.gather()
    (task,) = world.tasks(job_id)
    assert (task.state, task.attempt, task.retries) == (TaskState.ACTIVE, 1, 1)
    assert (task.outcome, task.reason) == (Outcome.RETRYABLE, "retryable")
    world.hand_out()
    ((_, message),) = world.receive()
    assert message.tasks == (TaskRef(0, 2),)


def test_a_late_failure_does_not_count(world: World) -> None:
    """Only the current attempt can fail: what a given-back message says later charges nobody."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    ((_, message),) = world.receive()
    world.store.give_back(world.epoch, message.message_id, world.clock.now(), reason="lost")
    world.tell(world.upload(message, outcome=Outcome.PERMANENT))
    world.gather()
    (task,) = world.tasks(job_id)
    assert (task.state, task.retries) == (TaskState.ACTIVE, 0)


def test_a_late_success_wins_and_stops_the_other_attempt(world: World) -> None:
    """The first success of any attempt ends the task; the attempt that is out is stopped until accounted for."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 1))
    world.hand_out()
    received = [message for _, message in world.receive()]
    world.store.give_back(world.epoch, received[0].message_id, world.clock.now(), reason="lost")
    world.hand_out()
    ((_, again),) = world.receive()
    world.tell(world.upload(received[0]))
    world.gather()
    assert world.tasks(job_id)[0].result is TaskResult.SUCCESS
    assert world.store.stops(POOL) == (StopRef(job_id, 0, 3),)
    committed = world.jobs.outputs(job_id, 0)
    world.tell(world.upload(again, run="late"))
    world.gather()
    assert world.store.stops(POOL) == ()
    assert world.jobs.outputs(job_id, 0) == committed


def test_a_success_below_the_floor_does_not_count(world: World) -> None:
    """A raised floor makes older attempts worthless."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    ((_, message),) = world.receive()
    with world.database.write() as connection:
        connection.execute(text("UPDATE tasks SET attempt_floor = 2"))
    world.store.give_back(world.epoch, message.message_id, world.clock.now(), reason="requeued")
    world.tell(world.upload(message))
    world.gather()
    assert world.tasks(job_id)[0].state is TaskState.ACTIVE
    world.finish()
    assert world.tasks(job_id)[0].result is TaskResult.SUCCESS


def test_a_run_that_was_never_handed_out_does_not_count(world: World) -> None:
    """A manifest cannot speak of attempts to come, of other steps' tasks, or of tasks that are not there."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 1, ("a",)))
    world.hand_out()
    ((_, message),) = world.receive()
    world.tell(world.upload(message, [TaskRef(0, 2), TaskRef(1, 0), TaskRef(99, 1)]))
    world.gather()
    assert [task.state for task in world.tasks(job_id)] == [TaskState.ACTIVE, TaskState.BLOCKED]
    assert len(world.store.open_messages()) == 1


def test_a_message_is_open_while_a_task_of_it_is(world: World) -> None:
    """Reports of one task, repeated under new names, do not close a message that has another unfinished one."""
    world.submit(step("a", 0, 2, expected=1.0))
    world.hand_out(slots=1)
    ((_, message),) = world.receive()
    for run in ("r1", "r2", "r3"):
        world.tell(world.upload(message, message.tasks[:1], run=run))
    world.gather()
    assert [each.message_id for each in world.store.open_messages()] == [message.message_id]
    world.tell(world.upload(message, message.tasks[1:], run="r4"))
    world.gather()
    assert world.store.open_messages() == ()


def test_a_terminating_job_tries_nothing_again(world: World) -> None:
    """A running task of a cancelled job that fails, or whose message comes back, ends as cancelled."""
    job_id = world.submit(step("a", 0, 2, expected=600.0))
    world.hand_out(slots=2)
    now = world.clock.now()
    first, second = (message for _, message in world.receive())
    for message in (first, second):
        world.store.record(world.epoch, (Start(message.message_id, "node", message.tasks, now),), (), now)
    world.jobs.cancel_job(job_id, now)
    world.tell(world.upload(first, outcome=Outcome.RETRYABLE))
    world.say(EventKind.RETURNED, second, running=second.tasks)
    world.gather()
    assert world.jobs.job(job_id).counts == TaskCounts(cancelled=2)
    assert {task.reason for task in world.tasks(job_id)} == {"the job was cancelled"}


def test_given_back_by_another_node(world: World) -> None:
    """A message met a second time charges the task that was running and sends it alone; the others go free."""
    job_id = world.submit(step("a", 0, 5, expected=1.0))
    world.hand_out(slots=1)
    ((_, message),) = world.receive()
    now = world.clock.now()
    world.store.record(world.epoch, (Start(message.message_id, "node", (TaskRef(2, 1),), now),), (), now)
    for _ in range(2):
        world.store.give_back(world.epoch, message.message_id, now, reason="gone", charge=True)
    tasks = world.tasks(job_id)
    assert [task.node_faults for task in tasks] == [0, 0, 1, 0, 0]
    assert tasks[2].reason == "gone"
    (ready,) = world.store.ready_steps(POOL)
    assert (ready.ready, ready.suspects) == (4, 1)
    world.hand_out(slots=1)
    assert next(message.tasks for _, message in world.receive()) == (TaskRef(2, 2),)


def test_given_back_by_the_node_that_ran_it(world: World) -> None:
    """A node that stops says what it lost; a task that it had finished is committed first and not charged."""
    job_id = world.submit(step("a", 0, 3, expected=1.0))
    world.hand_out(slots=1)
    ((_, message),) = world.receive()
    world.say(EventKind.STARTED, message, message.tasks[:1])
    world.gather()
    world.upload(message, message.tasks[:1])
    world.say(EventKind.RETURNED, message, running=message.tasks[1:2])
    world.gather()
    tasks = world.tasks(job_id)
    assert [task.node_faults for task in tasks] == [0, 1, 0]
    assert tasks[0].result is TaskResult.SUCCESS


def test_given_back_by_a_runner_that_was_started_again(world: World) -> None:
    """A task that takes its runner down is charged also when the same node's next runner gives the message back."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out(slots=1)
    ((_, message),) = world.receive()
    world.say(EventKind.STARTED, message, message.tasks)
    world.say(EventKind.RETURNED, message)
    world.gather()
    assert [task.node_faults for task in world.tasks(job_id)] == [1]


def test_a_task_that_breaks_nodes_fails(world: World) -> None:
    """The node-fault budget ends a task that kills whatever runs it, and spares its neighbours."""
    job_id = world.submit(step("a", 0, 2, retry=RetryPolicy(max_node_faults=1), expected=1.0))
    for _ in range(2):
        world.hand_out(slots=1)
        for item, message in world.receive():
            if TaskRef(0, message.tasks[0].attempt) not in message.tasks:
                world.tell(world.upload(message))
            else:
                world.store.give_back(
                    world.epoch,
                    message.message_id,
                    world.clock.now(),
                    reason="the node died",
                    running=(message.tasks[0],),
                    charge=True,
                )
            world.queues.delete(item)
        world.gather()
    first, second = world.tasks(job_id)
    assert (first.result, first.node_faults) == (TaskResult.FAILURE, 1)
    assert "all 1 allowed node faults are used" in first.reason
    assert second.result is TaskResult.SUCCESS


def test_demand_is_what_waits_and_runs(world: World) -> None:
    """Active ones count wherever they wait; the mean is weighed by what waits, by the best that is known of it.

    A run of `a` is one of its own kind of work too, which `b` is of; each leans on what its author expects.
    """
    assert world.store.demand(POOL) == PoolDemand(0, 0, None, None)
    start = world.clock.now()
    world.submit(step("a", 0, 3, expected=10.0), step("b", 3, 1, expected=50.0), step("c", 4, 1, ("a",)))
    world.clock.advance(timedelta(seconds=30))
    demand = world.store.demand(POOL)
    assert replace(demand, classes=(), foreseen=()) == PoolDemand(4, 0, 20.0, start)
    world.hand_out(slots=4)
    now = world.clock.now()
    received = [message for _, message in world.receive()]
    world.store.record(world.epoch, (Start(received[0].message_id, "node", received[0].tasks, now),), (), now)
    demand = world.store.demand(POOL)
    assert (demand.active_tasks, demand.running_tasks, demand.oldest_active_at) == (3, 1, start)
    assert demand.mean_task_seconds == pytest.approx((2 * 10 + 50) / 3)
    world.tell(world.upload(received[0], seconds=4.0))
    world.gather()
    demand = world.store.demand(POOL)
    assert (demand.active_tasks, demand.running_tasks) == (3, 0)
    assert demand.mean_task_seconds == pytest.approx((2 * 4**0.75 * 10**0.25 + (4 * 50) ** 0.5) / 3)
    for message in received[1:]:
        world.tell(world.upload(message))
    world.gather()
    world.finish()
    idle = world.store.demand(POOL)
    assert (idle.active_tasks, idle.running_tasks, idle.oldest_active_at) == (0, 0, None)
    assert idle.mean_task_seconds == pytest.approx(4.8)
    assert world.store.demand("other") == PoolDemand(0, 0, None, None)


def test_long_jobs_of_many_small_steps(world: World) -> None:
    """A chain of steps runs from end to end, each released by the one before."""
    count = 30
    chain = [step(f"s{number}", number, 1, (f"s{number - 1}",) if number else ()) for number in range(count)]
    job_id = world.submit(*chain)
    world.finish()
    assert world.jobs.job(job_id).counts == TaskCounts(succeeded=count)


def test_hot_queries_use_their_indexes(world: World) -> None:
    """What runs every second or for every message never walks the tasks of a job."""
    plans = {
        "SELECT task_id FROM tasks WHERE job = 1 AND step = 0 AND suspect = false "
        "AND tasks.state = 'active' AND tasks.message IS NULL ORDER BY task_id LIMIT 5": "tasks_waiting",
        "SELECT * FROM tasks WHERE message = 1 AND tasks.state IN ('active', 'running') "
        "AND tasks.message IS NOT NULL": "tasks_out",
        "SELECT * FROM messages WHERE messages.sent_at IS NULL AND messages.closed_at IS NULL "
        "ORDER BY number LIMIT 5": "messages_unsent",
        "SELECT * FROM messages WHERE pool = 'p' AND messages.closed_at IS NULL": "messages_open",
        "SELECT * FROM steps WHERE job = 1 AND steps.active > 0": "steps_busy",
        "SELECT * FROM steps WHERE job = 1 AND (steps.active > 0 OR steps.running > 0)": "steps_busy",
    }
    with world.database.read() as connection:
        postgresql = connection.dialect.name == "postgresql"
        if postgresql:
            # Of tables as small as these it would read the whole; what is asked is whether the index serves the query.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain, use = ("EXPLAIN", "using") if postgresql else ("EXPLAIN QUERY PLAN", "INDEX")
        for query, index in plans.items():
            plan = " ".join(str(row) for row in connection.execute(text(f"{explain} {query}")).all())
            assert f"{use} {index}" in plan, plan


def test_what_ended_long_ago_is_pruned(world: World) -> None:
    """A day after they were accounted for, messages of ended jobs go; those of others, and all results, stay."""
    ended, open_job = world.submit(step("s", 0, 2), key="a"), world.submit(step("s", 0, 3), key="b")
    world.hand_out(slots=10)
    received = world.receive()
    for item, message in received:
        if message.job_id == ended:
            world.tell(world.upload(message))
            world.queues.delete(item)
    world.gather()
    before = world.tasks(ended)
    assert {task.state for task in before} == {TaskState.COMPLETED}
    for hours, kept in ((23, {ended, open_job}), (2, {open_job})):
        world.clock.advance(timedelta(hours=hours))
        world.store.prune(world.epoch, world.clock.now())
        with world.database.read() as connection:
            found = connection.execute(select(JOBS.c.job_id).join(MESSAGES, MESSAGES.c.job == JOBS.c.number)).scalars()
            assert set(found) == kept
    assert world.tasks(ended) == before
    assert len(world.store.open_messages()) == sum(message.job_id == open_job for _, message in received)
