"""How a connection to each kind of database is opened, and how its transactions begin."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from scheduler.errors import InvalidRequestError

_POSTGRESQL = "postgresql"
_DRIVERS = {"sqlite": "pysqlite", _POSTGRESQL: "psycopg"}

# Options of connections that read and that write, by kind of database.
READ: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"sqlite": {}, _POSTGRESQL: {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}}
)
WRITE: Mapping[str, Any] = MappingProxyType({"millpond_write": True})

# How long a writer waits for another before it gives up; every transaction here takes milliseconds.
_BUSY_TIMEOUT_MS = 10_000

# A leader whose machine was paused or lost must not hold the epoch's row: the server ends its transaction.
SESSION = {
    "lock_timeout": _BUSY_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": 30_000,
    "statement_timeout": 300_000,  # arming a million tasks is one statement
}
# A server that is gone without a word is noticed within half a minute.
_CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "millpond-scheduler",
}
# Threads of the API that read at once, and the controller's own.
_CONNECTIONS = 5
_MORE_CONNECTIONS = 10
_CONNECTION_SECONDS = 10.0

# How long a scheduler that starts waits for another that brings the store up to date.
_UPGRADE_TIMEOUT_MS = 600_000

# Any number that nobody else uses; two schedulers that start on an empty database make its tables one after the other.
_MAKING_LOCK = 0x6D696C6C706F6E64


def parse_address(url: str) -> URL:
    """Read a store's address; the message of a wrong one does not repeat it, since it may hold a password."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidRequestError(
            "the store's address cannot be understood; write sqlite:///path or postgresql+psycopg://user@host/database"
        ) from None
    kind, _, driver = address.drivername.partition("+")
    if driver not in {"", _DRIVERS.get(kind)} or kind not in _DRIVERS:
        raise InvalidRequestError(
            f"a store on {address.drivername} is not supported; write sqlite:///path or "
            "postgresql+psycopg://user@host/database"
        )
    return address.set(drivername=f"{kind}+{_DRIVERS[kind]}")


def engine_of(address: URL, password: Callable[[], str] | None) -> Engine:
    """Make the engine of an address; nothing is connected yet."""
    if address.get_backend_name() == _POSTGRESQL:
        return _postgresql(address, password)
    if address.database in {None, "", ":memory:"}:
        engine = create_engine(address, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(address)
    event.listen(engine, "connect", _sqlite_connect)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def lock_for_making(connection: Connection) -> None:
    """Keep others from making the tables, or bringing them up to date, until this transaction ends.

    On SQLite every writer does. On PostgreSQL an upgrade may take as long as it needs, but waits no longer than usual
    for tables that somebody uses.
    """
    if connection.dialect.name == _POSTGRESQL:
        connection.execute(text(f"SET LOCAL lock_timeout = {_UPGRADE_TIMEOUT_MS}"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MAKING_LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {_BUSY_TIMEOUT_MS}"))


def _postgresql(address: URL, password: Callable[[], str] | None) -> Engine:
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    asked = {**_CONNECT, "options": options}
    engine = create_engine(
        address,
        connect_args={name: value for name, value in asked.items() if name not in address.query},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,  # after a restart or a fail-over of the server, old connections are dead
        pool_size=_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
        pool_timeout=_CONNECTION_SECONDS,
        hide_parameters=True,
    )
    if password is not None:

        def sign_in(_dialect: Dialect, _entry: Any, _positional: list[Any], named: dict[str, Any]) -> None:
            named["password"] = password()

        event.listen(engine, "do_connect", sign_in)
    return engine


def _sqlite_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("millpond_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
