"""The rules that a pool's owner sets, as frozen data; `infra.config` validates them with pydantic."""

import math
from dataclasses import dataclass
from datetime import timedelta

# What a boot is taken to last while none has been measured: a Linux machine from the order to its first status.
UNMEASURED_BOOT = timedelta(minutes=2)
# A node that boots in seconds is kept for some time all the same: each start is a call to the cloud and a bootstrap.
_LEAST_BOOT = timedelta(seconds=30)
# What a node that is started costs, in boots: its own, and half of one again until it is given up without work.
_BOOTS_OF_A_START = 1.5
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """How a pool is sized: by objectives, not thresholds.

    waiting_cost          what an hour of one task's waiting is worth to the owner, in hours of a node: with more, more
                          nodes are started for short tasks, and nodes are kept longer without work
    acceptable_wait       how long a ready task may wait for a slot once nodes are up, at most
    min_nodes, max_nodes  bounds over all groups of the pool
    default_task_time     a task's run time while none has been measured
    idle_timeout          how long a node may hold no message before it is drained; without one, as long as it pays off
                          by the pauses that the pool's work has had
    boot_deadline         an instance without a status for longer than this is given up
    silence_deadline      a node whose status is older than this is lost
    max_failed_boots      failed boots in a row after which nothing more is bought until one succeeds or time passes
    """

    waiting_cost: float = 1.0
    acceptable_wait: timedelta = timedelta(minutes=5)
    min_nodes: int = 0
    max_nodes: int = 10
    default_task_time: timedelta = timedelta(minutes=1)
    idle_timeout: timedelta | None = None
    boot_deadline: timedelta = timedelta(minutes=15)
    silence_deadline: timedelta = timedelta(minutes=3)
    max_failed_boots: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.min_nodes <= self.max_nodes:
            raise ValueError(
                f"min_nodes {self.min_nodes} and max_nodes {self.max_nodes}: need 0 <= min_nodes <= max_nodes"
            )
        for name in ("acceptable_wait", "default_task_time", "idle_timeout", "boot_deadline", "silence_deadline"):
            span = getattr(self, name)
            if span is not None and span <= timedelta(0):
                raise ValueError(f"{name} must be longer than zero, not {span}")
        if not 0 <= self.waiting_cost < math.inf:
            raise ValueError(f"waiting_cost must be 0 or more, not {self.waiting_cost}")
        if self.max_failed_boots < 1:
            raise ValueError(f"max_failed_boots must be at least 1, not {self.max_failed_boots}")

    def worth_a_slot(self, task_seconds: float, boot_time: timedelta | None, task_slots: int) -> int:
        """Give the part of the waiting tasks for which a new slot is worth its price, in millionths.

        N tasks of r seconds that share n new slots wait for N² r / 2n in all once these are up. One more slot saves
        N² r / 2n² of that, and costs its part of a node's start: so n = N √(waiting_cost r / 2 start).
        Whole millionths, so that a formula of Azure Batch counts exactly alike.
        """
        boot = UNMEASURED_BOOT if boot_time is None else boot_time
        start = _BOOTS_OF_A_START * boot.total_seconds() / task_slots
        worth = self.waiting_cost * task_seconds / 2
        return _MILLION if worth >= start else math.floor(_MILLION * math.sqrt(worth / start))

    def restart_cost(self, boot_time: timedelta | None) -> timedelta:
        """Give what it costs, in time of a node, to have let one go too early: a boot, and a task that waits for it."""
        return max(_LEAST_BOOT, UNMEASURED_BOOT if boot_time is None else boot_time) * (1 + self.waiting_cost)
