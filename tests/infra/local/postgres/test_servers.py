"""The servers of a folder without the resource manager: what a killed daemon leaves, and what `status` says."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import certificates
from infra.local.health import databases
from infra.local.layout import Layout, LocalAzureError
from infra.local.postgres.front import Fronts
from infra.local.postgres.programs import account_of_server
from infra.local.postgres.servers import DatabaseServers, data_folder
from infra.local.processes import DATABASE_MARK, kill_all, marked, of_folder
from infra.local.tokens import TokenIssuer


class Daemon:
    """The part of a daemon that has the servers; it can be killed."""

    def __init__(self, layout: Layout) -> None:
        made = certificates.ensure(layout.certificates)
        self.fronts = Fronts(made.certificate, made.key, TokenIssuer("tenant", "secret"))
        self.servers = DatabaseServers(layout, self.fronts, lambda *_: False)

    def kill(self) -> None:
        """Leave everything as it is, and answer nobody any more."""
        self.fronts.end()
        for server in self.servers._servers.values():
            process = server.postgres._process
            assert process is not None
            process.returncode = 0  # its parent is gone


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """A folder; no server and no data are left of it."""
    made = Layout(tmp_path)
    made.local.mkdir()
    yield made
    kill_all(of_folder(made.local))
    shutil.rmtree(data_folder(made, account_of_server()), ignore_errors=True)


def processes(layout: Layout) -> list[psutil.Process]:
    """The servers that run."""
    return [process for process, each in marked(of_folder(layout.local)) if DATABASE_MARK in each]


def test_a_killed_daemon_leaves_nothing_lost(layout: Layout) -> None:
    """The next daemon ends the old server, starts one on the same data and port, and removes the old socket."""
    first = Daemon(layout)
    port = first.servers.start("psql", 0)
    first.servers.make_database("psql", "millpond")
    sockets = first.servers._servers["psql"].postgres.socket.parent
    first.kill()
    second = Daemon(layout)
    try:
        assert second.servers.start("psql", port) == port
        with second.servers._servers["psql"].postgres.connect("millpond") as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert len(processes(layout)) == 1
        assert not sockets.exists()
    finally:
        second.servers.delete("psql")
        second.servers.stop_all()
    assert processes(layout) == []
    assert not layout.databases.exists() or not list(layout.databases.iterdir())


def test_its_health_is_seen_from_outside(layout: Layout) -> None:
    """A server that runs is named with its place; a dead one, and one that nobody can reach, with what to do."""
    daemon = Daemon(layout)
    port = daemon.servers.start("psql", 0)
    (part,) = databases(layout)
    assert (part.name, part.healthy, part.detail) == ("database psql", True, f"127.0.0.1:{port}")
    daemon.fronts.close("psql")
    (part,) = databases(layout)
    assert not part.healthy
    assert part.recovery is not None
    daemon.servers._servers["psql"].postgres.crash()
    (part,) = databases(layout)
    assert "is not running" in part.detail
    assert (layout.databases / "psql" / "server.log").read_text()
    daemon.servers.stop_all()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's data are elsewhere")
def test_a_folder_of_somebody_else_is_not_taken(layout: Layout) -> None:
    """Root does not put data where another user could have laid a trap."""
    folder = data_folder(layout, account_of_server())
    os.chown(folder, account_of_server().uid, -1)
    with pytest.raises(LocalAzureError, match="belongs to somebody else"):
        data_folder(layout, account_of_server())
    folder.rmdir()
    folder.symlink_to("/tmp")
    try:
        with pytest.raises(LocalAzureError, match="belongs to somebody else"):
            data_folder(layout, account_of_server())
    finally:
        folder.unlink()
