"""What is wanted of a pool, in words: `p95 wait 5 min`, `mean wait 30s`, `cost 200 node-hours`, `cost 40 usd`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Judged
from scheduler.simulator.quantities import seconds_of, span_text
from scheduler.simulator.report import Report

_WAIT = re.compile(r"(mean|p50|p95|p99|max)\s+wait\s+(.+)")
_COST = re.compile(r"cost\s+(\d+(?:\.\d+)?)\s*(node-?hours?|usd|\$)")


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on one number of a report; among settings that keep it, the least of another number is best.

    `number` is mean, p50, p95, p99 or max (a wait, in seconds), node_hours or usd.
    """

    number: str
    most: float

    def value(self, report: Report) -> float:
        """Give the bounded number of a report."""
        if self.number in {"node_hours", "usd"}:
            return float(getattr(report, self.number))
        return float(getattr(report.waits, self.number))

    def rest(self, report: Report) -> float:
        """Give the number that is to be small when the bound is kept: cost for a wait, mean wait for a cost."""
        return report.waits.mean if self.number in {"node_hours", "usd"} else report.node_hours

    def __str__(self) -> str:
        if self.number == "node_hours":
            return f"cost {self.most:g} node-hours"
        return f"cost {self.most:g} usd" if self.number == "usd" else f"{self.number} wait {span_text(self.most)}"


@dataclass(frozen=True, slots=True)
class Proposal:
    """The case that serves an objective best, and whether it keeps it."""

    best: Judged
    kept: bool


def read_objective(text: str) -> Objective:
    """Read an objective."""
    words = text.strip().lower().replace("=", " ").replace("<", " ")
    if (wait := _WAIT.fullmatch(words)) is not None:
        return Objective(wait[1], seconds_of(wait[2]))
    if (cost := _COST.fullmatch(words)) is not None:
        return Objective("node_hours" if cost[2].startswith("node") else "usd", float(cost[1]))
    raise InvalidRequestError(
        f"the objective {text!r} is not understood; write for example 'p95 wait 5 min' or 'cost 200 node-hours'"
    )


def propose(objective: Objective, judged: Sequence[Judged]) -> Proposal:
    """Choose: of the cases that did all work and keep the bound the best one, else the one that comes nearest."""
    whole = [each for each in judged if not each.report.unfinished]
    if not whole:
        raise InvalidRequestError("with none of the settings all jobs were run; allow more nodes")
    keeping = [each for each in whole if objective.value(each.report) <= objective.most]
    if keeping:
        return Proposal(min(keeping, key=lambda each: objective.rest(each.report)), kept=True)
    return Proposal(min(whole, key=lambda each: objective.value(each.report)), kept=False)
