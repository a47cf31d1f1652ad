"""The databases that a store may be in: a real PostgreSQL, started once a worker, is one of them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.local.postgres.programs import find_programs
from infra.local.postgres.server import PostgresServer
from tests.scheduler.job_world import World

_DATABASE = "store"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Give a PostgreSQL with an empty database; it forgets all with the session, so it need not write to the disk."""
    # Not in pytest's folder, which only this user may enter: started by root, the server runs as another.
    folder = Path(tempfile.mkdtemp(prefix="millpond-test-"))
    folder.chmod(0o755)
    server = PostgresServer(find_programs(), folder / "server", durable=False)
    server.start()
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {_DATABASE}")
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """Give the address of an empty database on PostgreSQL."""
    with postgres.connect(_DATABASE) as connection:
        connection.execute("SET lock_timeout = '10s'")  # of a test that left a transaction open
        # Making the schema anew takes a fifth of the time that a database of its own takes.
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgres.url(_DATABASE)


@pytest.fixture(params=["sqlite-memory", "sqlite-file", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty store in each kind of database."""
    match request.param:
        case "sqlite-memory":
            return "sqlite://"
        case "sqlite-file":
            return f"sqlite:///{tmp_path / 'store.sqlite'}"
        case _:
            return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    """Give a world over each database, whose counters are checked at the end."""
    made = World(store_url)
    with closing(made.database):
        yield made
        made.check_counters()
