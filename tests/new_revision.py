"""Write the revision that a change of the store's tables needs: `make revision m="Jobs have owners"`.

It compares the tables in the code with those that the revisions make. What it writes is a draft: rows that are to be
moved are the author's matter.
"""

import re
import sys
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from scheduler.adapters.sql import revisions
from scheduler.adapters.sql.identity import VERSION
from scheduler.adapters.sql.tables import METADATA
from scheduler.adapters.sql.upgrade import run_revisions

_FORM = '''"""{message}."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "{number}"
down_revision: str | None = "{before}"


def upgrade(op: Operations) -> None:
    """{message}."""
{body}
'''
_WORDS = re.compile(r"scheduler\.adapters\.sql\.columns\.Words\((?:length=)?(\d*)\)")
_TIMES = re.compile(r"scheduler\.adapters\.sql\.columns\.(Instant|Span)\(\)")


def draft(message: str) -> tuple[str, str]:
    """Give the name and the text of the next revision; the text has `pass` where nothing has changed."""
    with create_engine("sqlite://").begin() as connection:
        VERSION.create(connection)
        run_revisions(connection, None)
        changes = produce_migrations(MigrationContext.configure(connection), METADATA).upgrade_ops
    body = render_python_code(changes) if changes is not None else "    pass"
    body = "\n".join(line for line in body.splitlines() if "###" not in line)
    body = _TIMES.sub("sa.BigInteger()", _WORDS.sub(r"sa.String(\1)", body))
    number = f"{int(revisions.HEAD) + 1:04}"
    name = re.sub(r"\W+", "_", message.lower()).strip("_")
    text = _FORM.format(message=message.rstrip("."), number=number, before=revisions.HEAD, body=body)
    return f"r{number}_{name}", text


def main() -> None:
    """Write it beside the others and say what is left to do."""
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        raise SystemExit('say what changes: make revision m="Jobs have owners"')
    name, text = draft(sys.argv[1].strip())
    file = Path(revisions.__file__).parent / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    said = f"{file}: read it, give columns that are NOT NULL a server default, and add it to REVISIONS beside it"
    sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
