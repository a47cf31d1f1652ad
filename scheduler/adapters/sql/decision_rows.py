"""Rows of decisions, and how rows name their node group."""

import dataclasses
import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, bindparam, select

from scheduler.adapters.sql.fleet_schema import DECISIONS
from scheduler.model import Decision, GroupKey


def of_group(table: Table, group: GroupKey) -> ColumnElement[bool]:
    """Select the rows of a group."""
    return and_(table.c.pool == group.pool, table.c.name == group.name, table.c.generation == group.generation)


def group_key(row: Row[Any]) -> GroupKey:
    """Give the group that a row is about."""
    return GroupKey(pool=row.pool, name=row.name, generation=row.generation)


def decision_values(decision: Decision, kind: str) -> dict[str, Any]:
    """Give the columns of a decision; `kind` is that of its reason."""
    return {
        **dataclasses.asdict(decision.group),
        "at": decision.at,
        "action": decision.action,
        "kind": kind,
        "count": decision.count,
        "nodes": json.dumps(decision.nodes),
        "reason": decision.reason,
    }


def of_given_group(table: Table) -> ColumnElement[bool]:
    """Select the rows of a group that is given with the statement, as `dataclasses.asdict` of its key."""
    return and_(*(table.c[name] == bindparam(name) for name in ("pool", "name", "generation")))


_NEWEST = (
    select(DECISIONS.c.action, DECISIONS.c.kind, DECISIONS.c.nodes)
    .where(of_given_group(DECISIONS))
    .order_by(DECISIONS.c.id.desc())
    .limit(1)
)


def repeats_newest(connection: Connection, decision: Decision, kind: str) -> bool:
    """Say whether a decision is the same as the newest of its group: action, kind of reason and nodes."""
    newest = connection.execute(_NEWEST, dataclasses.asdict(decision.group)).first()
    return newest is not None and tuple(newest) == (decision.action, kind, json.dumps(decision.nodes))


def decision_view(row: Row[Any]) -> Decision:
    """Make a decision of its row."""
    return Decision(
        at=row.at,
        group=group_key(row),
        action=row.action,
        count=row._mapping["count"],  # noqa: SLF001  the public name; `row.count` is the method of tuples
        nodes=tuple(json.loads(row.nodes)),
        reason=row.reason,
    )
