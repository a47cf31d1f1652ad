"""From a scaling policy to a formula that sizes an Azure Batch pool like it, with a report of what it cannot hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scheduler.errors import InvalidRequestError
from scheduler.formula.check import read
from scheduler.formula.compile_report import Element, elements
from scheduler.formula.dialect import Dialect
from scheduler.formula.evaluate import evaluate
from scheduler.formula.outcome import AutoScaleRun
from scheduler.formula.samples import SAMPLE_PERIOD, MetricSamples, Pool
from scheduler.policy import ScalingPolicy

# The service takes 5 minutes to 168 hours.
SHORTEST_INTERVAL = timedelta(minutes=5)
LONGEST_INTERVAL = timedelta(hours=168)
# Samples come within two periods at most, so that five minutes without one are an outage.
_FRESH_MINUTES = 5
_CHECKED_AT = datetime(2026, 1, 1, tzinfo=UTC)
_LAGS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class CompileSettings:
    """What the formula is for.

    slots     task slots of a node; None lets the formula ask the pool. Before about October 2020 it could not
    spot      size Spot (low-priority) nodes instead of dedicated ones
    interval  how often the pool evaluates it (`autoScaleEvaluationInterval`)
    """

    slots: int | None = None
    spot: bool = False
    interval: timedelta = SHORTEST_INTERVAL

    def __post_init__(self) -> None:
        if self.slots is not None and self.slots < 1:
            raise InvalidRequestError(f"slots must be at least 1, not {self.slots}")
        if not SHORTEST_INTERVAL <= self.interval <= LONGEST_INTERVAL:
            raise InvalidRequestError(f"Azure evaluates a formula every 5 minutes to 168 hours, not {self.interval}")


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """One evaluation of the formula that was just written."""

    name: str
    results: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A formula, what it holds of the policy, and that it evaluates."""

    text: str
    interval: timedelta
    elements: tuple[Element, ...]
    checks: tuple[SelfCheck, ...]


def compile_policy(policy: ScalingPolicy, settings: CompileSettings = CompileSettings()) -> Compiled:
    """Write the formula of a policy; the same policy gives the same text.

    It is evaluated before it is given: with samples of no, one and two periods' delay, without any, and with one.
    """
    text = formula_text(policy, settings)
    checks = tuple(_checks(text, policy, settings))
    report = elements(policy, spot=settings.spot, interval=settings.interval)
    return Compiled(text, settings.interval, report, checks)


def formula_text(policy: ScalingPolicy, settings: CompileSettings) -> str:
    """Write the formula.

    Nothing in it fails on a fresh pool: samples are asked for by count, which gives an empty vector where there is
    none, and `max(0, ...)` takes that.
    """
    kind, other = ("LowPriority", "Dedicated") if settings.spot else ("Dedicated", "LowPriority")
    slots = "$TaskSlotsPerNode" if settings.slots is None else str(settings.slots)
    # In whole microseconds and shortened, so that the quotient is exact where the service computes it in doubles.
    time, wait = (span // timedelta(microseconds=1) for span in (policy.default_task_time, policy.acceptable_wait))
    spans = (2 * min(time, wait), min(time, 2 * wait), 2 * wait)
    of_waiting, of_running, all_of_it = (span // math.gcd(*spans) for span in spans)
    idle = policy.idle_timeout or policy.restart_cost(None)
    idle_samples = max(1, math.ceil(idle / timedelta(seconds=SAMPLE_PERIOD)))
    window = f"TimeInterval_Minute * {_FRESH_MINUTES}"
    part = policy.worth_a_slot(policy.default_task_time.total_seconds(), policy.start_cost(None, settings.slots or 1))
    lines = (
        f"known = min($ActiveTasks.GetSamplePercent({window}), $RunningTasks.GetSamplePercent({window}))",
        "waiting = max(0, $ActiveTasks.GetSample(1))",
        "running = max(0, $RunningTasks.GetSample(1))",
        f"worth = ceil(waiting * {part} / 1000000)",
        f"backlog = ceil((waiting * {of_waiting} + running * {of_running}) / {all_of_it})",
        "taskSlots = min(waiting + running, max(running + worth, backlog, 1))",
        f"wanted = ceil(taskSlots / {slots})",
        f"busy = ceil(max(0, $RunningTasks.GetSample({idle_samples})) / {slots})",
        f"kept = min($Current{kind}Nodes, busy)",
        f"nodes = known > 0 ? max(wanted, kept) : $Target{kind}Nodes",
        f"$Target{kind}Nodes = max({policy.min_nodes}, min({policy.max_nodes}, nodes))",
        f"$Target{other}Nodes = 0",
        "$NodeDeallocationOption = taskcompletion",
    )
    return "".join(f"{line};\n" for line in lines)


def _checks(text: str, policy: ScalingPolicy, settings: CompileSettings) -> list[SelfCheck]:
    """Evaluate the formula where formulas fail; `InvalidRequestError` where it is not within the policy's bounds."""
    formula = read(text)
    slots = settings.slots or 1
    runs: list[tuple[str, AutoScaleRun]] = []
    histories = [(f"an hour of samples, {lag} periods late", lag, 120) for lag in _LAGS]
    for name, lag, count in (*histories, ("no sample", 0, 0), ("one sample", 0, 1)):
        pool = Pool(1, 1, 1, 1, slots, _history(count))
        runs.append((name, evaluate(formula, pool, _CHECKED_AT, lambda: 0.0, Dialect(lag=lag))))
    for name, run in runs:
        target = run.target_low_priority if settings.spot else run.target_dedicated
        if run.error is not None or not policy.min_nodes <= target <= policy.max_nodes:
            raise InvalidRequestError(f"the compiled formula does not hold the policy with {name}: {run.results}")
    return [SelfCheck(name, run.results) for name, run in runs]


def _history(count: int) -> Mapping[str, MetricSamples]:
    times = [_CHECKED_AT - timedelta(seconds=SAMPLE_PERIOD * age) for age in range(count)]
    return {
        "$ActiveTasks": MetricSamples.of((at, 50.0) for at in times),
        "$RunningTasks": MetricSamples.of((at, 4.0) for at in times),
    }
