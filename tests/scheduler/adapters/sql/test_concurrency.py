"""Transactions at the same moment, on connections of their own: what each must wait for, and what is refused.

Each test holds one transaction open while another runs in a thread. Whether that one waits is looked at a moment
later, so a slow machine can make a test pass too easily, never fail wrongly.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node_bootstrap.protocol import OUTPUTS, Manifest, TaskMessage, decode
from scheduler.adapters.sql import engines
from scheduler.adapters.sql.commit import record_words
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.job_change import JobChange
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.errors import ConflictError, StaleLeaderError, UnavailableError
from scheduler.model import JobResult, JobState, NewJob, TaskCounts
from tests.scheduler.job_world import POOL, World, step

PATIENCE = 20.0
MOMENT = 0.3
NEW = NewJob("job", POOL, "the key")


class Call:
    """A call in a thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001  raised again by `result`
            self._error = error

    @property
    def waits(self) -> bool:
        """Whether the call has not come back a moment later."""
        self._thread.join(MOMENT)
        return self._thread.is_alive()

    def end(self) -> None:
        """Wait for the end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def result(self) -> Any:
        """Wait for the end, and give or raise what came of it."""
        self.end()
        if self._error is not None:
            raise self._error
        return self._result


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[], Any]], Call]]:
    """Give what starts a call in a thread; all have ended when the test has."""
    calls: list[Call] = []

    def begin(call: Callable[[], Any]) -> Call:
        calls.append(Call(call))
        return calls[-1]

    yield begin
    for call in calls:
        call.end()


@pytest.fixture(params=["sqlite-file", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a store that several processes can open."""
    if request.param == "sqlite-file":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def other(store_url: str, world: World) -> Iterator[Database]:
    """Give another process's connections to the world's store."""
    with closing(Database(store_url)) as opened:
        yield opened


def uploaded(world: World, message: TaskMessage) -> tuple[str, Manifest]:
    """Have a node upload a success of every task; give the manifest, with its name."""
    event = world.upload(message)
    assert event.manifest is not None
    return event.manifest, decode(Manifest, world.blobs.read(OUTPUTS, event.manifest))


def test_an_empty_store_is_made_once(store_url: str, start: Callable[[Callable[[], Any]], Call]) -> None:
    """Schedulers that start at the same moment on an empty database agree on one store."""
    count = 5
    begin = threading.Barrier(count)

    def open_it() -> str:
        begin.wait(PATIENCE)
        with closing(Database(store_url)) as opened:
            return opened.store_id

    calls = [start(open_it) for _ in range(count)]
    assert len({call.result() for call in calls}) == 1


def test_a_new_epoch_waits_for_what_the_old_leader_began(
    world: World, other: Database, start: Callable[[Callable[[], Any]], Call]
) -> None:
    """A transaction that an old leader began is whole before the new one begins; the next is refused unwritten."""
    job_id = world.submit(step("a", 0, 2))
    with world.database.lead(world.epoch) as connection:
        JobChange.of(connection, job_id, world.clock.now())
        bump = start(other.begin_epoch)
        assert bump.waits
    assert bump.result() == world.epoch + 1
    with pytest.raises(StaleLeaderError, match=f"epoch {world.epoch} has ended, {world.epoch + 1} leads now"):
        world.hand_out()
    assert world.store.open_messages() == ()


def test_a_leader_that_was_overtaken_while_it_waited_is_refused(
    world: World, other: Database, start: Callable[[Callable[[], Any]], Call]
) -> None:
    """A commit that begins while a new epoch is being written waits for it, and is then refused."""
    world.submit(step("a", 0, 1))
    world.hand_out()
    ((_, message),) = world.receive()
    blob, manifest = uploaded(world, message)
    with other.write() as connection:
        connection.exec_driver_sql("UPDATE store_identity SET epoch = epoch + 1")
        late = start(lambda: world.store.record(world.epoch, (), ((blob, manifest),), world.clock.now()))
        assert late.waits
    with pytest.raises(StaleLeaderError):
        late.result()
    assert world.jobs.jobs()[0].counts == TaskCounts(active=1)


