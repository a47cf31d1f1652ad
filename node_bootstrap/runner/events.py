"""What the runner's machine is told. Each is frozen; the machine sees nothing of the world but these and the time.

Every instruction that asks for something (see `instructions`) is answered by exactly one event, named with it there.
The others come by themselves: `Tick`, `StopAsked`.
"""

from dataclasses import dataclass
from datetime import datetime

from node_bootstrap.protocol import NodeControl, TaskReport
from node_bootstrap.runner.instructions import Lease


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed. Comes at least once a second while the runner is well; more often does no harm."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The machine will go away: SIGTERM or a scheduled event.

    `at_once`: running tasks are killed and reported as preempted. Otherwise they may finish; nothing new begins.
    `leave`: the runner itself ends once nothing is held.
    """

    reason: str
    at_once: bool
    leave: bool


@dataclass(frozen=True, slots=True)
class ControlRead:
    """Answer to `ReadControl`: what the control blob says; None where it is absent."""

    control: NodeControl | None


@dataclass(frozen=True, slots=True)
class ControlFailed:
    """Answer to `ReadControl`: it could not be read, which changes nothing."""


@dataclass(frozen=True, slots=True)
class StatusWritten:
    """Answer to `WriteStatus`: it is in storage. `asked_at`: when the request was sent."""

    asked_at: datetime


@dataclass(frozen=True, slots=True)
class StatusFailed:
    """Answer to `WriteStatus`: perhaps it is not in storage."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came from the queue: its text, and how often it has been delivered, this time included."""

    lease: Lease
    body: str
    dequeue_count: int


@dataclass(frozen=True, slots=True)
class Received:
    """Answer to `Receive`: none, or up to as many as asked for. Leases count from `asked_at`, when it was sent."""

    deliveries: tuple[Delivery, ...]
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class ReceiveFailed:
    """Answer to `Receive`: the queue could not be read; what it may have leased comes again by itself."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """Answer to `Renew`: the lease counts from `asked_at`; its receipt is a new one."""

    run_id: str
    lease: Lease
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class RenewFailed:
    """Answer to `Renew`. `gone`: the queue says that the lease is another's or the message is deleted."""

    run_id: str
    gone: bool


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """Answer to `StartTask`, however it ended. `pack_bytes`: what the run adds to a pack."""

    run_id: str
    report: TaskReport
    pack_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Answer to `Upload`: the manifest is in storage under this name, and all that it names before it."""

    run_id: str
    number: int
    manifest: str


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """Answer to `Upload`: perhaps nothing of it is in storage. Asked again, it must give the same bytes."""

    run_id: str
    number: int


@dataclass(frozen=True, slots=True)
class EventSent:
    """Answer to `SendEvent`."""

    run_id: str
    number: int


@dataclass(frozen=True, slots=True)
class EventFailed:
    """Answer to `SendEvent`: perhaps it is not on the queue."""

    run_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """Answer to `DeleteMessage`: it is gone, by us or by another."""

    run_id: str


@dataclass(frozen=True, slots=True)
class DeleteFailed:
    """Answer to `DeleteMessage`: perhaps it is still there."""

    run_id: str


NodeEvent = Tick | StopAsked | ControlRead | ControlFailed | StatusWritten | StatusFailed | Received | ReceiveFailed
RunEvent = (
    Renewed | RenewFailed | TaskEnded | Uploaded | UploadFailed | EventSent | EventFailed | Deleted | DeleteFailed
)
MachineEvent = NodeEvent | RunEvent
