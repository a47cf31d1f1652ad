"""The nodes of one group while a replay runs: who is free, who is idle since when, what they have cost."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from scheduler.errors import CapacityErrorKind
from scheduler.simulator.interface import NodeView
from scheduler.simulator.world import Group

BOOTING, UP, DRAINING, DRAINED, GONE = "booting", "up", "draining", "drained", "gone"


class SimNode:
    """One node. `stamp` changes whenever its place among the free ones does, so that old entries are known as such."""

    __slots__ = (
        "free",
        "idle_since",
        "jobs",
        "number",
        "phase",
        "ready_at",
        "requested_at",
        "retires",
        "stamp",
        "view",
    )

    def __init__(self, number: int, slots: int, now: float) -> None:
        self.number = number
        self.phase = BOOTING
        self.requested_at = now
        self.ready_at: float | None = None
        self.free = slots
        self.stamp = 0
        self.idle_since = now
        self.jobs: list[int] = []
        self.retires = False
        self.view: NodeView | None = None


@dataclass(slots=True)
class GroupTotals:
    """What the nodes of a group came to; node-seconds are paid for from request to stop.

    lost_slot_seconds   run time that was lost with nodes that were taken away, by which `restarts` jobs began again
    """

    node_seconds: float = 0.0
    boot_seconds: float = 0.0
    started: int = 0
    peak: int = 0
    failed_boots: int = 0
    preempted: int = 0
    refused: int = 0
    cancelled: int = 0
    lost_slot_seconds: float = 0.0
    restarts: int = 0


class NodeSet:
    """The nodes of one group. Of free nodes the fullest that has room is taken; of equal ones that freed last."""

    def __init__(self, spec: Group, index: int, pool: int) -> None:
        self.spec = spec
        self.index = index
        self.pool = pool
        self.slots = spec.slots
        self.nodes: dict[int, SimNode] = {}
        self.booting: dict[int, SimNode] = {}
        self.totals = GroupTotals()
        self.idle_timeout = float("inf")
        self.keep = 0
        self.timer_at = float("inf")
        self.up = 0
        self.idle = 0
        self.draining: dict[int, SimNode] = {}
        self.free_slots = 0
        self._stacks: list[deque[tuple[SimNode, int]]] = [deque() for _ in range(spec.slots + 1)]
        self._number = 0
        # What has happened since the policy was last asked.
        self.boots: list[float] = []
        self.failed_boots = self.preempted = self.refused = 0
        self.refused_kind: CapacityErrorKind | None = None

    def add(self, now: float) -> SimNode:
        """Begin a node."""
        node = SimNode(self._number, self.slots, now)
        self._number += 1
        self.nodes[node.number] = node
        self.booting[node.number] = node
        self.totals.started += 1
        alive = len(self.nodes)
        self.totals.peak = max(self.totals.peak, alive)
        return node

    def ready(self, node: SimNode, now: float) -> None:
        """Have a booted node take jobs."""
        del self.booting[node.number]
        node.phase = UP
        node.ready_at = now
        self.totals.boot_seconds += now - node.requested_at
        self.up += 1
        self.free_slots += node.free
        self._offer(node, now)

    def take(self, slots: int) -> SimNode | None:
        """Give the fullest node with so many free slots; `occupy` it next."""
        for free in range(slots, self.slots + 1):
            stack = self._stacks[free]
            while stack:
                node, stamp = stack[-1]
                if node.stamp == stamp:
                    return node
                stack.pop()
        return None

    def occupy(self, node: SimNode, job: int, slots: int) -> None:
        """Put a job on a node that takes jobs."""
        if node.free == self.slots:
            self.idle -= 1
        node.jobs.append(job)
        node.free -= slots
        self.free_slots -= slots
        node.view = None
        node.stamp += 1
        if node.free:
            self._stacks[node.free].append((node, node.stamp))

    def release(self, node: SimNode, job: int, slots: int, now: float) -> None:
        """Take a job that has ended off its node."""
        node.jobs.remove(job)
        node.free += slots
        if node.phase == UP:
            self.free_slots += slots
            self._offer(node, now)
        else:
            node.view = None

    def withdraw(self, node: SimNode) -> None:
        """Have a node that is up take no more jobs."""
        if node.free == self.slots:
            self.idle -= 1
        self.up -= 1
        self.free_slots -= node.free
        self.draining[node.number] = node
        node.stamp += 1
        node.view = None
        node.phase = DRAINING if node.jobs else DRAINED

    def take_back(self, node: SimNode, now: float) -> None:
        """Have a draining node take jobs again."""
        del self.draining[node.number]
        self.up += 1
        self.free_slots += node.free
        node.phase = UP
        node.retires = False
        self._offer(node, now)

    def remove(self, node: SimNode, now: float) -> None:
        """End a node and pay for it."""
        if node.phase == BOOTING:
            del self.booting[node.number]
            self.totals.boot_seconds += now - node.requested_at
        elif node.phase == UP:
            if node.free == self.slots:
                self.idle -= 1
            self.up -= 1
            self.free_slots -= node.free
        else:
            del self.draining[node.number]
        node.phase = GONE
        node.stamp += 1
        del self.nodes[node.number]
        self.totals.node_seconds += now - node.requested_at + self.spec.deleted_after

    def idle_nodes(self) -> Iterator[SimNode]:
        """Give idle nodes, longest idle first."""
        self.longest_idle()  # forgets those before it that are not idle any more
        return (node for node, stamp in self._stacks[self.slots] if node.stamp == stamp)

    def longest_idle(self) -> SimNode | None:
        """Give the node that has been idle longest."""
        stack = self._stacks[self.slots]
        while stack:
            node, stamp = stack[0]
            if node.stamp == stamp:
                return node
            stack.popleft()
        return None

    def views(self) -> tuple[NodeView, ...]:
        """Give every node as policies see it."""
        return tuple([node.view or self._view(node) for node in self.nodes.values()])

    def spare_views(self) -> tuple[NodeView, ...]:
        """Give every node but the busy ones."""
        spare = chain(self.booting.values(), self.idle_nodes() if self.idle else (), self.draining.values())
        return tuple([node.view or self._view(node) for node in spare])

    def _view(self, node: SimNode) -> NodeView:
        idle_since = node.idle_since if node.ready_at is not None and not node.jobs else None
        used = self.slots - node.free
        node.view = NodeView(node.number, node.phase, node.requested_at, node.ready_at, idle_since, used)
        return node.view

    def _offer(self, node: SimNode, now: float) -> None:
        node.stamp += 1
        node.view = None
        if node.free == self.slots:
            node.idle_since = now
            self.idle += 1
        self._stacks[node.free].append((node, node.stamp))
