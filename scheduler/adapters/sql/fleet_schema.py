"""Tables of groups, nodes, decisions and samples."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from scheduler.adapters.sql.database import METADATA

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware instant as microseconds since 1970, exact and comparable on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002  SQLAlchemy's
        """Write an instant."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's
        """Read an instant, in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


DEPLOYMENT = Table(
    "fleet_deployment",
    METADATA,
    Column("only", Integer, primary_key=True),
    Column("settings", Text, nullable=False),
)

GROUPS = Table(
    "fleet_groups",
    METADATA,
    Column("pool", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("generation", String(64), primary_key=True),
    Column("scale_set", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("queue", String(64), nullable=False),
    Column("vm_size", String(64), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("task_slots", Integer, nullable=False),
    Column("max_nodes", Integer, nullable=False),
    Column("current", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    Column("declared_at", Instant, nullable=False),
    Column("forgotten_at", Instant),
    Column("capacity", Integer),
    Column("ordered_at", Instant),
    Column("refused_at", Instant),
    Column("refused_kind", String(16)),
    Column("refused_message", Text),
)

# `removal` marks that removing was decided on; whatever is written later, only removing and gone are kept then.
# `ended_at` is when a node was first lost, to be removed, or gone. `drain_asked_at` is a person's wish: the controller
# only reads it, so that no row it writes can take the wish back.
NODES = Table(
    "fleet_nodes",
    METADATA,
    Column("node_id", String(128), primary_key=True),
    Column("pool", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("generation", String(64), nullable=False),
    Column("instance_id", String(128), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("control_number", Integer, nullable=False),
    Column("incarnation", String(64)),
    Column("first_seen_at", Instant, nullable=False),
    Column("ready_at", Instant),
    Column("status_at", Instant),
    Column("idle_since", Instant),
    Column("gone_at", Instant),
    Column("held", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("removal", Boolean, nullable=False),
    Column("ended_at", Instant),
    Column("drain_asked_at", Instant),
    Index("fleet_nodes_by_pool", "pool", "gone_at"),
)

DECISIONS = Table(
    "fleet_decisions",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("pool", String(64), nullable=False),
    Column("name", String(64), nullable=False),
    Column("generation", String(64), nullable=False),
    Column("action", String(16), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("nodes", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("fleet_decisions_by_group", "pool", "name", "generation", "id"),
)

SAMPLES = Table(
    "fleet_samples",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("pool", String(64), nullable=False),
    Column("active_tasks", Integer, nullable=False),
    Column("running_tasks", Integer, nullable=False),
    Column("target_nodes", Integer, nullable=False),
    Column("current_nodes", Integer, nullable=False),
    Column("booting_nodes", Integer, nullable=False),
    Index("fleet_samples_by_pool", "pool", "id"),
)
