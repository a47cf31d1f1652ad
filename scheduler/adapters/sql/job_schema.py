"""Tables of jobs, their steps and tasks, and the messages that carry tasks to nodes.

Counters on jobs and steps are kept by the changes that cause them (`job_change`), so that no hot query walks the
tasks of a job. Tasks are narrow rows; what tasks of a step share stands in the step.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
    text,
)

from scheduler.adapters.sql.columns import Instant, Words
from scheduler.adapters.sql.identity import METADATA

# Parameters of one IN list; SQLite takes at most 32766 in a statement.
IN_LIST = 1000

# SQLite numbers rows by itself only in a column of exactly this type.
_ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


JOBS = Table(
    "jobs",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("job_id", Words(80), nullable=False, unique=True),
    Column("idempotency_key", Words, nullable=False, unique=True),
    Column("name", Words, nullable=False),
    Column("pool", Words, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Words(12), nullable=False),
    Column("result", Words(12)),
    Column("reason", Words, nullable=False, server_default=""),
    Column("created_at", Instant, nullable=False),
    Column("armed_at", Instant),
    Column("ended_at", Instant),
    Column("task_edges", Boolean, nullable=False, server_default=text("false")),
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
    Column("hash", Words(64), nullable=False),
    Column("body", Words, nullable=False),
    _count("ready_tasks"),
)

STEPS = Table(
    "steps",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Words, nullable=False),
    Column("definition_hash", Words(64), nullable=False),
    Column("definition", Words, nullable=False),
    Column("inputs_from", Words, nullable=False),
    Column("first_task_id", Integer, nullable=False),
    Column("task_count", Integer, nullable=False),
    Column("max_task_retries", Integer, nullable=False),
    Column("max_node_faults", Integer, nullable=False),
    Column("max_preemptions", Integer, nullable=False),
    Column("expected_seconds", Float),
    Column("mean_seconds", Float),
    _count("measured"),
    Column("work", Words, nullable=False, server_default="#"),
    Column("run_times", Words),
    Column("published", Boolean, nullable=False),
    Column("inputs", Words(64)),
    Column("active_since", Instant),
    Column("open_predecessors", Integer, nullable=False),
    Column("needed_success", Float, nullable=False),
    _count("open_tasks"),
    _count("active"),
    _count("ready"),
    _count("suspects"),
    _count("running"),
    _count("unsuccessful"),
)
# A partial index serves only queries that repeat its condition, or a term of it, word by word.
STEP_ACTIVE = text("steps.active > 0")
STEP_BUSY = text("(steps.active > 0 OR steps.running > 0)")
_BUSY = text("(active > 0 OR running > 0)")
Index("steps_busy", STEPS.c.job, sqlite_where=_BUSY, postgresql_where=_BUSY)


class EdgeKind(StrEnum):
    """What a step depends on: a whole step, some of its tasks, or each task on the one of its own index."""

    STEP = "step"
    TASKS = "tasks"
    EACH = "each"


# `first` and `last` are task ids of the predecessor. `needed` of these have to succeed, of an edge from task to task 1
# or 0. Only edges on some tasks have counters here: of a whole step they stand in the step.
EDGES = Table(
    "step_edges",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("predecessor", Integer, primary_key=True, autoincrement=False),
    Column("dependent", Integer, primary_key=True, autoincrement=False),
    Column("first", Integer, primary_key=True, autoincrement=False),
    Column("last", Integer, nullable=False),
    Column("dependent_first", Integer, nullable=False),
    Column("kind", Words(8), nullable=False),
    Column("needed", Integer, nullable=False),
    _count("open_tasks"),
    _count("unsuccessful"),
)
Index("step_edges_by_dependent", EDGES.c.job, EDGES.c.dependent)

# `manifest` is that of the run which ended the task; `earlier_manifest`, that of the run before a requeue, whose files
# stay until a new run has succeeded.
TASKS = Table(
    "tasks",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("task_id", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, nullable=False),
    Column("state", Words(12), nullable=False),
    Column("result", Words(12)),
    Column("suspect", Boolean, nullable=False, server_default=text("false")),
    _count("attempt"),
    _count("attempt_floor"),
    Column("message", BigInteger),
    _count("retries"),
    _count("node_faults"),
    _count("preemptions"),
    Column("node_id", Words),
    Column("manifest", BigInteger),
    Column("earlier_manifest", BigInteger),
    # Windows has exit codes of 32 bits without a sign.
    Column("exit_code", BigInteger),
    Column("outcome", Words(12)),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("reason", Words, nullable=False, server_default=""),
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
    Column("message_id", Words(64), nullable=False, unique=True),
    Column("job", ForeignKey(JOBS.c.number), nullable=False),
    Column("step", Integer, nullable=False),
    Column("pool", Words, nullable=False),
    Column("group_key", Words, nullable=False),
    Column("queue", Words, nullable=False),
    Column("body", Words),
    Column("inputs", Words),
    Column("unreported", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("deadline", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("started_at", Instant),
    Column("node_id", Words),
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
    Column("blob", Words, nullable=False, unique=True),
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

# Blobs of `inputs` that a job's steps name, from its draft on: what another job names is never collected.
JOB_INPUTS = Table(
    "job_inputs",
    METADATA,
    Column("job", ForeignKey(JOBS.c.number), primary_key=True),
    Column("blob", Words, primary_key=True),
)
Index("job_inputs_by_blob", JOB_INPUTS.c.blob)

# Jobs whose rows are gone: their ids and keys are never used again. `inputs` is a JSON list of the blobs that may have
# become garbage, NULL once that is settled. A removed application is here too, under `application/<name>/<version>`.
DELETED_JOBS = Table(
    "deleted_jobs",
    METADATA,
    Column("job_id", Words(160), primary_key=True),
    Column("deleted_at", Instant, nullable=False),
    Column("inputs", Words),
)

APPLICATIONS = Table(
    "applications",
    METADATA,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("name", Words(64), nullable=False),
    Column("version", Words(64), nullable=False),
    Column("sha256", Words(64), nullable=False, index=True),
    Column("length", BigInteger, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("name", "version"),
)

# Sketches of the newest run times of a pool by the kind of work (`work_key`), and of all its work under "", for steps
# of which little else is known.
RUN_TIMES = Table(
    "run_times",
    METADATA,
    Column("pool", Words, primary_key=True),
    Column("work", Words, primary_key=True),
    Column("run_times", Words, nullable=False),
    Column("measured_at", Instant, nullable=False),
)
