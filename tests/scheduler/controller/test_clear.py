"""Deleted jobs go with their files, wherever the scheduler is stopped; what others need stays."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from node_bootstrap.protocol import INPUTS, OUTPUTS, FileRef, file_blob
from scheduler.adapters.sql.database import METADATA
from scheduler.controller.clear import SETTLED_AFTER, Clear
from scheduler.errors import ConflictError, NotFoundError
from scheduler.model import JobState, NewJob, Step
from tests.scheduler.job_world import POOL, World, step

SHARED, OWN = "a" * 64, "b" * 64


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world."""
    made = World()
    yield made
    made.database.close()


def with_files(plain: Step, *hashes: str) -> Step:
    """Give a step that reads these contents."""
    files = tuple(FileRef(sha[:1], INPUTS, file_blob(sha), 0, 1, sha) for sha in hashes)
    return replace(plain, definition=replace(plain.definition, resource_files=files))


def ended_job(world: World, *hashes: str, key: str = "key") -> str:
    """Run a job of two steps to its end."""
    for sha in hashes:
        world.blobs.write(INPUTS, file_blob(sha), b"x")
    job_id = world.submit(
        with_files(step(f"a-{key}", 0, 3), *hashes), step("b", 3, 1, (f"a-{key}",), (f"a-{key}",)), key=key
    )
    world.finish()
    assert world.jobs.job(job_id).state is JobState.COMPLETED
    return job_id


def names(world: World, container: str) -> list[str]:
    """Give the names of all blobs of a container."""
    return [entry.name for entry in world.blobs.list(container, "")]


def rows(world: World) -> dict[str, int]:
    """Count the rows of each table."""
    with world.database.read() as connection:
        return {table.name: len(connection.execute(table.select()).all()) for table in METADATA.sorted_tables}


def clear(world: World, after: timedelta = timedelta(0)) -> None:
    """Let time pass, and do one step."""
    world.clock.advance(after)
    world.clear.step(world.epoch, world.clock.now())


def test_a_deleted_job_leaves_nothing(world: World) -> None:
    """Rows and outputs go with the next step, inputs when they are nobody's for sure; another job keeps its own."""
    other = ended_job(world, SHARED, key="other")
    before = rows(world), names(world, INPUTS), names(world, OUTPUTS)
    job_id = ended_job(world, SHARED, OWN)
    world.jobs.begin_delete(job_id)
    clear(world)
    with pytest.raises(NotFoundError):
        world.jobs.job(job_id)
    assert names(world, OUTPUTS) == before[2]
    clear(world, SETTLED_AFTER + timedelta(seconds=1))
    assert names(world, INPUTS) == before[1]
    # Of the deleted job only its id is left, and what was measured of the pool.
    assert {name: count for name, count in rows(world).items() if count != before[0][name]} == {"deleted_jobs": 1}
    assert len(world.jobs.outputs(other, None)) == 8
    assert world.deletions.forgotten(world.clock.now()) == ()


def test_a_key_of_a_deleted_job_is_used_up(world: World) -> None:
    """A submission repeated after its job was deleted makes no second job, now or later."""
    job_id = ended_job(world)
    world.jobs.begin_delete(job_id)
    new = NewJob("job key", POOL, "key")
    assert world.jobs.create_job(new, world.clock.now()).state is JobState.DELETING
    for after in (timedelta(0), 2 * SETTLED_AFTER):
        clear(world, after)
        with pytest.raises(ConflictError, match="was deleted; choose another"):
            world.jobs.create_job(new, world.clock.now())


