"""Runs as pictures: demand, supply and queue over time; many policies by cost and wait, on one page."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Judged, not_dominated
from scheduler.simulator.quantities import span_text
from scheduler.simulator.report import Report
from scheduler.simulator.run import Run, Series

mpl.use("Agg")  # no display is needed

_INK, _BLUE, _RED, _GREY = "#333333", "#4c78a8", "#c0392b", "#9aa5b1"
# Okabe and Ito's colours, which colour-blind people can tell apart too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_MARKS = "os^Dvp*XP<>h"
# More points than these along a line cannot be told apart on a page.
_COLUMNS = 1500
_ABOVE: dict[str, Any] = {
    "loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 3, "fontsize": 8, "frameon": False, "borderaxespad": 0,
}  # fmt: skip


def save_picture(target: Path, figure_bytes: bytes, title: str, reports: Sequence[Report]) -> None:
    """Write a PNG, or a page that needs nothing else, by the ending of the target's name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".html":
        target.write_text(_page(title, figure_bytes, reports), encoding="utf-8")
    else:
        target.write_bytes(figure_bytes)


def check_target(target: Path) -> None:
    """Refuse a name that says neither PNG nor HTML."""
    if target.suffix not in {".png", ".html"}:
        raise InvalidRequestError(f"{target}: a picture's name ends in .png or .html")


def draw_timeline(run: Run) -> bytes:
    """Draw jobs that wait and run above, nodes below, over the time of the workload."""
    series = run.series[0]
    slots = run.world.groups[0][1].slots
    unit, name = _unit(run.last_finish)
    figure, (queue, nodes) = plt.subplots(2, 1, figsize=(10, 5.5), sharex=True, layout="constrained")
    at, (waiting, running, up, alive) = _columns(series, run.last_finish)
    at = [each / unit for each in at]
    queue.fill_between(at, waiting, step="post", color=_RED, alpha=0.35, label="waiting", linewidth=0)
    queue.step(at, running, where="post", color=_BLUE, linewidth=0.9, label="running")
    queue.set_ylabel("slots")
    supply = [each / slots for each in up]
    paid = [each / slots for each in alive]
    demand = [(w + r) / slots for w, r in zip(waiting, running, strict=True)]
    nodes.fill_between(at, supply, paid, step="post", color=_GREY, alpha=0.6, linewidth=0, label="booting (paid for)")
    nodes.step(at, supply, where="post", color=_BLUE, linewidth=0.9, label="supply")
    nodes.step(at, demand, where="post", color=_RED, linewidth=0.9, alpha=0.8, label="demand")
    nodes.set_ylabel("nodes")
    nodes.set_xlabel(f"{name} since the first job was submitted")
    for axes in (queue, nodes):
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        axes.legend(**_ABOVE)
    queue.set_title(f"{run.workload.name}: {run.policy}", loc="left", fontsize=10)
    return _png(figure, (queue, nodes))


def draw_frontier(judged: Sequence[Judged], title: str) -> bytes:
    """Draw each case by its overhead against mean wait, and against the 95th percentile; a line joins the best."""
    figure, both = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    names = list(dict.fromkeys(each.case.policy for each in judged))
    whole = [each for each in judged if not each.report.unfinished]
    for axes, (stat, label) in zip(both, (("mean", "mean wait (s)"), ("p95", "p95 wait (s)")), strict=True):
        for number, name in enumerate(names):
            own = [each.report for each in whole if each.case.policy == name]
            axes.plot(
                [report.overhead_hours for report in own],
                [getattr(report.waits, stat) for report in own],
                linestyle="none",
                marker=_MARKS[number % len(_MARKS)],
                markersize=6,
                color=_COLOURS[number % len(_COLOURS)],
                alpha=0.85,
                label=name,
            )
        points = [(each.report.overhead_hours, getattr(each.report.waits, stat)) for each in whole]
        best = sorted(points[place] for place in not_dominated(points))
        axes.step([x for x, _ in best], [y for _, y in best], where="post", color=_GREY, linewidth=1, zorder=0)
        _span_widely(axes, points)
        axes.set_xlabel("node-hours above the sum of run times")
        axes.set_ylabel(label)
        gap = next((each.report.gap for each in whole if each.report.gap is not None), None)
        if gap is not None:
            limit = gap.clairvoyant_hours - gap.work_hours
            axes.axvline(limit, color=_INK, linestyle=":", linewidth=1)
            axes.annotate(
                "clairvoyant,\nno wait",
                (limit, 0.98),
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7,
                va="top",
                color=_INK,
            )
    both[0].set_title(title, loc="left", fontsize=10)
    both[1].legend(**_ABOVE)
    return _png(figure, both)


