"""What an operator asks of a store that no scheduler opens for him: its version, what a start would do, a copy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from scheduler.adapters.sql.database_errors import translated
from scheduler.adapters.sql.engines import WRITE, engine_of, lock_for_making, parse_address
from scheduler.adapters.sql.revisions import HEAD
from scheduler.adapters.sql.upgrade import Found, apply, copy_store, file_of, find, written_down
from scheduler.errors import ConflictError, InvalidRequestError, NotFoundError


@dataclass(frozen=True, slots=True)
class StoreLook:
    """A store's version beside this program's; `statements` are what would bring it up to date, none if it is."""

    store: str
    version: str
    program: str
    statements: tuple[str, ...]


def look(url: str, password: Callable[[], str] | None = None) -> StoreLook:
    """Try an upgrade on the store itself and take it back; writers wait meanwhile.

    `NotFoundError` where there is no store, and what opening it would raise.
    """
    with _opened(url, password) as (engine, what):
        with engine.connect() as connection:
            found = find(connection, what)
        if found.version is None:
            raise NotFoundError(f"{what} is empty; `millpond scheduler run` makes its tables")
        statements: list[str] = []
        if found != Found(HEAD):
            with (
                engine.connect().execution_options(**WRITE) as connection,
                connection.begin() as transaction,
            ):
                lock_for_making(connection)
                found = find(connection, what)
                with written_down(connection) as statements:
                    if found != Found(HEAD):
                        apply(connection, found)
                transaction.rollback()
        # What was only read is no part of the upgrade.
        changes = (text for text in statements if not text.startswith(("SELECT", "PRAGMA")))
        return StoreLook(what.removeprefix("the store "), found.version or HEAD, HEAD, tuple(changes))


def back_up(url: str, target: Path) -> None:
    """Copy a store in a SQLite file, which may be in use; an existing file is left alone."""
    address = parse_address(url)
    file = file_of(address)
    if file is None:
        raise InvalidRequestError(
            f"the store {address.render_as_string(hide_password=True)} is no file; a PostgreSQL server has backups of "
            "its own (Azure keeps those of a flexible server), and pg_dump copies one database"
        )
    if target.exists():
        raise ConflictError(f"{target} exists; name another file, or remove it")
    if not file.exists():
        raise NotFoundError(f"there is no store {file}")
    copy_store(file, target, f"the store {file}")


@contextmanager
def _opened(url: str, password: Callable[[], str] | None) -> Iterator[tuple[Engine, str]]:
    address = parse_address(url)
    file = file_of(address)
    what = f"the store {address.render_as_string(hide_password=True)}"
    if file is not None and not file.exists():
        raise NotFoundError(f"{what} is not there; `millpond scheduler run` makes it")
    engine = engine_of(address, password)
    try:
        with translated(what):
            yield engine, what
    finally:
        engine.dispose()
