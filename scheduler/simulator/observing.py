"""What a policy is shown, made from what is."""

from bisect import bisect_right

from scheduler.simulator.clock import Clock
from scheduler.simulator.interface import Detail, NodeView, Observation, WorkView
from scheduler.simulator.nodes import NodeSet
from scheduler.simulator.queues import JobQueue

_NONE: tuple[float, ...] = ()


def observe(
    each: NodeSet,
    queue: JobQueue,
    now: float,
    lag: float,
    detail: Detail,
    oldest: float | None,
    work: WorkView | None,
    clock: Clock,
) -> Observation:
    """Show a group and its pool as they are, and begin to count anew what happens to the group."""
    booting = len(each.booting)
    requested = 0
    ages = detail >= Detail.AGES
    since = tuple([node.requested_at for node in each.booting.values()]) if booting and ages else _NONE
    if each.spec.listed_after and booting:
        asked = since or tuple([node.requested_at for node in each.booting.values()])
        requested = booting - bisect_right(asked, now - each.spec.listed_after)
    boots = _NONE
    if each.boots:
        boots = tuple(each.boots)
        each.boots = []
    seen = Observation(
        now + lag,
        now,
        len(queue.waiting),
        queue.waiting_slots,
        queue.running,
        queue.running_slots,
        queue.backlog_seconds,
        oldest,
        each.slots,
        each.spec.max_nodes,
        requested,
        booting,
        each.idle,
        each.up - each.idle,
        len(each.draining),
        queue.arrived,
        tuple(queue.finished) if queue.finished else _NONE,
        boots,
        each.failed_boots,
        each.preempted,
        each.refused,
        since,
        tuple([node.idle_since for node in each.idle_nodes()]) if ages and each.idle else _NONE,
        _views(each, detail),
        work,
        each.refused_kind,
        clock,
    )
    each.failed_boots = each.preempted = each.refused = 0
    each.refused_kind = None
    return seen


def _views(each: NodeSet, detail: Detail) -> tuple[NodeView, ...]:
    if detail >= Detail.NODES:
        return each.views()
    return each.spare_views() if detail >= Detail.SPARE else ()
