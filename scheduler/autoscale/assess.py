"""What a group's nodes are good for, and how many more may be asked for."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType

from scheduler.autoscale.plan import GroupFleet, GroupHistory, Reason, ReasonKind
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupPriority, Node, NodeGroup, NodePhase
from scheduler.policy import ScalingPolicy

# How long nothing is asked of a set after a refusal. Allocation: Karpenter keeps a refused offering for 3 minutes.
# Quota and size are mended by people, but a quota also frees itself when other nodes go, so it is tried more often.
BACK_OFF: Mapping[CapacityErrorKind, timedelta] = MappingProxyType(
    {
        CapacityErrorKind.ALLOCATION: timedelta(minutes=3),
        CapacityErrorKind.QUOTA: timedelta(minutes=5),
        CapacityErrorKind.SKU: timedelta(minutes=30),
    }
)
# Refused again and again, each time is twice as long, up to this (Cluster Autoscaler's longest back-off of a group).
LONGEST_BACK_OFF = timedelta(minutes=30)
# Azure tells evictions by the hour; a single one says nothing of a rate.
EVICTION_SPAN = timedelta(hours=1)
FEWEST_EVICTIONS = 2
STEP_SPAN = timedelta(minutes=1)

_SERVE = frozenset({NodePhase.WORKING, NodePhase.BOOTING})
_NAME = attrgetter("node_id")


@dataclass(frozen=True, slots=True)
class Assessment:
    """A group's nodes by what can be done with them, each in order of name; the lists do not overlap.

    leaving     nodes that work or boot and that a person asked to go: they serve no longer
    busy        nodes that work and are only counted, beside `working`
    ordered     nodes asked for that are not listed yet and may still be expected
    stuck       nodes asked for that are not expected any more: the set's capacity has them, and nothing counts on them
    asked_for   machines there are or will be, those being removed included and stuck ones left out
    room        how many more may be asked for, the pool's bounds aside; where it is 0, `blocked` says why
    boot_time   how long its boots take; None while none has been measured
    asked_now      nodes asked for at this very instant, where the policy has steps
    asked_lately   nodes asked for within the last minute, where it counts them
    evictions   nodes that the cloud took away within the last hour
    avoided     so many evictions that other groups are asked first
    """

    group: NodeGroup
    unknown: str | None
    working: tuple[Node, ...]
    booting: tuple[Node, ...]
    draining: tuple[Node, ...]
    drained: tuple[Node, ...]
    failed_boots: tuple[Node, ...]
    lost: tuple[Node, ...]
    leaving: tuple[Node, ...]
    busy: int
    ordered: int
    stuck: int
    asked_for: int
    room: int
    blocked: Reason | None
    boot_time: timedelta | None
    asked_now: int
    asked_lately: int
    evictions: int
    avoided: bool

    @property
    def spot(self) -> bool:
        """Whether its machines may be evicted."""
        return self.group.priority is GroupPriority.SPOT

    @property
    def up(self) -> int:
        """Nodes that run tasks."""
        return len(self.working) + self.busy

    @property
    def listed(self) -> int:
        """Nodes that are there and run tasks or will soon."""
        return self.up + len(self.booting)

    @property
    def serving(self) -> int:
        """Those, and the ones that are expected."""
        return self.listed + self.ordered

    @property
    def serving_slots(self) -> int:
        """Slots of those nodes."""
        return self.serving * self.group.task_slots


def back_off(kind: CapacityErrorKind, refusals: int) -> timedelta:
    """Say for how long nothing is asked after so many refusals in a row."""
    doublings = min(max(0, refusals - 1), 16)
    return max(BACK_OFF[kind], min(BACK_OFF[kind] * (1 << doublings), LONGEST_BACK_OFF))


def refusal_kind(error: str) -> CapacityErrorKind:
    """Tell from Azure's words why it gave up on an order."""
    return CapacityErrorKind.QUOTA if "quota" in error.lower() else CapacityErrorKind.ALLOCATION


