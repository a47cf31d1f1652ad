"""The pictures of the demonstration, drawn with matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from scheduler.model import Sample, Task

mpl.use("Agg")  # no display is needed

# Above the axes, so that no line runs through it.
_ABOVE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1, 1),
    "ncols": 3,
    "fontsize": 8,
    "frameon": False,
    "borderaxespad": 0,
}

_INK, _BLUE, _RED, _GREY = "#333333", "#4c78a8", "#c0392b", "#9aa5b1"


def draw_losses(result: dict[str, Any], exact: Any, target: Path) -> None:
    """Draw the histogram of the simulated losses with both measures and their closed forms."""
    histogram = result["histogram"]
    low, width, counts = histogram["from"], histogram["bin_width"], histogram["counts"]
    left = [low + number * width for number in range(len(counts))]
    in_tail = [edge + width / 2 >= result["value_at_risk"] for edge in left]
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.bar(left, counts, width=width * 0.95, align="edge", color=[_RED if tail else _BLUE for tail in in_tail])
    top = max(counts)
    marks = (
        ("value_at_risk", "value at risk", "right", "-"),
        ("expected_shortfall", "expected shortfall", "left", "--"),
    )
    for key, name, side, style in marks:
        estimate, error = result[key], result[f"{key}_standard_error"]
        axes.axvline(estimate, color=_INK, linestyle=style, linewidth=1)
        text = f"{name} {result['level']:.0%}\n{estimate:,.0f} ± {error:,.0f}\nclosed form {getattr(exact, key):,.0f}"
        away = -6 if side == "right" else 6
        axes.annotate(text, (estimate, top), (away, 0), textcoords="offset points", ha=side, va="top", fontsize=8)
    axes.set_title(f"Loss of the portfolio on {result['days']:,} simulated days", loc="left")
    axes.set_xlabel("loss of one day (USD)")
    axes.set_ylabel("days")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _finish(figure, (axes,), target)


def draw_timeline(samples: Sequence[Sample], start: datetime, target: Path) -> None:
    """Draw the queue above and the nodes below, over the seconds since the job was submitted."""
    seconds = [(sample.at - start).total_seconds() for sample in samples]
    figure, (queue, nodes) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    queue.fill_between(seconds, [s.active_tasks for s in samples], step="post", color=_BLUE, alpha=0.35)
    queue.step(seconds, [s.active_tasks for s in samples], where="post", color=_BLUE, label="queue depth (active)")
    queue.step(seconds, [s.running_tasks for s in samples], where="post", color=_RED, label="running")
    queue.set_ylabel("tasks")
    nodes.fill_between(
        seconds, [s.booting_nodes for s in samples], step="post", color=_GREY, alpha=0.5, label="booting"
    )
    nodes.step(seconds, [s.target_nodes for s in samples], where="post", color=_INK, linestyle="--", label="target")
    nodes.step(seconds, [s.current_nodes for s in samples], where="post", color=_BLUE, label="current")
    nodes.set_ylabel("nodes")
    nodes.set_xlabel("seconds since the job was submitted")
    nodes.yaxis.get_major_locator().set_params(integer=True)
    for axes in (queue, nodes):
        axes.set_ylim(bottom=0)
        axes.legend(**_ABOVE)
    _finish(figure, (queue, nodes), target)


def draw_runs(tasks: Sequence[Task], start: datetime, target: Path) -> None:
    """Draw each task as a bar in the rows of the node that ran it, a row for each that ran at a time."""
    bars = []
    for task in tasks:
        if task.node_id and task.started_at and task.ended_at:
            begin, end = ((at - start).total_seconds() for at in (task.started_at, task.ended_at))
            bars.append(_Bar(task.node_id, begin, end, task.step, str(task.index)))
    rows = _rows(bars)
    names = sorted(rows)
    colours = dict(zip(dict.fromkeys(bar.step for bar in bars), (_BLUE, _RED, _GREY, _INK), strict=False))
    figure, axes = plt.subplots(figsize=(9, 1.4 + 0.28 * len(names)), layout="constrained")
    for height, name in enumerate(names):
        for bar in rows[name]:
            colour = colours.get(bar.step, _GREY)
            axes.barh(height, bar.end - bar.begin, left=bar.begin, height=0.8, color=colour, edgecolor="white")
            middle = (bar.begin + bar.end) / 2
            axes.text(middle, height, bar.label, ha="center", va="center", fontsize=6, color="white")
    axes.set_yticks(range(len(names)), [node if lane == 0 else "" for node, lane in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the job was submitted")
    patches = [Patch(color=colour, label=step) for step, colour in colours.items()]
    axes.legend(handles=patches, **_ABOVE)
    _finish(figure, (axes,), target)


@dataclass(frozen=True, slots=True)
class _Bar:
    node: str
    begin: float
    end: float
    step: str
    label: str


def _rows(bars: Sequence[_Bar]) -> dict[tuple[str, int], list[_Bar]]:
    """Lay bars of a node that overlap into rows below each other."""
    rows: dict[tuple[str, int], list[_Bar]] = {}
    for bar in sorted(bars, key=lambda bar: bar.begin):
        lane = 0
        while (row := rows.setdefault((bar.node, lane), [])) and row[-1].end > bar.begin:
            lane += 1
        row.append(bar)
    return rows


def _finish(figure: Any, all_axes: Sequence[Any], target: Path) -> None:
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=130)
    plt.close(figure)
