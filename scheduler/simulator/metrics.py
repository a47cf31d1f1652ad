"""Numbers that judge a policy: waits, slowdown, and how well supply followed demand.

Elasticity as in the SPEC Research Group's metrics (SPEC-RG-2016-01; Ilyushkin et al., ICPE'17), over intervals of any
length in place of equal steps: each interval counts with its length.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The run time below which a job counts as this long in its slowdown, as in the literature on parallel job scheduling.
SLOWDOWN_BOUND = 10.0


@dataclass(frozen=True, slots=True)
class Elasticity:
    """How supply followed demand.

    under, over             mean of what was missing and of what was too much, in parts of the resources that there are
    relative_under, _over   the same in parts of the demand of each moment, moments without demand left out
    over_of_supply          what was too much in parts of the supply of each moment (SPEC's form of over-provisioning)
    idle                    mean of what was up and did nothing, in parts of the resources
    under_share, over_share parts of the time in which anything was missing, or too much
    rises, falls            parts of the steps in which supply rose against demand (rose while demand did not, or stood
                            while demand fell), and in which it fell against demand
    jitter                  changes of supply more than changes of demand, for each step
    """

    under: float = 0.0
    over: float = 0.0
    relative_under: float = 0.0
    relative_over: float = 0.0
    over_of_supply: float = 0.0
    idle: float = 0.0
    under_share: float = 0.0
    over_share: float = 0.0
    rises: float = 0.0
    falls: float = 0.0
    jitter: float = 0.0

    @property
    def deviation(self) -> float:
        """One number of all: the 3-norm of accuracy, time shares, instability (Bauer et al., TPDS'18); 0 is ideal."""
        parts = (self.under, self.over, self.under_share, self.over_share, self.rises, self.falls)
        return float(math.fsum(part**3 for part in parts) ** (1 / 3))


def elasticity(
    demand: Sequence[float],
    supply: Sequence[float],
    lengths: Sequence[float],
    resources: float,
    idle: Sequence[float] = (),
) -> Elasticity:
    """Judge supply by demand, and what was idle of it, all constant over intervals of the given lengths."""
    total = math.fsum(lengths)
    if total <= 0 or resources <= 0:
        return Elasticity()
    missing, surplus, relative_missing, relative_surplus, short, rich = [], [], [], [], [], []
    of_supply = []
    for wanted, given, length in zip(demand, supply, lengths, strict=True):
        if given < wanted:
            missing.append((wanted - given) * length)
            relative_missing.append((wanted - given) / wanted * length)
            short.append(length)
        elif given > wanted:
            surplus.append((given - wanted) * length)
            rich.append(length)
            of_supply.append((given - wanted) / given * length)
            if wanted > 0:
                relative_surplus.append((given - wanted) / wanted * length)
    return Elasticity(
        under=math.fsum(missing) / (total * resources),
        over=math.fsum(surplus) / (total * resources),
        relative_under=math.fsum(relative_missing) / total,
        relative_over=math.fsum(relative_surplus) / total,
        over_of_supply=math.fsum(of_supply) / total,
        idle=math.fsum(each * length for each, length in zip(idle, lengths, strict=False)) / (total * resources),
        under_share=math.fsum(short) / total,
        over_share=math.fsum(rich) / total,
        **_instability(demand, supply),
    )


def _instability(demand: Sequence[float], supply: Sequence[float]) -> dict[str, float]:
    steps = len(demand) - 1
    if steps < 1:
        return {"rises": 0.0, "falls": 0.0, "jitter": 0.0}
    rises = falls = jitter = 0
    for step in range(1, steps + 1):
        wanted = _sign(demand[step] - demand[step - 1])
        given = _sign(supply[step] - supply[step - 1])
        rises += given > wanted
        falls += wanted > given
        jitter += abs(given) - abs(wanted)
    return {"rises": rises / steps, "falls": falls / steps, "jitter": jitter / steps}


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def quantile(ordered: Sequence[float], part: float) -> float:
    """Give the smallest value that at least such a part of all do not exceed (nearest rank); 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def mean_elastic_slowdown(times_and_runs: Iterable[tuple[float, float]]) -> float:
    """Give the mean over jobs of (time from ready to end) / run time, which it takes where a node always waits."""
    slowdowns = [time / run for time, run in times_and_runs]
    return math.fsum(slowdowns) / len(slowdowns) if slowdowns else 0.0


def mean_bounded_slowdown(times_and_runs: Iterable[tuple[float, float]], bound: float = SLOWDOWN_BOUND) -> float:
    """Give the mean over jobs of (time from ready to end) / run time, runs shorter than the bound taken as so long."""
    slowdowns = [max(1.0, time / max(run, bound)) for time, run in times_and_runs]
    return math.fsum(slowdowns) / len(slowdowns) if slowdowns else 0.0
