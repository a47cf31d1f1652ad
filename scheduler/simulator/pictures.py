"""Runs as pictures: demand, supply and queue over time; many policies by cost and wait, on one page."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from scheduler.simulator.cases import Judged, not_dominated
from scheduler.simulator.quantities import span_text
from scheduler.simulator.report import Report
from scheduler.simulator.run import Run, Series, added_up
from scheduler.simulator.targets import is_page, write_whole

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
    write_whole(target, _page(title, figure_bytes, reports).encode() if is_page(target) else figure_bytes)


def draw_timeline(run: Run) -> bytes:
    """Draw queue, demand and supply below each other over the time of the workload, the latter two to one scale.

    Pools are added up; where nodes differ in size, slots stand in their place.
    """
    series = added_up(run.series)
    sizes = {group.slots for _, group in run.world.groups}
    slots, what = (sizes.pop(), "nodes") if len(sizes) == 1 else (1, "slots")
    unit, name = _unit(run.last_finish)
    figure, panels = plt.subplots(3, 1, figsize=(10, 6.5), sharex=True, height_ratios=(2, 3, 3), layout="constrained")
    queue, wanted, given = panels
    seconds, (waiting, demand, up, alive) = _columns(series, run.last_finish)
    at = [each / unit for each in seconds]
    queue.fill_between(at, waiting, step="post", color=_RED, alpha=0.8, linewidth=0, label="waiting")
    queue.set_ylabel("queue (slots)")
    wanted.fill_between(at, [each / slots for each in demand], step="post", color=_RED, alpha=0.5, linewidth=0,
                        label="demand: waiting and running")  # fmt: skip
    wanted.set_ylabel(f"demand ({what})")
    supply = [each / slots for each in up]
    paid = [each / slots for each in alive]
    given.fill_between(at, paid, step="post", color=_GREY, linewidth=0, label="booting, paid for")
    given.fill_between(at, supply, step="post", color=_BLUE, linewidth=0, label=f"supply: {what} that are up")
    given.set_ylabel(f"supply ({what})")
    given.set_xlabel(f"{name} since the first job was submitted")
    highest = 1.05 * max([1.0, *paid, *(each / slots for each in demand)])
    for axes in panels:
        axes.margins(x=0)
        axes.legend(**_ABOVE)
    queue.set_ylim(bottom=0)
    wanted.set_ylim(0, highest)
    given.set_ylim(0, highest)
    queue.set_title(f"{run.workload.name}: {run.policy}", loc="left", fontsize=10)
    return _png(figure, panels)


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


def _columns(series: Series, until: float) -> tuple[list[float], tuple[list[int], list[int], list[int], list[int]]]:
    """Give what waits, demand, nodes that are up and nodes that are paid for, all in slots.

    A long history is given in so many columns, of each the largest value that held in it, so that no peak is lost.
    """
    rows = [
        (now, series.waiting[step], series.waiting[step] + series.running[step], series.up[step], series.alive[step])
        for step, now in enumerate(series.at)
        if now <= until
    ]
    if len(rows) > _COLUMNS:
        rows = _widened(rows, until / _COLUMNS)
    rows.append((until, *rows[-1][1:]))
    at, waiting, demand, up, alive = (list(column) for column in zip(*rows, strict=True))
    return at, (waiting, demand, up, alive)


def _widened(rows: list[tuple[float, int, int, int, int]], width: float) -> list[tuple[float, int, int, int, int]]:
    widened = []
    step, held = 0, (0, 0, 0, 0)
    for column in range(_COLUMNS):
        end = (column + 1) * width
        largest = held
        while step < len(rows) and rows[step][0] < end:
            held = rows[step][1:]
            largest = (
                max(largest[0], held[0]),
                max(largest[1], held[1]),
                max(largest[2], held[2]),
                max(largest[3], held[3]),
            )
            step += 1
        widened.append((column * width, *largest))
    return widened


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
