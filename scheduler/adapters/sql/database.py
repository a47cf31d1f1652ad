"""Connections, transactions and the epoch that fences leaders.

SQLite: `BEGIN IMMEDIATE` for writers (SQLAlchemy's default lets a stale leader commit), WAL, `synchronous=FULL`.
PostgreSQL: writers read what is committed and lock rows (the epoch for share, a job's row by writing it); readers see
one snapshot.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy import update as sql_update

from scheduler.adapters.sql.database_errors import translated
from scheduler.adapters.sql.engines import READ, WRITE, engine_of, parse_address
from scheduler.adapters.sql.identity import IDENTITY, PRESENT, PRESENT_FOR_LEADER, PRESENT_VERSION
from scheduler.adapters.sql.revisions import HEAD
from scheduler.adapters.sql.tables import METADATA
from scheduler.adapters.sql.upgrade import bring_up_to_date, refuse_newer
from scheduler.errors import OutdatedProgramError, StaleLeaderError

__all__ = ["METADATA", "Database"]


class Database:
    """One SQL database with the store's tables."""

    def __init__(self, url: str, password: Callable[[], str] | None = None) -> None:
        """Open a database by its SQLAlchemy address, and make its tables or bring them up to date (`upgrade.py`).

        `sqlite:///path`, `sqlite://` (memory) or `postgresql+psycopg://user@host/database`. `password` is asked anew
        for each connection, for servers that take tokens.

        Raises what `bring_up_to_date` does.
        """
        address = parse_address(url)
        self.address = address.render_as_string(hide_password=True)
        """The address as people may see it, without a password."""
        self._engine: Engine = engine_of(address, password)
        self._what = f"the store {self.address}"
        try:
            with translated(self._what):
                bring_up_to_date(self._engine, self._what)
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def store_id(self) -> str:
        """Name of this store, made once with it; `OutdatedProgramError` once a newer program has upgraded it."""
        with self.read() as connection:
            present = connection.execute(PRESENT).one()
        self._refuse_other(present.version_num)
        return str(present.store_id)

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
        """Give a transaction of a user's command; it needs no epoch.

        `OutdatedProgramError` once a newer program has upgraded the store, which it cannot do before this ends.
        """
        with self._transaction() as connection:
            self._refuse_other(connection.execute(PRESENT_VERSION).scalar_one())
            yield connection

    @contextmanager
    def lead(self, epoch: int) -> Iterator[Connection]:
        """Give a transaction of the leader; `StaleLeaderError` if a later epoch has begun.

        A new epoch cannot begin before this transaction ends: on PostgreSQL because the row is locked for share, on
        SQLite because there is one writer. The same holds of an upgrade.
        """
        with self._transaction() as connection:
            present = connection.execute(PRESENT_FOR_LEADER).one()
            self._refuse_other(present.version_num)
            if present.epoch != epoch:
                raise StaleLeaderError(f"epoch {epoch} has ended, {present.epoch} leads now; stop acting")
            yield connection

    def begin_epoch(self) -> int:
        """Begin a new epoch: every older leader's transactions fail from now on."""
        with self.write() as connection:
            begun = sql_update(IDENTITY).values(epoch=IDENTITY.c.epoch + 1).returning(IDENTITY.c.epoch)
            return int(connection.execute(begun).scalar_one())

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with (
            translated(self._what),
            self._engine.connect().execution_options(**WRITE) as connection,
            connection.begin(),
        ):
            yield connection

    def _refuse_other(self, version: str) -> None:
        if version != HEAD:
            refuse_newer(version, self._what)
            raise OutdatedProgramError(f"{self._what} was put back to version {version}; start this scheduler again")
