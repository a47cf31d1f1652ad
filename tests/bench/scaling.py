"""Sides of "decide": one decision for all nodes. `size` is how many pools share 1,000 of them, or how many there are.

decide     `scheduler.autoscale.decide.decide`: demand, fleet and history to a plan that names nodes and reasons
SHAPES     the same for one pool of `size` nodes and a million waiting tasks, or none where that lets nodes go, by what
           the nodes do; `hundred-pools` shares them out
formula    the arithmetic of KEDA's queue trigger through the HPA (external metric, AverageValue): a number per
           pool from a number per pool, with the HPA's tolerance of 0.1 and the bounds. It knows no node, so it
           neither drains, removes, retires generations nor explains; it stands here for scale.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType

from scheduler.autoscale.decide import decide
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import Drain, GroupFleet, GroupHistory, Hold, Plan, Remove, ScaleOut, Undrain
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import ScalingPolicy
from tests.bench.side import Prepared, main

NODES = 1000
SLOTS = 4
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECISIONS = 100
DECISIONS_OF_MANY = 20
# The formula is so short that more of them are needed for a clock to see.
FORMULAS = 10_000
_TOLERANCE = 0.1
WAITING = 1_000_000


@dataclass(frozen=True, slots=True)
class Shape:
    """What all nodes of a fleet do, whether tasks wait, whether its generation is declared, and what becomes of it."""

    kind: int
    waiting: int
    action: type[ScaleOut | Undrain | Drain | Remove | Hold]
    current: bool = True
    asked_to_go: bool = False


# By the kinds of `_node`; the mix is of all of them.
BUSY, IDLE, BOOTING, DRAINING, DRAINED, MIXED = 0, 6, 7, 8, 9, -1
SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "mixed": Shape(MIXED, WAITING, ScaleOut),
        "busy": Shape(BUSY, WAITING, ScaleOut),
        "idle": Shape(IDLE, 0, Drain),
        "booting": Shape(BOOTING, WAITING, ScaleOut),
        "draining": Shape(DRAINING, WAITING, Undrain),
        "drained": Shape(DRAINED, 0, Remove),
        "retired": Shape(BUSY, WAITING, Drain, current=False),
        "asked-to-go": Shape(BUSY, WAITING, Drain, asked_to_go=True),
    }
)


@dataclass(frozen=True, slots=True)
class Scaler:
    """A pool as the formula sees it: tasks in its queue, tasks that a replica should have, replicas, the maximum."""

    tasks: int
    per_replica: int
    replicas: int
    most: int


def fleet(pool: str, count: int) -> GroupFleet:
    """Make a group in mid-life: of ten nodes six are busy, one idles, one boots, one drains, one has drained."""
    group = NodeGroup(
        key=GroupKey(pool, "main", "g1"),
        scale_set=f"vmss-{pool}",
        queue=f"work-{pool}",
        vm_size="Standard_D4s_v5",
        priority=GroupPriority.REGULAR,
        task_slots=SLOTS,
        max_nodes=2 * NODES,
    )
    return GroupFleet(group, tuple(_node(group, number) for number in range(count)), count)


def _node(group: NodeGroup, number: int) -> Node:
    kind = number % 10
    later = {7: NodePhase.BOOTING, 8: NodePhase.DRAINING, 9: NodePhase.DRAINED}
    phase = later.get(kind, NodePhase.WORKING)
    booting = phase is NodePhase.BOOTING
    idle = kind == 6
    return Node(
        node_id=f"{group.scale_set}_{number}",
        group=group.key,
        instance_id=str(number),
        phase=phase,
        control_number=1,
        incarnation=None if booting else "a",
        first_seen_at=NOW - timedelta(minutes=1 if booting else 30),
        ready_at=None if booting else NOW - timedelta(minutes=28),
        status_at=None if booting else NOW,
        idle_since=NOW - timedelta(minutes=10) if idle else None,
        held=tuple(f"m{number}-{slot}" for slot in range(SLOTS)) if phase is NodePhase.WORKING and not idle else (),
    )


def decide_all(pools: int, _directory: Path) -> Prepared:
    """Decide by Millpond: half of the pools want more nodes, half fewer."""
    each = NODES // pools
    waiting = [each * (100 if number % 2 == 0 else 0) for number in range(pools)]
    return _decisions([fleet(f"pool-{number:03}", each) for number in range(pools)], waiting, DECISIONS)


def decide_many(name: str, nodes: int, _directory: Path) -> Prepared:
    """Decide for one pool whose nodes all do the same."""
    shape = SHAPES[name]
    made = fleet("large", nodes)
    if shape.kind != MIXED:
        made = replace(made, nodes=tuple(_node(made.group, 10 * number + shape.kind) for number in range(nodes)))
    if shape.asked_to_go:
        made = replace(made, nodes=tuple(replace(node, drain_asked_at=NOW) for node in made.nodes))
    made = replace(made, group=replace(made.group, current=shape.current, max_nodes=2 * nodes))
    return _decisions([made], [shape.waiting], DECISIONS_OF_MANY, shape.action)


def decide_hundred_pools(nodes: int, _directory: Path) -> Prepared:
    """Decide for a hundred pools in mid-life that share the nodes and the waiting tasks."""
    fleets = [fleet(f"pool-{number:03}", nodes // 100) for number in range(100)]
    return _decisions(fleets, [WAITING // 100] * 100, DECISIONS_OF_MANY)


def running(of: GroupFleet) -> int:
    """Count tasks that run: one for each message held."""
    return sum(len(node.held) for node in of.nodes)


def swung(most: int, last: int) -> PoolHistory:
    """Give what a pool has learned whose demand rose to all slots and fell bit by bit, twice, to what it is now."""
    history = PoolHistory()
    for hour in (2, 1):
        levels = range(most, last - 1, -max(1, most // 200))
        for step, level in enumerate((*levels, last)):
            history = observed(history, level, NOW - timedelta(hours=hour) + timedelta(seconds=5 * step))
    return history


def _decisions(
    fleets: list[GroupFleet],
    waiting: list[int],
    count: int,
    action: type[ScaleOut | Undrain | Drain | Remove | Hold] | None = None,
) -> Prepared:
    most = 2 * sum(len(each.nodes) for each in fleets)
    names = [each.group.key.pool for each in fleets]
    policies = {name: ScalingPolicy(max_nodes=most, acceptable_wait=timedelta(minutes=5)) for name in names}
    demand: dict[str, PoolDemand | None] = {
        each.group.key.pool: PoolDemand(tasks, running(each), 60.0, NOW - timedelta(minutes=1))
        for each, tasks in zip(fleets, waiting, strict=True)
    }
    history = {each.group.key: GroupHistory() for each in fleets}
    learned = {each.group.key.pool: swung(len(each.nodes) * SLOTS, running(each)) for each in fleets}
    groups = tuple(fleets)

    def plan() -> Plan:
        return decide(policies, demand, groups, history, NOW, learned=learned)

    def work() -> None:
        for _ in range(count):
            plan()

    def check() -> None:
        actions = plan().actions
        assert {each.group.pool for each in actions} == set(names)
        assert action is None or action in {type(each) for each in actions}

    return Prepared(work, count, check)


def formula_all(pools: int, _directory: Path) -> Prepared:
    """Decide by the formula, over the same pools."""
    each = NODES // pools
    scalers = [
        Scaler(tasks=each * (102 if number % 2 == 0 else 2), per_replica=5 * SLOTS, replicas=each, most=2 * NODES)
        for number in range(pools)
    ]

    def work() -> None:
        for _ in range(FORMULAS // pools):
            for scaler in scalers:
                replicas(scaler)

    def check() -> None:
        assert all(0 <= replicas(scaler) <= scaler.most for scaler in scalers)

    return Prepared(work, FORMULAS // pools, check)


def replicas(scaler: Scaler) -> int:
    """Give ceil(metric / target), unless that is within the tolerance of what there is; then bound it."""
    if scaler.replicas == 0 or abs(scaler.tasks / (scaler.per_replica * scaler.replicas) - 1) > _TOLERANCE:
        return min(max(math.ceil(scaler.tasks / scaler.per_replica), 0), scaler.most)
    return scaler.replicas


VARIANTS: dict[str, Callable[[int, Path], Prepared]] = {
    "decide": decide_all,
    "formula": formula_all,
    "hundred-pools": decide_hundred_pools,
    **{name: partial(decide_many, name) for name in SHAPES},
}

if __name__ == "__main__":
    main(VARIANTS)
