"""Connections, transactions and the epoch that fences leaders.

SQLite: `BEGIN IMMEDIATE` for writers (SQLAlchemy's default lets a stale leader commit), WAL, `synchronous=FULL`.
Every table of the store registers itself in `METADATA`.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
)
from sqlalchemy import update as sql_update
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from scheduler.errors import StaleLeaderError, UnavailableError

METADATA = MetaData()

_IDENTITY = Table(
    "store_identity",
    METADATA,
    Column("only", Integer, primary_key=True),
    Column("store_id", String(36), nullable=False),
    Column("epoch", Integer, nullable=False),
)

_PRESENT_EPOCH = select(_IDENTITY.c.epoch).where(_IDENTITY.c.only == 1).with_for_update(read=True)

# How long a writer waits for another before it gives up; every transaction here takes milliseconds.
_BUSY_TIMEOUT_MS = 10_000


class Database:
    """One SQL database with the store's tables."""

    def __init__(self, url: str) -> None:
        """Open a database by its SQLAlchemy address, `sqlite:///path` or `sqlite://` (memory), and make its tables.

        Call `METADATA`-registering modules' imports before: the adapters import this module, so that holds by itself.
        """
        self._engine = _engine(url)
        try:
            METADATA.create_all(self._engine)
        except OperationalError as error:
            raise UnavailableError(f"the store at {url} cannot be opened: {error.orig}") from error
        with self.write() as connection:
            if connection.execute(select(_IDENTITY.c.store_id)).first() is None:
                connection.execute(insert(_IDENTITY).values(only=1, store_id=str(uuid.uuid4()), epoch=0))

    @property
    def store_id(self) -> str:
        """Name of this store, made once with it."""
        with self.read() as connection:
            return str(connection.execute(select(_IDENTITY.c.store_id)).scalar_one())

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one snapshot."""
        with _translated(), self._engine.connect() as connection:
            yield connection
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction of a user's command; it needs no epoch."""
        connect = self._engine.connect().execution_options(millpond_write=True)
        with _translated(), connect as connection, connection.begin():
            yield connection

    @contextmanager
    def lead(self, epoch: int) -> Iterator[Connection]:
        """Give a transaction of the leader; `StaleLeaderError` if a later epoch has begun."""
        with self.write() as connection:
            present = connection.execute(_PRESENT_EPOCH).scalar_one()
            if present != epoch:
                raise StaleLeaderError(f"epoch {epoch} has ended, {present} leads now; stop acting")
            yield connection

    def begin_epoch(self) -> int:
        """Begin a new epoch: every older leader's transactions fail from now on."""
        with self.write() as connection:
            connection.execute(sql_update(_IDENTITY).values(epoch=_IDENTITY.c.epoch + 1))
            return int(connection.execute(select(_IDENTITY.c.epoch)).scalar_one())


def _engine(url: str) -> Engine:
    if url in {"sqlite://", "sqlite:///:memory:"}:
        engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
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


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise UnavailableError(f"the store did not answer: {error.orig}") from error
