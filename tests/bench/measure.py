"""Measure sides in turn, each in a process of its own, and sum them up."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.plan import Bench, Side
from tests.bench.side import Run

ROOT = Path(__file__).resolve().parents[2]
_MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Figure:
    """One side over its rounds. Times are wall time in microseconds a unit; memory is the process's peak."""

    bench: str
    side: str
    unit: str
    size: int
    rounds: int
    median_us: float
    least_us: float
    most_us: float
    median_seconds: float
    prepared_mib: float
    peak_mib: float


def measure(bench: Bench, rounds: int, scratch: Path) -> Iterator[Figure]:
    """Run A B A B in so many rounds at most, as the bench's time allows, and give a figure a side."""
    runs: dict[Side, list[Run]] = {side: [] for side in bench.sides}
    started, done = time.monotonic(), 0
    while done < rounds and _spent(started) * (done + 1) <= bench.budget_seconds * max(done, 1):
        for side in bench.sides:
            runs[side].append(run_side(side, scratch, bench.patience_seconds))
        done += 1
    for side, found in runs.items():
        times = [run.seconds / run.units * _MICROSECONDS for run in found]
        yield Figure(
            bench=bench.title,
            side=side.label,
            unit=bench.unit,
            size=side.size,
            rounds=done,
            median_us=statistics.median(times),
            least_us=min(times),
            most_us=max(times),
            median_seconds=statistics.median(run.seconds for run in found),
            prepared_mib=statistics.median(run.prepared_mib for run in found),
            peak_mib=statistics.median(run.peak_mib for run in found),
        )


def _spent(started: float) -> float:
    return time.monotonic() - started


def run_side(side: Side, scratch: Path, patience_seconds: float) -> Run:
    """Run one side once, on files of its own under `scratch`."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        command = [sys.executable, "-m", f"tests.bench.{side.module}", side.variant, str(side.size), directory]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=patience_seconds)
    if done.returncode != 0:
        raise RuntimeError(f"{side.label} ({side.module} {side.variant} {side.size}) failed:\n{done.stderr}")
    # What a side has started may write there, too; its own record comes last.
    return Run(**json.loads(done.stdout.splitlines()[-1]))
