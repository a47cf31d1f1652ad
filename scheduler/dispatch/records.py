"""What the dispatch decisions read and give: frozen, without clock or I/O."""

from dataclasses import dataclass
from datetime import datetime

from node_bootstrap.protocol import TaskRef
from scheduler.model import NodeGroup


@dataclass(frozen=True, slots=True)
class GroupSlots:
    """A node group and the slots of its nodes that lease work now or soon (working, waiting or booting).

    Draining, lost and removing nodes do not count. A group with 0 slots is given nothing.
    """

    group: NodeGroup
    slots: int


@dataclass(frozen=True, slots=True)
class ReadyStep:
    """Tasks of one step that wait for a message.

    `ready` are ordinary ones; `suspects` were running when a node failed and are sent alone. `task_seconds` is the
    measured mean of the step's successes, else what its author expects, else None. `published` says that the
    step's blobs (definition, resolved inputs) are in storage.
    """

    job_id: str
    step: int
    priority: int
    armed_at: datetime
    ready: int
    suspects: int
    task_seconds: float | None
    published: bool


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """Messages of one job that are on a queue or leased from it, and the work that they were reckoned to be."""

    queue: str
    job_id: str
    messages: int
    seconds: float


@dataclass(frozen=True, slots=True)
class HandOut:
    """One message to be made: the next `count` ready tasks of a step; with `suspect`, the next suspect one."""

    group: NodeGroup
    job_id: str
    step: int
    count: int
    suspect: bool
    task_seconds: float


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A row of the outbox: a message that may not have been sent yet.

    `inputs`, where given, is a `ResolvedInputs` that the message names, to be put into storage before it is sent.
    """

    message_id: str
    queue: str
    body: str
    inputs: str | None = None


@dataclass(frozen=True, slots=True)
class StepSources:
    """What has to be in storage before a step's tasks are handed out, as JSON; `inputs` where the step reads some."""

    definition: str
    inputs: str | None


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """A message not yet accounted for.

    `sent` and `started` are what the store knows; `overtaken`: a later message of the same queue has started.
    """

    message_id: str
    job_id: str
    queue: str
    deadline: datetime
    sent: bool
    started: bool
    overtaken: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """A message that a node's status says it holds; `status_at` is that status blob's last-modified."""

    message_id: str
    node_id: str
    running: tuple[TaskRef, ...]
    status_at: datetime


@dataclass(frozen=True, slots=True)
class Start:
    """A node's word that it works on a message and runs these attempts; overdue after `deadline` at the earliest."""

    message_id: str
    node_id: str
    running: tuple[TaskRef, ...]
    deadline: datetime


@dataclass(frozen=True, slots=True)
class FleetObservation:
    """What the fleet says of messages.

    statuses_listed  every pool's statuses could be read; while false, nobody's silence means anything
    held             what live nodes hold (nodes neither lost nor gone), from their newest statuses
    abandoned        messages that nodes now lost, removed or gone held in their last status, and no live node holds
    unread           queues that no live or booting node reads
    retired          those of them that belong to a retired generation: nobody will ever read them again
    """

    statuses_listed: bool
    held: tuple[Holding, ...] = ()
    abandoned: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()
