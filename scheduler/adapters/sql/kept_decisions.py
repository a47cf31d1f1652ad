"""Decisions with what they were made from: written once a step and pool, as what has changed, and bounded in size.

A document is kept whole, or as what has changed since the one before it. A chain of changes begins with a whole
document and ends after so many links, or with the scheduler: it knows the last document only as long as it runs.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, and_, delete, insert, select
from sqlalchemy import func as sql_function

from scheduler.adapters.sql.decision_rows import decision_view
from scheduler.adapters.sql.document_changes import Json, change, changed, tabled, untabled
from scheduler.adapters.sql.fleet_schema import DECISIONS, INPUTS
from scheduler.autoscale.inputs import DecisionRecord
from scheduler.decision_document import dump_record
from scheduler.model import Decision
from scheduler.views import KeptDecision

# Room for a pool's documents. At ten thousand nodes one takes half a megabyte whole, and 30 KB where a tenth of the
# nodes has changed (measured, with 64 random bits a message): a day of them, about one a minute.
MOST_BYTES = 64 * 1024 * 1024
# To read the last link all are; each takes milliseconds.
_LONGEST_CHAIN = 100
# The least effort of zlib: at ten thousand nodes it takes half the time of the usual one, for a tenth more bytes.
# Changes are short.
_EFFORT, _EFFORT_OF_CHANGES = 1, 6
# A change begins with this, a whole document as zlib's streams do.
_CHANGE = b"+"


@dataclass(frozen=True, slots=True)
class _Link:
    """The last document of a pool, with tables, and how many changes led to it."""

    at: datetime
    document: Json
    links: int


class KeptInputs:
    """Writes documents, and knows the last one of each pool."""

    def __init__(self) -> None:
        self._last: dict[str, _Link] = {}

    def keep(self, connection: Connection, record: DecisionRecord) -> None:
        """Write what a pool's decisions of an instant were made from; the first document of an instant stays."""
        at = record.inputs.now
        here = and_(INPUTS.c.pool == record.pool, INPUTS.c.at == at)
        if connection.execute(select(INPUTS.c.size).where(here)).first() is not None:
            return
        text = dump_record(record)
        document = tabled(from_json(text))
        last = self._last.get(record.pool)
        if last is None or last.links >= _LONGEST_CHAIN or not _newest_is(connection, record.pool, last.at, at):
            data, links = zlib.compress(text, _EFFORT), 0
        else:
            found = to_json(change(last.document, document))
            data, links = _CHANGE + zlib.compress(found, _EFFORT_OF_CHANGES), last.links + 1
        connection.execute(insert(INPUTS).values(pool=record.pool, at=at, size=len(data), document=data))
        self._last[record.pool] = _Link(at, document, links)


def _newest_is(connection: Connection, pool: str, at: datetime, before: datetime) -> bool:
    """Whether the newest document of a pool is that of an instant, and an earlier one than another."""
    newest = connection.execute(select(sql_function.max(INPUTS.c.at)).where(INPUTS.c.pool == pool)).scalar_one()
    return newest is not None and newest == at < before


def read_kept(connection: Connection, pool: str, limit: int, until: datetime | None) -> tuple[KeptDecision, ...]:
    """Give the newest documents of a pool with the decisions of their instant, oldest first."""
    query = select(INPUTS).where(INPUTS.c.pool == pool).order_by(INPUTS.c.at.desc())
    if until is not None:
        query = query.where(INPUTS.c.at <= until)
    rows = []
    with connection.execute(query.execution_options(yield_per=_LONGEST_CHAIN)) as found:
        for row in found:
            rows.append(row)
            if len(rows) >= limit and not row.document.startswith(_CHANGE):
                break
    rows.reverse()
    wanted = rows[-limit:]
    texts = _texts([row.document for row in rows], len(wanted))
    return tuple(
        KeptDecision(row.at, _decisions(connection, pool, row.at), text)
        for row, text in zip(wanted, texts, strict=True)
    )


def _texts(kept: list[bytes], last: int) -> Iterator[str]:
    """Put chains together, oldest first, and write so many of the last documents out."""
    document: Json = None
    for number, data in enumerate(kept, last - len(kept)):
        if data.startswith(_CHANGE):
            document = changed(document, from_json(zlib.decompress(data[len(_CHANGE) :])))
        else:
            document = tabled(from_json(zlib.decompress(data)))
        if number >= 0:
            yield to_json(untabled(document)).decode()


def prune_inputs(connection: Connection, old: datetime, most_bytes: int = MOST_BYTES) -> None:
    """Remove chains that begin with an old document, and of each pool the oldest without room; its newest stays."""
    is_change = sql_function.substr(INPUTS.c.document, 1, len(_CHANGE)) == _CHANGE
    sizes = select(INPUTS.c.pool, INPUTS.c.at, INPUTS.c.size, is_change).order_by(INPUTS.c.pool, INPUTS.c.at.desc())
    for pool, at in _newest_to_go((tuple(row) for row in connection.execute(sizes)), old, most_bytes).items():
        connection.execute(delete(INPUTS).where(INPUTS.c.pool == pool, INPUTS.c.at <= at))


def _newest_to_go(
    sizes: Iterable[tuple[str, datetime, int, bool]], old: datetime, most_bytes: int
) -> Mapping[str, datetime]:
    """Give, for each pool where some are to go, the instant of the newest of them; `sizes` has the newest first."""
    found: dict[str, datetime] = {}
    taken: dict[str, int] = {}
    # The newest document of the chain that is gone through, and whether it is the pool's newest chain.
    ends: dict[str, datetime] = {}
    stays: set[str] = set()
    for pool, at, size, is_change in sizes:
        taken[pool] = taken.get(pool, 0) + size
        end = ends.setdefault(pool, at)
        if is_change:
            continue
        if pool in stays and (at < old or taken[pool] > most_bytes):
            found.setdefault(pool, end)
        stays.add(pool)
        del ends[pool]
    return found


def _decisions(connection: Connection, pool: str, at: datetime) -> tuple[Decision, ...]:
    query = select(DECISIONS).where(DECISIONS.c.pool == pool, DECISIONS.c.at == at).order_by(DECISIONS.c.id)
    return tuple(decision_view(row) for row in connection.execute(query))
