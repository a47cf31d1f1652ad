"""The same two measures in closed form: the portfolio's loss under the model is normal itself."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any


@dataclass(frozen=True, slots=True)
class Measures:
    """What the simulation estimates, exactly."""

    value_at_risk: float
    expected_shortfall: float


def measures(model: dict[str, Any], level: float) -> Measures:
    """Give value at risk and expected shortfall of the model's portfolio at a level such as 0.99."""
    portfolio, mean, factor = model["portfolio"], model["mean"], model["factor"]
    centre = -math.fsum(amount * value for amount, value in zip(portfolio, mean, strict=True))
    # The loss is -(portfolio · L) · shocks + centre: the norm of that vector is its standard deviation.
    exposures = [
        math.fsum(portfolio[row] * factor[row][column] for row in range(column, len(factor)))
        for column in range(len(factor))
    ]
    deviation = math.hypot(*exposures)
    quantile = NormalDist().inv_cdf(level)
    return Measures(
        value_at_risk=centre + deviation * quantile,
        expected_shortfall=centre + deviation * NormalDist().pdf(quantile) / (1 - level),
    )
