"""What a node's row becomes when its instance and its status are seen: the life of a node (design section 6.9)."""

from dataclasses import dataclass, replace
from datetime import datetime

from node_bootstrap.protocol import NodeState, NodeStatus
from scheduler.controller.statuses import StatusReading
from scheduler.model import GroupKey, Instance, InstanceState, Node, NodePhase
from scheduler.ports.fleet_store import DELETED_BY_CLOUD, GONE_BY_ITSELF, STOPPED_BY_CLOUD

_ADMITTED = frozenset({NodePhase.WORKING, NodePhase.DRAINING, NodePhase.DRAINED})


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is seen of a machine now. `silent`: no status came for longer than the silence deadline."""

    instance: Instance | None
    reading: StatusReading | None
    silent: bool


@dataclass(frozen=True, slots=True)
class Folded:
    """The row, and whether the node needs a new control number: it began, restarted, came back, or asks for one."""

    node: Node
    renew: bool = False


def new_node(group: GroupKey, instance: Instance, now: datetime) -> Node:
    """Make the row of an instance that is listed for the first time."""
    return Node(
        node_id=instance.node_id,
        group=group,
        instance_id=instance.instance_id,
        phase=NodePhase.BOOTING,
        control_number=0,
        incarnation=None,
        first_seen_at=now,
        ready_at=None,
        status_at=None,
        idle_since=None,
    )


def fold(node: Node, seen: Sighting, now: datetime) -> Folded:
    """Bring a row up to date."""
    if seen.instance is None:
        if node.phase is NodePhase.GONE:
            return Folded(node)
        reason = node.reason if node.phase is NodePhase.REMOVING else GONE_BY_ITSELF
        return Folded(replace(node, phase=NodePhase.GONE, gone_at=now, idle_since=None, reason=reason))
    if node.phase is NodePhase.GONE:
        return Folded(_listed_again(node, seen.instance, seen.reading, now))
    status = seen.reading.status if seen.reading is not None else None
    if status is not None and seen.reading is not None:
        held = tuple(sorted(message.message_id for message in status.held))
        node = replace(node, held=held, status_at=seen.reading.last_modified)
    if node.phase is NodePhase.REMOVING:
        return Folded(node)
    if seen.instance.state is InstanceState.DELETING:
        return Folded(replace(node, phase=NodePhase.REMOVING, idle_since=None, reason=DELETED_BY_CLOUD))
    if seen.silent and node.ready_at is not None:
        return Folded(_lost(node, seen.instance))
    if status is None:
        return Folded(_without_status(node, seen.instance))
    return _with_status(node, status, now)


def _listed_again(node: Node, instance: Instance, reading: StatusReading | None, now: datetime) -> Node:
    """Tell a listing that had left an instance out from another machine of the same name (a set that was made anew)."""
    status = reading.status if reading is not None else None
    if status is not None and status.incarnation == node.incarnation:
        return replace(node, phase=NodePhase.BOOTING, gone_at=None)
    return replace(new_node(node.group, instance, now), control_number=node.control_number)


def _lost(node: Node, instance: Instance) -> Node:
    if node.phase is NodePhase.LOST:
        return node
    stopped = instance.state is InstanceState.STOPPED
    reason = STOPPED_BY_CLOUD if stopped else "no status came for the silence deadline"
    return replace(node, phase=NodePhase.LOST, idle_since=None, reason=reason)


def _without_status(node: Node, instance: Instance) -> Node:
    if node.phase is NodePhase.BOOTING and instance.state is InstanceState.FAILED:
        return replace(node, phase=NodePhase.LOST, reason=f"its boot failed: {instance.error or 'Azure says no more'}")
    return node


def _with_status(node: Node, status: NodeStatus, now: datetime) -> Folded:
    restarted = node.incarnation is not None and node.incarnation != status.incarnation
    node = replace(node, incarnation=status.incarnation, ready_at=node.ready_at or now)
    if node.phase not in _ADMITTED:
        return Folded(replace(node, phase=NodePhase.WORKING, idle_since=None, reason=""), renew=True)
    if restarted:
        phase = NodePhase.WORKING if node.phase is NodePhase.WORKING else NodePhase.DRAINING
        return Folded(replace(node, phase=phase, idle_since=None), renew=True)
    if status.control_number != node.control_number:
        # It has not seen the newest control yet: what it says of itself answers an older one.
        phase = NodePhase.DRAINING if node.phase is NodePhase.DRAINED else node.phase
        return Folded(replace(node, phase=phase, idle_since=None))
    if node.phase is NodePhase.WORKING:
        return _at_work(node, status, now)
    drained = status.state is NodeState.DRAINED and not status.held
    return Folded(replace(node, phase=NodePhase.DRAINED if drained else NodePhase.DRAINING))


def _at_work(node: Node, status: NodeStatus, now: datetime) -> Folded:
    if status.state is NodeState.WAITING:
        return Folded(replace(node, idle_since=None), renew=True)
    if status.state is not NodeState.WORKING:
        reason = f"it stops by itself: {status.note or 'it says no more'}"
        return Folded(replace(node, phase=NodePhase.DRAINING, idle_since=None, reason=reason), renew=True)
    return Folded(replace(node, idle_since=None if status.held else node.idle_since or now))
