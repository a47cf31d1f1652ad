"""Jobs as users make and see them, in each database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from node_bootstrap.protocol import EventKind, Outcome, StopRef
from scheduler.errors import ConflictError, InvalidRequestError, NotFoundError
from scheduler.model import JobResult, JobState, NewJob, RetryPolicy, Task, TaskCounts, TaskResult, TaskState
from tests.scheduler.job_world import POOL, World, step

NEW = NewJob("Value at Risk!", POOL, "key")


def draft(world: World) -> str:
    """Open a draft."""
    return world.jobs.create_job(NEW, world.clock.now()).job_id


def test_the_same_key_gives_the_same_job(world: World) -> None:
    """A client that repeats itself opens one job; the id is its name and a hash, fit for a blob's name."""
    first = world.jobs.create_job(NEW, world.clock.now())
    world.clock.advance(timedelta(minutes=1))
    assert world.jobs.create_job(NEW, world.clock.now()) == first
    assert first.job_id.startswith("value-at-risk-")
    assert (first.state, first.counts, first.armed_at) == (JobState.DRAFT, TaskCounts(), None)


@pytest.mark.parametrize("other", [replace(NEW, name="x"), replace(NEW, pool="x"), replace(NEW, priority=1)])
def test_the_same_key_for_another_job_is_refused(world: World, other: NewJob) -> None:
    """A key that opened a job cannot open a different one."""
    draft(world)
    with pytest.raises(ConflictError, match="idempotency key 'key' opened job value-at-risk-"):
        world.jobs.create_job(other, world.clock.now())


def test_two_jobs_of_one_name_are_two(world: World) -> None:
    """Keys tell jobs apart; the newest is listed first."""
    first = draft(world)
    second = world.jobs.create_job(replace(NEW, idempotency_key="other"), world.clock.now()).job_id
    assert [job.job_id for job in world.jobs.jobs()] == [second, first]


def test_a_chunk_sent_again_changes_nothing(world: World) -> None:
    """Chunks may come twice and in any order; the job has each once, in the order of their numbers."""
    job_id = draft(world)
    world.jobs.add_steps(job_id, 1, (step("b", 3, 2),))
    for _ in range(2):
        world.jobs.add_steps(job_id, 0, (step("a", 0, 3),))
    job = world.jobs.arm_job(job_id, 5, world.clock.now())
    assert job.steps == ("a", "b")
    assert job.counts == TaskCounts(active=5)
    world.jobs.add_steps(job_id, 0, (step("a", 0, 3),))
    assert world.jobs.job(job_id) == job


def test_a_chunk_with_other_steps_is_refused(world: World) -> None:
    """A number is used once, and a job that is armed takes no more steps."""
    job_id = draft(world)
    world.jobs.add_steps(job_id, 0, (step("a", 0, 3),))
    with pytest.raises(ConflictError, match="chunk 0 was sent before with other steps"):
        world.jobs.add_steps(job_id, 0, (step("a", 0, 4),))
    world.jobs.arm_job(job_id, 3, world.clock.now())
    with pytest.raises(ConflictError, match="is active; steps can be added to a draft only"):
        world.jobs.add_steps(job_id, 1, (step("b", 3, 1),))


def test_arming_checks_the_count(world: World) -> None:
    """A draft that lacks a chunk stays a draft that can be completed; arming again is harmless."""
    job_id = draft(world)
    world.jobs.add_steps(job_id, 0, (step("a", 0, 3),))
    with pytest.raises(ConflictError, match="has 3 tasks, not 5"):
        world.jobs.arm_job(job_id, 5, world.clock.now())
    assert world.jobs.job(job_id).state is JobState.DRAFT
    world.jobs.add_steps(job_id, 1, (step("b", 3, 2),))
    armed = world.jobs.arm_job(job_id, 5, world.clock.now())
    world.clock.advance(timedelta(minutes=1))
    assert world.jobs.arm_job(job_id, 5, world.clock.now()) == armed
    with pytest.raises(ConflictError, match="has 5 tasks, not 4"):
        world.jobs.arm_job(job_id, 4, world.clock.now())
    world.check_counters()


def test_a_wrong_draft_is_told_everything(world: World) -> None:
    """All findings come at once, and nothing is written."""
    job_id = draft(world)
    world.jobs.add_steps(job_id, 0, (step("a", 1, 3), step("b", 9, 1, ("z",))))
    with pytest.raises(InvalidRequestError, match=r"expected 0.*expected 4.*'z'"):
        world.jobs.arm_job(job_id, 4, world.clock.now())
    assert world.jobs.tasks(job_id, -1, 10) == ()


def test_what_is_not_there(world: World) -> None:
    """Every method says that there is no such job, or no such task."""
    now = world.clock.now()
    for call in (
        lambda: world.jobs.job("x"),
        lambda: world.jobs.add_steps("x", 0, ()),
        lambda: world.jobs.arm_job("x", 1, now),
        lambda: world.jobs.cancel_job("x", now),
        lambda: world.jobs.tasks("x", -1, 1),
        lambda: world.jobs.outputs("x", None),
    ):
        with pytest.raises(NotFoundError, match="there is no job x"):
            call()
    with pytest.raises(NotFoundError, match="has no task 7"):
        world.jobs.outputs(world.submit(step("a", 0, 1)), 7)


