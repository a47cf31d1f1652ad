"""Tables of job schedules: when they make jobs, what these are, and what became of each occurrence."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, UniqueConstraint, text

from scheduler.adapters.sql.columns import Instant, Span, Words
from scheduler.adapters.sql.identity import METADATA

# SQLite numbers rows by itself only in a column of exactly this type.
_ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

# All occurrences up to `settled_until` are dealt with; `next_at` is the first one after that. `request` is the hash of
# what was asked for. `steps` and `ready` are JSON: the whole, and of each step that waits for none its name, tasks,
# kind of work and expected seconds.
SCHEDULES = Table(
    "schedules",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("schedule_id", Words(64), nullable=False, unique=True),
    Column("request", Words(64), nullable=False),
    Column("state", Words(12), nullable=False),
    Column("reason", Words, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("cron", Words),
    Column("time_zone", Words, nullable=False),
    Column("recurrence_interval", Span),
    Column("do_not_run_until", Instant),
    Column("do_not_run_after", Instant),
    Column("start_window", Span),
    Column("overlap", Words(8), nullable=False),
    Column("settled_until", Instant, nullable=False),
    Column("next_at", Instant),
    Column("job_name", Words, nullable=False),
    Column("pool", Words, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("steps", Words, nullable=False),
    Column("step_names", Words, nullable=False),
    Column("task_count", Integer, nullable=False),
    Column("ready", Words, nullable=False),
    Column("keeps_jobs", Boolean, nullable=False, server_default=text("false")),
)
Index("schedules_by_next", SCHEDULES.c.state, SCHEDULES.c.next_at)
Index("schedules_by_pool", SCHEDULES.c.pool, SCHEDULES.c.next_at)

# A run is open until its job is known to have ended. `by_hand` is the key of what a user ran, empty for an occurrence.
SCHEDULE_RUNS = Table(
    "schedule_runs",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("schedule", ForeignKey(SCHEDULES.c.number), nullable=False),
    Column("occurrence", Instant, nullable=False),
    Column("by_hand", Words, nullable=False, server_default=""),
    Column("state", Words(12), nullable=False),
    Column("job_id", Words(80)),
    Column("result", Words(12)),
    Column("at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("reason", Words, nullable=False, server_default=""),
    Column("times", Integer, nullable=False, server_default="1"),
    UniqueConstraint("schedule", "occurrence", "by_hand"),
)
RUN_IS_OPEN = text("schedule_runs.state = 'active'")
_OPEN = text("state = 'active'")
Index("schedule_runs_open", SCHEDULE_RUNS.c.schedule, sqlite_where=_OPEN, postgresql_where=_OPEN)
Index("schedule_runs_by_job", SCHEDULE_RUNS.c.job_id)
Index("schedule_runs_by_number", SCHEDULE_RUNS.c.schedule, SCHEDULE_RUNS.c.number)

# Blobs of `inputs` that the jobs of a schedule will name: not collected while it is there.
SCHEDULE_INPUTS = Table(
    "schedule_inputs",
    METADATA,
    Column("schedule", ForeignKey(SCHEDULES.c.number), primary_key=True),
    Column("blob", Words, primary_key=True),
)
Index("schedule_inputs_by_blob", SCHEDULE_INPUTS.c.blob)
