"""Pools learn run times and pauses, and keep what decisions were made from."""

import json
import math

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0002"
down_revision: str | None = "0001"

_STEPS = sa.table(
    "steps", sa.column("job"), sa.column("position"), sa.column("running"), sa.column("mean_seconds"),
    sa.column("measured"), sa.column("run_times"),
)  # fmt: skip
_TASKS = sa.table("tasks", sa.column("job"), sa.column("step"), sa.column("state"))
_POOL_TIMES = sa.table("pool_times", sa.column("pool"), sa.column("mean_seconds"), sa.column("measured"))
_RUN_TIMES = sa.table(
    "run_times", sa.column("pool"), sa.column("work"), sa.column("run_times"), sa.column("measured_at")
)
_DECISIONS = sa.table("fleet_decisions", sa.column("at"))


def upgrade(op: Operations) -> None:
    """Add what is learned, and take over the means that were known."""
    _add_columns(op)
    op.create_table(
        "fleet_inputs",
        sa.Column("pool", sa.String(64), primary_key=True),
        sa.Column("at", sa.BigInteger(), primary_key=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "fleet_learned",
        sa.Column("pool", sa.String(64), primary_key=True),
        sa.Column("history", sa.String(), nullable=False),
    )
    op.create_table(
        "run_times",
        sa.Column("pool", sa.String(), primary_key=True),
        sa.Column("work", sa.String(), primary_key=True),
        sa.Column("run_times", sa.String(), nullable=False),
        sa.Column("measured_at", sa.BigInteger(), nullable=False),
    )
    op.create_index("fleet_decisions_by_instant", "fleet_decisions", ["pool", "at"])
    busy = sa.text("(active > 0 OR running > 0)")
    op.drop_index("steps_active", "steps")
    op.create_index("steps_busy", "steps", ["job"], sqlite_where=busy, postgresql_where=busy)
    _count_running(op)
    _take_over_means(op)
    op.drop_table("pool_times")


def _add_columns(op: Operations) -> None:
    count = "0"
    op.add_column("chunks", sa.Column("ready_tasks", sa.Integer(), nullable=False, server_default=count))
    op.add_column("steps", sa.Column("work", sa.String(), nullable=False, server_default="#"))
    op.add_column("steps", sa.Column("run_times", sa.String()))
    op.add_column("steps", sa.Column("running", sa.Integer(), nullable=False, server_default=count))
    # Which groups have Windows is known again when the settings are next taken up: at once.
    op.add_column("fleet_groups", sa.Column("windows", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.add_column("fleet_groups", sa.Column("refusals", sa.Integer(), nullable=False, server_default=count))
    op.add_column("fleet_nodes", sa.Column("given_up", sa.Boolean(), nullable=False, server_default=sa.text("false")))


def _count_running(op: Operations) -> None:
    running = (
        sa.select(sa.func.count())
        .select_from(_TASKS)
        .where(_TASKS.c.job == _STEPS.c.job, _TASKS.c.step == _STEPS.c.position, _TASKS.c.state == "running")
    )
    op.execute(sa.update(_STEPS).values(running=running.scalar_subquery()))


def _take_over_means(op: Operations) -> None:
    """Have each mean count as one run of that length: nothing is known of how the lengths were spread."""
    connection = op.get_bind()
    known = sa.select(_STEPS.c.job, _STEPS.c.position, _STEPS.c.mean_seconds).where(_STEPS.c.measured > 0)
    for step in connection.execute(known).all():
        here = (_STEPS.c.job == step.job) & (_STEPS.c.position == step.position)
        connection.execute(sa.update(_STEPS).where(here).values(run_times=_one_run(step.mean_seconds)))
    # Older run times are forgotten after a while, from the newest thing that the store knows.
    now = connection.execute(sa.select(sa.func.max(_DECISIONS.c.at))).scalar() or 0
    for pool in connection.execute(sa.select(_POOL_TIMES).where(_POOL_TIMES.c.measured > 0)).all():
        kept = {"pool": pool.pool, "work": "", "run_times": _one_run(pool.mean_seconds), "measured_at": now}
        connection.execute(sa.insert(_RUN_TIMES).values(kept))


def _one_run(seconds: float) -> str:
    """Write a sketch of one run: bucket by half powers of two, runs, seconds."""
    index = math.floor(2 * math.log2(max(seconds, 0.001)))
    return json.dumps([[max(-20, min(index, 50)), 1.0, float(f"{seconds:.6g}")]], separators=(",", ":"))
