"""The simplest policies: a pool that is always full, and a node for each waiting job."""

import math
from dataclasses import dataclass

from scheduler.simulator.interface import NOTHING_TILL_SOMETHING_HAPPENS, Detail, Observation, Orders


@dataclass(frozen=True, slots=True)
class FixedPool:
    """Keeps the nodes that there are; `nodes` more are asked for at the start."""

    nodes: int = 0
    name: str = "fixed"
    interval: float | None = 3600.0
    detail: Detail = Detail.COUNTS

    def start(self) -> bool:
        """Begin without anything asked for."""
        return False

    def decide(self, seen: Observation, state: bool) -> tuple[Orders, bool]:
        """Ask once, and again for what was lost."""
        missing = self.nodes - seen.alive - seen.draining
        if state and not seen.preempted and not seen.failed_boots and not seen.refused:
            return NOTHING_TILL_SOMETHING_HAPPENS, True
        return Orders(request=max(0, missing), wake_at=math.inf), True


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A node for each waiting job that no booting node is meant for; an idle node stops after `idle_timeout`.

    It is asked after every event, so it is the quickest there can be without knowing what comes. `cancels` gives boots
    up that no waiting job needs any more; `most_booting` boot at once.
    """

    idle_timeout: float = 900.0
    cancels: bool = False
    most_booting: float = math.inf
    name: str = "queue-depth"
    interval: float | None = None
    detail: Detail = Detail.COUNTS

    def start(self) -> bool:
        """Begin with the clock of idle nodes not set."""
        return False

    def decide(self, seen: Observation, state: bool) -> tuple[Orders, bool]:
        """Bring booting nodes up to waiting jobs."""
        wanted = min(-(-seen.waiting // seen.slots_per_node), self.most_booting)
        if seen.max_nodes is not None:
            wanted = min(wanted, seen.max_nodes - seen.up)
        missing = int(wanted) - seen.booting
        if missing > 0:
            return Orders(request=missing, idle_timeout=self.idle_timeout), True
        if missing < 0 and self.cancels:
            return Orders(cancel=-missing), state
        if not state:
            return Orders(idle_timeout=self.idle_timeout, wake_at=math.inf), True
        return NOTHING_TILL_SOMETHING_HAPPENS, True
