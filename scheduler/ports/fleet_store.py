"""Groups, nodes, decisions and samples: the part of the store that the fleet's controller writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from scheduler.autoscale.inputs import DecisionRecord
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, GroupHistory
from scheduler.errors import CapacityErrorKind
from scheduler.model import Decision, GroupKey, Node, NodeGroup, NodePhase, Sample
from scheduler.policy import Limits
from scheduler.settings import PoolSettings, SchedulerSettings
from scheduler.views import KeptDecision

# Reasons of nodes that the cloud took away, which is eviction where they are Spot.
GONE_BY_ITSELF = "its instance is no longer there"
DELETED_BY_CLOUD = "Azure deletes its instance"
# Azure Batch goes on listing a node that was preempted.
STOPPED_BY_CLOUD = "Azure stopped its machine"
TAKEN_AWAY = (GONE_BY_ITSELF, DELETED_BY_CLOUD, STOPPED_BY_CLOUD)


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A change of one node's phase, valid only while its row is as it was decided upon (phase and control number).

    `gives_up_boot`: it boots and nobody waits for it any more, so that its end is no failure.
    """

    node: Node
    phase: NodePhase
    reason: str
    gives_up_boot: bool = False


class FleetStore(Protocol):
    """Groups and nodes as last known. Methods that take an epoch raise `StaleLeaderError` when it has ended.

    Two rules hold whatever is written: `removing` is absorbing (only `gone` follows), and a node's control number
    never falls. A node first seen after the one of its name was gone is another machine, whose life begins anew; its
    control number goes on.
    """

    def pools(self) -> tuple[PoolSettings, ...]:
        """Give the pools of the settings last taken up, with their current groups."""
        ...

    def limits(self) -> Limits:
        """Give what all pools share, by the settings last taken up."""
        ...

    def groups(self, pool: str) -> tuple[NodeGroup, ...]:
        """Give a pool's groups that are not deleted: current ones as declared, then retired ones, newest first."""
        ...

    def nodes(self, pool: str) -> tuple[Node, ...]:
        """Give a pool's nodes in order of `first_seen_at`; those gone for longer than a day are left out."""
        ...

    def decisions(self, pool: str, limit: int) -> tuple[Decision, ...]:
        """Give the newest decisions, oldest first."""
        ...

    def kept_decisions(self, pool: str, limit: int, until: datetime | None = None) -> tuple[KeptDecision, ...]:
        """Give the newest decisions whose inputs are kept, none made after `until`, oldest first."""
        ...

    def samples(self, pool: str, limit: int) -> tuple[Sample, ...]:
        """Give the newest samples, oldest first."""
        ...

    def targets(self, pool: str) -> tuple[int, int]:
        """Give target and current nodes of the pool as last sampled."""
        ...

    def known_pools(self) -> tuple[str, ...]:
        """Give the names of all pools that have groups, those no longer in the settings included."""
        ...

    def capacities(self, pool: str) -> Mapping[GroupKey, int]:
        """Give the capacity that each group's set had when it was last read."""
        ...

    def histories(self, pool: str) -> Mapping[GroupKey, GroupHistory]:
        """Give what happened to the orders of each group."""
        ...

    def learned(self, pool: str) -> PoolHistory:
        """Give what a pool has learned of its demand; nothing where nothing was kept, or none of it can be read."""
        ...

    def record_learned(self, epoch: int, learned: Mapping[str, PoolHistory]) -> None:
        """Keep what pools have learned, in place of what they had."""
        ...

    def sync_groups(self, epoch: int, settings: SchedulerSettings, now: datetime) -> None:
        """Take settings up: their groups are current, all others are not; a group that was deleted comes back."""
        ...

    def save_nodes(self, epoch: int, nodes: tuple[Node, ...], now: datetime) -> None:
        """Insert or overwrite rows, within the two rules."""
        ...

    def change_nodes(self, epoch: int, changes: tuple[NodeChange, ...], now: datetime) -> tuple[Node, ...]:
        """Give nodes another phase and the next control number, in one transaction that reads each row again.

        Gives the rows that were changed; those that are no longer as decided upon are left alone.
        """
        ...

    def ask_drain(self, pool: str, node_ids: tuple[str, ...], now: datetime) -> tuple[Node, ...]:
        """Keep that a person wants these nodes drained and removed, and give their rows; no epoch is needed.

        All or none: `NotFoundError` when the pool has no such node, `ConflictError` when one is gone. Asked twice, the
        first time counts. The wish ends with the node.
        """
        ...

    def next_controls(self, epoch: int, seen: Mapping[str, int]) -> tuple[Node, ...]:
        """Take a new control number for each node, above its present one and the one given, and give the rows."""
        ...

    def record_capacity(self, epoch: int, group: GroupKey, capacity: int) -> None:
        """Keep the capacity that a set was read to have."""
        ...

    def record_order(self, epoch: int, group: GroupKey, now: datetime) -> None:
        """Keep that capacity was raised; an older refusal is told no more, and counts on until a node is listed."""
        ...

    def record_refusal(self, epoch: int, group: GroupKey, kind: CapacityErrorKind, message: str, now: datetime) -> None:
        """Keep that the cloud refused nodes."""
        ...

    def record_decisions(self, epoch: int, actions: tuple[Action, ...], now: datetime) -> tuple[Decision, ...]:
        """Keep decisions, and give those kept: one that repeats its group's newest is left out.

        It repeats when action, kind of reason and nodes are the same; each scale-out is an order of its own.
        """
        ...

    def record_inputs(self, epoch: int, record: DecisionRecord) -> None:
        """Keep what a pool's decisions of an instant were made from, once for all of them.

        `InvalidRequestError` when it cannot be written down.
        """
        ...

    def record_sample(self, epoch: int, sample: Sample) -> None:
        """Keep a point of the timeline, unless it repeats the newest one less than 15 s after it."""
        ...

    def prune(self, epoch: int, now: datetime) -> None:
        """Remove what is too old to be of use: decisions and samples after a month, gone nodes after a week.

        Inputs go after a month, too, and before, where a pool's newest take more room than it has for them.
        A node that is gone for a week has long been deleted; one that comes back under its name begins anew, and the
        number in its control blob, if that is still there, is taken up. The newest decision of each group stays.
        """
        ...

    def forget_group(self, epoch: int, group: GroupKey, now: datetime) -> None:
        """Keep that a retired group's set and queue are deleted."""
        ...
