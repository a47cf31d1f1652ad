"""Runs as pictures: demand, supply and queue over time; many policies by cost and wait, on one page."""

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from scheduler.simulator.cases import Judged, not_dominated
from scheduler.simulator.frontier import Point, lower_hull
from scheduler.simulator.page import page_of, svg_for_page
from scheduler.simulator.quantities import span_text
from scheduler.simulator.report import Report
from scheduler.simulator.run import Run, Series, added_up
from scheduler.simulator.targets import is_page, write_whole

OURS = "millpond"
_INK, _PAPER, _GREY, _BLUE, _RED, _SHADE = "#30363c", "#fefefe", "#8b96a1", "#0072b2", "#d55e00", "#f7d9c4"
# Okabe and Ito's colours without that of ours, which colour-blind people can tell apart too; so do the marks.
_COLOURS = (_BLUE, "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#5b626a")
_MARKS = "os^Dvp<>h8"
# More points than these along a line cannot be told apart on a page.
_COLUMNS = 1500
# Waits worth a mark on an axis, in seconds.
_WAITS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800, 2592000)
# Labels in text of a page are the reader's, and so is their font.
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "millpond"}
_ABOVE: dict[str, Any] = {
    "loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 3, "fontsize": 9, "frameon": False, "borderaxespad": 0.2,
    "labelcolor": _INK,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture as a PNG, and as SVG for a page; `says` is what it shows, for those who do not see it."""

    png: bytes
    svg: str
    says: str


def save_picture(target: Path, drawing: Drawing, title: str, reports: Sequence[Report]) -> None:
    """Write a PNG, or a page that needs nothing else, by the ending of the target's name."""
    page = page_of(title, drawing.svg, drawing.says, reports) if is_page(target) else ""
    write_whole(target, page.encode() if page else drawing.png)


def draw_timeline(run: Run) -> Drawing:
    """Draw queue, demand and supply below each other over the time of the workload, the latter two to one scale.

    Pools are added up; where nodes differ in size, slots stand in their place.
    """
    series = added_up(run.series)
    sizes = {group.slots for _, group in run.world.groups}
    slots, what = (sizes.pop(), "nodes") if len(sizes) == 1 else (1, "slots")
    unit, name = _unit(run.last_finish)
    figure = Figure(figsize=(11, 7), layout="constrained", facecolor=_PAPER)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 3))
    queue, wanted, given = panels
    seconds, (waiting, demand, up, alive) = _columns(series, run.last_finish)
    at = [each / unit for each in seconds]
    queue.fill_between(at, waiting, step="post", color=_RED, linewidth=0, label="waiting")
    queue.set_ylabel("queue (slots)")
    wanted.fill_between(at, [each / slots for each in demand], step="post", color=_RED, linewidth=0,
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
    queue.set_title(f"{run.workload.name}: {run.policy}", loc="left", fontsize=12, color=_INK)
    says = (
        f"Three charts over {span_text(run.last_finish)}: slots that waited, at most {max(waiting, default=0):,};"
        f" demand in {what}, at most {max(demand, default=0) / slots:,.0f}; supply in {what}, at most"
        f" {max(supply, default=0):,.0f} up and {max(paid, default=0):,.0f} paid for."
    )
    return _drawn(figure, panels, says)


def draw_frontier(judged: Sequence[Judged], title: str, ours: str = OURS) -> Drawing:
    """Draw each case by its overhead against mean wait, and against the 95th percentile.

    Ours stands out. A line is the lower convex hull of the peers, which mixtures of them reach; what is shaded costs
    more than ours and lets work wait for longer. Without peers a line joins the cases that nothing beats.
    """
    figure = Figure(figsize=(13, 6.4), layout="constrained", facecolor=_PAPER)
    both = figure.subplots(1, 2)
    names = [name for name in dict.fromkeys(each.case.policy for each in judged) if name != ours]
    styles = {name: (_MARKS[place % len(_MARKS)], _COLOURS[place % len(_COLOURS)]) for place, name in enumerate(names)}
    whole = [each for each in judged if not each.report.unfinished]
    for axes, stat in zip(both, ("mean", "p95"), strict=True):
        points = {
            place: (getattr(each.report.waits, stat), each.report.overhead_hours) for place, each in enumerate(whole)
        }
        peers = [place for place, each in enumerate(whole) if each.case.policy != ours]
        own = [place for place in points if place not in set(peers)]
        _scales(axes, list(points.values()))
        if peers:
            _line(axes, lower_hull(points[place] for place in peers), "hull of all peers")
        elif points:
            at = list(points.values())
            _line(axes, sorted(at[place] for place in not_dominated(at)), "what nothing beats")
        for place in peers:
            mark, colour = styles[whole[place].case.policy]
            wait, overhead = points[place]
            axes.plot(overhead, wait, mark, markersize=6.5, color=colour, markeredgecolor=_PAPER, markeredgewidth=0.6,
                      gid=f"case-{place}-{stat}", zorder=3)  # fmt: skip
        _ours(axes, [(place, points[place]) for place in own], stat, ours, shaded=bool(peers))
        axes.set_xlabel("overhead: node-hours above the sum of run times")
        axes.set_ylabel(f"{'mean' if stat == 'mean' else '95th percentile of the'} wait")
        _bound(axes, whole)
    both[0].set_title(title, loc="left", fontsize=12, color=_INK)
    both[1].set_title("left and down is better", loc="right", fontsize=9, color=_GREY)
    _key(figure, both[0], names, styles, ours, has_own=any(each.case.policy == ours for each in whole))
    labels = {f"case-{place}-{stat}": _said(each) for place, each in enumerate(whole) for stat in ("mean", "p95")}
    of_ours = " ".join(f"{_said(each)}." for each in whole if each.case.policy == ours)
    says = f"Two charts of cost against wait, of {len(whole)} settings. {of_ours}"
    return _drawn(figure, both, says, labels)


def _said(each: Judged) -> str:
    report = each.report
    return (
        f"{each.case.label}: {report.overhead_hours:,.1f} node-hours of overhead, {report.usd:,.2f} USD, mean wait"
        f" {span_text(report.waits.mean)}, p95 {span_text(report.waits.p95)}"
    )


def _ours(axes: Any, own: Sequence[tuple[int, Point]], stat: str, name: str, *, shaded: bool) -> None:
    for place, (wait, overhead) in own:
        axes.plot(overhead, wait, "*", markersize=17, color=_RED, markeredgecolor=_INK, markeredgewidth=0.8,
                  gid=f"case-{place}-{stat}", zorder=5)  # fmt: skip
    if len(own) != 1:
        return
    _, (wait, overhead) = own[0]
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    if shaded:
        axes.fill_between([overhead, right], wait, top, color=_SHADE, linewidth=0, zorder=0)
        axes.text(0.985, 0.975, "dearer and slower than ours", transform=axes.transAxes, fontsize=9, color=_RED,
                  ha="right", va="top")  # fmt: skip
    axes.annotate(name, (overhead, wait), (-10, -14), textcoords="offset points", fontsize=11, fontweight="bold",
                  color=_RED, ha="right", zorder=6)  # fmt: skip


def _line(axes: Any, hull: Sequence[Point], label: str) -> None:
    """Draw straight lines between points, which are curves on logarithmic axes."""
    steps = [number / 40 for number in range(41)]
    waits, overheads = [], []
    for (wait, high), (after, low) in itertools.pairwise(hull):
        waits += [wait + (after - wait) * step for step in steps]
        overheads += [high + (low - high) * step for step in steps]
    axes.plot(overheads or [hull[0][1]], waits or [hull[0][0]], color=_INK, linewidth=1.4, label=label, zorder=2)


def _bound(axes: Any, whole: Sequence[Judged]) -> None:
    gap = next((each.report.gap for each in whole if each.report.gap is not None), None)
    if gap is None:
        return
    limit = gap.clairvoyant_hours - gap.work_hours
    low, high = axes.get_xlim()
    if low < limit < high:
        axes.axvline(limit, color=_GREY, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1)
        axes.annotate("least without any wait", (limit, 0.02), (4, 0), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8, rotation=90, va="bottom", color=_GREY)  # fmt: skip


def _key(figure: Any, axes: Any, names: Sequence[str], styles: Any, ours: str, *, has_own: bool) -> None:
    handles = [
        axes.plot([], [], mark, markersize=7, color=colour, label=name)[0]
        for name, (mark, colour) in ((name, styles[name]) for name in names)
    ]
    if has_own:
        star = axes.plot([], [], "*", markersize=14, color=_RED, markeredgecolor=_INK, label=ours)
        handles.insert(0, star[0])
    handles += [line for line in axes.get_lines() if line.get_label() in {"hull of all peers", "what nothing beats"}]
    figure.legend(handles=handles, loc="outside right center", fontsize=9.5, frameon=False, labelcolor=_INK)


def _scales(axes: Any, points: Sequence[Point]) -> None:
    """Take logarithmic scales where points differ by more than a factor of eight, near zero linear."""
    for waits, values in ((True, [wait for wait, _ in points]), (False, [overhead for _, overhead in points])):
        above = [value for value in values if value > 0]
        low, high = min(values, default=0.0), max(values, default=1.0)
        setscale, limit = (axes.set_yscale, axes.set_ylim) if waits else (axes.set_xscale, axes.set_xlim)
        if above and high > 8 * min(above):
            least = max(min(above), high / 1e5)
            if low > 0:
                setscale("log")
                limit(low / 1.35, high * 1.7)
            else:
                setscale("symlog", linthresh=least)
                limit(min(low, 0) - least / 4, high * 1.7)
        else:
            room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
            limit(low - room, high + room)
        axis = axes.yaxis if waits else axes.xaxis
        axis.set_major_formatter(FuncFormatter(_wait_text if waits else _number_text))
        if waits:
            bottom, top = axes.get_ylim()
            # Near zero, where the axis is linear, they would lie upon each other.
            least = 0.0 if axes.get_yscale() == "log" else min(above, default=0.0)
            marks = [mark for mark in _WAITS if max(bottom, least) <= mark <= top]
            marks = [0, *marks] if bottom <= 0 else marks
            if len(marks) > 2 and axes.get_yscale() != "linear":  # noqa: PLR2004  fewer marks tell no scale
                axis.set_major_locator(FixedLocator(marks))
        elif axes.get_xscale() != "linear":
            left, right = axes.get_xlim()
            ticks = [digit * 10.0**power for power in range(-2, 8) for digit in (1.0, 2.0, 5.0)]
            axis.set_major_locator(FixedLocator([mark for mark in ticks if left <= mark <= right]))
        axis.set_minor_locator(NullLocator())
    axes.grid(visible=True, which="major", color=_GREY, alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)


def _wait_text(seconds: float, _: object = None) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _number_text(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1 else f"{value:g}"


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


def _drawn(figure: Any, axes: Sequence[Any], says: str, labels: dict[str, str] | None = None) -> Drawing:
    for each in axes:
        each.set_facecolor(_PAPER)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(_GREY)
        each.tick_params(colors=_INK, labelsize=9)
        each.xaxis.label.set_color(_INK)
        each.yaxis.label.set_color(_INK)
    # Without the name of the program, its version and the date in the file, the same run gives the same bytes.
    png = _written(figure, FigureCanvasAgg, {"format": "png", "dpi": 120, "metadata": {"Software": None}})
    with mpl.rc_context(_SVG):
        about = {"format": "svg", "metadata": {"Date": None, "Creator": None, "Format": None, "Type": None}}
        svg = _written(figure, FigureCanvasSVG, about).decode("utf-8")
    return Drawing(png, svg_for_page(svg, says, labels or {}), says)


def _written(figure: Any, canvas: Callable[[Any], Any], options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    canvas(figure)
    figure.savefig(stream, facecolor=_PAPER, **options)
    return stream.getvalue()
