"""The general autoscalers of the literature: React, Reg, Hist, Adapt and ConPaaS.

As compared by Ilyushkin et al. (ICPE'17), after the definitions of their papers and of a public implementation
(ahmedaley/Autoscalers). Their load is the demand in nodes, waiting and running; a node serves one unit of it. Their
capacity counts booting nodes. They know no boot time. A step is a minute.
"""

import math
from dataclasses import dataclass
from statistics import fmean

from scheduler.simulator.forecasts import METHODS, forecasts, quadratic_forecast
from scheduler.simulator.interface import NOTHING, NOTHING_TILL_SOMETHING_HAPPENS, Detail, Observation, Orders
from scheduler.simulator.policies.sizing import bounded, demand, resize

_STEP = 60.0
_HOUR = 3600.0
_HOURS = 24


def up(value: float) -> int:
    """Round up, but not for the last bit of a product."""
    return math.ceil(round(value, 9))


def _orders(seen: Observation, wanted: int) -> Orders:
    """Resize, and ask at every step, for the series must have no holes; an empty pool sleeps."""
    wanted = bounded(seen, wanted)
    if not wanted and not seen.alive and not demand(seen):
        return NOTHING_TILL_SOMETHING_HAPPENS
    orders = resize(seen, wanted)
    return orders if orders.changes else NOTHING


