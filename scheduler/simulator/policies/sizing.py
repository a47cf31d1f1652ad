"""From a wished number of nodes to orders, and sums that several peers share."""

from scheduler.simulator.interface import NOTHING_TILL_SOMETHING_HAPPENS, Observation, Orders


def bounded(seen: Observation, wanted: int, least: int = 0) -> int:
    """Keep a wish within the bounds of the group."""
    most = wanted if seen.max_nodes is None else min(wanted, seen.max_nodes)
    return max(least, most, 0)


def nodes_for(seen: Observation, slots: int) -> int:
    """Count the nodes that so many slots fill."""
    return -(-slots // seen.slots_per_node)


def demand(seen: Observation) -> int:
    """Count the nodes that the waiting and running jobs fill: the demand of the literature."""
    return nodes_for(seen, seen.waiting_slots + seen.running_slots)


def short_of(seen: Observation) -> int:
    """Count the nodes that waiting jobs need beyond the free slots of nodes that are up or boot."""
    free = (seen.up + seen.booting) * seen.slots_per_node - seen.running_slots
    return max(0, nodes_for(seen, max(0, seen.waiting_slots - free)))


def resize(seen: Observation, wanted: int) -> Orders:
    """Go to a number of nodes: down by booting nodes, then idle ones, then busy ones, which end their jobs first."""
    surplus = seen.alive - wanted
    if surplus <= 0:
        return Orders(request=-surplus) if surplus else NOTHING_TILL_SOMETHING_HAPPENS
    cancel = min(surplus, seen.booting)
    idle = min(surplus - cancel, seen.idle)
    return Orders(cancel=cancel, stop_idle=idle, retire_busy=surplus - cancel - idle)


def idle_since_before(seen: Observation, moment: float) -> int:
    """Count the nodes that have been idle since before a moment, or since then."""
    return sum(since <= moment for since in seen.idle_since)