def test_a_job_with_a_message_out_waits(world: World) -> None:
    """A cancelled job's runs may still upload: its files go when all of its messages are accounted for."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    ((item, message),) = world.receive()
    world.jobs.cancel_job(job_id, world.clock.now())
    world.jobs.begin_delete(job_id)
    clear(world)
    assert world.jobs.job(job_id).state is JobState.DELETING
    world.tell(world.upload(message))
    world.queues.delete(item)
    world.gather()
    clear(world)
    assert names(world, OUTPUTS) == []
    world.tell(world.upload(message, run="late"))
    world.gather()
    assert len(names(world, OUTPUTS)) == 1
    clear(world, SETTLED_AFTER + timedelta(seconds=1))
    assert names(world, OUTPUTS) == []


def test_what_a_draft_names_stays(world: World) -> None:
    """A draft that is not armed yet keeps its files, also those that it found there."""
    job_id = ended_job(world, SHARED)
    draft = world.jobs.create_job(NewJob("draft", POOL, "draft"), world.clock.now())
    world.jobs.add_steps(draft.job_id, 0, (with_files(step("a", 0, 1), SHARED),))
    world.jobs.begin_delete(job_id)
    clear(world)
    clear(world, 2 * SETTLED_AFTER)
    assert names(world, INPUTS) == [file_blob(SHARED)]
    world.jobs.cancel_job(draft.job_id, world.clock.now())
    world.jobs.begin_delete(draft.job_id)
    clear(world)
    clear(world, 2 * SETTLED_AFTER)
    assert names(world, INPUTS) == []


def test_what_somebody_touched_stays_until_it_is_old(world: World) -> None:
    """A client that found the content there has touched it, and is about to name it in a draft."""
    job_id = ended_job(world, SHARED)
    world.jobs.begin_delete(job_id)
    clear(world)
    world.clock.advance(SETTLED_AFTER)
    world.blobs.touch(INPUTS, file_blob(SHARED))
    clear(world, timedelta(seconds=1))
    assert names(world, INPUTS) == [file_blob(SHARED)]
    clear(world, SETTLED_AFTER)
    assert names(world, INPUTS) == []


def test_programs_stay_while_somebody_names_them(world: World) -> None:
    """A removed version's file stays for the jobs that name it, and a job's file for a version that is still there."""
    file = FileRef("tool.zip", INPUTS, file_blob(SHARED), 0, 1, SHARED)
    for version in ("1", "2"):
        world.jobs.put_application("tool", version, file, world.clock.now(), default=False)
    job_id = ended_job(world, SHARED)
    for deletion in (
        lambda: world.jobs.delete_application("tool", "1", world.clock.now()),
        lambda: world.jobs.begin_delete(job_id),
        lambda: world.jobs.delete_application("tool", "2", world.clock.now()),
    ):
        assert file_blob(SHARED) in names(world, INPUTS)
        deletion()
        clear(world)
        clear(world, SETTLED_AFTER + timedelta(seconds=1))
    assert names(world, INPUTS) == []


def test_many_blobs_take_several_steps(world: World) -> None:
    """A step deletes a few hundred files at most; rows stay until the last one is gone."""
    job_id = ended_job(world)
    for number in range(500):
        world.blobs.write(OUTPUTS, f"{job_id}/m/r/{number}.pack", b"x")
    world.jobs.begin_delete(job_id)
    for _ in range(2):
        clear(world)
        assert world.jobs.job(job_id).state is JobState.DELETING
        assert names(world, OUTPUTS)
    clear(world)
    assert names(world, OUTPUTS) == []
    assert world.deletions.to_clear() == ()


class Crash(BaseException):
    """The scheduler dies."""


class Mortal:
    """A port that kills the scheduler at one call, before or after it was done."""

    def __init__(self, inner: object, countdown: list[int], *, after: bool) -> None:
        self._inner = inner
        self._countdown = countdown
        self._after = after

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self._countdown[0] -= 1
            if self._countdown[0] == 0 and not self._after:
                raise Crash
            answer = getattr(self._inner, name)(*arguments)
            if self._countdown[0] == 0:
                raise Crash
            return answer

        return call


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_leaves_nothing_behind(after: bool) -> None:
    """Wherever the scheduler dies, another one finishes: no row and no blob of the job is left."""
    for number in range(1, 100):
        world = World()
        job_id = ended_job(world, OWN)
        world.jobs.begin_delete(job_id)
        countdown = [number]
        mortal = Clear(Mortal(world.deletions, countdown, after=after), Mortal(world.blobs, countdown, after=after))  # type: ignore[arg-type]
        crashed = False
        for pause in (timedelta(0), 2 * SETTLED_AFTER):
            world.clock.advance(pause)
            try:
                mortal.step(world.epoch, world.clock.now())
            except Crash:
                crashed = True
                break
        clear(world)
        clear(world, 2 * SETTLED_AFTER)
        assert (names(world, OUTPUTS), names(world, INPUTS)) == ([], [])
        assert {name for name, count in rows(world).items() if count} == {
            "alembic_version",
            "store_identity",
            "deleted_jobs",
            "run_times",
        }
        world.database.close()
        if not crashed:
            assert number > 10
            return
    raise AssertionError("a deletion takes too many calls")
