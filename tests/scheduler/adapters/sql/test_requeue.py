"""Tasks run again because a user asks for it: nothing of before can be committed, nothing committed is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node_bootstrap.protocol import EventKind, Outcome, StopRef
from scheduler.errors import ConflictError, NotFoundError
from scheduler.model import JobResult, JobState, NewJob, RetryPolicy, TaskCounts, TaskResult, TaskState
from tests.scheduler.job_world import POOL, World, step

ONCE = RetryPolicy(max_task_retries=0)


@pytest.fixture(params=["sqlite-memory", "sqlite-file"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give a world over each database."""
    made = World("sqlite://" if request.param == "sqlite-memory" else f"sqlite:///{tmp_path}/store.sqlite")
    yield made
    made.check_counters()
    made.database.close()


def failed_job(world: World) -> str:
    """Give a job whose first step failed in task 1, so that its merge and what depends on that were cancelled."""
    job_id = world.submit(
        step("a", 0, 3, retry=ONCE), step("b", 3, 2, ("a",), ("a",)), step("c", 5, 1, ("b",)), step("d", 6, 1)
    )
    world.hand_out(slots=4)
    for item, message in world.receive():
        outcome = Outcome.PERMANENT if message.tasks[0].task_id == 1 else Outcome.SUCCESS
        world.tell(world.upload(message, outcome=outcome))
        world.queues.delete(item)
    world.gather()
    job = world.jobs.job(job_id)
    assert (job.state, job.result) == (JobState.COMPLETED, JobResult.FAILURE)
    assert job.counts == TaskCounts(succeeded=3, failed=1, cancelled=3)
    return job_id


def paths(world: World, job_id: str, task_id: int) -> list[str]:
    """Give the blobs of a task's listed files."""
    return [output.file.blob.split("/", 1)[1] for output in world.jobs.outputs(job_id, task_id)]


@pytest.mark.parametrize("task_ids", [None, (1,)])
def test_what_failed_runs_again_and_what_depends_on_it_comes_back(
    world: World, task_ids: tuple[int, ...] | None
) -> None:
    """A completed job is active again; cancelled dependents wait again; in the end everything has succeeded."""
    job_id = failed_job(world)
    job = world.jobs.requeue_job(job_id, task_ids, world.clock.now())
    assert (job.state, job.result, job.ended_at, job.reason) == (JobState.ACTIVE, None, None, "")
    assert job.counts == TaskCounts(succeeded=3, active=1, blocked=3)
    task = world.jobs.task(job_id, 1)
    assert (task.state, task.result, task.retries, task.reason) == (TaskState.ACTIVE, None, 0, "requeued by a user")
    world.finish()
    job = world.jobs.job(job_id)
    assert (job.state, job.result, job.counts) == (JobState.COMPLETED, JobResult.SUCCESS, TaskCounts(succeeded=7))
    assert world.jobs.task(job_id, 1).attempt == 2


def test_dependents_stay_cancelled_while_another_failure_stands(world: World) -> None:
    """Requeueing one of two failed tasks cannot bring back what needs both."""
    job_id = world.submit(step("a", 0, 2, retry=ONCE), step("b", 2, 1, ("a",)))
    world.hand_out()
    world.run_all(Outcome.PERMANENT)
    world.gather()
    assert world.jobs.requeue_job(job_id, (0,), world.clock.now()).counts == TaskCounts(active=1, failed=1, cancelled=1)
    assert world.jobs.requeue_job(job_id, (1,), world.clock.now()).counts == TaskCounts(active=2, blocked=1)
    world.finish()
    assert world.jobs.job(job_id).result is JobResult.SUCCESS


def test_outputs_stay_until_a_new_run_commits(world: World) -> None:
    """While a task that had succeeded runs again its outputs are listed; then those of the new run are."""
    job_id = world.submit(step("a", 0, 1))
    world.finish()
    first = paths(world, job_id, 0)
    world.jobs.requeue_job(job_id, (0,), world.clock.now())
    assert paths(world, job_id, 0) == first
    world.hand_out()
    assert paths(world, job_id, 0) == first
    world.run_all()
    world.gather()
    second = paths(world, job_id, 0)
    assert len(second) == len(first)
    assert not set(second) & set(first)


def test_outputs_stay_when_the_new_run_fails(world: World) -> None:
    """A new run that fails shows its own logs, and the outputs of before are still there."""
    job_id = world.submit(step("a", 0, 1, retry=ONCE))
    world.finish()
    (_, output) = world.jobs.outputs(job_id, 0)
    world.jobs.requeue_job(job_id, (0,), world.clock.now())
    world.hand_out()
    world.run_all(Outcome.PERMANENT)
    world.gather()
    assert world.jobs.task(job_id, 0).result is TaskResult.FAILURE
    listed = world.jobs.outputs(job_id, 0)
    assert listed[-1] == output
    assert "stdout.txt" in {each.file.path for each in listed[:-1]}
    world.jobs.requeue_job(job_id, None, world.clock.now())
    assert output in world.jobs.outputs(job_id, 0)
    world.finish()
    assert output not in world.jobs.outputs(job_id, 0)


