"""What the runner's machine asks of the shell around it.

Each names its answer, an event of `events`. They may be carried out in any order and at the same time, and take any
time: the machine never has two of one kind under way for the same run. `run_id` names one run of one message.
"""

from dataclasses import dataclass

from node_bootstrap.protocol import Event, NodeStatus, Outcome, TaskMessage, TaskRef, TaskReport


@dataclass(frozen=True, slots=True)
class Lease:
    """A message's id on the queue and the receipt of its present lease: what renews and deletes it."""

    queue_message_id: str
    pop_receipt: str


@dataclass(frozen=True, slots=True)
class ReadControl:
    """Read the node's control blob: `ControlRead` or `ControlFailed`."""


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Overwrite the node's status blob: `StatusWritten` or `StatusFailed`."""

    status: NodeStatus


@dataclass(frozen=True, slots=True)
class Receive:
    """Lease up to `count` messages (at most 32) for `LEASE_SECONDS`: `Received` or `ReceiveFailed`."""

    count: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Renew a lease for `LEASE_SECONDS`, visibility only: `Renewed` or `RenewFailed`."""

    run_id: str
    lease: Lease


@dataclass(frozen=True, slots=True)
class StartTask:
    """Run one task to its end: `TaskEnded`. Staging, limits and logs are the shell's."""

    run_id: str
    message: TaskMessage
    task: TaskRef


@dataclass(frozen=True, slots=True)
class StopTask:
    """Kill the process tree of a running task; its `TaskEnded` then has this outcome, unless it ended by itself before.

    It has no answer of its own.
    """

    run_id: str
    task: TaskRef
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Upload:
    """Write the blobs of these reports, then their manifest with this number: `Uploaded` or `UploadFailed`."""

    run_id: str
    number: int
    message: TaskMessage
    reports: tuple[TaskReport, ...]


@dataclass(frozen=True, slots=True)
class SendEvent:
    """Put an event on the events queue, without expiry: `EventSent` or `EventFailed`."""

    run_id: str
    number: int
    event: Event


@dataclass(frozen=True, slots=True)
class DeleteMessage:
    """Delete the message from its queue; that it is gone already is as good: `Deleted` or `DeleteFailed`."""

    run_id: str
    lease: Lease


@dataclass(frozen=True, slots=True)
class Discard:
    """Nothing more is asked about this run: its files may go. It has no answer."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Exit:
    """End the runner. `retired`: the node is given up, do not start it again. It has no answer."""

    reason: str
    retired: bool


Instruction = (
    ReadControl
    | WriteStatus
    | Receive
    | Renew
    | StartTask
    | StopTask
    | Upload
    | SendEvent
    | DeleteMessage
    | Discard
    | Exit
)
