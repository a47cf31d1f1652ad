"""Autoscalers that pack waiting jobs on nodes, booting ones included: Ray v2, CycleCloud, Slurm's power saving."""

import math
from dataclasses import dataclass

from scheduler.simulator.interface import NOTHING_TILL_SOMETHING_HAPPENS, Detail, Observation, Orders
from scheduler.simulator.policies.sizing import bounded, idle_since_before, short_of


@dataclass(frozen=True, slots=True)
class Ray:
    """Ray's autoscaler v2: launches for infeasible demand, limited a round; idle nodes stop after a time."""

    interval: float | None = 5.0  # AUTOSCALER_UPDATE_INTERVAL_S 5
    idle_timeout: float = 300.0  # idle_timeout_minutes 5
    upscaling_speed: float = 1.0  # upscaling_speed 1
    least_launches: int = 5  # a round launches max(5, speed x nodes)
    name: str = "ray"
    detail: Detail = Detail.AGES

    def start(self) -> None:
        """Remember nothing."""
        return

    def launches(self, missing: int, nodes: int) -> int:
        """Limit the launches of a round."""
        return min(missing, max(self.least_launches, int(self.upscaling_speed * nodes)))

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Launch what is missing, or stop what has been idle for too long."""
        missing = self.launches(short_of(seen), seen.alive)
        return grow_or_stop(seen, missing, self.idle_timeout, math.inf), state


@dataclass(frozen=True, slots=True)
class CycleCloud:
    """CycleCloud's scalelib, called by cron: packs every waiting job, and deletes nodes without any."""

    interval: float | None = 60.0  # cron of a minute
    idle_timeout: float = 300.0  # idle_timeout 300
    name: str = "cyclecloud"
    detail: Detail = Detail.AGES

    def start(self) -> None:
        """Remember nothing."""
        return

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Boot for what does not fit, or delete what has been idle for too long."""
        return grow_or_stop(seen, short_of(seen), self.idle_timeout, math.inf), state


@dataclass(frozen=True, slots=True)
class Slurm:
    """Slurm's power saving: resumes nodes for jobs, suspends idle ones, so many a minute.

    `SuspendTime` is off by default; this is the scale-down idle time of AWS ParallelCluster, which sets it. In Slurm a
    job is bound to the node that boots for it; here it takes the first that is free, which is the peer's better side.
    """

    interval: float | None = 10.0  # power_save_interval 10 s
    suspend_time: float = 600.0  # ParallelCluster: ScaledownIdletime 10 min
    suspend_rate: float = 60.0  # SuspendRate 60 a minute
    resume_rate: float = 300.0  # ResumeRate 300 a minute
    name: str = "slurm"
    detail: Detail = Detail.AGES

    def start(self) -> None:
        """Remember nothing."""
        return

    def in_a_round(self, rate: float) -> int:
        """Give how many nodes a rate allows between two rounds."""
        return max(1, int(rate * (self.interval or 0.0) / 60.0))

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Resume or suspend, within the rates."""
        missing = min(short_of(seen), self.in_a_round(self.resume_rate))
        return grow_or_stop(seen, missing, self.suspend_time, self.in_a_round(self.suspend_rate)), state


def grow_or_stop(seen: Observation, missing: int, timeout: float, most_stops: float) -> Orders:
    """Ask for nodes; if no job waits, stop those that have been idle for longer than a time."""
    missing = min(missing, bounded(seen, seen.alive + missing) - seen.alive)
    if missing > 0:
        return Orders(request=missing)
    if seen.waiting:
        return NOTHING_TILL_SOMETHING_HAPPENS
    stops = int(min(idle_since_before(seen, seen.now - timeout), most_stops))
    if stops:
        return Orders(stop_idle=stops)
    return Orders(wake_at=seen.idle_since[0] + timeout) if seen.idle_since else NOTHING_TILL_SOMETHING_HAPPENS
