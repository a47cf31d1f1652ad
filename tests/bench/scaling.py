"""Sides of "decide": `size` pools that share 1,000 nodes, one decision for all of them.

decide     `scheduler.autoscale.decide.decide`: demand, fleet and history to a plan that names nodes and reasons
formula    the arithmetic of KEDA's queue trigger through the HPA (external metric, AverageValue): a number per
           pool from a number per pool, with the HPA's tolerance of 0.1 and the bounds. It knows no node, so it
           neither drains, removes, retires generations nor explains; it stands here for scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.autoscale.decide import decide
from scheduler.autoscale.plan import GroupFleet, GroupHistory
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import ScalingPolicy
from tests.bench.side import Prepared, main

NODES = 1000
SLOTS = 4
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECISIONS = 100
# The formula is so short that more of them are needed for a clock to see.
FORMULAS = 10_000
_TOLERANCE = 0.1


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
    names = [f"pool-{number:03}" for number in range(pools)]
    policies = {name: ScalingPolicy(max_nodes=2 * NODES, acceptable_wait=timedelta(minutes=5)) for name in names}
    demand: dict[str, PoolDemand | None] = {
        name: PoolDemand(each * (100 if number % 2 == 0 else 0), each * 2, 60.0, NOW - timedelta(minutes=1))
        for number, name in enumerate(names)
    }
    groups = tuple(fleet(name, each) for name in names)
    history = {group.group.key: GroupHistory() for group in groups}

    def work() -> None:
        for _ in range(DECISIONS):
            decide(policies, demand, groups, history, NOW)

    def check() -> None:
        plan = decide(policies, demand, groups, history, NOW)
        assert {action.group.pool for action in plan.actions} == set(names)

    return Prepared(work, DECISIONS, check)


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


VARIANTS: dict[str, Callable[[int, Path], Prepared]] = {"decide": decide_all, "formula": formula_all}

if __name__ == "__main__":
    main(VARIANTS)
