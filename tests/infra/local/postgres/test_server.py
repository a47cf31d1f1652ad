"""A server of one's own: made, stopped, killed and started again."""

import stat
from pathlib import Path

import psutil
import psycopg
import pytest

from infra.local.postgres.programs import PostgresNotFoundError, find_programs
from infra.local.postgres.server import PostgresServer, PostgresStartError
from tests.infra.local.postgres.test_programs import ROOT_ONLY


def test_what_is_committed_survives(open_folder: Path) -> None:
    """A stop and a kill lose nothing that was committed; in the end no process and no socket is left."""
    server = PostgresServer(find_programs(), open_folder / "server", durable=False)
    server.start()
    pid = server.pid
    assert pid is not None
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept (number integer)")
    for number, end in enumerate((server.stop, server.crash)):
        with server.connect() as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", [number])
        end()
        assert server.pid is None
        server.start()
    with server.connect() as connection:
        assert connection.execute("SELECT number FROM kept ORDER BY 1").fetchall() == [(0,), (1,)]
    sockets = server.socket.parent
    server.stop()
    assert not sockets.exists()
    assert not psutil.pid_exists(pid)


def test_nobody_else_gets_in(open_folder: Path) -> None:
    """The server has no port, and its socket and data are in folders that are open to its account only."""
    server = PostgresServer(find_programs(), open_folder / "server", durable=False)
    server.start()
    try:
        with server.connect() as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert not [each for each in psutil.Process(server.pid).net_connections("inet") if each.status == "LISTEN"]
        for folder in (server.socket.parent, open_folder / "server"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=5432, user="postgres", connect_timeout=1, sslmode="disable")
    finally:
        server.stop()


def test_a_server_that_does_not_start_names_its_log(open_folder: Path) -> None:
    """Damaged data end the start, with the place of the log."""
    folder = open_folder / "server"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "PG_VERSION").write_text("1\n")
    server = PostgresServer(find_programs(), folder, durable=False)
    with pytest.raises(PostgresStartError, match=r"PostgreSQL does not start; see .*server\.log"):
        server.start()
    server.stop()
    assert server.pid is None


@ROOT_ONLY
def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    """Data where the server's account may not go cannot be; the message says what to do."""
    server = PostgresServer(find_programs(), tmp_path / "server")
    with pytest.raises(PostgresNotFoundError, match=r"may not enter the folders above .*chmod o\+x"):
        server.start()
    assert list(tmp_path.iterdir()) == []
