"""Decisions with what they were made from: written once a step and pool, compressed, and bounded in size."""

import zlib
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, and_, delete, insert, select

from scheduler.adapters.sql.decision_rows import decision_view
from scheduler.adapters.sql.fleet_schema import DECISIONS, INPUTS
from scheduler.autoscale.inputs import DecisionRecord
from scheduler.decision_document import dump_record
from scheduler.model import Decision
from scheduler.views import KeptDecision

# Room for a pool's documents: at about 90 bytes a node, six thousand decisions about a hundred nodes.
MOST_BYTES = 64 * 1024 * 1024
# The least effort of zlib: at ten thousand nodes it takes half the time of the usual one, for a tenth more bytes.
_EFFORT = 1


def keep_inputs(connection: Connection, record: DecisionRecord) -> None:
    """Write what a pool's decisions of an instant were made from; the first document of an instant stays."""
    here = and_(INPUTS.c.pool == record.pool, INPUTS.c.at == record.inputs.now)
    if connection.execute(select(INPUTS.c.size).where(here)).first() is None:
        document = zlib.compress(dump_record(record), _EFFORT)
        row = {"pool": record.pool, "at": record.inputs.now, "size": len(document), "document": document}
        connection.execute(insert(INPUTS).values(row))


def read_kept(connection: Connection, pool: str, limit: int, until: datetime | None) -> tuple[KeptDecision, ...]:
    """Give the newest documents of a pool with the decisions of their instant, oldest first."""
    query = select(INPUTS).where(INPUTS.c.pool == pool).order_by(INPUTS.c.at.desc()).limit(limit)
    if until is not None:
        query = query.where(INPUTS.c.at <= until)
    rows = connection.execute(query).all()
    return tuple(
        KeptDecision(row.at, _decisions(connection, pool, row.at), zlib.decompress(row.document).decode())
        for row in reversed(rows)
    )


def prune_inputs(connection: Connection, old: datetime, most_bytes: int = MOST_BYTES) -> None:
    """Remove documents that are old, and of each pool the oldest that its newest leave no room for; one stays."""
    sizes = select(INPUTS.c.pool, INPUTS.c.at, INPUTS.c.size).order_by(INPUTS.c.pool, INPUTS.c.at.desc())
    for pool, at in _newest_to_go((tuple(row) for row in connection.execute(sizes)), old, most_bytes).items():
        connection.execute(delete(INPUTS).where(INPUTS.c.pool == pool, INPUTS.c.at <= at))


def _newest_to_go(sizes: Iterable[tuple[str, datetime, int]], old: datetime, most_bytes: int) -> dict[str, datetime]:
    """Give, for each pool where some are to go, the instant of the newest of them; `sizes` has the newest first."""
    found: dict[str, datetime] = {}
    taken: dict[str, int] = {}
    for pool, at, size in sizes:
        before = taken.get(pool)
        taken[pool] = size + (before or 0)
        if before is not None and (at < old or taken[pool] > most_bytes):
            found.setdefault(pool, at)
    return found


def _decisions(connection: Connection, pool: str, at: datetime) -> tuple[Decision, ...]:
    query = select(DECISIONS).where(DECISIONS.c.pool == pool, DECISIONS.c.at == at).order_by(DECISIONS.c.id)
    return tuple(decision_view(row) for row in connection.execute(query))
