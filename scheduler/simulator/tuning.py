"""What a proposed setting is worth: a part of the history that the search did not see, week by week, in money."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta

from scheduler.policy import ScalingPolicy
from scheduler.simulator.cases import Judged, not_dominated
from scheduler.simulator.metrics import quantile
from scheduler.simulator.objective import Objective
from scheduler.simulator.quantities import seconds_of
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload

_DAY = 86400.0
_WEEK = 7 * _DAY
# Of the history's time; the rest is held back to try the proposal on.
_SEARCHED = 2 / 3
# With fewer jobs than these in one of the parts a percentile says nothing.
_FEWEST = 20
_MOST_SEARCHED = 20_000
# Up to so many days are told day by day, more of them week by week.
_BY_DAY = 15
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Spells:
    """How an objective fared in each day or week in which work came: in how many it was kept, and the worst."""

    unit: str
    count: int
    kept: int
    worst: float


def parts_of(workload: Workload) -> tuple[Workload, Workload] | None:
    """Give the first two thirds of a history by time and what is left; None where it is too short for that."""
    cut = sum(submit < workload.span * _SEARCHED for submit in workload.submit)
    if min(cut, len(workload) - cut) < _FEWEST:
        return None
    return part_of(workload, 0, cut), part_of(workload, cut, len(workload))


def newest(workload: Workload) -> Workload:
    """Give as many of the newest jobs as a search of some seconds has time for."""
    return part_of(workload, max(0, len(workload) - _MOST_SEARCHED), len(workload))


def part_of(workload: Workload, begin: int, end: int) -> Workload:
    """Give some jobs of a workload; others that they wait for count as done."""
    given = {each.name: getattr(workload, each.name) for each in fields(workload)}
    columns = {name: column[begin:end] for name, column in given.items() if isinstance(column, tuple)}
    first = workload.submit[begin]
    columns["submit"] = tuple(submit - first for submit in columns["submit"])
    columns["after"] = tuple(
        tuple(other - begin for other in others if begin <= other < end) for others in columns["after"]
    )
    began = None if workload.begins_at is None else workload.begins_at + timedelta(seconds=first)
    return Workload(name=workload.name, **columns, begins_at=began)


def spells_of(run: Run, objective: Objective) -> Spells | None:
    """Judge a run's waits by day or week; None for an objective that bounds the cost."""
    if objective.bounds_cost:
        return None
    length, unit = (_DAY, "day") if run.workload.span < _BY_DAY * _DAY else (_WEEK, "week")
    waits: dict[int, list[float]] = {}
    for ready, start in zip(run.ready, run.start, strict=True):
        if start == start:  # noqa: PLR0124  NaN differs from itself
            waits.setdefault(int(ready // length), []).append(start - ready)
    values = [_value(sorted(each), objective.number) for each in waits.values()]
    return Spells(unit, len(values), sum(value <= objective.most for value in values), max(values, default=0.0))


def _value(ordered: list[float], number: str) -> float:
    return quantile(ordered, _QUANTILES[number]) if number in _QUANTILES else sum(ordered) / len(ordered)


def around(objective: Objective, judged: Sequence[Judged], best: Judged) -> list[Judged]:
    """Give the next settings on either side of the best: of those that nothing beats, less and more of the bounded."""
    whole = [each for each in judged if not each.report.unfinished]
    points = [(objective.value(each.report), objective.rest(each.report)) for each in whole]
    front = sorted((points[place], place) for place in not_dominated(points))
    value = objective.value(best.report)
    less = [place for point, place in front if point[0] < value]
    more = [place for point, place in front if point[0] > value]
    return [whole[place] for place in (*less[-1:], *more[:1])]


def monthly(usd: float, span_hours: float) -> float:
    """Give dollars in thirty days."""
    return usd * 720 / span_hours if span_hours else 0.0


def settings_text(settings: Sequence[tuple[str, str]]) -> str:
    """Write what a pool's owner pastes into `Pulumi.<stack>.yaml`; nothing where no setting is one of a pool."""
    rules = {each.name: getattr(ScalingPolicy(), each.name) for each in fields(ScalingPolicy)}
    lines = []
    for name, text in settings:
        if name in rules and text.lower() != "none":
            is_span = name == "idle_timeout" or isinstance(rules[name], timedelta)
            lines.append(f"  {name}: {_written(seconds_of(text)) if is_span else text}")
    return "\n".join(["scaling:", *lines]) if lines else ""


def _written(seconds: float) -> str:
    for length, unit in ((3600.0, "h"), (60.0, "m")):
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"
