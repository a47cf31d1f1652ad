"""Connections, transactions and the epoch that fences leaders.

SQLite: `BEGIN IMMEDIATE` for writers (SQLAlchemy's default lets a stale leader commit), WAL, `synchronous=FULL`.
PostgreSQL: writers read what is committed and lock rows (the epoch for share, a job's row by writing it); readers see
one snapshot. Every table of the store registers itself in `METADATA`.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    insert,
    select,
)
from sqlalchemy import update as sql_update

from scheduler.adapters.sql.database_errors import translated
from scheduler.adapters.sql.engines import READ, WRITE, engine_of, lock_for_making, parse_address
from scheduler.errors import StaleLeaderError

METADATA = MetaData()

_IDENTITY = Table(
    "store_identity",
    METADATA,
    Column("only", Integer, primary_key=True),
    Column("store_id", String(36), nullable=False),
    Column("epoch", Integer, nullable=False),
)

_PRESENT_EPOCH = select(_IDENTITY.c.epoch).where(_IDENTITY.c.only == 1).with_for_update(read=True)


class Database:
    """One SQL database with the store's tables."""

    def __init__(self, url: str, password: Callable[[], str] | None = None) -> None:
        """Open a database by its SQLAlchemy address and make its tables.

        `sqlite:///path`, `sqlite://` (memory) or `postgresql+psycopg://user@host/database`. `password` is asked anew
        for each connection, for servers that take tokens.

        Call `METADATA`-registering modules' imports before: the adapters import this module, so that holds by itself.
        """
        address = parse_address(url)
        self.address = address.render_as_string(hide_password=True)
        """The address as people may see it, without a password."""
        self._engine: Engine = engine_of(address, password)
        self._what = f"the store {self.address}"
        with self.write() as connection:
            lock_for_making(connection)
            METADATA.create_all(connection)
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
        with translated(self._what), self._engine.connect().execution_options(**READ[self._engine.name]) as connection:
            yield connection
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a transaction of a user's command; it needs no epoch."""
        with (
            translated(self._what),
            self._engine.connect().execution_options(**WRITE) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def lead(self, epoch: int) -> Iterator[Connection]:
        """Give a transaction of the leader; `StaleLeaderError` if a later epoch has begun.

        A new epoch cannot begin before this transaction ends: on PostgreSQL because the row is locked for share, on
        SQLite because there is one writer.
        """
        with self.write() as connection:
            present = connection.execute(_PRESENT_EPOCH).scalar_one()
            if present != epoch:
                raise StaleLeaderError(f"epoch {epoch} has ended, {present} leads now; stop acting")
            yield connection

    def begin_epoch(self) -> int:
        """Begin a new epoch: every older leader's transactions fail from now on."""
        with self.write() as connection:
            begun = sql_update(_IDENTITY).values(epoch=_IDENTITY.c.epoch + 1).returning(_IDENTITY.c.epoch)
            return int(connection.execute(begun).scalar_one())