def assess(fleet: GroupFleet, history: GroupHistory, policy: ScalingPolicy, now: datetime) -> Assessment:
    """Sort a group's nodes and count its room."""
    sorted_out: defaultdict[NodePhase, list[Node]] = defaultdict(list)
    failed: list[Node] = []
    leaving: list[Node] = []
    # There may be ten thousand nodes: they are gone through once.
    for node in fleet.nodes:
        phase = node.phase
        if node.ready_at is None and _failed_to_boot(node, policy, now):
            failed.append(node)
        elif node.drain_asked_at is not None and phase in _SERVE:
            leaving.append(node)
        else:
            sorted_out[phase].append(node)
    removing = len(sorted_out[NodePhase.REMOVING])
    there = len(fleet.nodes) - len(sorted_out[NodePhase.GONE]) + fleet.busy
    # A set's capacity falls when a deletion begins, so what is being removed is not among what it asks for.
    unlisted = max(0, fleet.capacity - (there - removing))
    ordered = min(unlisted, _expected(fleet, history, policy, now)) if unlisted else 0
    stuck = unlisted - ordered
    asked_for = there + ordered
    underway = len(sorted_out[NodePhase.BOOTING]) + ordered
    room, blocked = _room(fleet, history, policy, now, asked_for, underway, stuck)
    evictions = sum([now - at < EVICTION_SPAN for at in history.evicted_at])
    return Assessment(
        group=fleet.group,
        unknown=fleet.unknown,
        working=_by_name(sorted_out[NodePhase.WORKING]),
        booting=_by_name(sorted_out[NodePhase.BOOTING]),
        draining=_by_name(sorted_out[NodePhase.DRAINING]),
        drained=_by_name(sorted_out[NodePhase.DRAINED]),
        failed_boots=_by_name(failed),
        lost=_by_name(sorted_out[NodePhase.LOST]),
        leaving=_by_name(leaving),
        busy=fleet.busy,
        ordered=ordered,
        stuck=stuck,
        asked_for=asked_for,
        room=room,
        blocked=blocked,
        boot_time=history.boot_time,
        asked_now=0 if policy.max_step_out is None else _asked_now(fleet, ordered, history, now),
        asked_lately=0 if policy.max_step_out_per_minute is None else _asked_lately(fleet, ordered, history, now),
        evictions=evictions,
        avoided=evictions >= FEWEST_EVICTIONS and evictions > policy.max_eviction_rate * (there + evictions),
    )


def _by_name(nodes: list[Node]) -> tuple[Node, ...]:
    return tuple(sorted(nodes, key=_NAME) if len(nodes) > 1 else nodes)


def _asked_now(fleet: GroupFleet, expected: int, history: GroupHistory, now: datetime) -> int:
    """Count what came, and what is expected still, of an order made now: who decides again must not ask again."""
    if history.ordered_at != now:
        return 0
    return expected + sum(node.phase is not NodePhase.GONE and node.first_seen_at == now for node in fleet.nodes)


def _asked_lately(fleet: GroupFleet, expected: int, history: GroupHistory, now: datetime) -> int:
    """Count what was listed within a minute, and what is expected still if something was ordered within it."""
    listed = sum(node.phase is not NodePhase.GONE and now - node.first_seen_at < STEP_SPAN for node in fleet.nodes)
    ordered = history.ordered_at is not None and now - history.ordered_at < STEP_SPAN
    return listed + (expected if ordered else 0)


def _expected(fleet: GroupFleet, history: GroupHistory, policy: ScalingPolicy, now: datetime) -> int:
    """Say how many of the nodes that are not listed yet may still come.

    All of them within the boot deadline. An order that is older is slow where some have come within that time, and as
    many are expected within the next; it is stuck where none has.
    """
    if fleet.error is not None or history.ordered_at is None:
        return 0
    if now - history.ordered_at < policy.boot_deadline:
        return fleet.capacity
    return sum(
        node.phase is not NodePhase.GONE and now - node.first_seen_at < policy.boot_deadline for node in fleet.nodes
    )


def given_up(
    fleet: GroupFleet, history: GroupHistory, policy: ScalingPolicy, now: datetime
) -> tuple[CapacityErrorKind, str] | None:
    """Say why the last order counts as refused although it was taken: Azure gave up on it, or it is stuck."""
    if history.ordered_at is None:
        return None
    if fleet.error is not None:
        return refusal_kind(fleet.error), fleet.error
    kept = fleet.busy + sum(node.phase not in {NodePhase.GONE, NodePhase.REMOVING} for node in fleet.nodes)
    if fleet.capacity <= kept or _expected(fleet, history, policy, now):
        return None
    return CapacityErrorKind.ALLOCATION, _overdue_words(fleet.capacity - kept, policy)


