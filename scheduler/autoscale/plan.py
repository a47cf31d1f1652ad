"""What the decision is made from, and what it says: frozen records."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from scheduler.errors import CapacityErrorKind
from scheduler.model import Decision, GroupKey, Node, NodeGroup


class ReasonKind(StrEnum):
    """Why; the sentence beside it has the numbers. A decision that repeats with the same kind is one entry."""

    BACKLOG = "backlog"
    MINIMUM = "minimum"
    NEEDED_AGAIN = "needed_again"
    IDLE = "idle"
    NOT_NEEDED = "not_needed"
    RETIRED = "retired"
    ASKED_FOR = "asked_for"
    DRAINED = "drained"
    BOOT_FAILED = "boot_failed"
    LOST = "lost"
    ENOUGH = "enough"
    NO_WORK = "no_work"
    OTHER_GROUP = "other_group"
    AT_MAXIMUM = "at_maximum"
    STEP = "step"
    BUDGET = "budget"
    QUOTA = "quota"
    SPOT_SHARE = "spot_share"
    GANG = "gang"
    ORDER_OVERDUE = "order_overdue"
    BOOT_BREAKER = "boot_breaker"
    CAPACITY_REFUSED = "capacity_refused"
    UNKNOWN_DEMAND = "unknown_demand"
    UNKNOWN_FLEET = "unknown_fleet"
    CHANGED_MEANWHILE = "changed_meanwhile"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an action is taken: a kind for programs and a sentence with its numbers for people."""

    kind: ReasonKind
    sentence: str


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """Ask for `count` more nodes, in place of `given_up` that were asked for before and have not come."""

    group: GroupKey
    count: int
    reason: Reason
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Undrain:
    """Take draining or drained nodes back."""

    group: GroupKey
    nodes: tuple[str, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Drain:
    """Give these nodes no new work; what runs on them ends."""

    group: GroupKey
    nodes: tuple[str, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete these nodes: each is drained, lost, has failed to boot, or still boots and is not needed any more."""

    group: GroupKey
    nodes: tuple[str, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing, and say why."""

    group: GroupKey
    reason: Reason


Action = ScaleOut | Undrain | Drain | Remove | Hold

# What people read in place of the class names.
ACTION_NAMES: Mapping[type[Action], str] = MappingProxyType(
    {ScaleOut: "scale_out", Undrain: "undrain", Drain: "drain", Remove: "remove", Hold: "hold"}
)


def decision_of(action: Action, now: datetime) -> Decision:
    """Make the decision that people see of an action."""
    nodes = () if isinstance(action, ScaleOut | Hold) else action.nodes
    count = action.count if isinstance(action, ScaleOut) else len(nodes)
    return Decision(now, action.group, ACTION_NAMES[type(action)], count, nodes, action.reason.sentence)


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions to be applied in this order; every group has at least one."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class GroupFleet:
    """What is known of one group: its nodes (gone ones left out or not) and the capacity its set was asked for.

    Groups of a pool stand in declared order. Where the group could not be read now, `unknown` says why, and nodes and
    capacity are the last ones known. `error` says why nodes of the last order will not come, where Azure has given up
    on them after it had taken the order. `busy` more nodes work and hold messages, and are only counted: of those of a
    current group the decision asks no more, where all that was asked for is listed and the policy has no steps.
    """

    group: NodeGroup
    nodes: tuple[Node, ...]
    capacity: int
    unknown: str | None = None
    error: str | None = None
    busy: int = 0


@dataclass(frozen=True, slots=True)
class GroupHistory:
    """What happened to a group's orders.

    failed_boots     boots in a row, up to now, that ended without a status; the last failed at `failed_boot_at`
    refused_at       when the cloud last refused nodes, with its kind and words; None once it has given some since
    ordered_at       when capacity was last raised
    boot_time        median of the newest boots, from being listed to the first status; None while there was none
    refusals         refusals in a row, up to now, without a node in between
    evicted_at       when nodes that had been ready were last taken away by the cloud, oldest first; Spot groups only
    """

    failed_boots: int = 0
    failed_boot_at: datetime | None = None
    refused_at: datetime | None = None
    refused_kind: CapacityErrorKind | None = None
    refused_message: str = ""
    ordered_at: datetime | None = None
    boot_time: timedelta | None = None
    refusals: int = 0
    evicted_at: tuple[datetime, ...] = ()
