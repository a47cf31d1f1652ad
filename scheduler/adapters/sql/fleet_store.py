"""`FleetStore` in SQL."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, delete, insert, or_, select, update
from sqlalchemy import func as sql_function

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.decision_rows import (
    decision_values,
    decision_view,
    group_key,
    of_group,
    repeats_newest,
)
from scheduler.adapters.sql.fleet_history import history_of, keep_learned, learned_by, refusals
from scheduler.adapters.sql.fleet_schema import DECISIONS, DEPLOYMENT, GROUPS, NODES, SAMPLES
from scheduler.adapters.sql.kept_decisions import KeptInputs, prune_inputs, read_kept
from scheduler.autoscale.inputs import DecisionRecord
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, GroupHistory, ScaleOut, decision_of
from scheduler.errors import CapacityErrorKind, ConflictError, NotFoundError
from scheduler.model import Decision, GroupKey, GroupKind, GroupPriority, Node, NodeGroup, NodePhase, Sample
from scheduler.policy import NO_LIMITS, Limits
from scheduler.ports.fleet_store import TAKEN_AWAY, NodeChange
from scheduler.settings import PoolSettings, SchedulerSettings, dump_settings, load_settings
from scheduler.views import KeptDecision

# How long a node that is gone stays in listings.
_GONE_KEPT = timedelta(days=1)

# What people look back at, and rows whose boots the breaker and the idle limit are measured by.
_HISTORY_KEPT = timedelta(days=30)
_ROWS_KEPT = timedelta(days=7)

# How often a sample is kept while nothing changes.
_SAMPLE_EVERY = timedelta(seconds=15)

# Used in every step, so they are put together once.
_NEWEST_GONE = select(sql_function.max(NODES.c.gone_at)).where(NODES.c.pool == bindparam("pool"))
_NODES = select(NODES).where(NODES.c.pool == bindparam("pool")).order_by(NODES.c.first_seen_at, NODES.c.node_id)
_LISTED = _NODES.where(NODES.c.gone_at.is_(None))
_KEPT = _NODES.where(or_(NODES.c.gone_at.is_(None), NODES.c.gone_at >= bindparam("since", type_=NODES.c.gone_at.type)))
_OF_NODE = update(NODES).where(NODES.c.node_id == bindparam("the_node"))

_ENDED = frozenset({NodePhase.LOST, NodePhase.REMOVING, NodePhase.GONE})


class SqlFleetStore:
    """Groups, nodes, decisions and samples in the store's database."""

    def __init__(self, database: Database) -> None:
        """Use a database, shared with the other parts of the store."""
        self._database = database
        self._inputs = KeptInputs()

    def pools(self) -> tuple[PoolSettings, ...]:
        """Give the pools of the settings last taken up."""
        settings = self._settings()
        return settings.pools if settings is not None else ()

    def limits(self) -> Limits:
        """Give what all pools share."""
        settings = self._settings()
        return settings.limits if settings is not None else NO_LIMITS

    def known_pools(self) -> tuple[str, ...]:
        """Give the names of all pools that have groups."""
        query = select(GROUPS.c.pool).where(GROUPS.c.forgotten_at.is_(None)).distinct().order_by(GROUPS.c.pool)
        with self._database.read() as connection:
            return tuple(connection.execute(query).scalars())

    def groups(self, pool: str) -> tuple[NodeGroup, ...]:
        """Give a pool's groups, current ones first."""
        query = (
            select(GROUPS)
            .where(GROUPS.c.pool == pool, GROUPS.c.forgotten_at.is_(None))
            .order_by(GROUPS.c.current.desc(), GROUPS.c.position, GROUPS.c.declared_at.desc())
        )
        with self._database.read() as connection:
            return tuple(_group(row) for row in connection.execute(query))

    def nodes(self, pool: str) -> tuple[Node, ...]:
        """Give a pool's nodes, those gone for longer than a day left out."""
        with self._database.read() as connection:
            newest = connection.execute(_NEWEST_GONE, {"pool": pool}).scalar_one()
            # There is no clock here: the day counts back from the newest departure, so a quiet pool keeps its last.
            query, since = (_LISTED, None) if newest is None else (_KEPT, newest - _GONE_KEPT)
            return tuple(_node(row) for row in connection.execute(query, {"pool": pool, "since": since}))

    def decisions(self, pool: str, limit: int) -> tuple[Decision, ...]:
        """Give the newest decisions, oldest first."""
        return tuple(decision_view(row) for row in self._newest(DECISIONS, pool, limit))

    def kept_decisions(self, pool: str, limit: int, until: datetime | None = None) -> tuple[KeptDecision, ...]:
        """Give the newest decisions whose inputs are kept, oldest first."""
        with self._database.read() as connection:
            return read_kept(connection, pool, limit, until)

    def samples(self, pool: str, limit: int) -> tuple[Sample, ...]:
        """Give the newest samples, oldest first."""
        return tuple(_sample(row) for row in self._newest(SAMPLES, pool, limit))

    def targets(self, pool: str) -> tuple[int, int]:
        """Give target and current nodes as last sampled."""
        newest = self.samples(pool, 1)
        return (newest[0].target_nodes, newest[0].current_nodes) if newest else (0, 0)

    def capacities(self, pool: str) -> Mapping[GroupKey, int]:
        """Give the capacities last read."""
        query = select(GROUPS).where(GROUPS.c.pool == pool)
        with self._database.read() as connection:
            return {group_key(row): row.capacity or 0 for row in connection.execute(query)}

    def histories(self, pool: str) -> Mapping[GroupKey, GroupHistory]:
        """Give what happened to the orders of each group."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(GROUPS).where(GROUPS.c.pool == pool, GROUPS.c.forgotten_at.is_(None))
            ).all()
            return {group_key(row): history_of(connection, row) for row in rows}

    def learned(self, pool: str) -> PoolHistory:
        """Give what a pool has learned of its demand."""
        with self._database.read() as connection:
            return learned_by(connection, pool)

    def record_learned(self, epoch: int, learned: Mapping[str, PoolHistory]) -> None:
        """Keep what pools have learned."""
        with self._database.lead(epoch) as connection:
            for pool, history in learned.items():
                keep_learned(connection, pool, history)

    def sync_groups(self, epoch: int, settings: SchedulerSettings, now: datetime) -> None:
        """Take settings up."""
        with self._database.lead(epoch) as connection:
            connection.execute(delete(DEPLOYMENT))
            connection.execute(insert(DEPLOYMENT).values(only=1, settings=dump_settings(settings)))
            connection.execute(update(GROUPS).values(current=False))
            position = 0
            for pool in settings.pools:
                for group in pool.groups:
                    _declare(connection, group, position, now)
                    position += 1

    def save_nodes(self, epoch: int, nodes: tuple[Node, ...], now: datetime) -> None:
        """Insert or overwrite rows: `removing` stays, control numbers never fall."""
        if not nodes:
            return
        with self._database.lead(epoch) as connection:
            present = _rows(connection, tuple(node.node_id for node in nodes))
            for node in nodes:
                _write(connection, node, present.get(node.node_id), now)

    def change_nodes(self, epoch: int, changes: tuple[NodeChange, ...], now: datetime) -> tuple[Node, ...]:
        """Give nodes another phase and the next control number, where they are as they were decided upon."""
        changed: list[Node] = []
        with self._database.lead(epoch) as connection:
            present = _rows(connection, tuple(change.node.node_id for change in changes))
            for change in changes:
                row = present.get(change.node.node_id)
                if row is None or not _as_decided_upon(row, change.node):
                    continue
                node = dataclasses.replace(
                    _node(row),
                    phase=change.phase,
                    reason=row.reason if row.reason in TAKEN_AWAY else change.reason,
                    control_number=row.control_number + 1,
                    idle_since=None,
                )
                _write(connection, node, row, now, given_up=change.gives_up_boot)
                changed.append(node)
        return tuple(changed)

    def ask_drain(self, pool: str, node_ids: tuple[str, ...], now: datetime) -> tuple[Node, ...]:
        """Keep that a person wants these nodes drained and removed, all or none, and give their rows."""
        with self._database.write() as connection:
            rows = _rows(connection, node_ids)
            unknown = [name for name in node_ids if name not in rows or rows[name].pool != pool]
            if unknown:
                raise NotFoundError(
                    f"pool {pool} has no node {', '.join(unknown)}; nothing was drained. "
                    f"`millpond pool nodes {pool}` lists its nodes"
                )
            gone = [name for name in node_ids if rows[name].phase == NodePhase.GONE.value]
            if gone:
                raise ConflictError(f"{', '.join(gone)}: gone already; nothing was drained, name the other nodes alone")
            here = NODES.c.node_id.in_(node_ids)
            asked = update(NODES).where(here, NODES.c.drain_asked_at.is_(None))
            connection.execute(asked.values(drain_asked_at=now))
            rows = _rows(connection, node_ids)
        return tuple(_node(rows[name]) for name in node_ids)

    def next_controls(self, epoch: int, seen: Mapping[str, int]) -> tuple[Node, ...]:
        """Take a new control number for each node, above its present one and the one given."""
        taken: list[Node] = []
        with self._database.lead(epoch) as connection:
            for node_id, row in sorted(_rows(connection, tuple(seen)).items()):
                number = max(row.control_number, seen[node_id]) + 1
                connection.execute(update(NODES).where(NODES.c.node_id == node_id).values(control_number=number))
                taken.append(dataclasses.replace(_node(row), control_number=number))
        return tuple(taken)

    def record_capacity(self, epoch: int, group: GroupKey, capacity: int) -> None:
        """Keep the capacity that a set was read to have."""
        with self._database.lead(epoch) as connection:
            connection.execute(update(GROUPS).where(of_group(GROUPS, group)).values(capacity=capacity))

    def record_order(self, epoch: int, group: GroupKey, now: datetime) -> None:
        """Keep that capacity was raised."""
        with self._database.lead(epoch) as connection:
            connection.execute(update(GROUPS).where(of_group(GROUPS, group)).values(ordered_at=now))

    def record_refusal(self, epoch: int, group: GroupKey, kind: CapacityErrorKind, message: str, now: datetime) -> None:
        """Keep that the cloud refused nodes."""
        here = of_group(GROUPS, group)
        with self._database.lead(epoch) as connection:
            before = connection.execute(select(GROUPS).where(here)).one_or_none()
            if before is not None:
                count = refusals(connection, before) + 1
                refusal = {"refused_at": now, "refused_kind": kind.value, "refused_message": message}
                connection.execute(update(GROUPS).where(here).values(**refusal, refusals=count))

    def record_decisions(self, epoch: int, actions: tuple[Action, ...], now: datetime) -> tuple[Decision, ...]:
        """Keep decisions that do not repeat the newest of their group, and give those kept."""
        kept: list[Decision] = []
        with self._database.lead(epoch) as connection:
            for action in actions:
                decision = decision_of(action, now)
                if isinstance(action, ScaleOut) or not repeats_newest(connection, decision, action.reason.kind.value):
                    connection.execute(insert(DECISIONS).values(decision_values(decision, action.reason.kind.value)))
                    kept.append(decision)
        return tuple(kept)

    def record_inputs(self, epoch: int, record: DecisionRecord) -> None:
        """Keep what a pool's decisions of an instant were made from."""
        with self._database.lead(epoch) as connection:
            self._inputs.keep(connection, record)

    def record_sample(self, epoch: int, sample: Sample) -> None:
        """Keep a point of the timeline."""
        newest = self.samples(sample.pool, 1)
        if newest:
            repeats = dataclasses.replace(newest[0], at=sample.at) == sample
            if repeats and sample.at - newest[0].at < _SAMPLE_EVERY:
                return
        with self._database.lead(epoch) as connection:
            connection.execute(insert(SAMPLES).values(dataclasses.asdict(sample)))

    def prune(self, epoch: int, now: datetime) -> None:
        """Remove old decisions, samples, and nodes that are gone."""
        newest = select(sql_function.max(DECISIONS.c.id)).group_by(
            DECISIONS.c.pool, DECISIONS.c.name, DECISIONS.c.generation
        )
        with self._database.lead(epoch) as connection:
            old = now - _HISTORY_KEPT
            connection.execute(delete(DECISIONS).where(DECISIONS.c.at < old, DECISIONS.c.id.not_in(newest)))
            prune_inputs(connection, old)
            connection.execute(delete(SAMPLES).where(SAMPLES.c.at < old))
            connection.execute(delete(NODES).where(NODES.c.gone_at < now - _ROWS_KEPT))

    def forget_group(self, epoch: int, group: GroupKey, now: datetime) -> None:
        """Keep that a retired group's set and queue are deleted; a current group is left alone."""
        with self._database.lead(epoch) as connection:
            connection.execute(
                update(GROUPS).where(of_group(GROUPS, group), GROUPS.c.current.is_(False)).values(forgotten_at=now)
            )

    def _settings(self) -> SchedulerSettings | None:
        with self._database.read() as connection:
            text = connection.execute(select(DEPLOYMENT.c.settings)).scalar_one_or_none()
        return load_settings(text) if text is not None else None

    def _newest(self, table: Table, pool: str, limit: int) -> list[Row[Any]]:
        query = select(table).where(table.c.pool == pool).order_by(table.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return list(reversed(connection.execute(query).all()))


def _group(row: Row[Any]) -> NodeGroup:
    return NodeGroup(
        key=group_key(row),
        scale_set=row.scale_set,
        queue=row.queue,
        vm_size=row.vm_size,
        priority=GroupPriority(row.priority),
        task_slots=row.task_slots,
        max_nodes=row.max_nodes,
        current=row.current,
        kind=GroupKind(row.kind),
        windows=row.windows,
    )


def _declare(connection: Connection, group: NodeGroup, position: int, now: datetime) -> None:
    values = {
        "scale_set": group.scale_set,
        "kind": group.kind.value,
        "queue": group.queue,
        "vm_size": group.vm_size,
        "priority": group.priority.value,
        "task_slots": group.task_slots,
        "max_nodes": group.max_nodes,
        "windows": group.windows,
        "current": True,
        "position": position,
        "forgotten_at": None,
    }
    if connection.execute(update(GROUPS).where(of_group(GROUPS, group.key)).values(values)).rowcount == 0:
        connection.execute(insert(GROUPS).values(**values, **dataclasses.asdict(group.key), declared_at=now))


def _rows(connection: Connection, node_ids: tuple[str, ...]) -> dict[str, Row[Any]]:
    rows = connection.execute(select(NODES).where(NODES.c.node_id.in_(node_ids)))
    return {row.node_id: row for row in rows}


def _node(row: Row[Any]) -> Node:
    return Node(
        node_id=row.node_id,
        group=group_key(row),
        instance_id=row.instance_id,
        phase=NodePhase(row.phase),
        control_number=row.control_number,
        incarnation=row.incarnation,
        first_seen_at=row.first_seen_at,
        ready_at=row.ready_at,
        status_at=row.status_at,
        idle_since=row.idle_since,
        gone_at=row.gone_at,
        held=tuple(json.loads(row.held)),
        reason=row.reason,
        drain_asked_at=row.drain_asked_at,
    )


def _as_decided_upon(row: Row[Any], node: Node) -> bool:
    return (
        not row.removal
        and row.phase == node.phase.value
        and row.control_number == node.control_number
        and row.incarnation == node.incarnation
    )


def _write(
    connection: Connection, node: Node, present: Row[Any] | None, now: datetime, *, given_up: bool = False
) -> None:
    """Write one row, within the two rules."""
    anew = present is not None and present.gone_at is not None and node.first_seen_at > present.gone_at
    if present is not None and anew:
        control_number, removal, ended_at = present.control_number, False, None  # another machine of this name
    elif present is not None:
        control_number, removal, ended_at = present.control_number, bool(present.removal), present.ended_at
    else:
        control_number, removal, ended_at = 0, False, None
    removal = removal or node.phase is NodePhase.REMOVING
    phase = NodePhase.REMOVING if removal and node.phase is not NodePhase.GONE else node.phase
    ended_at = (ended_at or now) if phase in _ENDED else None
    values = {
        **dataclasses.asdict(node.group),
        "instance_id": node.instance_id,
        "phase": phase.value,
        "control_number": max(node.control_number, control_number),
        "incarnation": node.incarnation,
        "first_seen_at": node.first_seen_at,
        "ready_at": node.ready_at,
        "status_at": node.status_at,
        "idle_since": node.idle_since,
        "gone_at": node.gone_at,
        "held": json.dumps(node.held),
        "reason": node.reason,
        "removal": removal,
        "ended_at": ended_at,
    }
    if anew:
        values["drain_asked_at"] = None
    if anew or present is None or given_up:
        values["given_up"] = given_up
    if present is None:
        connection.execute(insert(NODES).values(node_id=node.node_id, **values))
    else:
        connection.execute(_OF_NODE, {**values, "the_node": node.node_id})


def _sample(row: Row[Any]) -> Sample:
    return Sample(
        at=row.at,
        pool=row.pool,
        active_tasks=row.active_tasks,
        running_tasks=row.running_tasks,
        target_nodes=row.target_nodes,
        current_nodes=row.current_nodes,
        booting_nodes=row.booting_nodes,
    )