def _overdue_words(stuck: int, policy: ScalingPolicy) -> str:
    return f"{stuck} nodes asked for have not come within {_minutes(policy.boot_deadline)}"


def _failed_to_boot(node: Node, policy: ScalingPolicy, now: datetime) -> bool:
    """Whether a node that was never ready is given up."""
    if node.phase is NodePhase.LOST:
        return True
    waits = node.phase in {NodePhase.BOOTING, NodePhase.DRAINING}
    return waits and now - node.first_seen_at >= policy.boot_deadline


def _room(
    fleet: GroupFleet,
    history: GroupHistory,
    policy: ScalingPolicy,
    now: datetime,
    asked_for: int,
    underway: int,
    stuck: int,
) -> tuple[int, Reason | None]:
    """Count how many more nodes may be asked for; with 0 comes the reason."""
    group = fleet.group
    if (failed := _late_refusal(fleet, history, now)) is not None:
        return 0, failed
    if stuck and fleet.error is None and history.ordered_at is not None:
        again = history.ordered_at + policy.boot_deadline + back_off(CapacityErrorKind.ALLOCATION, history.refusals)
        if now < again:
            sentence = f"{_overdue_words(stuck, policy)} and are counted on no more; see the set {group.scale_set}"
            return 0, Reason(ReasonKind.ORDER_OVERDUE, f"{sentence} in Azure; asked again after {again:%H:%M:%S} UTC")
    room = max(0, group.max_nodes - asked_for)
    if room == 0:
        return 0, Reason(ReasonKind.AT_MAXIMUM, f"the group is at its maximum of {group.max_nodes} nodes")
    if history.refused_at is not None and history.refused_kind is not None:
        again = history.refused_at + back_off(history.refused_kind, history.refusals)
        if now < again:
            sentence = f"Azure refused nodes ({history.refused_kind.value}): {history.refused_message}; asked again"
            return 0, Reason(ReasonKind.CAPACITY_REFUSED, f"{sentence} after {again:%H:%M:%S} UTC")
    return _after_trouble(history, policy, now, underway) or (room, None)


def _after_trouble(
    history: GroupHistory, policy: ScalingPolicy, now: datetime, underway: int
) -> tuple[int, Reason | None] | None:
    """Have one node tried before more: boots have failed, or a quota's refusal is over.

    An order beyond a quota is refused whole, so that a pool that asked for all again would have none for ever.
    """
    if history.failed_boots >= policy.max_failed_boots and history.failed_boot_at is not None:
        kind, again = ReasonKind.BOOT_BREAKER, history.failed_boot_at + policy.boot_deadline
        sentence = f"{history.failed_boots} boots in a row failed (boot records: `nodes` container, boot/)"
        if now < again:
            return 0, Reason(kind, f"{sentence}; one is tried after {again:%H:%M:%S} UTC")
    elif history.refused_at is not None and history.refused_kind is CapacityErrorKind.QUOTA:
        kind, sentence = ReasonKind.CAPACITY_REFUSED, f"Azure refused nodes (quota): {history.refused_message}"
    else:
        return None
    return (0, Reason(kind, f"{sentence}; one is being tried")) if underway else (1, None)


def _late_refusal(fleet: GroupFleet, history: GroupHistory, now: datetime) -> Reason | None:
    """Say for how long nothing is asked for, because the last order was taken and then came to nothing."""
    if fleet.error is None or history.ordered_at is None:
        return None
    kind = refusal_kind(fleet.error)
    again = history.ordered_at + back_off(kind, history.refusals)
    if now >= again:
        return None
    sentence = f"Azure could not give the nodes asked for ({kind.value}): {fleet.error}; asked again"
    return Reason(ReasonKind.CAPACITY_REFUSED, f"{sentence} after {again:%H:%M:%S} UTC")


def _minutes(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:.3g} min"
