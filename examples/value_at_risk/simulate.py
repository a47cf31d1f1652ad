"""One task: simulate days of the normal model and write the portfolio's loss on each.

Standard library only, so that it runs with the python3 of any node. The random numbers depend on the seed of the job
and on the task's index alone, never on node, order or attempt.
"""

import argparse
import json
import math
import os
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

_STANDARD = NormalDist()
_REPORTS = 10


def losses(model: dict[str, Any], random: Random, days: int) -> Iterator[float]:
    """Give the loss of each simulated day: minus the portfolio's gain, in the portfolio's currency."""
    mean, factor, portfolio = model["mean"], model["factor"], model["portfolio"]
    rows = list(zip(portfolio, mean, factor, strict=True))
    for _ in range(days):
        # A number strictly between 0 and 1 with 52 random bits, then the normal quantile: one draw, one number.
        shocks = [_STANDARD.inv_cdf((random.getrandbits(52) + 0.5) * 2.0**-52) for _ in mean]
        yield -math.fsum(
            amount * (centre + sum(weight * shock for weight, shock in zip(row, shocks)))  # noqa: B905  rows are triangular
            for amount, centre, row in rows
        )


def main() -> None:
    """Write `losses.f64`: 8-byte floats, the least significant byte first."""
    parser = argparse.ArgumentParser(description="Simulate days of the model.")
    parser.add_argument("--days", type=int, required=True, help="days to simulate")
    parser.add_argument("--seed", type=int, required=True, help="seed of the job")
    options = parser.parse_args()
    index = int(os.environ["MILLPOND_TASK_INDEX"])
    model = json.loads(Path("model.json").read_text(encoding="utf-8"))
    result = array("d")
    for loss in losses(model, Random(f"{options.seed}/{index}"), options.days):  # noqa: S311  a simulation, no secret
        result.append(loss)
        if len(result) % max(1, options.days // _REPORTS) == 0:
            # At once, so that whoever follows the log sees it grow.
            print(f"task {index}: {len(result)} of {options.days} days", flush=True)
    if sys.byteorder == "big":
        result.byteswap()
    Path("losses.f64").write_bytes(result.tobytes())
    print(f"task {index}: {len(result)} days, largest loss {max(result):,.0f}")


if __name__ == "__main__":
    main()
