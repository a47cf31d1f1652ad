"""Azure Batch's own autoscaling: formulas, evaluated as the service does at its interval on samples that it takes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType

from scheduler.formula.check import read
from scheduler.formula.evaluate import evaluate
from scheduler.formula.language import TICKS_PER_SECOND
from scheduler.formula.samples import SAMPLE_PERIOD, MetricSamples, Pool
from scheduler.formula.syntax import Formula
from scheduler.formula.values import timestamp
from scheduler.simulator.clock import MONDAY
from scheduler.simulator.interface import Detail, Observation, Orders
from scheduler.simulator.policies.sizing import bounded, resize

# The two shapes of the documentation's examples, for one task a slot and without their example bounds.
_GUARD = "covered = $PendingTasks.GetSamplePercent({window} * TimeInterval_Second);"
_AVERAGE = "avg($PendingTasks.GetSample({window} * TimeInterval_Second))"
SHAPES = {
    "average": f"{_GUARD} tasks = covered < 70 ? {{start}} * $TaskSlotsPerNode : {_AVERAGE};"
    " $TargetDedicatedNodes = {most}tasks / $TaskSlotsPerNode + 0.999);"
    " $NodeDeallocationOption = taskcompletion;",
    "newest-or-average": f"{_GUARD} newest = max(0, $PendingTasks.GetSample(1));"
    f" tasks = covered < 70 ? newest : max(newest, {_AVERAGE});"
    " nodes = tasks > 0 ? tasks / $TaskSlotsPerNode + 0.999 : max(0, $TargetDedicatedNodes / 2);"
    " $TargetDedicatedNodes = {most}nodes); $NodeDeallocationOption = taskcompletion;",
}

_METRICS: Mapping[str, Callable[[Observation], float]] = MappingProxyType(
    {
        "$ActiveTasks": lambda seen: float(seen.waiting),
        "$RunningTasks": lambda seen: float(seen.running),
        "$PendingTasks": lambda seen: float(seen.waiting + seen.running),
    }
)


@dataclass(frozen=True, slots=True)
class FormulaState:
    """Samples of the window, newest last, the target that was set last, and when the formula runs next.

    `taken` is when each was taken, `rows` have a value of each metric.
    """

    taken: tuple[int, ...] = ()
    rows: tuple[tuple[float, ...], ...] = ()
    target: int = 0
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchFormula:
    """A documented formula at the service's interval; `interval` is how often the service takes samples.

    shape  `average`: pending tasks, averaged over the window; `newest-or-average`: the larger of the newest sample and
           the average, and half the nodes when there is no task
    """

    shape: str = "average"
    evaluation: float = 900.0  # autoScaleEvaluationInterval: 15 min by default, 5 min at least
    window: float = 180.0  # the documentation's first example averages 180 s; its task-based one 15 min
    starting: int = 1  # startingNumberOfVMs of the first example
    interval: float | None = float(SAMPLE_PERIOD)
    name: str = "batch-formula"
    detail: Detail = Detail.COUNTS

    def start(self) -> FormulaState:
        """Begin with an empty history."""
        return FormulaState()

    def text(self, most: int | None) -> str:
        """Give the formula."""
        cap = "min(1000000, " if most is None else f"min({most}, "
        return SHAPES[self.shape].format(window=int(self.window), start=self.starting, most=cap)

    def decide(self, seen: Observation, state: FormulaState) -> tuple[Orders, FormulaState]:
        """Take a sample, and evaluate the formula when it is due."""
        return _step(seen, state, self.text(seen.max_nodes), ("$PendingTasks",), self.evaluation, self.window)


@dataclass(frozen=True, slots=True)
class GivenFormula:
    """Any formula, on samples of `metrics` as far back as `window`; `spot`: it sizes Spot nodes, not dedicated ones."""

    text: str
    evaluation: float
    window: float
    metrics: tuple[str, ...] = ("$ActiveTasks", "$RunningTasks")
    spot: bool = False
    interval: float | None = float(SAMPLE_PERIOD)
    name: str = "formula"
    detail: Detail = Detail.COUNTS

    def start(self) -> FormulaState:
        """Begin with an empty history."""
        return FormulaState()

    def decide(self, seen: Observation, state: FormulaState) -> tuple[Orders, FormulaState]:
        """Take a sample, and evaluate the formula when it is due."""
        return _step(seen, state, self.text, self.metrics, self.evaluation, self.window, spot=self.spot)


def _step(
    seen: Observation,
    state: FormulaState,
    text: str,
    metrics: tuple[str, ...],
    evaluation: float,
    window: float,
    *,
    spot: bool = False,
) -> tuple[Orders, FormulaState]:
    taken, rows = _sampled(seen, state, metrics, window)
    due = state.due
    if seen.now >= due + SAMPLE_PERIOD:
        # It slept while there was nothing to do; the service went on, and evaluates at its next regular time.
        due = math.ceil(seen.now / evaluation) * evaluation
    if seen.now < due:
        return Orders(wake_at=due), FormulaState(taken, rows, state.target, due)
    begins_at = seen.clock.begins_at or MONDAY  # as fixed hours begin, too
    first_tick = timestamp(begins_at).ticks
    ticks = [first_tick + second * TICKS_PER_SECOND for second in taken]
    samples = {
        name: MetricSamples(ticks, values) for name, values in zip(metrics, zip(*rows, strict=True), strict=True)
    }
    sizes = (seen.alive + seen.draining, state.target)
    (low_priority, target_low), (dedicated, target) = (sizes, (0, 0)) if spot else ((0, 0), sizes)
    pool = Pool(dedicated, low_priority, target, target_low, seen.slots_per_node, samples)
    run = evaluate(_formula(text), pool, begins_at + timedelta(seconds=seen.now), lambda: 0.5)
    due = (math.floor(seen.now / evaluation) + 1) * evaluation
    target = bounded(seen, run.target_low_priority if spot else run.target_dedicated)
    orders = resize(seen, target)
    quiet = not orders.changes and not any(map(any, rows)) and not seen.alive
    if not orders.changes and not quiet:
        orders = Orders(wake_at=due)
    return orders, FormulaState(taken, rows, target, due)


def _sampled(
    seen: Observation, state: FormulaState, metrics: tuple[str, ...], window: float
) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Add this sample, and those between: what was seen last held until now, or this would have been asked."""
    period = SAMPLE_PERIOD
    now = int(seen.now // period) * period
    oldest = now - int(window) - period
    kept = [pair for pair in zip(state.taken, state.rows, strict=True) if pair[0] > oldest]
    if state.taken:
        between = range(max(state.taken[-1] + period, oldest // period * period + period), now, period)
        kept += [(second, state.rows[-1]) for second in between]
    if not state.taken or now > state.taken[-1]:
        kept.append((now, tuple([_METRICS[name](seen) for name in metrics])))
    return tuple([second for second, _ in kept]), tuple([row for _, row in kept])


@lru_cache(maxsize=64)
def _formula(text: str) -> Formula:
    return read(text)
