"""Formulas of Microsoft's documents and SDK tests with what is known of their outcomes, from beside the repository."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scheduler.formula.samples import MetricSamples, Pool

FOLDER = Path(__file__).resolve().parents[3].parent / "shared" / "formulas"
WHY_SKIPPED = f"the published formulas are not beside the repository ({FOLDER})"

WEDNESDAY = datetime(2025, 6, 11, 10, tzinfo=UTC)
SUNDAY_NIGHT = datetime(2025, 6, 15, 2, tzinfo=UTC)

_METRICS = ("$ActiveTasks", "$RunningTasks", "$PendingTasks", "$CPUPercent", "$PreemptedNodeCount")
_SIZES = {"idle": (4, 0), "steady": (4, 0), "burst_last_90s": (4, 0), "draining": (10, 0), "spot_preempted": (0, 6)}
_VALUES = {
    "idle": (0, 0, 0, 0.0, 0),
    "steady": (10, 4, 14, 0.9, 0),
    "burst_last_90s": (40, 0, 40, 0.0, 0),
    "draining": (0, 3, 3, 0.1, 0),
    "spot_preempted": (10, 4, 14, 0.0, 2),
}


def there() -> bool:
    """Whether they are beside the repository."""
    return (FOLDER / "expected.json").is_file()


def records(name: str) -> dict[str, Any]:
    """Read one of the two files of outcomes; nothing where it is not."""
    found: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8")) if there() else {}
    return found


def formula(name: str) -> str:
    """Read a formula."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def names() -> list[str]:
    """Name every formula."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def scenario(name: str) -> tuple[datetime, Pool]:
    """Make the pool of a scenario in `expected.json`, and its now."""
    if name == "fresh_pool":
        return WEDNESDAY, Pool(task_slots_per_node=4)
    now = SUNDAY_NIGHT if name == "weekend_night" else WEDNESDAY
    like = {"lag_60s": "steady", "weekend_night": "idle"}.get(name, name)
    samples = {}
    for metric, value in zip(_METRICS, _VALUES[like], strict=True):
        recent = 3 if name == "burst_last_90s" else 120
        points = [(now - timedelta(seconds=30 * age), value if age < recent else 0) for age in range(120)]
        samples[metric] = MetricSamples.of(points[2:] if name == "lag_60s" else points)
    return now, Pool(*_SIZES[like], *_SIZES[like], 4, samples)
