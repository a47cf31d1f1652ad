"""Pools that do not look at their queue: always at the maximum, or so many nodes by the hour."""

import math
from dataclasses import dataclass

from scheduler.simulator.interface import Detail, Observation, Orders
from scheduler.simulator.policies.sizing import bounded, resize

_HOUR = 3600.0
_HOURS = 24
_WEEK = 7


@dataclass(frozen=True, slots=True)
class AlwaysMax:
    """Keeps the group's maximum; `nodes` where the group has none."""

    nodes: int = 100
    interval: float | None = 60.0
    name: str = "always-max"
    detail: Detail = Detail.COUNTS

    def start(self) -> None:
        """Remember nothing."""
        return

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Ask for what is missing."""
        return resize(seen, self.nodes if seen.max_nodes is None else seen.max_nodes), state


@dataclass(frozen=True, slots=True)
class FixedHours:
    """So many nodes in working hours of weekdays (UTC) and so many else.

    Time zero is midnight before a Monday where the workload does not say when it was.
    """

    nodes: int = 20  # the example of the Azure Batch documentation: 20 nodes on weekdays from 8 to 18, else 10
    else_nodes: int = 10
    begin: int = 8
    end: int = 18
    weekdays: int = 5
    interval: float | None = 60.0
    name: str = "fixed-hours"
    detail: Detail = Detail.COUNTS

    def start(self) -> None:
        """Remember nothing."""
        return

    def wanted(self, now: float) -> int:
        """Give the number of nodes at a time since a Monday began."""
        hours = int(now // _HOUR)
        working = hours // _HOURS % _WEEK < self.weekdays and self.begin <= hours % _HOURS < self.end
        return self.nodes if working else self.else_nodes

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Go to the number of the hour, and look again at the next."""
        ahead = seen.clock.into_week
        orders = resize(seen, bounded(seen, self.wanted(seen.now + ahead)))
        if orders.changes:
            return orders, state
        return Orders(wake_at=(math.floor((seen.now + ahead) / _HOUR) + 1) * _HOUR - ahead), state