@dataclass(frozen=True, slots=True)
class React:
    """Chieu et al.: reacts with head-room."""

    interval: float | None = _STEP
    growth: float = 1.2  # C += int(1.2 * missing)
    slack: float = 1.1  # shrinks when 1.1 * load < C ...
    head_room: float = 1.2  # ... to ceil(1.2 * load)
    name: str = "react"
    detail: Detail = Detail.COUNTS

    def start(self) -> None:
        """Remember nothing."""
        return

    def target(self, load: int, capacity: int) -> int:
        """Give the new capacity."""
        missing = load - capacity
        if missing > 0:
            return capacity + int(round(self.growth * missing, 9))
        return up(self.head_room * load) if self.slack * load < capacity else capacity

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Go there."""
        return resize(seen, bounded(seen, self.target(demand(seen), seen.alive))), state


@dataclass(frozen=True, slots=True)
class SeriesState:
    """The newest loads, newest last, and when the last was seen."""

    loads: tuple[int, ...] = ()
    at: float = -math.inf

    def with_load(self, load: int, now: float, step: float, most: int) -> "SeriesState":
        """Add a load; steps that were slept through had none."""
        missed = 0 if not self.loads else min(most, max(0, round((now - self.at) / step) - 1))
        return SeriesState((*self.loads, *(0,) * missed, load)[-most:], now)


@dataclass(frozen=True, slots=True)
class Reg:
    """Iqbal et al.: up as load demands, down by a polynomial of second order through the last loads."""

    interval: float | None = _STEP
    repair: float = 1.05  # ceil(1.05 * load) when overloaded
    points: int = 60  # last 60 points
    margin: float = 1.2  # forecast * 1.2
    name: str = "reg"
    detail: Detail = Detail.COUNTS

    def start(self) -> SeriesState:
        """Begin without loads."""
        return SeriesState()

    def target(self, loads: tuple[int, ...], capacity: int) -> int:
        """Give the new capacity; a forecast never raises it."""
        load = loads[-1]
        if load > capacity:
            return up(self.repair * load)
        return min(capacity, max(0, up(self.margin * quadratic_forecast(loads))))

    def decide(self, seen: Observation, state: SeriesState) -> tuple[Orders, SeriesState]:
        """Note the load, and go to the target."""
        state = state.with_load(demand(seen), seen.now, self.interval or _STEP, self.points)
        return _orders(seen, self.target(state.loads, seen.alive)), state


@dataclass(frozen=True, slots=True)
class HistState:
    """Peaks of each hour of the day, this hour's peak and forecast, the last errors, and the last steps' shortages."""

    peaks: tuple[tuple[int, ...], ...] = ((),) * _HOURS
    hour: int = -1
    peak: int = 0
    forecast: int | None = None
    errors: tuple[int, ...] = ()
    short: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Hist:
    """Urgaonkar et al.: a high percentile of what the hour of the day has had, mended by recent errors."""

    interval: float | None = _STEP
    percentile: float = 0.9  # 90th percentile
    observations: int = 730  # at most 730 an hour
    error_count: int = 5  # mean of the last 5 errors
    repair: float = 1.05  # reactive repair * 1.05 ...
    most_short: int = 5  # ... when short in more than 5 ...
    of_steps: int = 10  # ... of the last 10 steps
    name: str = "hist"
    detail: Detail = Detail.COUNTS

    def start(self) -> HistState:
        """Begin with empty histograms."""
        return HistState()

    def forecast(self, peaks: tuple[int, ...], errors: tuple[int, ...]) -> int | None:
        """Give the percentile less the mean error (forecast less what came); None without any observation."""
        if not peaks:
            return None
        ordered = sorted(peaks)
        high = ordered[max(0, math.ceil(round(self.percentile * len(ordered), 9)) - 1)]
        return max(0, up(high - (fmean(errors) if errors else 0.0)))

    def decide(self, seen: Observation, state: HistState) -> tuple[Orders, HistState]:
        """Close an hour and forecast the next; repair when short for long."""
        load = demand(seen)
        hour = int(seen.now // _HOUR)
        peaks, errors, forecast, peak = state.peaks, state.errors, state.forecast, max(state.peak, load)
        if hour != state.hour:
            if state.hour >= 0:
                of_day = state.hour % _HOURS
                filled = (*peaks[of_day], state.peak)[-self.observations :]
                peaks = (*peaks[:of_day], filled, *peaks[of_day + 1 :])
                if forecast is not None:
                    errors = (*errors, forecast - state.peak)[-self.error_count :]
            forecast, peak = self.forecast(peaks[hour % _HOURS], errors), load
        short = (*state.short, load > seen.alive)[-self.of_steps :]
        wanted = load if forecast is None else forecast
        if sum(short) > self.most_short:
            wanted = max(wanted, up(self.repair * load))
        after = HistState(peaks, hour, peak, forecast, errors, short)
        orders = resize(seen, bounded(seen, wanted))
        return (orders if orders.changes else NOTHING), after


@dataclass(frozen=True, slots=True)
class AdaptState:
    """Sums of load and capacity, how many steps, the last load, and what is not yet carried out of the change."""

    load_sum: float = 0.0
    capacity_sum: float = 0.0
    steps: int = 0
    last: int = 0
    owed: float = 0.0


@dataclass(frozen=True, slots=True)
class Adapt:
    """Ali-Eldin et al.: a controller in proportion to the change of load, slow on the way down.

    Its own period of estimation, 5 * 0.01 * C / mean load, is below a step here, so that it estimates at every step.
    """

    interval: float | None = _STEP
    down_divisor: float = 4.0  # a negative change is divided by 4
    repair: float = 1.1  # ceil(1.1 * load) when overloaded
    name: str = "adapt"
    detail: Detail = Detail.COUNTS

    def start(self) -> AdaptState:
        """Begin without loads."""
        return AdaptState()

    def rate(self, change: float, mean_load: float, mean_capacity: float) -> float:
        """Give the change of capacity: u * P * n with u = mean load / n and P = change / n, n the mean capacity."""
        if not mean_capacity:
            return 0.0
        rate = mean_load / mean_capacity * change
        return rate / self.down_divisor if rate < 0 else rate

    def decide(self, seen: Observation, state: AdaptState) -> tuple[Orders, AdaptState]:
        """Follow the change of load, and repair what is short."""
        load, steps = demand(seen), state.steps + 1
        load_sum, capacity_sum = state.load_sum + load, state.capacity_sum + seen.alive
        owed = state.owed + self.rate(load - state.last, load_sum / steps, capacity_sum / steps)
        whole = int(owed)
        wanted = max(0, seen.alive + whole)
        if load > wanted:
            wanted, owed = up(self.repair * load), 0.0
        else:
            owed -= whole
        return _orders(seen, wanted), AdaptState(load_sum, capacity_sum, steps, load, owed)


@dataclass(frozen=True, slots=True)
class ConPaaSState:
    """The newest loads, the forecasts that each method last gave, and each method's last errors."""

    series: SeriesState = SeriesState()
    given: tuple[float, ...] = ()
    errors: tuple[tuple[float, ...], ...] = ((),) * len(METHODS)


@dataclass(frozen=True, slots=True)
class ConPaaS:
    """Fernandez et al.: the forecast of the method that has erred least on the last samples."""

    interval: float | None = _STEP
    samples: int = 20  # errors on the last 20 samples
    smoothing: float = 0.5
    trend: float = 0.5
    name: str = "conpaas"
    detail: Detail = Detail.COUNTS

    def start(self) -> ConPaaSState:
        """Begin without loads."""
        return ConPaaSState()

    def decide(self, seen: Observation, state: ConPaaSState) -> tuple[Orders, ConPaaSState]:
        """Judge the methods by what has come, and go to the best one's forecast."""
        load = demand(seen)
        errors = state.errors
        if state.given:
            errors = tuple(
                [
                    (*old, abs(given - load))[-self.samples :]
                    for old, given in zip(state.errors, state.given, strict=True)
                ]
            )
        series = state.series.with_load(load, seen.now, self.interval or _STEP, self.samples)
        given = forecasts(series.loads, self.smoothing, self.trend)
        best = min(range(len(METHODS)), key=lambda method: (math.fsum(errors[method]), method))
        return _orders(seen, max(0, up(given[best]))), ConPaaSState(series, given, errors)
