"""The merge: all tasks' losses in, value at risk and expected shortfall out, with standard errors and a chart.

Standard library only. The losses are sorted before anything is computed, so that the result is the same to the last
bit however the days were split over tasks and nodes.
"""

import argparse
import json
import math
import sys
from array import array
from pathlib import Path
from typing import Any

LEVEL = 0.99
_BINS = 120
_WIDTH, _HEIGHT = 900, 360


def read_losses(folder: Path) -> "array[float]":
    """Read `<folder>/<task index>/losses.f64`, in order of index."""
    result = array("d")
    for task in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        part = array("d")
        part.frombytes((task / "losses.f64").read_bytes())
        if sys.byteorder == "big":
            part.byteswap()
        result.extend(part)
    return result


def summarise(losses: "array[float]", level: float = LEVEL) -> dict[str, Any]:
    """Give value at risk (the quantile of the losses) and expected shortfall (the mean of the losses from it on).

    Standard errors: the quantile's from the order statistics one binomial standard deviation to its left and right,
    the shortfall's from the tail's variance and the quantile's part in it (Manistre and Hancock, 2005).
    """
    ordered = sorted(losses)
    count = len(ordered)
    rank = math.ceil(level * count) - 1
    spread = math.sqrt(count * level * (1 - level))
    tail = ordered[rank:]
    if rank + spread >= count - 1:
        raise ValueError(f"{count} losses are too few for the level {level}; simulate more days")
    value_at_risk = ordered[rank]
    shortfall = math.fsum(tail) / len(tail)
    variance = math.fsum((loss - shortfall) ** 2 for loss in tail) / (len(tail) - 1)
    return {
        "level": level,
        "days": count,
        "mean_loss": math.fsum(ordered) / count,
        "value_at_risk": value_at_risk,
        "value_at_risk_standard_error": (ordered[round(rank + spread)] - ordered[round(rank - spread)]) / 2,
        "expected_shortfall": shortfall,
        "expected_shortfall_standard_error": math.sqrt(
            (variance + level * (shortfall - value_at_risk) ** 2) / len(tail)
        ),
        "histogram": histogram(ordered),
    }


def histogram(ordered: list[float]) -> dict[str, Any]:
    """Count sorted losses in bins of equal width."""
    low, high = ordered[0], ordered[-1]
    width = (high - low) / _BINS
    counts = [0] * _BINS
    for loss in ordered:
        counts[min(int((loss - low) / width), _BINS - 1)] += 1
    return {"from": low, "bin_width": width, "counts": counts}


def chart(result: dict[str, Any]) -> str:
    """Draw the histogram with both measures, as SVG."""
    low, width, counts = (result["histogram"][key] for key in ("from", "bin_width", "counts"))
    step = _WIDTH / len(counts)
    highest = max(counts)
    bars = []
    for number, count in enumerate(counts):
        height = count / highest * (_HEIGHT - 60)
        colour = "#c0392b" if low + (number + 0.5) * width >= result["value_at_risk"] else "#7f9fbf"
        bars.append(
            f'<rect x="{number * step:.2f}" y="{_HEIGHT - 20 - height:.2f}" width="{step * 0.9:.2f}" '
            f'height="{height:.2f}" fill="{colour}"/>'
        )
    for y, name, key in ((18, "value at risk", "value_at_risk"), (38, "expected shortfall", "expected_shortfall")):
        x = (result[key] - low) / width * step
        bars.append(
            f'<line x1="{x:.2f}" x2="{x:.2f}" y1="{y}" y2="{_HEIGHT - 20}" stroke="#333" stroke-dasharray="4 3"/>'
            f'<text x="{x + 6:.2f}" y="{y}" font-size="13">{name} at {result["level"]:.0%}: {result[key]:,.0f}</text>'
        )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, *bars, "</svg>", ""])


def main() -> None:
    """Write `result.json` and `losses.svg`."""
    parser = argparse.ArgumentParser(description="Merge the losses of all tasks.")
    parser.add_argument("folder", type=Path, help="where the tasks' outputs lie, a folder for each index")
    result = summarise(read_losses(parser.parse_args().folder))
    Path("result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    Path("losses.svg").write_text(chart(result), encoding="utf-8")
    print(f"{result['days']} days: value at risk {result['value_at_risk']:,.0f}")


if __name__ == "__main__":
    main()
