"""What happened to a group's orders and boots, read off its row and its nodes; and what a pool has learned."""

import logging
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Row, bindparam, delete, insert, select
from sqlalchemy import func as sql_function

from scheduler.adapters.sql.decision_rows import group_key, of_given_group, of_group
from scheduler.adapters.sql.fleet_schema import LEARNED, NODES
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import GroupHistory
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, GroupPriority
from scheduler.ports.fleet_store import TAKEN_AWAY

# Boots that the measured boot time is the median of.
_BOOTS = 9
# More than a set has machines: all that may have been evicted within an hour or so.
_EVICTIONS = 1000
_HISTORY = TypeAdapter(PoolHistory)
_LOG = logging.getLogger(__name__)

# Read in every step, so they are put together once.
_LAST_READY = select(sql_function.max(NODES.c.ready_at)).where(of_given_group(NODES))
_FAILED = select(sql_function.count(), sql_function.max(NODES.c.ended_at)).where(
    of_given_group(NODES),
    NODES.c.ready_at.is_(None),
    NODES.c.ended_at.is_not(None),
    NODES.c.given_up.is_(False),
)
_FAILED_SINCE = _FAILED.where(NODES.c.ended_at > bindparam("last_ready", type_=NODES.c.ended_at.type))
_NEWEST_BOOTS = (
    select(NODES.c.first_seen_at, NODES.c.ready_at)
    .where(of_given_group(NODES), NODES.c.ready_at.is_not(None))
    .order_by(NODES.c.ready_at.desc(), NODES.c.node_id)
    .limit(_BOOTS)
)


def history_of(connection: Connection, row: Row[Any]) -> GroupHistory:
    """Read orders and refusals off the group, and failed boots off its nodes."""
    key = group_key(row)
    named = asdict(key)
    last_ready = connection.execute(_LAST_READY, named).scalar_one()
    failed = _FAILED if last_ready is None else _FAILED_SINCE
    count, newest = connection.execute(failed, {**named, "last_ready": last_ready}).one()
    refused = row.refused_at is not None and (row.ordered_at is None or row.refused_at >= row.ordered_at)
    return GroupHistory(
        failed_boots=count,
        failed_boot_at=newest,
        refused_at=row.refused_at if refused else None,
        refused_kind=CapacityErrorKind(row.refused_kind) if refused else None,
        refused_message=row.refused_message if refused else "",
        ordered_at=row.ordered_at,
        boot_time=_boot_time(connection, key),
        refusals=refusals(connection, row),
        evicted_at=_evictions(connection, key) if row.priority == GroupPriority.SPOT.value else (),
    )


def learned_by(connection: Connection, pool: str) -> PoolHistory:
    """Read what a pool has learned; a pool that cannot read what another version wrote begins anew."""
    document = connection.execute(select(LEARNED.c.history).where(LEARNED.c.pool == pool)).scalar_one_or_none()
    if document is None:
        return PoolHistory()
    try:
        return _HISTORY.validate_json(document)
    except ValidationError as error:
        _LOG.warning("what pool %s had learned cannot be read, so it begins anew: %s", pool, error)
        return PoolHistory()


def keep_learned(connection: Connection, pool: str, history: PoolHistory) -> None:
    """Write what a pool has learned."""
    connection.execute(delete(LEARNED).where(LEARNED.c.pool == pool))
    connection.execute(insert(LEARNED).values(pool=pool, history=_HISTORY.dump_json(history).decode()))


def refusals(connection: Connection, row: Row[Any]) -> int:
    """Count the refusals of a group since a node of it was last listed for the first time."""
    if row.refused_at is None:
        return 0
    query = select(sql_function.max(NODES.c.first_seen_at)).where(of_group(NODES, group_key(row)))
    listed = connection.execute(query).scalar_one()
    return 0 if listed is not None and listed > row.refused_at else row.refusals


def _evictions(connection: Connection, key: GroupKey) -> tuple[datetime, ...]:
    """Give when nodes that had been ready were last taken away by the cloud."""
    newest = (
        select(NODES.c.ended_at)
        .where(of_group(NODES, key), NODES.c.ready_at.is_not(None), NODES.c.reason.in_(TAKEN_AWAY))
        .where(NODES.c.ended_at.is_not(None))
        .order_by(NODES.c.ended_at.desc())
        .limit(_EVICTIONS)
    )
    return tuple(reversed(connection.execute(newest).scalars().all()))


def _boot_time(connection: Connection, key: GroupKey) -> timedelta | None:
    times = [row.ready_at - row.first_seen_at for row in connection.execute(_NEWEST_BOOTS, asdict(key))]
    return sorted(times)[len(times) // 2] if times else None
