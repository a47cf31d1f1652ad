"""The database servers of a folder: a PostgreSQL each, behind a front of its own.

They live as long as the daemon, since clients reach them through it; what they hold stays. One that ends alone is
started again.
"""

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from infra.local.layout import FOLDER_MARK, Layout, LocalAzureError
from infra.local.ports import bind
from infra.local.postgres.front import Fronts
from infra.local.postgres.programs import Account, Programs, find_programs
from infra.local.postgres.server import PostgresServer
from infra.local.processes import DATABASE_MARK, terminate
from infra.local.tokens import Principal

# The role that administrators are members of, as in Azure (docs: flexible server, users).
ADMINISTRATORS = "azure_pg_admin"

_STOP_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 0.5
# Root's servers run as another account, which may not enter root's folders; what is here survives a restart.
_SHARED = Path("/var/tmp")  # noqa: S108  its owner is checked
_log = logging.getLogger(__name__)

# Whether somebody may be a role of a server.
Admits = Callable[[str, str, Principal], bool]


@dataclass(slots=True)
class _Server:
    postgres: PostgresServer
    port: int


class DatabaseServers:
    """Starts, watches and stops servers, and makes what is declared in them."""

    def __init__(
        self, layout: Layout, fronts: Fronts, admits: Admits, find: Callable[[], Programs] = find_programs
    ) -> None:
        self._layout = layout
        self._fronts = fronts
        self._admits = admits
        self._find = find
        self._lock = threading.RLock()
        self._servers: dict[str, _Server] = {}
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, name: str, port: int) -> int:
        """Start a server, its front on this port if it is free, and return the port that it is.

        `PostgresNotFoundError` says what to install where there is no PostgreSQL.
        """
        with self._lock:
            if name in self._servers:
                return self._servers[name].port
            programs = self._find()
            self._clear_up(name)
            folder = data_folder(self._layout, programs.account) / name
            marks = {DATABASE_MARK: name, FOLDER_MARK: str(self._layout.local)}
            postgres = PostgresServer(programs, folder, marks=marks)
            postgres.start()
            record = self._record(name)
            (record / "sockets").write_text(f"{postgres.socket.parent}\n")
            if not (record / "server.log").exists():
                (record / "server.log").symlink_to(postgres.log)  # kept elsewhere, by another account
            with postgres.connect() as connection:
                if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ADMINISTRATORS]).fetchone() is None:
                    connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(ADMINISTRATORS)))
            listener = bind(port)
            found = int(listener.getsockname()[1])
            self._fronts.open(name, listener, postgres.socket, lambda role, who: self._admits(name, role, who))
            self._servers[name] = _Server(postgres, found)
            (record / "port").write_text(f"{found}\n")
            return found

    def restart(self, name: str) -> None:
        """Stop a server with every session, and start it again."""
        with self._lock:
            self._servers[name].postgres.restart()

    def delete(self, name: str) -> None:
        """Stop a server and remove what it held."""
        with self._lock:
            self._stop(name)
            if (self._layout.databases / name).exists():
                self._clear_up(name)
                data = data_folder(self._layout, self._find().account)
                shutil.rmtree(data / name, ignore_errors=True)
                shutil.rmtree(self._layout.databases / name, ignore_errors=True)
                if not any(data.iterdir()):
                    data.rmdir()

    def make_administrator(self, server: str, role: str) -> None:
        """Make a role that may do what Azure's administrators may, unless it is there."""
        with self._lock, self._servers[server].postgres.connect() as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
                made = sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE IN ROLE {}")
                connection.execute(made.format(sql.Identifier(role), sql.Identifier(ADMINISTRATORS)))

    def drop_administrator(self, server: str, role: str) -> None:
        """Let nobody sign in by a role any more; what it owns stays."""
        with self._lock:
            if server in self._servers:
                with self._servers[server].postgres.connect() as connection:
                    connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(role)))

    def make_database(self, server: str, database: str) -> None:
        """Make a database that administrators own, unless it is there."""
        with self._lock, self._servers[server].postgres.connect() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                made = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(made.format(sql.Identifier(database), sql.Identifier(ADMINISTRATORS)))

    def drop_database(self, server: str, database: str) -> None:
        """Remove a database with all that is in it."""
        with self._lock:
            if server in self._servers:
                with self._servers[server].postgres.connect() as connection:
                    dropped = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                    connection.execute(dropped.format(sql.Identifier(database)))

    def watch(self) -> None:
        """From now on start again what ends alone, until `stop_all`."""
        self._watcher = threading.Thread(target=self._keep_alive, name="database-servers", daemon=True)
        self._watcher.start()

    def stop_all(self) -> None:
        """Stop every server; what they hold is whole."""
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        with self._lock:
            for name in list(self._servers):
                self._stop(name)
        self._fronts.end()

    def _record(self, name: str) -> Path:
        """Give the folder in which others read of a server."""
        folder = self._layout.databases / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _clear_up(self, name: str) -> None:
        """End a server that a killed daemon left, which nobody can reach any more, and remove its socket."""
        terminate(self._matches(name), _STOP_SECONDS)
        sockets = self._layout.databases / name / "sockets"
        if sockets.exists():
            shutil.rmtree(sockets.read_text().strip(), ignore_errors=True)
            sockets.unlink()

    def _stop(self, name: str) -> None:
        server = self._servers.pop(name, None)
        if server is not None:
            self._fronts.close(name)
            server.postgres.stop()

    def _keep_alive(self) -> None:
        while not self._ended.wait(_LOOK_AGAIN_SECONDS):
            with self._lock:
                for name, server in self._servers.items():
                    if server.postgres.pid is None:
                        _log.warning("the database server '%s' ended; see %s", name, server.postgres.log)
                        try:
                            server.postgres.start()
                        except (OSError, RuntimeError) as error:
                            _log.warning("the database server '%s' could not be started again: %s", name, error)

    def _matches(self, name: str) -> Callable[[dict[str, str]], bool]:
        local = str(self._layout.local)
        return lambda environment: environment.get(DATABASE_MARK) == name and environment.get(FOLDER_MARK) == local


def data_folder(layout: Layout, account: Account) -> Path:
    """Give the folder of the servers' data: in the local Azure's own, unless another account must get there."""
    if not account.switched:
        return layout.databases
    digest = hashlib.sha256(str(layout.local).encode()).hexdigest()[:16]
    shared = _SHARED / f"millpond-databases-{digest}"
    shared.mkdir(mode=0o711, exist_ok=True)
    if shared.is_symlink() or shared.stat().st_uid != 0:
        raise LocalAzureError(f"{shared} belongs to somebody else; remove it")
    shared.chmod(0o711)
    return shared
