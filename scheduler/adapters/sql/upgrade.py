"""A store is brought to this program's version when it is opened, in one transaction, and one newer than it is refused.

The transaction first writes the version's row and begins an epoch. Every other transaction that writes locks that row
for share and compares, so that those under way end before the upgrade, and those that come after it are refused.
"""

import logging
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, select, update

from scheduler.adapters.sql.engines import WRITE, lock_for_making
from scheduler.adapters.sql.identity import IDENTITY, VERSION
from scheduler.adapters.sql.revisions import HEAD, NUMBERS, REVISIONS
from scheduler.adapters.sql.tables import METADATA
from scheduler.errors import ConflictError, OutdatedProgramError, UnavailableError

_LOG = logging.getLogger(__name__)

# Columns and indexes, as `table.name`.
_Shape = frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a database: `version` is None where there is no store yet; `marked`, whether it says so itself."""

    version: str | None
    marked: bool = True


def refuse_newer(version: str, what: str) -> None:
    """Raise `OutdatedProgramError` if a store is of a version that this program does not know."""
    if version not in NUMBERS:
        raise OutdatedProgramError(
            f"{what} has version {version}, and this scheduler knows versions up to {HEAD}: a newer scheduler has "
            "brought it up to date. Nothing was written. Run that newer scheduler; to go back to this one, put back "
            "the copy of the store that was made before its upgrade (docs/upgrades.md)"
        )


def bring_up_to_date(engine: Engine, what: str) -> None:
    """Make the tables of a new store, or bring those of an older one to `HEAD`.

    `OutdatedProgramError` for a newer store, `ConflictError` for one that cannot be brought up; both change nothing.
    """
    with engine.connect() as connection:
        found = find(connection, what)
    if found == Found(HEAD):
        return
    with engine.connect().execution_options(**WRITE) as connection, connection.begin():
        lock_for_making(connection)
        found = find(connection, what)  # another scheduler may have been here first
        if found == Found(HEAD):
            return
        if found.version is None:
            METADATA.create_all(connection)
            connection.execute(insert(VERSION).values(version_num=HEAD))
            connection.execute(insert(IDENTITY).values(only=1, store_id=str(uuid.uuid4()), epoch=0))
            return
        copy = None if found.version == HEAD else _copy_beside(engine, found.version, what)
        _LOG.info("%s is brought from version %s to %s", what, found.version, HEAD)
        apply(connection, found)
    kept = "" if copy is None else f"; as it was before, it is kept in {copy}"
    _LOG.info("%s has version %s now%s", what, HEAD, kept)


def find(connection: Connection, what: str) -> Found:
    """Say of which version a database's store is; raises what `bring_up_to_date` does."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return Found(None)
    if VERSION.name in tables:
        version = connection.execute(select(VERSION.c.version_num)).scalar()
        if version is None:
            raise ConflictError(f"{what} has an empty table {VERSION.name}; put back a copy of it")
        refuse_newer(version, what)
        return Found(version)
    shapes = _shapes()
    ours = {name.partition(".")[0] for shape in shapes.values() for name in shape}
    if not tables & ours:
        return Found(None)
    shape = _shape(connection, ours)
    version = next((number for number, known in shapes.items() if known == shape), None)
    if version is None:
        number, nearest = min(shapes.items(), key=lambda each: len(each[1] ^ shape))
        odd = [f"lacks {name}" for name in sorted(nearest - shape)] + [
            f"has {name}" for name in sorted(shape - nearest)
        ]
        raise ConflictError(
            f"{what} was made by a scheduler of no known version, and cannot be brought up to date: next to version "
            f"{number} it {', '.join(odd[:5])}. Nothing was changed. Let its jobs end with the scheduler that made it; "
            "then have this one begin with a new store, and delete the blob scheduler/leader.json, which names the old"
        )
    return Found(version, marked=False)


def apply(connection: Connection, found: Found) -> None:
    """Bring an older store to `HEAD`; the caller's transaction commits it."""
    if found.marked:
        connection.execute(update(VERSION).values(version_num=HEAD))
    else:
        VERSION.create(connection)
        connection.execute(insert(VERSION).values(version_num=HEAD))
    connection.execute(update(IDENTITY).values(epoch=IDENTITY.c.epoch + 1))
    run_revisions(connection, after=found.version)


def run_revisions(connection: Connection, after: str | None, until: str = HEAD) -> None:
    """Run the revisions that follow one, or all from the first, up to another; marks nothing."""
    op = Operations(MigrationContext.configure(connection))
    first = 0 if after is None else NUMBERS.index(after) + 1
    for revision in REVISIONS[first : NUMBERS.index(until) + 1]:
        revision.upgrade(op)


@contextmanager
def written_down(connection: Connection) -> Iterator[list[str]]:
    """Give a list into which each statement goes that is executed inside."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", note)


def copy_store(file: Path, target: Path, what: str) -> None:
    """Copy a store in a SQLite file, which may be in use; the copy has its name only when it is whole."""
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        address = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(part)) as made:
            source.backup(made)
            made.execute("PRAGMA journal_mode=DELETE")  # the copy is one file
        part.replace(target)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise UnavailableError(f"{what} cannot be copied to {target}: {error}; nothing was changed") from error


def file_of(address: URL) -> Path | None:
    """Give the file that a store is in; None for one in memory or on a server."""
    if address.get_backend_name() != "sqlite" or address.database in {None, "", ":memory:"}:
        return None
    return Path(str(address.database))


def _copy_beside(engine: Engine, version: str, what: str) -> Path | None:
    """Copy a store in a file beside itself; a server's transactions need no copy, and its operator has backups."""
    file = file_of(engine.url)
    if file is None:
        return None
    target = file.with_name(f"{file.name}.{version}")
    copy_store(file, target, what)
    return target


def _shapes() -> Mapping[str, _Shape]:
    """Give the shape of each version, by making it."""
    shapes = {}
    engine = create_engine("sqlite://")
    with closing(engine.connect()) as connection:
        before: str | None = None
        for number in NUMBERS:
            run_revisions(connection, before, number)
            shapes[number] = _shape(connection, set(inspect(connection).get_table_names()))
            before = number
    engine.dispose()
    return shapes


def _shape(connection: Connection, tables: set[str]) -> _Shape:
    inspector = inspect(connection)
    found = set()
    for table in tables & set(inspector.get_table_names()):
        found |= {f"{table}.{column['name']}" for column in inspector.get_columns(table)}
        # PostgreSQL lists constraints among the indexes.
        indexes = (each for each in inspector.get_indexes(table) if "duplicates_constraint" not in each)
        found |= {f"{table}.{index['name']}" for index in indexes}
    return frozenset(found)
