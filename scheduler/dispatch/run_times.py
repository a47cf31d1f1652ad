"""A mean of run times that follows changes, kept as two numbers."""

from collections.abc import Iterable

# About how many of the newest runs a mean stands for.
STEP_SPAN = 50
POOL_SPAN = 200


def moving_mean(mean: float | None, measured: int, lengths: Iterable[float], span: int) -> float:
    """Take more run times, in seconds, into a mean of `measured` ones.

    A plain mean of the first `span`; after that each new one weighs 1/span.
    """
    now = 0.0 if mean is None else mean
    for count, length in enumerate(lengths, start=measured + 1):
        now += (length - now) / min(count, span)
    return now
