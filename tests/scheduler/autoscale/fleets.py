"""Groups, nodes and demand for the tests of the decision, and what a plan does to them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scheduler.autoscale.decide import decide
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Drain, GroupFleet, GroupHistory, Plan, Remove, ScaleOut, Undrain
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import ScalingPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POOL = "render"


def group(
    name: str = "main", generation: str = "g1", *, slots: int = 2, most: int = 10, current: bool = True
) -> NodeGroup:
    """Make a group of the pool."""
    return NodeGroup(
        key=GroupKey(POOL, name, generation),
        scale_set=f"vmss-{name}-{generation}",
        queue=f"work-{name}-{generation}",
        vm_size="Standard_D2s_v5",
        priority=GroupPriority.REGULAR,
        task_slots=slots,
        max_nodes=most,
        current=current,
    )


def node(
    number: int,
    phase: NodePhase = NodePhase.WORKING,
    of: NodeGroup | None = None,
    *,
    idle: timedelta | None = None,
    age: timedelta = timedelta(minutes=30),
    held: tuple[str, ...] = (),
    ready: bool | None = None,
) -> Node:
    """Make a node, first seen `age` ago; `idle` is for how long it has held no message."""
    owner = of or group()
    was_ready = phase is not NodePhase.BOOTING if ready is None else ready
    return Node(
        node_id=f"{owner.scale_set}_{number}",
        group=owner.key,
        instance_id=str(number),
        phase=phase,
        control_number=1,
        incarnation="a" if was_ready else None,
        first_seen_at=NOW - age,
        ready_at=NOW - age if was_ready else None,
        status_at=NOW if was_ready else None,
        idle_since=None if idle is None else NOW - idle,
        held=held,
    )


def kept(nodes: tuple[Node, ...]) -> int:
    """Count the nodes that their set asks for: all but those that are being deleted."""
    return sum(each.phase not in {NodePhase.REMOVING, NodePhase.GONE} for each in nodes)


def fleet(of: NodeGroup, *nodes: Node, ordered: int = 0, unknown: str | None = None) -> GroupFleet:
    """Make a group with these nodes and so many more asked for."""
    return GroupFleet(of, nodes, kept(nodes) + ordered, unknown)


def work(active: int = 0, running: int = 0, mean: float | None = 60.0, waited: timedelta | None = None) -> PoolDemand:
    """Make a pool's demand; `waited` is the age of the oldest waiting task."""
    return PoolDemand(active, running, mean, None if waited is None else NOW - waited)


def plan_for(
    policy: ScalingPolicy,
    demand: PoolDemand | None,
    *groups: GroupFleet,
    history: Mapping[GroupKey, GroupHistory] | None = None,
    learned: PoolHistory | None = None,
) -> Plan:
    """Decide for the one pool."""
    known = {} if learned is None else {POOL: learned}
    return decide({POOL: policy}, {POOL: demand}, groups, history or {}, NOW, learned=known)


def applied(plan: Plan, groups: tuple[GroupFleet, ...]) -> tuple[GroupFleet, ...]:
    """Give the groups as they stand once a plan is carried out: orders are open, phases changed."""
    phases: dict[str, NodePhase] = {}
    ordered: dict[GroupKey, ScaleOut] = {}
    for action in plan.actions:
        match action:
            case ScaleOut():
                ordered[action.group] = action
            case Undrain():
                phases |= dict.fromkeys(action.nodes, NodePhase.WORKING)
            case Drain():
                phases |= dict.fromkeys(action.nodes, NodePhase.DRAINING)
            case Remove():
                phases |= dict.fromkeys(action.nodes, NodePhase.REMOVING)
    return tuple(_changed(each, phases, ordered.get(each.group.key)) for each in groups)


def _changed(each: GroupFleet, phases: Mapping[str, NodePhase], order: ScaleOut | None) -> GroupFleet:
    nodes = tuple(
        replace(member, phase=phases[member.node_id], idle_since=None) if member.node_id in phases else member
        for member in each.nodes
    )
    removed = sum(phases.get(member.node_id) is NodePhase.REMOVING for member in each.nodes)
    capacity = max(0, each.capacity - removed)
    if order is not None:
        kept = sum(member.phase not in {NodePhase.REMOVING, NodePhase.GONE} for member in nodes)
        capacity = max(capacity - order.given_up, kept) + order.count
    # What is said of the last order is not said of a new one.
    return replace(each, nodes=nodes, capacity=capacity, error=None if order is not None else each.error)


def after(plan: Plan, history: Mapping[GroupKey, GroupHistory]) -> dict[GroupKey, GroupHistory]:
    """Give the history once a plan's orders are made."""
    orders = {action.group for action in plan.actions if isinstance(action, ScaleOut)}
    kept = dict(history)
    for key in orders:
        kept[key] = replace(kept.get(key, GroupHistory()), ordered_at=NOW, refused_at=None, refused_kind=None)
    return kept
