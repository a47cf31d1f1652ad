"""One PostgreSQL server: a folder of data, a folder of its socket, and nothing on the network."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from infra.local.postgres.programs import PostgresNotFoundError, Programs

SUPERUSER = "postgres"
_PORT = 5432  # only a part of the socket's name
_INIT_SECONDS = 120.0
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.02
_LONGEST_SOCKET_NAME = 90  # the kernel takes 107 bytes, and macOS 103, with the name of the file

# A server for tests may lose everything in a crash of the machine, but not of a process.
_VOLATILE = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
_SMALL = {"shared_buffers": "16MB", "max_connections": "60", "wal_level": "minimal", "max_wal_senders": "0"}


class PostgresStartError(RuntimeError):
    """The server did not start; the message says where its log is."""


class PostgresServer:
    """A server over a folder. It can be stopped, killed and started again; whoever reads the folder may sign in.

    It listens on a socket in a folder of its own, open to its account only, and trusts whoever gets there.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        *,
        durable: bool = True,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._settings = {**_SMALL, **({} if durable else _VOLATILE)}
        self._marks = dict(marks or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: Path | None = None

    @property
    def log(self) -> Path:
        """The file of all that the server says."""
        return self._folder / "server.log"

    @property
    def pid(self) -> int | None:
        """The process, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def socket(self) -> Path:
        """The socket's file; the same for as long as this object lives."""
        return self._socket_folder() / f".s.PGSQL.{_PORT}"

    def url(self, database: str) -> str:
        """Give the SQLAlchemy address of a database."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={self._socket_folder()}"

    def connect(self, database: str = SUPERUSER) -> psycopg.Connection:
        """Sign in as the superuser, outside any transaction."""
        return psycopg.connect(
            host=str(self._socket_folder()), port=_PORT, user=SUPERUSER, dbname=database, autocommit=True
        )

    def start(self) -> None:
        """Start the server, making its data first where there are none, and wait until it answers."""
        account = self._programs.account
        if not account.enters(self._folder):
            raise PostgresNotFoundError(
                f"PostgreSQL does not run as root, and the account it is started as may not enter the folders above "
                f"{self._folder}; open them to others (chmod o+x), or run this as another user"
            )
        account.owned(self._folder)
        if not (self._data / "PG_VERSION").exists():
            self._make_data()
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs.folder / "postgres"), "-D", str(self._data), "-p", str(_PORT)]
        command += ["-k", str(self._socket_folder()), "-c", "listen_addresses=", *options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **account.options,
            )
        self._await(self._process)

    def stop(self) -> None:
        """End every session and stop; nothing committed is lost."""
        self._end(signal.SIGINT)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def restart(self) -> None:
        """End every session, and start again on the same socket."""
        self._end(signal.SIGINT)
        self.start()

    def crash(self) -> None:
        """Kill the server as a failing machine would; `start` recovers from its log."""
        self._end(signal.SIGQUIT)

    def _socket_folder(self) -> Path:
        if self._sockets is None:
            made = Path(tempfile.mkdtemp(prefix="millpond-pg-"))
            if len(str(made)) > _LONGEST_SOCKET_NAME:
                made.rmdir()  # a temporary folder with a long name
                made = Path(tempfile.mkdtemp(prefix="millpond-pg-", dir="/tmp"))
            self._sockets = self._programs.account.owned(made)
        return self._sockets

    def _make_data(self) -> None:
        """Make the data in a folder of another name, so that an interrupted start leaves nothing half made."""
        partial = self._folder / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        self._programs.account.owned(partial)
        command = [str(self._programs.folder / "initdb"), "-D", str(partial), "-U", SUPERUSER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        made = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_INIT_SECONDS,
            check=False,
            **self._programs.account.options,
        )
        if made.returncode != 0:
            raise PostgresStartError(f"initdb ended with exit code {made.returncode}: {made.stderr.strip()[-1000:]}")
        partial.rename(self._data)

    def _environment(self) -> dict[str, str]:
        """Give this process's environment without what would speak of another server."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "LC_ALL": "C", **self._marks}

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise PostgresStartError(f"PostgreSQL does not start; see {self.log}") from error
                time.sleep(_LOOK_AGAIN_SECONDS)
            else:
                return

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()  # its children notice, and end
            process.wait()
