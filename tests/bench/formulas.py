"""Sides of "formula": an Azure Batch autoscale formula of 100 statements, with an hour of samples of each metric.

evaluate   `scheduler.formula.evaluate.evaluate`, as a simulator calls it at each interval: the formula is read once
read       text to tree, with the checks that the service makes when a formula is set
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.formula.check import read
from scheduler.formula.evaluate import evaluate
from scheduler.formula.outcome import AutoScaleRun
from scheduler.formula.samples import MetricSamples, Pool
from scheduler.formula.syntax import Formula
from tests.bench.side import Prepared, main

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATEMENTS = 100


def text() -> str:
    """Write a formula of 100 statements, each of a published one's shape, in somewhat less than 8 KB."""
    steps = range(1, STATEMENTS - 3)
    lines = [
        "w = TimeInterval_Minute * 15",
        "p = $PendingTasks.GetSamplePercent(w)",
        "v0 = 0",
        *(
            f"v{step} = p < 70 ? v{step - 1} : max(v{step - 1}, avg($PendingTasks.GetSample(w)) + {step} / 2)"
            for step in steps
        ),
        f"$TargetDedicatedNodes = time().hour >= 8 ? max(2, min(40, ceil(v{steps[-1]}))) : 0",
    ]
    return ";\n".join(lines)


def _evaluated(formula: Formula) -> AutoScaleRun:
    return evaluate(formula, _POOL, NOW, lambda: 0.5)


_SAMPLES = MetricSamples.of((NOW - timedelta(seconds=30 * age), float(age % 7)) for age in range(120))
_POOL = Pool(target_dedicated=1, samples={"$PendingTasks": _SAMPLES})


def evaluate_all(count: int, _directory: Path) -> Prepared:
    """Evaluate one formula many times."""
    formula = read(text())

    def work() -> None:
        for _ in range(count):
            _evaluated(formula)

    return Prepared(work, count, _check)


def read_all(count: int, _directory: Path) -> Prepared:
    """Read one text many times."""
    written = text()

    def work() -> None:
        for _ in range(count):
            read(written)

    return Prepared(work, count, _check)


def _check() -> None:
    formula = read(text())
    run = _evaluated(formula)
    assert (len(formula.statements), run.error, run.target_dedicated) == (STATEMENTS, None, 40)


VARIANTS: dict[str, Callable[[int, Path], Prepared]] = {"evaluate": evaluate_all, "read": read_all}

if __name__ == "__main__":
    main(VARIANTS)
