"""The store before pools learned: jobs, steps and tasks, messages, groups and nodes, decisions and samples."""

from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0001"
down_revision: str | None = None

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(op: Operations) -> None:
    """Make every table."""
    op.create_table(
        "applications",
        sa.Column("number", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("name", "version"),
    )
    op.create_index("ix_applications_sha256", "applications", ["sha256"])
    op.create_table(
        "deleted_jobs",
        sa.Column("job_id", sa.String(160), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("inputs", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_table(
        "fleet_decisions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("generation", sa.String(64), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("nodes", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fleet_decisions_by_group", "fleet_decisions", ["pool", "name", "generation", "id"])
    op.create_table(
        "fleet_deployment",
        sa.Column("only", sa.Integer(), nullable=False),
        sa.Column("settings", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    op.create_table(
        "fleet_groups",
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("generation", sa.String(64), nullable=False),
        sa.Column("scale_set", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("vm_size", sa.String(64), nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("task_slots", sa.Integer(), nullable=False),
        sa.Column("max_nodes", sa.Integer(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("declared_at", sa.BigInteger(), nullable=False),
        sa.Column("forgotten_at", sa.BigInteger(), nullable=True),
        sa.Column("capacity", sa.Integer(), nullable=True),
        sa.Column("ordered_at", sa.BigInteger(), nullable=True),
        sa.Column("refused_at", sa.BigInteger(), nullable=True),
        sa.Column("refused_kind", sa.String(16), nullable=True),
        sa.Column("refused_message", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("pool", "name", "generation"),
    )
    op.create_table(
        "fleet_nodes",
        sa.Column("node_id", sa.String(128), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("generation", sa.String(64), nullable=False),
        sa.Column("instance_id", sa.String(128), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("control_number", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.String(), nullable=True),
        sa.Column("first_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("status_at", sa.BigInteger(), nullable=True),
        sa.Column("idle_since", sa.BigInteger(), nullable=True),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.Column("held", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("removal", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("drain_asked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("node_id"),
    )
    op.create_index("fleet_nodes_by_pool", "fleet_nodes", ["pool", "gone_at"])
    op.create_table(
        "fleet_samples",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("active_tasks", sa.Integer(), nullable=False),
        sa.Column("running_tasks", sa.Integer(), nullable=False),
        sa.Column("target_nodes", sa.Integer(), nullable=False),
        sa.Column("current_nodes", sa.Integer(), nullable=False),
        sa.Column("booting_nodes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fleet_samples_by_pool", "fleet_samples", ["pool", "id"])
    op.create_table(
        "jobs",
        sa.Column("number", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(80), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("result", sa.String(12), nullable=True),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("armed_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("task_edges", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("open_tasks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("blocked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active", sa.Integer(), server_default="0", nullable=False),
        sa.Column("running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("succeeded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancelled", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("idempotency_key"),
        sa.UniqueConstraint("job_id"),
    )
    op.create_index("jobs_by_pool", "jobs", ["pool", "state"])
    op.create_table(
        "pool_times",
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("mean_seconds", sa.Float(), nullable=False),
        sa.Column("measured", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pool"),
    )
    op.create_table(
        "store_identity",
        sa.Column("only", sa.Integer(), nullable=False),
        sa.Column("store_id", sa.String(length=36), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    op.create_table(
        "chunks",
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job", "number"),
    )
    op.create_table(
        "job_inputs",
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job", "blob"),
    )
    op.create_index("job_inputs_by_blob", "job_inputs", ["blob"])
    op.create_table(
        "manifests",
        sa.Column("number", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("blob"),
    )
    op.create_index("ix_manifests_job", "manifests", ["job"])
    op.create_table(
        "messages",
        sa.Column("number", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("group_key", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=True),
        sa.Column("inputs", sa.String(), nullable=True),
        sa.Column("unreported", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("node_id", sa.String(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("message_id"),
    )
    op.create_index("messages_open", "messages", ["pool", "queue", "job"], **_where("closed_at IS NULL"))
    op.create_index("messages_started", "messages", ["queue", "number"], **_where("started_at IS NOT NULL"))
    op.create_index("messages_unsent", "messages", ["number"], **_where("sent_at IS NULL AND closed_at IS NULL"))
    op.create_table(
        "needless_attempts",
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("below_attempt", sa.Integer(), nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job", "task_id"),
    )
    op.create_index("ix_needless_attempts_message", "needless_attempts", ["message"])
    op.create_table(
        "step_edges",
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("predecessor", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("dependent", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.Column("dependent_first", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("open_tasks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unsuccessful", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job", "predecessor", "dependent", "first"),
    )
    op.create_index("step_edges_by_dependent", "step_edges", ["job", "dependent"])
    op.create_table(
        "steps",
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("definition_hash", sa.String(64), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("inputs_from", sa.String(), nullable=False),
        sa.Column("first_task_id", sa.Integer(), nullable=False),
        sa.Column("task_count", sa.Integer(), nullable=False),
        sa.Column("max_task_retries", sa.Integer(), nullable=False),
        sa.Column("max_node_faults", sa.Integer(), nullable=False),
        sa.Column("max_preemptions", sa.Integer(), nullable=False),
        sa.Column("expected_seconds", sa.Float(), nullable=True),
        sa.Column("mean_seconds", sa.Float(), nullable=True),
        sa.Column("measured", sa.Integer(), server_default="0", nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("inputs", sa.String(64), nullable=True),
        sa.Column("active_since", sa.BigInteger(), nullable=True),
        sa.Column("open_predecessors", sa.Integer(), nullable=False),
        sa.Column("needed_success", sa.Float(), nullable=False),
        sa.Column("open_tasks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ready", sa.Integer(), server_default="0", nullable=False),
        sa.Column("suspects", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unsuccessful", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job", "position"),
    )
    op.create_index("steps_active", "steps", ["job"], **_where("active > 0"))
    op.create_table(
        "tasks",
        sa.Column("job", _ROW_NUMBER, nullable=False),
        sa.Column("task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("result", sa.String(12), nullable=True),
        sa.Column("suspect", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt_floor", sa.Integer(), server_default="0", nullable=False),
        sa.Column("message", sa.BigInteger(), nullable=True),
        sa.Column("retries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("node_faults", sa.Integer(), server_default="0", nullable=False),
        sa.Column("preemptions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("node_id", sa.String(), nullable=True),
        sa.Column("manifest", sa.BigInteger(), nullable=True),
        sa.Column("earlier_manifest", sa.BigInteger(), nullable=True),
        sa.Column("exit_code", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(12), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["job"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job", "task_id"),
    )
    op.create_index(
        "tasks_out", "tasks", ["message"], **_where("state IN ('active', 'running') AND message IS NOT NULL")
    )
    op.create_index(
        "tasks_waiting",
        "tasks",
        ["job", "step", "suspect", "task_id"],
        **_where("state = 'active' AND message IS NULL"),
    )


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
