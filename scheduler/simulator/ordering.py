"""Carry out what a policy orders, as far as there are such nodes."""

from collections.abc import Callable

from scheduler.errors import CapacityErrorKind, InvalidRequestError
from scheduler.simulator.cluster import NEVER, Cluster
from scheduler.simulator.interface import Orders
from scheduler.simulator.nodes import BOOTING, DRAINED, DRAINING, UP, NodeSet, SimNode

# A thousand scale sets; what asks for more is a slip.
MOST_NODES = 1_000_000


def set_clock(cluster: Cluster, each: NodeSet, order: Orders) -> None:
    """Set after what time idle nodes stop by themselves, and how many never do."""
    if order.keep is not None:
        each.keep = order.keep
    if order.idle_timeout is not None and order.idle_timeout != each.idle_timeout:
        each.idle_timeout = order.idle_timeout
        each.timer_at = NEVER
    cluster.arm_timers(each.pool)


def carry_out(cluster: Cluster, each: NodeSet, order: Orders) -> None:  # noqa: C901, PLR0912  one branch an order
    """Do what is ordered for one group, in the order of the fields of `Orders`."""
    now = cluster.now
    for number in order.undrain:
        node = each.nodes.get(number)
        if node is not None and node.phase in (DRAINING, DRAINED):
            each.take_back(node, now)
    for _ in range(_allowed(cluster, each, order.request)):
        cluster.boot(each)
    for _ in range(min(order.cancel, len(each.booting))):
        each.totals.cancelled += 1
        each.remove(next(reversed(each.booting.values())), now)
    for _ in range(min(order.stop_idle, each.idle)):
        oldest = each.longest_idle()
        if oldest is not None:
            each.remove(oldest, now)
    for numbers, retires in ((order.drain, False), (order.retire, True)):
        for number in numbers:
            _drain(cluster, each, number, retires=retires)
    if order.retire_busy:
        for number in _newest(each, order.retire_busy, lambda node: node.phase == UP and bool(node.jobs)):
            _drain(cluster, each, number, retires=True)
    if order.shrink:
        _shrink(cluster, each, order.shrink)
    for number in order.stop:
        if number in each.nodes:
            cluster.lose(each, each.nodes[number])
    cluster.dispatch(each.pool)
    cluster.arm_timers(each.pool)


def _allowed(cluster: Cluster, each: NodeSet, wanted: int) -> int:
    """Count how many of the nodes asked for are given; the others are refused.

    A group's own maximum cuts an order off, as whoever sends orders would; what is beyond a quota is refused whole, as
    Azure does.
    """
    if wanted <= 0:
        return 0
    most = each.spec.max_nodes
    given = max(0, wanted if most is None else min(wanted, most - len(each.nodes)))
    kind = CapacityErrorKind.ALLOCATION
    if any(begin <= cluster.now < end for begin, end in each.spec.refused):
        given = 0
    elif any(
        each in sets and sum(len(other.nodes) for other in sets) + given > quota for quota, sets in cluster.quotas
    ):
        given, kind = 0, CapacityErrorKind.QUOTA
    if len(each.nodes) + given > MOST_NODES:
        raise InvalidRequestError(
            f"{given:,} nodes more are asked for, beside {len(each.nodes):,}; the simulator has at most {MOST_NODES:,}"
            f" at once: bound them (--max-nodes), or ask for less"
        )
    if given < wanted:
        each.refused_kind = kind
    each.refused += wanted - given
    each.totals.refused += wanted - given
    return given


def _drain(cluster: Cluster, each: NodeSet, number: int, *, retires: bool) -> None:
    node = each.nodes.get(number)
    if node is None:
        return
    if node.phase == BOOTING or (retires and not node.jobs):
        each.remove(node, cluster.now)
    elif node.phase == UP:
        each.withdraw(node)
        node.retires = retires


def _shrink(cluster: Cluster, each: NodeSet, count: int) -> None:
    def rank(node: SimNode) -> tuple[int, int]:
        return (0 if node.phase == BOOTING else 1 if not node.jobs else 2, -node.number)

    for node in sorted(each.nodes.values(), key=rank)[:count]:
        cluster.lose(each, node)


def _newest(each: NodeSet, count: int, fits: Callable[[SimNode], bool]) -> list[int]:
    return [node.number for node in reversed(each.nodes.values()) if fits(node)][:count]
