"""What people look at besides the records themselves: steps, files as they grow, nodes' logs, explanations."""

from dataclasses import dataclass
from datetime import datetime

from node_bootstrap.protocol import BootRecord, NodeStatus
from scheduler.model import Decision, Node


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of an armed job.

    `open_tasks` have not ended; `unsuccessful` ended without success; `mean_seconds` is the run time of its successes,
    None while there is none.
    """

    name: str
    first_task_id: int
    task_count: int
    open_tasks: int
    active: int
    unsuccessful: int
    depends_on: tuple[str, ...]
    mean_seconds: float | None


@dataclass(frozen=True, slots=True)
class Handout:
    """The message that carries a task's present attempt; `sent_at` is None until it is on its group's queue."""

    message_id: str
    group: str
    queue: str
    handed_out_at: datetime
    sent_at: datetime | None
    started_at: datetime | None
    node_id: str | None


@dataclass(frozen=True, slots=True)
class FilePart:
    """A piece of a file of a task: `data` begins at `offset`, and the file has `size` bytes now.

    It is `complete` once the task's run is committed; then `sha256` is that of the whole. While the task runs, the file
    is that of its present `attempt` and may grow. `found` is false where there is nothing yet.
    """

    path: str
    attempt: int
    offset: int
    size: int
    data: bytes
    complete: bool
    found: bool
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class NodeLog:
    """What a node left of itself: the steps of its boot, and what its runner last said, where it got that far.

    `node` is its row, None when the scheduler has forgotten it. `unreadable` names records that could not be read.
    """

    node_id: str
    node: Node | None
    boot: tuple[BootRecord, ...]
    status: NodeStatus | None
    status_at: datetime | None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact behind an explanation."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something is as it is: one paragraph, and the facts that it was made from."""

    subject: str
    paragraph: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """What was decided about a pool at an instant, as carried out, and the document it can be decided again from.

    `scheduler/decision_document.py` reads the document.
    """

    at: datetime
    decisions: tuple[Decision, ...]
    document: str


@dataclass(frozen=True, slots=True)
class DecisionStory:
    """A decision told: what was seen, what was wanted, what was decided, and what kept it from doing more.

    `replayed` says whether the same comes out when it is decided again from its inputs; `same` is that for programs.
    `proposed` is what a policy that was only proposed would have done; empty where there was none.
    """

    pool: str
    at: datetime
    seen: tuple[str, ...]
    wanted: tuple[str, ...]
    decided: tuple[str, ...]
    held_back: tuple[str, ...]
    replayed: tuple[str, ...]
    same: bool
    proposed: tuple[str, ...] = ()
