"""What is wanted of a pool, in words: `p95 wait 5 min`, `mean wait 30s`, `cost 200 node-hours`, `cost 40 usd`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.errors import InvalidRequestError
from scheduler.simulator.cases import Judged
from scheduler.simulator.quantities import seconds_of, span_text
from scheduler.simulator.report import Report

_WAIT = re.compile(r"(mean|p50|p95|p99|max)\s+wait\s+(.+)")
_COST = re.compile(r"cost\s+(\d+(?:\.\d+)?)\s*(node-?hours?|usd|\$)(?:\s*(?:per|an?|/)\s*(day|week|month))?")
_HOURS = {"day": 24.0, "week": 168.0, "month": 720.0}


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on one number of a report; among settings that keep it, the least of another number is best.

    `number` is mean, p50, p95, p99 or max (a wait, in seconds), node_hours or usd. A cost may be that of each day, week
    or month of thirty days: `each`; else it is that of the whole history.
    """

    number: str
    most: float
    each: str = ""

    @property
    def bounds_cost(self) -> bool:
        """Whether it bounds what nodes cost, and not how long work waits."""
        return self.number in {"node_hours", "usd"}

    def value(self, report: Report) -> float:
        """Give the bounded number of a report."""
        if self.bounds_cost:
            cost = float(getattr(report, self.number))
            return cost * _HOURS[self.each] / max(report.span_hours, 1e-9) if self.each else cost
        return float(getattr(report.waits, self.number))

    def rest(self, report: Report) -> float:
        """Give the number that is to be small when the bound is kept: cost for a wait, mean wait for a cost."""
        return report.waits.mean if self.bounds_cost else report.node_hours

    def text(self, value: float) -> str:
        """Write a value of the bounded number for people."""
        if not self.bounds_cost:
            return span_text(value)
        return f"{value:,.1f} node-hours" if self.number == "node_hours" else f"{value:,.2f} usd"

    def __str__(self) -> str:
        each = f" a {self.each}" if self.each else ""
        if self.number == "node_hours":
            return f"cost {self.most:g} node-hours{each}"
        return f"cost {self.most:g} usd{each}" if self.number == "usd" else f"{self.number} wait {span_text(self.most)}"


@dataclass(frozen=True, slots=True)
class Proposal:
    """The case that serves an objective best, and whether it keeps it."""

    best: Judged
    kept: bool


def read_objective(text: str) -> Objective:
    """Read an objective."""
    words = " ".join(text.lower().replace("=", " ").replace("<", " ").split())
    if (wait := _WAIT.fullmatch(words)) is not None:
        try:
            return Objective(wait[1], seconds_of(wait[2]))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"the objective {text!r}: {error}") from error
    if (cost := _COST.fullmatch(words)) is not None:
        return Objective("node_hours" if cost[2].startswith("node") else "usd", float(cost[1]), cost[3] or "")
    raise InvalidRequestError(
        f"the objective {text!r} is not understood; write for example 'p95 wait 5 min' (mean, p50, p95, p99, max),"
        f" 'cost 200 node-hours' or 'cost 500 usd a month'"
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
