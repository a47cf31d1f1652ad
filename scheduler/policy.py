"""The rules that a pool's owner sets, as frozen data; `infra.config` validates them with pydantic."""

from dataclasses import dataclass
from datetime import timedelta

# How long a node idles at most where the owner says nothing and no boot has been measured.
UNMEASURED_IDLE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """How a pool is sized: by objectives, not thresholds.

    acceptable_wait       how long a ready task may wait for a slot once nodes are up
    min_nodes, max_nodes  bounds over all groups of the pool
    default_task_time     a task's run time while none has been measured
    idle_timeout          how long a node may hold no message before it is drained; without one, as long as a boot takes
    boot_deadline         an instance without a status for longer than this is given up
    silence_deadline      a node whose status is older than this is lost
    max_failed_boots      failed boots in a row after which nothing more is bought until one succeeds or time passes
    """

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
        if self.max_failed_boots < 1:
            raise ValueError(f"max_failed_boots must be at least 1, not {self.max_failed_boots}")
