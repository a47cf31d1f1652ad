"""Stores of older versions, as the schedulers of their time wrote them: a job that has run, one that runs, a draft.

`stores/<version>.sql` is what `sqlite3 .dump` says of each. On PostgreSQL the revisions make the tables, and the rows
are the same.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Boolean, Connection, MetaData, create_engine, insert, text
from sqlalchemy.engine import make_url

from scheduler.adapters.sql.upgrade import run_revisions

FOLDER = Path(__file__).parent / "stores"
VERSIONS = tuple(sorted(file.stem for file in FOLDER.glob("*.sql")))
RUNNING_JOB = "job-running-c071cf5f5ed6"
DRAFT = "a-draft-7743ce348d92"


def make_old_store(url: str, version: str) -> None:
    """Fill an empty database with the store of a version; what is in it is not marked with a version."""
    address = make_url(url)
    script = (FOLDER / f"{version}.sql").read_text(encoding="utf-8")
    if address.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(address.database))) as made:
            made.executescript(script)
        return
    engine = create_engine(address.set(drivername="postgresql+psycopg"))
    try:
        with closing(sqlite3.connect(":memory:")) as source, engine.begin() as target:
            source.executescript(script)
            run_revisions(target, None, version)
            _copy_rows(source, target)
    finally:
        engine.dispose()


def _copy_rows(source: sqlite3.Connection, target: Connection) -> None:
    source.row_factory = sqlite3.Row
    tables = MetaData()
    tables.reflect(target)
    for table in tables.sorted_tables:
        rows = [dict(row) for row in source.execute(f"SELECT * FROM {table.name}")]  # noqa: S608  a name of ours
        for row in rows:
            row.update({c.name: bool(row[c.name]) for c in table.columns if isinstance(c.type, Boolean)})
        if rows:
            target.execute(insert(table), rows)
        (key, *others) = table.primary_key.columns
        if not others and key.server_default is not None:
            following = f'(SELECT coalesce(max("{key.name}"), 0) + 1 FROM {table.name})'  # noqa: S608
            sequence = f"pg_get_serial_sequence('{table.name}', '{key.name}')"
            target.execute(text(f"SELECT setval({sequence}, {following}, false)"))
