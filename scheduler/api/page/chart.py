"""The timeline of a pool as lines of an SVG picture: numbers in, coordinates out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.model import Sample

WIDTH = 640
HEIGHT = 110
_MOST_POINTS = 400
_TICKS = 4
# What somebody who looks at a pool wants to see; `millpond pool show POOL --json` has the whole timeline.
WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One stepped line, and the newest value of what it shows."""

    name: str
    kind: str
    points: str
    newest: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the axis of time."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over one scale from 0 to `top`."""

    name: str
    top: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Demand above, supply below, over the same time."""

    panels: tuple[Panel, ...]
    ticks: tuple[Tick, ...]
    told: str


def chart_of(samples: Sequence[Sample], now: datetime) -> Chart | None:
    """Draw the samples of the last hour, oldest first, up to now; None where there is none at all."""
    if not samples:
        return None
    end = max(now, samples[-1].at + timedelta(seconds=1))
    recent = [sample for sample in samples if sample.at >= end - WINDOW]
    if len(recent) < len(samples):
        # What held when the window begins is what the last sample before it says.
        recent.insert(0, replace(samples[len(samples) - len(recent) - 1], at=end - WINDOW))
    kept = _thinned(recent)
    start = kept[0].at

    def x(instant: datetime) -> float:
        return round(WIDTH * ((instant - start) / (end - start)), 1)

    demand = _panel(
        "tasks",
        kept,
        x,
        (("waiting", "waiting", lambda s: s.active_tasks), ("running", "running", lambda s: s.running_tasks)),
    )
    supply = _panel(
        "nodes",
        kept,
        x,
        (
            ("target", "target", lambda s: s.target_nodes),
            ("current", "current", lambda s: s.current_nodes),
            ("booting", "booting", lambda s: s.booting_nodes),
        ),
    )
    ticks = (start + (end - start) * number / _TICKS for number in range(_TICKS + 1))
    newest = kept[-1]
    told = (
        f"From {start:%H:%M:%S} to {end:%H:%M:%S} UTC. Now {newest.active_tasks} tasks wait and {newest.running_tasks} "
        f"run; {newest.current_nodes} nodes are there and {newest.target_nodes} asked for. Most at a time: "
        f"{max(s.active_tasks for s in recent)} waiting tasks, {max(s.current_nodes for s in recent)} nodes."
    )
    return Chart((demand, supply), tuple(Tick(x(at), f"{at:%H:%M:%S}") for at in ticks), told)


def _panel(
    name: str,
    samples: Sequence[Sample],
    x: Callable[[datetime], float],
    rows: Sequence[tuple[str, str, Callable[[Sample], int]]],
) -> Panel:
    top = max(1, *(value(sample) for sample in samples for _, _, value in rows))

    def y(value: int) -> float:
        return round(HEIGHT * (1 - value / top), 1)

    lines = []
    for label, kind, value in rows:
        points: list[str] = []
        before = None
        for sample in samples:
            height = y(value(sample))
            if before is not None and before != height:
                points.append(f"{x(sample.at)},{before}")
            points.append(f"{x(sample.at)},{height}")
            before = height
        points.append(f"{WIDTH},{before}")
        lines.append(Line(label, kind, " ".join(points), value(samples[-1])))
    return Panel(name, top, tuple(lines))


def _thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Leave out what a screen cannot show: of each bucket the samples of most work and of most nodes stay."""
    if len(samples) <= _MOST_POINTS:
        return samples
    size = -(-len(samples) // (_MOST_POINTS // 2))
    kept = []
    for begin in range(0, len(samples), size):
        bucket = samples[begin : begin + size]
        busiest = max(bucket, key=lambda s: s.active_tasks + s.running_tasks)
        largest = max(bucket, key=lambda s: s.current_nodes + s.target_nodes)
        kept += sorted({id(s): s for s in (busiest, largest)}.values(), key=lambda s: s.at)
    if kept[-1] is not samples[-1]:
        kept.append(samples[-1])
    return kept
