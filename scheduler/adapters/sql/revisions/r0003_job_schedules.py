"""Jobs are made at set times: schedules, their runs, and the files that their jobs will need."""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0003"
down_revision: str | None = "0002"


def upgrade(op: Operations) -> None:
    """Add the tables of job schedules."""
    op.create_table(
        "schedules",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("schedule_id", sa.String(64), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("cron", sa.String(), nullable=True),
        sa.Column("time_zone", sa.String(), nullable=False),
        sa.Column("recurrence_interval", sa.BigInteger(), nullable=True),
        sa.Column("do_not_run_until", sa.BigInteger(), nullable=True),
        sa.Column("do_not_run_after", sa.BigInteger(), nullable=True),
        sa.Column("start_window", sa.BigInteger(), nullable=True),
        sa.Column("overlap", sa.String(8), nullable=False),
        sa.Column("settled_until", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("job_name", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("steps", sa.String(), nullable=False),
        sa.Column("step_names", sa.String(), nullable=False),
        sa.Column("task_count", sa.Integer(), nullable=False),
        sa.Column("ready", sa.String(), nullable=False),
        sa.Column("keeps_jobs", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("schedule_id"),
    )
    op.create_index("schedules_by_next", "schedules", ["state", "next_at"], unique=False)
    op.create_index("schedules_by_pool", "schedules", ["pool", "next_at"], unique=False)
    op.create_table(
        "schedule_inputs",
        sa.Column("schedule", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("blob", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["schedule"],
            ["schedules.number"],
        ),
        sa.PrimaryKeyConstraint("schedule", "blob"),
    )
    op.create_index("schedule_inputs_by_blob", "schedule_inputs", ["blob"], unique=False)
    op.create_table(
        "schedule_runs",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("schedule", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("occurrence", sa.BigInteger(), nullable=False),
        sa.Column("by_hand", sa.String(), server_default="", nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("job_id", sa.String(80), nullable=True),
        sa.Column("result", sa.String(12), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), server_default="", nullable=False),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(
            ["schedule"],
            ["schedules.number"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("schedule", "occurrence", "by_hand"),
    )
    op.create_index("schedule_runs_by_job", "schedule_runs", ["job_id"], unique=False)
    op.create_index("schedule_runs_by_number", "schedule_runs", ["schedule", "number"], unique=False)
    op.create_index(
        "schedule_runs_open",
        "schedule_runs",
        ["schedule"],
        unique=False,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
