"""Tables of jobs, their steps and tasks, and the messages that carry tasks to nodes.

Counters on jobs and steps are kept by the changes that cause them (`job_change`), so that no hot query walks the
tasks of a job. Tasks are narrow rows; what tasks of a step share stands in the step.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.engine.interfaces import Dialect

from scheduler.adapters.sql.database import METADATA

# Parameters of one IN list; SQLite takes at most 32766 in a statement.
IN_LIST = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970: exact, comparable, the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """To the database; `dialect` belongs to the interface."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database; `dialect` belongs to the interface."""
        return None if value is None else _EPOCH + value * _MICROSECOND


# SQLite numbers rows by itself only in a column of exactly this type.
_ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


JOBS = Table(
    "jobs",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", String(80), nullable=False, unique=True),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("result", String(12)),
    Column("reason", Text, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
    Column("armed_at", Instant),
    Column("ended_at", Instant),
    _count("open_tasks"),
    _count("blocked"),
    _count("active"),
    _count("running"),
    _count("succeeded"),
    _count("failed"),
    _count("cancelled"),
)
Index("jobs_by_pool", JOBS.c.pool, JOBS.c.state)

CHUNKS = Table(
    "chunks",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("body", Text, nullable=False),
)

STEPS = Table(
    "steps",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("definition_hash", String(64), nullable=False),
    Column("definition", Text, nullable=False),
    Column("inputs_from", Text, nullable=False),
    Column("first_task_id", Integer, nullable=False),
    Column("task_count", Integer, nullable=False),
    Column("max_task_retries", Integer, nullable=False),
    Column("max_node_faults", Integer, nullable=False),
    Column("max_preemptions", Integer, nullable=False),
    Column("expected_seconds", Float),
    Column("mean_seconds", Float),
    _count("measured"),
    Column("published", Boolean, nullable=False),
    Column("inputs", String(64)),
    Column("active_since", Instant),
    Column("open_predecessors", Integer, nullable=False),
    _count("open_tasks"),
    _count("active"),
    _count("ready"),
    _count("suspects"),
    _count("unsuccessful"),
)
# A partial index serves only queries that repeat its condition word by word.
STEP_ACTIVE = text("steps.active > 0")
_ACTIVE = text("active > 0")
Index("steps_active", STEPS.c.job, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)

EDGES = Table(
    "step_edges",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("predecessor", Integer, primary_key=True, autoincrement=False),
    Column("dependent", Integer, primary_key=True, autoincrement=False),
)

# `manifest` is that of the run which ended the task; `earlier_manifest`, that of the run before a requeue, whose files
# stay until a new run has succeeded.
TASKS = Table(
    "tasks",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("result", String(12)),
    Column("suspect", Boolean, nullable=False, server_default=text("false")),
    _count("attempt"),
    _count("attempt_floor"),
    Column("message", BigInteger),
    _count("retries"),
    _count("node_faults"),
    _count("preemptions"),
    Column("node_id", Text),
    Column("manifest", BigInteger),
    Column("earlier_manifest", BigInteger),
    Column("exit_code", Integer),
    Column("outcome", String(12)),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("reason", Text, nullable=False, server_default=""),
)
TASK_WAITS = text("tasks.state = 'active' AND tasks.message IS NULL")
_WAITS = text("state = 'active' AND message IS NULL")
Index(
    "tasks_waiting",
    TASKS.c.job,
    TASKS.c.step,
    TASKS.c.suspect,
    TASKS.c.task_id,
    sqlite_where=_WAITS,
    postgresql_where=_WAITS,
)
TASK_IS_OUT = text("tasks.state IN ('active', 'running') AND tasks.message IS NOT NULL")
_IS_OUT = text("state IN ('active', 'running') AND message IS NOT NULL")
Index("tasks_out", TASKS.c.message, sqlite_where=_IS_OUT, postgresql_where=_IS_OUT)

MESSAGES = Table(
    "messages",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("message_id", String(64), nullable=False, unique=True),
    Column("job", ForeignKey(JOBS.c.number), nullable=False),
    Column("step", Integer, nullable=False),
    Column("pool", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("body", Text),
    Column("unreported", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("deadline", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("started_at", Instant),
    Column("node_id", Text),
    Column("closed_at", Instant),
)
MESSAGE_IS_OPEN = text("messages.closed_at IS NULL")
_OPEN = text("closed_at IS NULL")
Index(
    "messages_open",
    MESSAGES.c.pool,
    MESSAGES.c.queue,
    MESSAGES.c.job,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)
MESSAGE_IS_UNSENT = text("messages.sent_at IS NULL AND messages.closed_at IS NULL")
_UNSENT = text("sent_at IS NULL AND closed_at IS NULL")
Index("messages_unsent", MESSAGES.c.number, sqlite_where=_UNSENT, postgresql_where=_UNSENT)
MESSAGE_STARTED = text("messages.started_at IS NOT NULL")
_STARTED = text("started_at IS NOT NULL")
Index("messages_started", MESSAGES.c.queue, MESSAGES.c.number, sqlite_where=_STARTED, postgresql_where=_STARTED)

# Applied manifests; `files` is compressed JSON {task id: [[path, container, blob, offset, length, sha256], ...]} of
# the reports that ended their task, so that listing outputs needs no storage.
MANIFESTS = Table(
    "manifests",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("blob", Text, nullable=False, unique=True),
    Column("job", ForeignKey(JOBS.c.number), nullable=False, index=True),
    Column("files", LargeBinary),
)

# Attempts made needless by a commit, until the message that carries them is accounted for.
STOPS = Table(
    "needless_attempts",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("below_attempt", Integer, nullable=False),
    Column("message", BigInteger, nullable=False, index=True),
)

# A mean over the newest successes of a pool, for work of which nothing else is known.
POOL_TIMES = Table(
    "pool_times",
    METADATA,
    Column("pool", Text, primary_key=True),
    Column("mean_seconds", Float, nullable=False),
    Column("measured", Integer, nullable=False),
)
