"""The rules that a pool's owner sets, as frozen data; `infra.config` validates them with pydantic."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from enum import StrEnum

# What a boot is taken to last while none has been measured: a Linux machine from the order to its first status.
UNMEASURED_BOOT = timedelta(minutes=2)
# A node that boots in seconds is kept for some time all the same: each start is a call to the cloud and a bootstrap.
_LEAST_BOOT = timedelta(seconds=30)
# What a node that is started costs, in boots: about half of those under way are given up, once others took the work.
# On eight workloads (docs/frontier.md) 0.5 stood better against the hull of all peers than 0.75, 1, and 1.5.
_BOOTS_OF_A_START = 0.5
_MILLION = 1_000_000


def _check(name: str, value: float | None, least: float, most: float = math.inf) -> None:
    if value is not None and not least <= value <= most:
        bounds = f"at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name} must be {bounds}, not {value}")


class Weekday(StrEnum):
    """A day of the week, as `date.weekday` counts them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


@dataclass(frozen=True, slots=True)
class Floor:
    """Nodes that are up on some days from one time of day to another, by the clock of a time zone.

    One that ends no later than it begins ends on the day after.
    """

    days: tuple[Weekday, ...]
    begins: time
    ends: time
    time_zone: str
    nodes: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What all pools share: vCPUs by Azure's name of their quota, and dollars an hour by the catalogue's prices."""

    quota: Mapping[str, int] = field(default_factory=dict)
    budget_per_hour: float | None = None

    def __post_init__(self) -> None:
        for name, vcpus in self.quota.items():
            _check(f"the quota {name}", vcpus, 0)
        _check("budget_per_hour", self.budget_per_hour, 0)


NO_LIMITS = Limits()


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
    priority              of pools that share a quota or a budget, those of a higher one are served first
    budget_per_hour       dollars an hour that the pool's machines may cost, by the catalogue's prices
    spot_share            the part of the nodes that is to be Spot; without one, groups are filled as they are declared
    spot_fallback         where Spot or regular groups cannot give their part, the others do
    max_eviction_rate     part of a Spot group's nodes evicted within an hour above which the others are asked first
    max_step_out          most nodes that one decision asks for
    max_step_out_per_minute   most nodes asked for within a minute
    floors                nodes that are up at certain hours
    gang_nodes            nodes that work begins on together: as many are bought, and let go, at a time
    anticipate            nodes are started ahead of rises of demand that came at the same time of day or week before
    time_zone             whose clock such times are by
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
    priority: int = 0
    budget_per_hour: float | None = None
    spot_share: float | None = None
    spot_fallback: bool = True
    # The worst of the classes that Azure sorts Spot sizes into: "20+ %" evictions an hour (docs: Spot pricing history).
    max_eviction_rate: float = 0.2
    max_step_out: int | None = None
    max_step_out_per_minute: int | None = None
    floors: tuple[Floor, ...] = ()
    gang_nodes: int = 1
    anticipate: bool = False
    time_zone: str = "UTC"

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
        for name in ("max_failed_boots", "max_step_out", "max_step_out_per_minute"):
            _check(name, getattr(self, name), 1)
        for name in ("spot_share", "max_eviction_rate"):
            _check(name, getattr(self, name), 0, 1)
        _check("budget_per_hour", self.budget_per_hour, 0)
        _check("gang_nodes", self.gang_nodes, 1, max(1, self.max_nodes))
        for floor in self.floors:
            _check("the nodes of a floor", floor.nodes, 0, self.max_nodes)

    def start_cost(self, boot_time: timedelta | None, task_slots: int) -> float:
        """Give what the start of a node costs for each of its slots, in seconds of a node."""
        boot = UNMEASURED_BOOT if boot_time is None else boot_time
        return _BOOTS_OF_A_START * boot.total_seconds() / task_slots

    def worth_a_slot(self, task_seconds: float, start: float) -> int:
        """Give the part of the waiting tasks for which a new slot is worth its price, in millionths.

        N tasks of r seconds that share n new slots wait for N² r / 2n in all once these are up. One more slot saves
        N² r / 2n² of that, and costs `start` (`start_cost`): so n = N √(waiting_cost r / 2 start).
        Whole millionths, so that a formula of Azure Batch counts exactly alike.
        """
        worth = self.waiting_cost * task_seconds / 2
        return _MILLION if worth >= start else math.floor(_MILLION * math.sqrt(worth / start))

    def restart_cost(self, boot_time: timedelta | None) -> timedelta:
        """Give what it costs, in time of a node, to have let one go too early: a boot, and a task that waits for it."""
        return max(_LEAST_BOOT, UNMEASURED_BOOT if boot_time is None else boot_time) * (1 + self.waiting_cost)
