"""Jobs, tasks, nodes and what is seen of them: frozen records in Azure Batch's words.

`TRANSITIONS` says which change of a task's state is allowed, `REQUEUE_TRANSITIONS` what a user may undo.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from node_bootstrap.protocol import FileRef, Outcome, TaskDefinition
from scheduler.demand import DemandClass, Foreseen


class TaskState(StrEnum):
    """Where a task is on its way; a task on a queue is still active."""

    BLOCKED = "blocked"
    ACTIVE = "active"
    RUNNING = "running"
    COMPLETED = "completed"


class TaskResult(StrEnum):
    """How a completed task ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


# A result can come before its `started` event, so active -> completed is allowed; completed is final.
TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.BLOCKED: frozenset({TaskState.ACTIVE, TaskState.COMPLETED}),
        TaskState.ACTIVE: frozenset({TaskState.RUNNING, TaskState.COMPLETED}),
        TaskState.RUNNING: frozenset({TaskState.ACTIVE, TaskState.COMPLETED}),
        TaskState.COMPLETED: frozenset(),
    }
)

# What only a user's requeue may do: a completed task begins anew, and what waits on it, if not handed out, waits again.
REQUEUE_TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.BLOCKED: frozenset(),
        TaskState.ACTIVE: frozenset({TaskState.BLOCKED}),
        TaskState.RUNNING: frozenset(),
        TaskState.COMPLETED: frozenset({TaskState.BLOCKED}),
    }
)


class JobState(StrEnum):
    """A draft takes steps; an active job runs; a terminating one waits for its running tasks to be stopped.

    A deleting one was completed and is on its way out: first its files, then its rows.
    """

    DRAFT = "draft"
    ACTIVE = "active"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    DELETING = "deleting"


class JobResult(StrEnum):
    """How a completed job ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task may be tried again, counted apart by whose fault it was (design decision 13)."""

    max_task_retries: int = 3
    max_node_faults: int = 3
    max_preemptions: int = 20


@dataclass(frozen=True, slots=True)
class IndexRange:
    """Tasks of a step by their indices, from `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TaskDependency:
    """A dependency on single tasks of a step: on the tasks of some indices, or (`each`) of task i on task i."""

    step: str
    indices: tuple[IndexRange, ...] = ()
    each: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """Tasks of one definition. It starts when what it depends on has ended and enough of that has succeeded.

    `depends_on` names whole steps, `depends_on_tasks` single tasks. `needed_success` is the share of each dependency's
    tasks that has to succeed, from 0 (best effort) to 1. With less than 1 all of them are still waited for, and
    `<step>/missing.txt` has the indices of those that did not succeed, for each step in `inputs_from`.

    `inputs_from` names steps whose outputs are put into the working directory of this step's tasks, as
    `<step>/<task index>/<path>`; each of them must be depended on, too. Of a step that is depended on from task to
    task, a task gets the outputs of its own one.
    """

    definition: TaskDefinition
    depends_on: tuple[str, ...] = ()
    inputs_from: tuple[str, ...] = ()
    retry: RetryPolicy = RetryPolicy()
    expected_task_seconds: float | None = None
    depends_on_tasks: tuple[TaskDependency, ...] = ()
    needed_success: float = 1.0


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a client asks for when it opens a draft; the same idempotency key gives the same job again."""

    name: str
    pool: str
    idempotency_key: str
    priority: int = 0


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Tasks of a job or a pool by state, and completed ones by result."""

    blocked: int = 0
    active: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def completed(self) -> int:
        """All that ended, however they did."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def total(self) -> int:
        """Every task."""
        return self.blocked + self.active + self.running + self.completed

    @property
    def pending(self) -> int:
        """Active and running, as in Batch's `$PendingTasks`."""
        return self.active + self.running


@dataclass(frozen=True, slots=True)
class Job:
    """A job as people see it."""

    job_id: str
    name: str
    pool: str
    priority: int
    state: JobState
    result: JobResult | None
    counts: TaskCounts
    created_at: datetime
    armed_at: datetime | None
    ended_at: datetime | None
    steps: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as people see it; `attempt` is 0 before the first hand-out, `index` counts within its step."""

    job_id: str
    task_id: int
    step: str
    index: int
    state: TaskState
    result: TaskResult | None
    attempt: int
    retries: int
    node_faults: int
    preemptions: int
    node_id: str | None
    exit_code: int | None
    outcome: Outcome | None
    started_at: datetime | None
    ended_at: datetime | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A committed file of a task; `stdout.txt` and `stderr.txt` are among them."""

    task_id: int
    step: str
    index: int
    file: FileRef


