"""Addresses, sign-in, outages and errors of databases."""

import logging
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import text

from infra.local.postgres.server import PostgresServer
from node_bootstrap.protocol import Manifest, Outcome, TaskReport
from scheduler.adapters.sql import engines
from scheduler.adapters.sql.database import Database
from scheduler.dispatch.records import Start
from scheduler.errors import AccessDeniedError, ConflictError, InvalidRequestError, UnavailableError
from scheduler.model import JobResult
from tests.scheduler.job_world import World, step

HOSTILE = "\0 half a pair \ud800 and \U0001f600 'quoted\" \\ %s :name"


def test_a_store_keeps_its_name(store_url: str) -> None:
    """A store that is opened again is the same one, with the epochs that it had."""
    if store_url == "sqlite://":
        pytest.skip("a store in memory is gone when it is closed")
    with closing(Database(store_url)) as first:
        name, epoch = first.store_id, first.begin_epoch()
    with closing(Database(store_url)) as second:
        assert second.store_id == name
        assert second.begin_epoch() == epoch + 1


@pytest.mark.parametrize(
    "url",
    ["", "store.sqlite", "mysql://user:hidden@h/db", "postgresql+psycopg2://user:hidden@h/db", "sqlite+x:///hidden"],
)
def test_other_addresses_are_refused(url: str) -> None:
    """What is no address of a store is refused with what to write, and without what may be a password."""
    with pytest.raises(InvalidRequestError, match=r"postgresql\+psycopg://user@host/database") as raised:
        Database(url)
    assert "hidden" not in str(raised.value)


def test_passwords_are_never_shown(postgres: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the address that is logged nor an error has the password of the connection in it."""
    caplog.set_level(logging.DEBUG)
    url = f"postgresql+psycopg://postgres:hidden@/nothing?host={postgres.socket.parent}"
    with pytest.raises(UnavailableError, match=r"postgres:\*\*\*@/nothing.*does not exist") as raised:
        Database(url)
    shown = [str(raised.value), repr(raised.value.__cause__), caplog.text]
    assert not [text for text in shown if "hidden" in text]


def test_a_server_that_is_not_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server that does not answer is told with its address."""
    folder = tmp_path_factory.mktemp("nothing")
    with pytest.raises(UnavailableError, match=r"the store postgresql\+psycopg://postgres@/store.* did not answer"):
        Database(f"postgresql://postgres@/store?host={folder}")


def test_each_connection_asks_for_a_password(postgres: PostgresServer, postgres_url: str) -> None:
    """A password that is a token is fetched anew when a connection is made, since it is good for an hour only."""
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return f"token {len(asked)}"

    with closing(Database(postgres_url, password)) as database:
        before = len(asked)
        assert before > 0
        with database.read(), database.read():
            pass
        assert len(asked) == before + 1  # one was kept, another had to be made
        postgres.crash()
        postgres.start()
        assert database.store_id
        assert len(asked) == before + 2


def test_a_password_that_cannot_be_had(postgres_url: str) -> None:
    """An identity that is refused its token says so itself."""

    def refused() -> str:
        raise AccessDeniedError("no token")

    with pytest.raises(AccessDeniedError, match="no token"):
        Database(postgres_url, refused)


def crash_in_the_middle(world: World, postgres: PostgresServer) -> None:
    """Have the server crash while a transaction of the leader is open."""
    with world.database.lead(world.epoch) as connection:
        connection.execute(text("UPDATE jobs SET name = 'lost'"))
        postgres.crash()


def test_a_restart_is_survived(postgres: PostgresServer, postgres_url: str) -> None:
    """While the server is away every use says so; when it is back everything committed is there and work goes on."""
    world = World(postgres_url)
    with closing(world.database):
        job_id = world.submit(step("a", 0, 2), step("b", 2, 1, ("a",)))
        world.hand_out()
        with pytest.raises(UnavailableError, match="did not answer"):
            crash_in_the_middle(world, postgres)
        now = world.clock.now()
        for use in (world.hand_out, lambda: world.jobs.job(job_id), lambda: world.jobs.cancel_job(job_id, now)):
            with pytest.raises(UnavailableError, match="did not answer"):
                use()
        postgres.start()
        assert world.jobs.job(job_id).name == "job key"
        world.finish()
        assert world.jobs.job(job_id).result is JobResult.SUCCESS
        world.check_counters()


def run(database: Database, statements: str) -> None:
    """Run statements in one transaction."""
    with database.write() as connection:
        for statement in statements.split("; "):
            connection.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "error", "said"),
    [
        ("INSERT INTO store_identity SELECT * FROM store_identity", ConflictError, "try again"),
        ("UPDATE store_identity SET store_id = repeat('x', 99)", InvalidRequestError, "too long"),
        ("SET TRANSACTION READ ONLY; UPDATE store_identity SET epoch = 9", UnavailableError, "read-only"),
        ("SET LOCAL ROLE pg_monitor; SELECT pg_read_file('x')", AccessDeniedError, "permission denied"),
    ],
)
def test_errors_are_translated(postgres_url: str, statement: str, error: type[Exception], said: str) -> None:
    """What PostgreSQL refuses comes out as an error of ours that says what to do, and nothing is written."""
    with closing(Database(postgres_url)) as database:
        epoch = database.begin_epoch()
        with pytest.raises(error, match=said):
            run(database, statement)
        assert database.begin_epoch() == epoch + 1


def test_a_full_pool_is_told(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every connection is in use the next one waits for a while and then says so."""
    monkeypatch.setattr(engines, "_CONNECTIONS", 1)
    monkeypatch.setattr(engines, "_MORE_CONNECTIONS", 0)
    monkeypatch.setattr(engines, "_CONNECTION_SECONDS", 0.1)
    with closing(Database(postgres_url)) as database:
        with database.read(), pytest.raises(UnavailableError, match="has no connection left"), database.read():
            pass
        assert database.store_id


def test_whatever_a_node_says_is_kept(world: World) -> None:
    """A reason with characters that a database cannot hold, and exit codes of Windows, do not lose a result."""
    job_id = world.submit(step("a", 0, 1))
    world.hand_out()
    ((_, message),) = world.receive()
    now = world.clock.now()
    report = TaskReport(0, 1, Outcome.PERMANENT, 0xC0000005, HOSTILE, now, now + timedelta(seconds=1), ())
    manifest = Manifest(message.message_id, job_id, f"node{HOSTILE}", "run", (report,))
    assert not world.store.record(world.epoch, (), (("blob", manifest),), now)
    (task,) = world.tasks(job_id)
    assert task.exit_code == 0xC0000005
    assert task.reason == "\ufffd half a pair \ufffd and \U0001f600 'quoted\" \\ %s :name"


def test_a_message_with_an_impossible_name_is_unknown(world: World) -> None:
    """Names that no message can have are answered like any other unknown one."""
    now = world.clock.now()
    for name in ("\0", "m" * 5000, HOSTILE):
        assert world.store.record(world.epoch, (Start(name, "node", (), now),), (), now) == {name}
        assert world.store.give_back(world.epoch, name, now, reason="") is False
