"""Files and explanations, over real stores and the storage that nodes write."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from node_bootstrap.protocol import OUTPUTS, EventKind, FileRef, Outcome, TaskRef, own_blob, pack_blob, sha256_hex
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.errors import NotFoundError
from scheduler.insight import Insight
from scheduler.model import RetryPolicy, TaskState
from scheduler.views import FilePart
from tests.scheduler.job_world import QUEUE, World, step

LOG = "stdout.txt"


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world without a fleet."""
    made = World()
    yield made
    made.database.close()


@pytest.fixture
def insight(world: World) -> Insight:
    """Look into the world."""
    views = SqlJobViews(world.database)
    return Insight(
        world.jobs, views, SqlFleetStore(world.database), SqlScheduleStore(world.database), world.blobs, lambda: ()
    )


def test_a_log_is_read_while_it_grows_and_after(world: World, insight: Insight) -> None:
    """While the task runs, its present attempt's log is found by its message; committed, by its manifest."""
    job = world.submit(step("a", 0, 1))
    assert insight.read_file(job, 0, LOG, 0, 100) == FilePart(LOG, 0, 0, 0, b"", complete=False, found=False)
    world.hand_out()
    ((item, message),) = world.receive()
    world.say(EventKind.STARTED, message, message.tasks)
    world.gather()
    world.blobs.write(OUTPUTS, own_blob(job, message.message_id, "r", TaskRef(0, 2), LOG), b"of a later attempt")
    assert not insight.read_file(job, 0, LOG, 0, 100).found
    world.blobs.write(OUTPUTS, own_blob(job, message.message_id, "r", TaskRef(0, 1), LOG), b"one two")
    assert insight.read_file(job, 0, LOG, 0, 3) == FilePart(LOG, 1, 0, 7, b"one", complete=False, found=True)
    assert insight.read_file(job, 0, LOG, 4, 100).data == b"two"
    assert insight.read_file(job, 0, LOG, 7, 100).data == b""
    assert insight.read_file(job, 0, LOG, 99, 100).data == b""
    world.tell(world.upload(message))
    world.queues.delete(item)
    world.gather()
    world.blobs.write(OUTPUTS, f"{job}/{message.message_id}/run/0.1/{LOG}", b"x")
    part = insight.read_file(job, 0, LOG, 0, 100)
    assert (part.data, part.size, part.complete, part.sha256) == (b"x", 1, True, "0" * 64)
    with pytest.raises(NotFoundError, match=r"kept no file 'none'; it kept: stdout\.txt, out\.json"):
        insight.read_file(job, 0, "none", 0, 1)


def test_a_file_in_a_pack_is_cut_out(world: World, insight: Insight) -> None:
    """A piece never reaches beyond its file, whatever lies behind it in the same blob."""
    job = world.submit(step("a", 0, 1))
    world.hand_out()
    ((_, message),) = world.receive()
    pack = pack_blob(job, message.message_id, "run", 0)
    world.blobs.write(OUTPUTS, pack, b"..hello and more")
    world.file = lambda _message, _ref, _run, path: (  # type: ignore[method-assign]
        _file(path, pack)
    )
    world.tell(world.upload(message))
    world.gather()
    assert insight.read_file(job, 0, LOG, 0, 100).data == b"hello"
    assert insight.read_file(job, 0, LOG, 1, 2).data == b"el"
    assert insight.read_file(job, 0, LOG, 5, 100).data == b""


def test_a_cancelled_task_has_no_log(world: World, insight: Insight) -> None:
    """A task that ended without a run has nothing to read, and that is no error."""
    job = world.submit(step("a", 0, 1))
    world.jobs.cancel_job(job, world.clock.now())
    part = insight.read_file(job, 0, LOG, 0, 100)
    assert (part.found, part.complete) == (False, True)


def test_each_stage_of_a_task_is_explained(world: World, insight: Insight) -> None:
    """From blocked to ended, the paragraph says what the task waits for, where it is, and how it ended."""
    job = world.submit(step("a", 0, 2, retry=RetryPolicy(max_task_retries=0), expected=0.1), step("b", 2, 1, ("a",)))
    assert "waits for step a, of whose 2 tasks 2 have not ended" in _why(world, insight, f"{job}/2")
    assert "no longer declared" in _why(world, insight, f"{job}/0")
    world.hand_out(1)
    ((item, message),) = world.receive()
    world.say(EventKind.STARTED, message, message.tasks[:1])
    world.gather()
    running = _why(world, insight, f"{job}/0")
    assert "It runs on node node for" in running
    world.tell(world.upload(message, message.tasks[:1]))
    world.tell(world.upload(message, message.tasks[1:], Outcome.RETRYABLE, number=1))
    world.queues.delete(item)
    world.gather()
    assert "It succeeded on attempt 1 on node node after 5.0 s" in _why(world, insight, f"{job}/0")
    failed = _why(world, insight, f"{job}/1")
    assert "It failed on attempt 1 on node node with exit code 0 after 5.0 s" in failed
    assert "all 0 allowed retries are used" in failed
    assert "It was cancelled" in _why(world, insight, f"{job}/2")
    told = _why(world, insight, job)
    assert "It failed" in told
    assert "The first that failed is task 1 (a 1)" in told
    assert "1 task were cancelled" not in told


def test_an_older_job_of_the_same_rank_is_counted_ahead(world: World, insight: Insight) -> None:
    """Ready tasks of jobs whose priority is not lower come first, those of lower priority do not."""
    views = SqlJobViews(world.database)
    first = world.submit(step("a", 0, 3))
    world.submit(step("a", 0, 5), key="low", priority=-1)
    second = world.submit(step("a", 0, 2), key="high", priority=1)
    assert views.tasks_ahead(first) == 2
    assert views.tasks_ahead(second) == 0


def test_a_handout_is_seen_until_the_task_ends(world: World) -> None:
    """The message of a task is known while the task is out, with its queue and who took it."""
    views = SqlJobViews(world.database)
    job = world.submit(step("a", 0, 1))
    assert views.handout(job, 0) is None
    world.hand_out()
    handout = views.handout(job, 0)
    assert handout is not None
    assert (handout.queue, handout.handed_out_at, handout.sent_at) == (QUEUE, world.clock.now(), world.clock.now())
    assert handout.started_at is None
    world.run_all()
    world.gather()
    assert world.tasks(job)[0].state is TaskState.COMPLETED
    assert views.handout(job, 0) is None


def test_troubled_tasks_come_failed_first(world: World) -> None:
    """Failed tasks stand before those that were only tried again, and untroubled ones are left out."""
    views = SqlJobViews(world.database)
    job = world.submit(step("a", 0, 3, retry=RetryPolicy(max_task_retries=1), expected=0.1))
    world.hand_out(1)
    ((item, message),) = world.receive()
    outcomes = (Outcome.RETRYABLE, Outcome.SUCCESS, Outcome.PERMANENT)
    for number, (ref, outcome) in enumerate(zip(message.tasks, outcomes, strict=True)):
        world.tell(world.upload(message, (ref,), outcome, number=number))
    world.queues.delete(item)
    world.gather()
    world.clock.advance(timedelta(seconds=1))
    world.finish()
    assert [task.task_id for task in views.troubled(job, 9)] == [2, 0]
    assert [task.task_id for task in views.troubled(job, 1)] == [2]


def _why(world: World, insight: Insight, subject: str) -> str:
    return insight.explain(subject, world.clock.now()).paragraph


def _file(path: str, blob: str) -> FileRef:
    data = b"hello" if path == LOG else b""
    return FileRef(path, OUTPUTS, blob, 2, len(data), sha256_hex(data))
