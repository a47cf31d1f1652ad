"""Autoscalers that read a queue: buildkite-agent-scaler, SQS backlog per instance, SkyPilot's request rate."""

import math
from dataclasses import dataclass

from scheduler.simulator.interface import NOTHING, NOTHING_TILL_SOMETHING_HAPPENS, Detail, Observation, Orders
from scheduler.simulator.policies.sizing import bounded, demand, resize


@dataclass(frozen=True, slots=True)
class Buildkite:
    """buildkite-agent-scaler as the Elastic CI Stack runs it: it only adds, and idle agents end their own instance.

    Its repair of too few agents is left out: an instance that is up has all its agents here.
    """

    interval: float | None = 10.0  # LAMBDA_INTERVAL 10 s
    buffer: int = 0  # INSTANCE_BUFFER 0
    out_factor: float = 1.0  # SCALE_OUT_FACTOR 1
    out_cooldown: float = 0.0  # SCALE_OUT_COOLDOWN_PERIOD 0
    idle_timeout: float = 600.0  # ScaleInIdlePeriod of the Elastic CI Stack: 600 s
    name: str = "buildkite"
    detail: Detail = Detail.COUNTS

    def start(self) -> float:
        """Begin without a scale-out."""
        return -math.inf

    def desired(self, seen: Observation) -> int:
        """Give instances for scheduled and running jobs, and the buffer while there is any job."""
        needed = demand(seen)
        return bounded(seen, needed + min(self.buffer, needed))

    def decide(self, seen: Observation, state: float) -> tuple[Orders, float]:
        """Add what is missing, changed by the factor; never take away."""
        missing = self.desired(seen) - seen.alive
        if missing <= 0:
            return Orders(idle_timeout=self.idle_timeout, wake_at=math.inf), state
        if seen.now - state < self.out_cooldown:
            return Orders(idle_timeout=self.idle_timeout, wake_at=state + self.out_cooldown), state
        step = max(1, math.floor(missing * self.out_factor))
        return Orders(request=step, idle_timeout=self.idle_timeout), seen.now


@dataclass(frozen=True, slots=True)
class SqsState:
    """How many points in a row were above and below the target, and the mean processing time with its count."""

    above: int = 0
    below: int = 0
    mean_run: float = 0.0
    measured: int = 0


@dataclass(frozen=True, slots=True)
class SqsBacklog:
    """Target tracking of the backlog per instance; the target is recomputed from the measured processing time.

    Busy instances have scale-in protection, as the documentation advises, so that only idle ones go.
    """

    interval: float | None = 60.0  # metrics of CloudWatch: a minute
    acceptable_latency: float = 300.0  # the user's choice; documented example: 10 s for runs of 0.1 s
    processing: float = 300.0  # the user's first guess, until something has been measured
    points_out: int = 3  # alarm that scales out: 3 points of a minute
    points_in: int = 15  # alarm that scales in: 15 points of a minute
    in_band: float = 0.9  # it looks for a metric below 90 % of the target
    name: str = "sqs-backlog"
    detail: Detail = Detail.COUNTS

    def start(self) -> SqsState:
        """Begin with nothing measured."""
        return SqsState()

    def target(self, mean_run: float) -> float:
        """Give messages per instance: acceptable latency over processing time."""
        return self.acceptable_latency / max(mean_run, 1e-3)

    def desired(self, messages: int, capacity: int, in_service: int, target: float) -> int:
        """Give the capacity that brings the metric to the target; without an instance the metric is the queue."""
        metric = messages / in_service if in_service else float(messages)
        return math.ceil(max(capacity, 1) * metric / target) if messages else 0

    def decide(self, seen: Observation, state: SqsState) -> tuple[Orders, SqsState]:
        """Count points of both alarms, and act on the one that fires."""
        measured = state.measured + len(seen.finished)
        mean = state.mean_run
        if seen.finished:
            mean += (math.fsum(seen.finished) - len(seen.finished) * mean) / measured
        target = self.target(mean if measured else self.processing) * seen.slots_per_node
        metric = seen.waiting / seen.up if seen.up else float(seen.waiting)
        above = state.above + 1 if metric > target or (seen.waiting and not seen.alive) else 0
        below = state.below + 1 if metric < self.in_band * target else 0
        orders = NOTHING
        # Warming instances count in the capacity, not in the metric, and no scale-out begins while they warm up.
        if above >= self.points_out and not seen.booting:
            wanted = bounded(seen, max(seen.alive + 1, self.desired(seen.waiting, seen.alive, seen.up, target)))
            orders, above = resize(seen, wanted), 0
        elif below >= self.points_in and seen.idle and not seen.booting:
            wanted = self.desired(seen.waiting, seen.alive, seen.up, target)
            orders = Orders(stop_idle=min(seen.idle, max(0, seen.alive - wanted)))
        elif not seen.alive and not seen.waiting:
            orders = NOTHING_TILL_SOMETHING_HAPPENS
        return orders, SqsState(above, below, mean, measured)


@dataclass(frozen=True, slots=True)
class SkyPilotState:
    """Requests of the window with their times, since when more and fewer replicas are wished, and mean run times."""

    requests: tuple[tuple[float, int], ...] = ()
    up_since: float | None = None
    down_since: float | None = None
    mean_run: float = 0.0
    measured: int = 0


@dataclass(frozen=True, slots=True)
class SkyPilot:
    """SkyPilot's request-rate autoscaler with its delays.

    `target_qps_per_replica` is the user's number; here it is one over the measured run time, which a careful user would
    set. A job that still waits is a client that asks again, so it counts once in each window.
    """

    interval: float | None = 20.0  # decision interval 20 s; its 5 s without a replica is left out
    window: float = 60.0  # requests of the last 60 s
    upscale_delay: float = 300.0  # upscale_delay_seconds 300
    downscale_delay: float = 1200.0  # downscale_delay_seconds 1200
    processing: float = 300.0  # the user's first guess of a run time
    name: str = "skypilot"
    detail: Detail = Detail.COUNTS

    def start(self) -> SkyPilotState:
        """Begin without a request."""
        return SkyPilotState()

    def target(self, requests: int, mean_run: float, slots_per_node: int) -> int:
        """Give replicas for the rate of requests."""
        return math.ceil(round(requests / self.window * mean_run / slots_per_node, 9))

    def decide(self, seen: Observation, state: SkyPilotState) -> tuple[Orders, SkyPilotState]:
        """Change once a wish has lasted for its delay; from zero replicas, at once."""
        measured = state.measured + len(seen.finished)
        mean = state.mean_run
        if seen.finished:
            mean += (math.fsum(seen.finished) - len(seen.finished) * mean) / measured
        window = tuple(each for each in (*state.requests, (seen.now, seen.arrived)) if each[0] > seen.now - self.window)
        requests = max(sum(count for _, count in window), seen.waiting)
        wanted = bounded(seen, self.target(requests, mean if measured else self.processing, seen.slots_per_node))
        up_since = (seen.now if state.up_since is None else state.up_since) if wanted > seen.alive else None
        down_since = (seen.now if state.down_since is None else state.down_since) if wanted < seen.alive else None
        orders = NOTHING
        if up_since is not None and (not seen.alive or seen.now - up_since >= self.upscale_delay):
            orders, up_since = resize(seen, wanted), None
        elif down_since is not None and seen.now - down_since >= self.downscale_delay:
            orders, down_since = resize(seen, wanted), None
        elif not requests and not seen.alive:
            orders = NOTHING_TILL_SOMETHING_HAPPENS
        return orders, SkyPilotState(window, up_since, down_since, mean, measured)