def test_two_commits_that_each_end_the_last_predecessor(
    world: World, other: Database, start: Callable[[Callable[[], Any]], Call]
) -> None:
    """The later of two commits waits for the earlier one, sees its step done, and releases what waited for both."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 1), step("c", 2, 3, ("a", "b")))
    world.hand_out()
    first, second = (uploaded(world, message) for _, message in world.receive())
    with world.database.lead(world.epoch) as connection:
        assert not record_words(connection, (), (first,), world.clock.now())
        later = start(lambda: SqlDispatchStore(other).record(world.epoch, (), (second,), world.clock.now()))
        assert later.waits
    assert not later.result()
    assert world.jobs.job(job_id).counts == TaskCounts(active=3, succeeded=2)
    world.finish()
    assert world.jobs.job(job_id).result is JobResult.SUCCESS


def test_a_cancel_that_meets_a_commit(
    world: World, other: Database, start: Callable[[Callable[[], Any]], Call]
) -> None:
    """A cancel waits for the commit that releases its tasks, and counts them as what they then are."""
    job_id = world.submit(step("a", 0, 1), step("b", 1, 3, ("a",)))
    world.hand_out()
    ((_, message),) = world.receive()
    with world.database.lead(world.epoch) as connection:
        assert not record_words(connection, (), (uploaded(world, message),), world.clock.now())
        cancel = start(lambda: SqlJobStore(other).cancel_job(job_id, world.clock.now()))
        assert cancel.waits
    job = cancel.result()
    assert (job.state, job.counts) == (JobState.COMPLETED, TaskCounts(succeeded=1, cancelled=3))


def test_a_chunk_that_meets_the_arming(
    world: World, other: Database, start: Callable[[Callable[[], Any]], Call]
) -> None:
    """A chunk that comes while the job is armed is refused, never taken and forgotten."""
    job_id = world.jobs.create_job(NEW, world.clock.now()).job_id
    world.jobs.add_steps(job_id, 0, (step("a", 0, 1),))
    with world.database.write() as connection:
        JobChange.of(connection, job_id, world.clock.now())  # as arming begins
        late = start(lambda: SqlJobStore(other).add_steps(job_id, 1, (step("b", 1, 1),)))
        assert late.waits
        connection.exec_driver_sql("UPDATE jobs SET state = 'active'")
    with pytest.raises(ConflictError, match="is active; steps can be added to a draft only"):
        late.result()
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'draft'")
    world.jobs.arm_job(job_id, 1, world.clock.now())


def test_one_key_from_two_requests_at_once(
    world: World, other: Database, start: Callable[[Callable[[], Any]], Call]
) -> None:
    """Two requests with one idempotency key at the same moment open one job, and both are told of it."""
    begin = threading.Barrier(2)

    def create(store: SqlJobStore) -> str:
        begin.wait(PATIENCE)
        return store.create_job(NEW, world.clock.now()).job_id

    calls = [start(lambda store=store: create(store)) for store in (world.jobs, SqlJobStore(other))]
    assert [call.result() for call in calls] == [world.jobs.jobs()[0].job_id] * 2
    assert len(world.jobs.jobs()) == 1


def hang(hung: Database, epoch: int, next_one: Database) -> None:
    """Stand still in a transaction until the next leader has begun, and then write."""
    with hung.lead(epoch) as connection:
        assert next_one.begin_epoch() == epoch + 1  # waits for no more than the time-out
        connection.exec_driver_sql("UPDATE store_identity SET epoch = 1000")


def test_a_leader_that_hangs_is_ended(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader whose machine stands still in the middle of a transaction does not keep the next one from leading."""
    monkeypatch.setitem(engines.SESSION, "idle_in_transaction_session_timeout", 200)
    with closing(Database(postgres_url)) as hung, closing(Database(postgres_url)) as next_one:
        epoch = hung.begin_epoch()
        with pytest.raises(UnavailableError, match="idle-in-transaction timeout"):
            hang(hung, epoch, next_one)
        with pytest.raises(StaleLeaderError), hung.lead(epoch):
            pass
