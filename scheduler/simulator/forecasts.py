"""Forecasts of the next value of a series of equal steps, as the autoscalers of the literature use them."""

import math
from collections.abc import Sequence

METHODS = ("autoregression", "linear regression", "exponential smoothing", "Holt's double smoothing")
_LEAST_FOR_A_PARABOLA = 3


def linear_forecast(values: Sequence[float]) -> float:
    """Extend the least-squares line through the values by one step."""
    count = len(values)
    middle = (count - 1) / 2
    mean = math.fsum(values) / count
    spread = count * (count * count - 1) / 12
    slope = math.fsum((at - middle) * value for at, value in enumerate(values)) / spread if spread else 0.0
    return mean + slope * (count - middle)


def quadratic_forecast(values: Sequence[float]) -> float:
    """Extend the least-squares parabola through the values by one step; below three values, the line.

    By the polynomials that are orthogonal on equal steps (x, and x^2 less its mean), so that no system is to be solved.
    """
    count = len(values)
    if count < _LEAST_FOR_A_PARABOLA:
        return linear_forecast(values)
    middle = (count - 1) / 2
    mean_square = (count * count - 1) / 12
    curved = [(at - middle) ** 2 - mean_square for at in range(count)]
    norm = math.fsum(each * each for each in curved)
    curve = math.fsum(each * value for each, value in zip(curved, values, strict=True)) / norm
    return linear_forecast(values) + curve * ((count - middle) ** 2 - mean_square)


def autoregression(values: Sequence[float]) -> float:
    """Forecast by the least-squares regression of each value on the one before it."""
    before, after = values[:-1], values[1:]
    if not before:
        return values[-1]
    mean_before, mean_after = math.fsum(before) / len(before), math.fsum(after) / len(after)
    spread = math.fsum((each - mean_before) ** 2 for each in before)
    if not spread:
        return values[-1]
    together = math.fsum((b - mean_before) * (a - mean_after) for b, a in zip(before, after, strict=True))
    return mean_after + together / spread * (values[-1] - mean_before)


def smoothed(values: Sequence[float], smoothing: float) -> float:
    """Forecast by simple exponential smoothing."""
    level = values[0]
    for value in values[1:]:
        level += smoothing * (value - level)
    return level


def holt(values: Sequence[float], smoothing: float, trend: float) -> float:
    """Forecast by Holt's smoothing of level and trend."""
    level, slope = values[0], 0.0
    for value in values[1:]:
        expected = level + slope
        risen = expected + smoothing * (value - expected)
        slope += trend * (risen - level - slope)
        level = risen
    return level + slope


def forecasts(values: Sequence[float], smoothing: float, trend: float) -> tuple[float, ...]:
    """Give each method's forecast, in the order of `METHODS`."""
    return autoregression(values), linear_forecast(values), smoothed(values, smoothing), holt(values, smoothing, trend)