def test_an_old_duplicate_changes_nothing(world: World) -> None:
    """A success of a run from before the requeue is never committed, before the new run has ended or after."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    ((item, message),) = world.receive()
    world.tell(world.upload(message))
    world.queues.delete(item)
    world.gather()
    first = paths(world, job_id, 0)
    world.jobs.requeue_job(job_id, (0,), world.clock.now())
    world.tell(world.upload(message, run="late"))
    world.gather()
    assert (world.jobs.task(job_id, 0).state, paths(world, job_id, 0)) == (TaskState.ACTIVE, first)
    world.finish()
    second = paths(world, job_id, 0)
    world.tell(world.upload(message, run="later"))
    world.gather()
    assert paths(world, job_id, 0) == second


def test_runs_that_are_still_out_are_stopped(world: World) -> None:
    """A cancelled job's message that is still out is stopped for the old attempts, and not for the new ones."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    world.jobs.cancel_job(job_id, world.clock.now())
    assert world.store.stops(POOL) == (StopRef(job_id),)
    job = world.jobs.requeue_job(job_id, None, world.clock.now())
    assert job.counts == TaskCounts(active=1)
    assert world.store.stops(POOL) == (StopRef(job_id, 0, 2),)
    ((item, message),) = world.receive()
    world.tell(world.upload(message, outcome=Outcome.CANCELLED))
    world.queues.delete(item)
    world.gather()
    assert world.store.stops(POOL) == ()
    world.finish()
    assert world.jobs.job(job_id).result is JobResult.SUCCESS


def test_dependents_that_have_not_been_handed_out_wait_again(world: World) -> None:
    """A merge that is ready, but with no node yet, waits for the task that runs again and reads its new outputs."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 1, ("a",), ("a",)))
    world.hand_out()
    world.run_all()
    world.gather()
    assert world.jobs.task(job_id, 1).state is TaskState.ACTIVE
    job = world.jobs.requeue_job(job_id, (0,), world.clock.now())
    assert job.counts == TaskCounts(active=1, blocked=1)
    world.hand_out()
    world.run_all()
    world.gather()
    world.hand_out()
    sources = world.store.step_sources(job_id, 1)
    assert sources.inputs is not None
    assert paths(world, job_id, 0)[-1] in sources.inputs
    world.run_all()
    world.gather()
    assert world.jobs.job(job_id).result is JobResult.SUCCESS


def test_a_merge_that_runs_is_not_disturbed(world: World) -> None:
    """A dependent that is on a node goes on; requeue it too, to have it read what is new."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 1, ("a",), ("a",)))
    world.finish()
    job = world.jobs.requeue_job(job_id, (0, 1), world.clock.now())
    assert job.counts == TaskCounts(active=1, blocked=1)
    world.finish()
    assert world.jobs.job(job_id).counts == TaskCounts(succeeded=2)
    assert [world.jobs.task(job_id, number).attempt for number in (0, 1)] == [2, 2]


def test_what_cannot_be_requeued_is_told_and_changes_nothing(world: World) -> None:
    """Drafts, jobs being cancelled, tasks that run and tasks that are not there: each is refused with its reason."""
    now = world.clock.now()
    with pytest.raises(NotFoundError, match="there is no job x"):
        world.jobs.requeue_job("x", None, now)
    draft = world.jobs.create_job(NewJob("d", POOL, "draft"), now).job_id
    with pytest.raises(ConflictError, match="was never armed"):
        world.jobs.requeue_job(draft, None, now)
    job_id = world.submit(step("a", 0, 3))
    with pytest.raises(NotFoundError, match=r"has no task 3, 9$"):
        world.jobs.requeue_job(job_id, (0, 3, 9), now)
    with pytest.raises(ConflictError, match=r"task 0, 1 of job .* has not ended"):
        world.jobs.requeue_job(job_id, (0, 1), now)
    with pytest.raises(ConflictError, match=r"no task of job .* has failed or was cancelled"):
        world.jobs.requeue_job(job_id, None, now)
    world.hand_out(slots=1)
    (_, message), *_ = world.receive()
    world.say(EventKind.STARTED, message, message.tasks)
    world.gather()
    world.jobs.cancel_job(job_id, now)
    with pytest.raises(ConflictError, match="is being cancelled"):
        world.jobs.requeue_job(job_id, None, now)
    world.tell(world.upload(message))
    world.gather()
    world.jobs.begin_delete(job_id)
    with pytest.raises(ConflictError, match="is being deleted"):
        world.jobs.requeue_job(job_id, None, now)


def test_what_could_never_start_is_not_requeued(world: World) -> None:
    """Requeueing a merge alone, while tasks before it stay cancelled, is refused and writes nothing."""
    job_id = world.submit(step("a", 0, 2), step("b", 2, 1, ("a",)))
    before = world.jobs.cancel_job(job_id, world.clock.now())
    with pytest.raises(ConflictError, match="step 'b' needs step 'a', of which 2 tasks did not succeed"):
        world.jobs.requeue_job(job_id, (2,), world.clock.now())
    assert world.jobs.job(job_id) == before


def test_thousands_of_tasks_are_named_at_once(world: World) -> None:
    """A list longer than one statement holds is requeued in the one transaction."""
    job_id = world.submit(step("a", 0, 2500), step("b", 2500, 1, ("a",)))
    world.jobs.cancel_job(job_id, world.clock.now())
    job = world.jobs.requeue_job(job_id, tuple(range(2500)), world.clock.now())
    assert job.counts == TaskCounts(active=2500, blocked=1)