@dataclass(frozen=True, slots=True)
class Application:
    """A version of a program that was uploaded once; the default one is meant where no version is named."""

    name: str
    version: str
    file: FileRef
    default: bool
    created_at: datetime


class GroupPriority(StrEnum):
    """What a node group's machines are bought as."""

    REGULAR = "regular"
    SPOT = "spot"


class GroupKind(StrEnum):
    """What a node group's machines are to Azure: instances of a scale set, or nodes of a Batch pool."""

    SCALE_SET = "scale-set"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A generation of a node group: `<pool>/<name>/<generation>`."""

    pool: str
    name: str
    generation: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.name}/{self.generation}"


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """One generation of a node group, with a queue and a set of its own; Windows machines cost their licence, too.

    `scale_set` is the name of that set, whichever `kind` it is of: a virtual machine scale set or a Batch pool.
    `current` is false once the stack outputs name a newer generation: it gets no new work, drains and is deleted.
    """

    key: GroupKey
    scale_set: str
    queue: str
    vm_size: str
    priority: GroupPriority
    task_slots: int
    max_nodes: int
    current: bool = True
    kind: GroupKind = GroupKind.SCALE_SET
    windows: bool = False


class InstanceState(StrEnum):
    """What the cloud says of an instance."""

    CREATING = "creating"
    RUNNING = "running"
    DELETING = "deleting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as the cloud lists it.

    `node_id` is what the machine calls itself: its computer name `<scale set>_<instance id>`, or the Batch node's id.
    """

    instance_id: str
    node_id: str
    state: InstanceState
    error: str = ""


@dataclass(frozen=True, slots=True)
class ScaleSetView:
    """One reading of a scale set or Batch pool.

    `capacity` was asked for, `etag` guards a write made from it, `error` says why an accepted order will not come.
    """

    scale_set: str
    capacity: int
    etag: str
    instances: tuple[Instance, ...]
    error: str | None = None


class NodePhase(StrEnum):
    """A node as the scheduler sees it; `removing` is absorbing."""

    BOOTING = "booting"
    WORKING = "working"
    DRAINING = "draining"
    DRAINED = "drained"
    REMOVING = "removing"
    LOST = "lost"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler holds it in its store.

    `first_seen_at` is when its instance was first listed; `ready_at` when its first status was read;
    `idle_since` is set while it works and holds no message; `drain_asked_at` is when a person asked for it to go.
    """

    node_id: str
    group: GroupKey
    instance_id: str
    phase: NodePhase
    control_number: int
    incarnation: str | None
    first_seen_at: datetime
    ready_at: datetime | None
    status_at: datetime | None
    idle_since: datetime | None
    gone_at: datetime | None = None
    held: tuple[str, ...] = ()
    reason: str = ""
    drain_asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PoolDemand:
    """Work that waits or runs in a pool, aggregated; never a list of tasks.

    `active_tasks` are ready and not running (on a queue or not), the oldest since `oldest_active_at`;
    `mean_task_seconds` is their mean run time, as far as anything is known of it (`dispatch.run_times`), else None.
    `classes` tell the same tasks by job and step, `foreseen` what is to come.
    """

    active_tasks: int
    running_tasks: int
    mean_task_seconds: float | None
    oldest_active_at: datetime | None
    classes: tuple[DemandClass, ...] = ()
    foreseen: tuple[Foreseen, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of the autoscaler, kept for people: what, for which group, and why."""

    at: datetime
    group: GroupKey
    action: str
    count: int
    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of a pool's timeline. Tasks are the pool's; nodes are summed over its groups."""

    at: datetime
    pool: str
    active_tasks: int
    running_tasks: int
    target_nodes: int
    current_nodes: int
    booting_nodes: int


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool as people see it."""

    name: str
    groups: tuple[NodeGroup, ...]
    counts: TaskCounts
    target_nodes: int
    current_nodes: int
    min_nodes: int
    max_nodes: int
    acceptable_wait: timedelta
    last_decision: Decision | None


@dataclass(frozen=True, slots=True)
class StorageAddress:
    """Where clients put and get files; they bring their own Entra token."""

    blob_endpoint: str
