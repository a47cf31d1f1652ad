"""Tables of groups, nodes, decisions with their inputs, and samples, and of what pools have learned."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, text

from scheduler.adapters.sql.columns import Instant, Words
from scheduler.adapters.sql.identity import METADATA

DEPLOYMENT = Table(
    "fleet_deployment",
    METADATA,
    Column("only", Integer, primary_key=True),
    Column("settings", Words, nullable=False),
)

# An order that is younger than `refused_at` has ended that refusal; `refusals` counts on until a node is listed.
GROUPS = Table(
    "fleet_groups",
    METADATA,
    Column("pool", Words(64), primary_key=True),
    Column("name", Words(64), primary_key=True),
    Column("generation", Words(64), primary_key=True),
    Column("scale_set", Words(128), nullable=False),
    Column("kind", Words(16), nullable=False),
    Column("queue", Words(64), nullable=False),
    Column("vm_size", Words(64), nullable=False),
    Column("priority", Words(16), nullable=False),
    Column("task_slots", Integer, nullable=False),
    Column("max_nodes", Integer, nullable=False),
    Column("windows", Boolean, nullable=False, server_default=text("false")),
    Column("current", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    Column("declared_at", Instant, nullable=False),
    Column("forgotten_at", Instant),
    Column("capacity", Integer),
    Column("ordered_at", Instant),
    Column("refused_at", Instant),
    Column("refused_kind", Words(16)),
    Column("refused_message", Words),
    Column("refusals", Integer, nullable=False, server_default="0"),
)

# `removal` marks that removing was decided on; whatever is written later, only removing and gone are kept then.
# `ended_at` is when a node was first lost, to be removed, or gone. `drain_asked_at` is a person's wish: the controller
# only reads it, so that no row it writes can take the wish back. `given_up` marks a boot that nobody waited for
# any more: it has not failed.
NODES = Table(
    "fleet_nodes",
    METADATA,
    Column("node_id", Words(128), primary_key=True),
    Column("pool", Words(64), nullable=False),
    Column("name", Words(64), nullable=False),
    Column("generation", Words(64), nullable=False),
    Column("instance_id", Words(128), nullable=False),
    Column("phase", Words(16), nullable=False),
    Column("control_number", BigInteger, nullable=False),
    Column("incarnation", Words),
    Column("first_seen_at", Instant, nullable=False),
    Column("ready_at", Instant),
    Column("status_at", Instant),
    Column("idle_since", Instant),
    Column("gone_at", Instant),
    Column("held", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("removal", Boolean, nullable=False),
    Column("ended_at", Instant),
    Column("drain_asked_at", Instant),
    Column("given_up", Boolean, nullable=False, server_default=text("false")),
    Index("fleet_nodes_by_pool", "pool", "gone_at"),
)

DECISIONS = Table(
    "fleet_decisions",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("pool", Words(64), nullable=False),
    Column("name", Words(64), nullable=False),
    Column("generation", Words(64), nullable=False),
    Column("action", Words(16), nullable=False),
    Column("kind", Words(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("nodes", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Index("fleet_decisions_by_group", "pool", "name", "generation", "id"),
    Index("fleet_decisions_by_instant", "pool", "at"),
)

# The decisions that were made from it have its pool and instant. `size` is that of the document as it is kept.
INPUTS = Table(
    "fleet_inputs",
    METADATA,
    Column("pool", Words(64), primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("document", LargeBinary, nullable=False),
)

SAMPLES = Table(
    "fleet_samples",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("pool", Words(64), nullable=False),
    Column("active_tasks", Integer, nullable=False),
    Column("running_tasks", Integer, nullable=False),
    Column("target_nodes", Integer, nullable=False),
    Column("current_nodes", Integer, nullable=False),
    Column("booting_nodes", Integer, nullable=False),
    Index("fleet_samples_by_pool", "pool", "id"),
)

# One document a pool: `scheduler.autoscale.levels.PoolHistory`.
LEARNED = Table(
    "fleet_learned",
    METADATA,
    Column("pool", Words(64), primary_key=True),
    Column("history", Words, nullable=False),
)