def test_tasks_are_paged(world: World) -> None:
    """Tasks come in order of id, after the one named, with the index within their step."""
    job_id = world.submit(step("a", 0, 3), step("b", 3, 3, ("a",)))
    page = world.jobs.tasks(job_id, 1, 3)
    assert [(task.task_id, task.step, task.index) for task in page] == [(2, "a", 2), (3, "b", 0), (4, "b", 1)]
    assert page[1] == Task(job_id, 3, "b", 0, TaskState.BLOCKED, None, 0, 0, 0, 0, None, None, None, None, None)


def test_outputs_are_those_of_committed_runs(world: World) -> None:
    """Files are listed as the manifest gave them, of the whole job or of one task, and none of an open task."""
    job_id = world.submit(step("a", 0, 2), step("b", 2, 1, ("a",)))
    world.hand_out()
    received = world.receive()
    world.tell(world.upload(received[0][1]))
    world.gather()
    outputs = world.jobs.outputs(job_id, None)
    assert [(each.task_id, each.step, each.index, each.file.path) for each in outputs] == [
        (0, "a", 0, "stdout.txt"),
        (0, "a", 0, "out.json"),
    ]
    assert outputs[1].file == world.file(received[0][1], received[0][1].tasks[0], "run", "out.json")
    assert world.jobs.outputs(job_id, 0) == outputs
    assert world.jobs.outputs(job_id, 1) == ()


def test_a_failed_task_keeps_its_logs(world: World) -> None:
    """The files of the run that failed the task can be read: people look there first."""
    job_id = world.submit(step("a", 0, 1, retry=RetryPolicy(max_task_retries=0)))
    world.hand_out()
    world.run_all(Outcome.RETRYABLE)
    world.gather()
    assert [each.file.path for each in world.jobs.outputs(job_id, 0)] == ["stdout.txt", "out.json"]


def test_a_pool_counts_all_its_jobs(world: World) -> None:
    """Counts of a pool are over its armed jobs, ended ones included."""
    world.submit(step("a", 0, 3), step("b", 3, 2, ("a",)))
    draft_id = world.jobs.create_job(replace(NEW, idempotency_key="draft"), world.clock.now()).job_id
    world.jobs.add_steps(draft_id, 0, (step("a", 0, 9),))
    done = world.submit(step("a", 0, 4), key="cancelled")
    world.jobs.cancel_job(done, world.clock.now())
    assert world.jobs.counts(POOL) == TaskCounts(blocked=2, active=3, cancelled=4)
    assert world.jobs.counts("other") == TaskCounts()


def test_a_draft_is_cancelled_at_once(world: World) -> None:
    """A draft has nothing that runs; it cannot be armed any more."""
    job_id = draft(world)
    job = world.jobs.cancel_job(job_id, world.clock.now())
    assert (job.state, job.result) == (JobState.COMPLETED, JobResult.CANCELLED)
    with pytest.raises(ConflictError, match="was cancelled before it was armed"):
        world.jobs.arm_job(job_id, 0, world.clock.now())


def test_cancelling_ends_what_does_not_run(world: World) -> None:
    """With nothing running the job ends at once, and its messages are on the stop list while they are out."""
    job_id = world.submit(step("a", 0, 6), step("b", 6, 2, ("a",)))
    world.hand_out(slots=1)
    job = world.jobs.cancel_job(job_id, world.clock.now())
    assert (job.state, job.result, job.reason) == (JobState.COMPLETED, JobResult.CANCELLED, "cancelled by a user")
    assert job.counts == TaskCounts(cancelled=8)
    assert world.store.stops(POOL) == (StopRef(job_id),)
    assert world.jobs.cancel_job(job_id, world.clock.now()) == job
    world.check_counters()


def test_cancelling_waits_for_what_runs(world: World) -> None:
    """A running task is stopped, not forgotten: the job terminates until its end is known."""
    job_id = world.submit(step("a", 0, 2))
    world.hand_out()
    received = [message for _, message in world.receive()]
    for message in received:
        world.say(EventKind.STARTED, message, message.tasks)
    world.gather()
    job = world.jobs.cancel_job(job_id, world.clock.now())
    assert (job.state, job.counts) == (JobState.TERMINATING, TaskCounts(running=2))
    assert StopRef(job_id) in world.store.stops(POOL)
    world.tell(world.upload(received[0], outcome=Outcome.CANCELLED))
    world.tell(world.upload(received[1]))
    world.gather()
    job = world.jobs.job(job_id)
    assert (job.state, job.result) == (JobState.COMPLETED, JobResult.CANCELLED)
    assert job.counts == TaskCounts(succeeded=1, cancelled=1)
    assert StopRef(job_id) not in world.store.stops(POOL)
    world.check_counters()


def test_a_completed_job_stays_as_it_is(world: World) -> None:
    """Cancelling what has ended changes nothing."""
    job_id = world.submit(step("a", 0, 3))
    world.finish()
    job = world.jobs.job(job_id)
    assert (job.state, job.result) == (JobState.COMPLETED, JobResult.SUCCESS)
    assert world.jobs.cancel_job(job_id, world.clock.now()) == job
    assert all(task.result is TaskResult.SUCCESS for task in world.tasks(job_id))
