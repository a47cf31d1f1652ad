"""A page that needs nothing else: a picture in light and dark, what it says in words, and the numbers as a table."""

import html
import re
from collections.abc import Mapping, Sequence

from scheduler.simulator.quantities import span_text
from scheduler.simulator.report import Report

# The colours of the pictures by day, and what stands for each by night: as far apart, on dark.
_COLOURS = {
    "#fefefe": ("paper", "#fefefe", "#16191d"),
    "#30363c": ("ink", "#30363c", "#e3e7eb"),
    "#8b96a1": ("grey", "#8b96a1", "#838d98"),
    "#f7d9c4": ("shade", "#f7d9c4", "#43291a"),
    "#d55e00": ("red", "#d55e00", "#ff8b3d"),
    "#0072b2": ("blue", "#0072b2", "#4aa8e0"),
    "#009e73": ("green", "#009e73", "#2cc79b"),
    "#cc79a7": ("pink", "#cc79a7", "#e39cc4"),
    "#b58900": ("yellow", "#b58900", "#e3b92e"),
    "#56b4e9": ("sky", "#56b4e9", "#8fd0f7"),
    "#5b626a": ("stone", "#5b626a", "#b4bcc4"),
}
_HEADS = ("policy", "node-hours", "overhead", "USD", "mean wait", "p95", "p99", "max", "utilisation", "node starts")


def svg_for_page(svg: str, says: str, labels: Mapping[str, str]) -> str:
    """Make a drawing part of a page: colours by name, a title to read out, and a label for each point by its id."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    for colour, (name, _, _) in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    for identity, label in labels.items():
        svg = svg.replace(f'<g id="{identity}">', f'<g id="{identity}"><title>{html.escape(label)}</title>', 1)
    svg = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(says)}"', 1).replace(
        ">", f"><desc>{html.escape(says)}</desc>", 1
    )


def page_of(title: str, svg: str, says: str, reports: Sequence[Report]) -> str:
    """Write the page."""
    name = html.escape(title)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(report)) + "</tr>" for report in reports
    )
    head = "".join(f'<th scope="col">{each}</th>' for each in _HEADS)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n'
        f"<main>\n<h1>{name}</h1>\n<figure>{svg}<figcaption>{html.escape(says)}</figcaption></figure>\n"
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n</main>\n'
        "</html>\n"
    )


def _variables(place: int) -> str:
    return "".join(f"--{colour[0]}:{colour[place]};" for colour in _COLOURS.values())


_STYLE = f""":root{{color-scheme:light dark;{_variables(1)}}}
@media(prefers-color-scheme:dark){{:root{{{_variables(2)}}}}}
body{{font:15px/1.5 system-ui,sans-serif;margin:0;background:var(--paper);color:var(--ink)}}
main{{max-width:80rem;margin:2rem auto;padding:0 1.25rem}}h1{{font-size:1.35rem;font-weight:600}}
figure{{margin:0 0 1.5rem}}figcaption{{font-size:13px;color:var(--grey)}}svg{{width:100%;height:auto}}
svg text{{font-family:system-ui,sans-serif!important}}g[id^=case]:hover{{filter:brightness(1.3)}}
.wide{{overflow-x:auto}}table{{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}}
th,td{{padding:.3rem .7rem;text-align:right;white-space:nowrap}}th:first-child,td:first-child{{text-align:left}}
th{{border-bottom:1px solid var(--grey)}}tbody tr:hover{{background:color-mix(in srgb,var(--grey) 18%,transparent)}}"""


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