def _span_widely(axes: Any, points: Sequence[tuple[float, float]]) -> None:
    """Take logarithmic scales where the points differ by more than a factor of twenty, near zero linear."""
    for place, scale in ((0, axes.set_xscale), (1, axes.set_yscale)):
        values = sorted(point[place] for point in points if point[place] > 0)
        if values and values[-1] > 20 * values[0]:
            scale("symlog", linthresh=max(values[0], values[-1] / 1e4))
    axes.grid(visible=True, which="major", color=_GREY, alpha=0.25, linewidth=0.5)


def _columns(series: Series, until: float) -> tuple[list[float], tuple[list[float], ...]]:
    """Give the history in at most so many columns; of each column the largest values, so that no peak is lost."""
    width = max(until / _COLUMNS, 1e-9)
    at: list[float] = []
    found: tuple[list[float], ...] = ([], [], [], [])
    for step, now in enumerate(series.at):
        if now > until:
            break
        values = (series.waiting[step], series.running[step], series.up[step], series.alive[step])
        if at and now < at[-1] + width and len(series.at) > _COLUMNS:
            for kept, value in zip(found, values, strict=True):
                kept[-1] = max(kept[-1], value)
            continue
        # What held until now begins its own column, or a quiet stretch would be drawn at the height of a peak.
        if at and step and len(series.at) > _COLUMNS:
            before = (series.waiting[step - 1], series.running[step - 1], series.up[step - 1], series.alive[step - 1])
            at.append(at[-1] + width)
            for kept, value in zip(found, before, strict=True):
                kept.append(value)
        at.append(max(now, at[-1] if at else now))
        for kept, value in zip(found, values, strict=True):
            kept.append(value)
    return at, found


def _unit(span: float) -> tuple[float, str]:
    for seconds, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if span > 3 * seconds:
            return seconds, name
    return 1.0, "seconds"


def _png(figure: Any, axes: Sequence[Any]) -> bytes:
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    # Without the name of the program and its version in the file, the same run gives the same bytes.
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return stream.getvalue()


_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}
img{max-width:100%}table{border-collapse:collapse;font-size:13px}th,td{padding:.25rem .6rem;text-align:right}
th:first-child,td:first-child{text-align:left}tr:nth-child(even){background:#f4f6f8}th{border-bottom:1px solid #999}"""


def _page(title: str, picture: bytes, reports: Sequence[Report]) -> str:
    image = base64.b64encode(picture).decode("ascii")
    heads = ("policy", "node-hours", "overhead", "USD", "mean wait", "p95", "p99", "max", "utilisation", "node starts")
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(report)) + "</tr>" for report in reports
    )
    head = "".join(f"<th>{each}</th>" for each in heads)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{name}</title>\n<style>{_STYLE}</style>\n'
        f'<h1>{name}</h1>\n<img alt="{name}" src="data:image/png;base64,{image}">\n'
        f"<table>\n<tr>{head}</tr>\n{rows}\n</table>\n</html>\n"
    )


def _cells(report: Report) -> tuple[str, ...]:
    waits = (report.waits.mean, report.waits.p95, report.waits.p99, report.waits.max)
    return (
        report.policy,
        f"{report.node_hours:,.1f}",
        f"{report.overhead_hours:,.1f}",
        f"{report.usd:,.2f}",
        *(span_text(wait) for wait in waits),
        f"{report.utilisation:.1%}",
        f"{report.node_starts:,}",
    )
