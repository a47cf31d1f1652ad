"""A run in numbers for people and programs."""

import math
from dataclasses import dataclass

from scheduler.simulator.bounds import Bounds, bounds
from scheduler.simulator.metrics import Elasticity, elasticity, mean_bounded_slowdown, quantile
from scheduler.simulator.run import Run, Series

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from ready to start, over the jobs that started; `part_waiting` is the part that waited at all."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float
    part_waiting: float


@dataclass(frozen=True, slots=True)
class Gap:
    """A run beside the bounds: each is the run's node-hours in parts of the bound's."""

    to_work: float
    to_clairvoyant: float
    to_ski_rental: float
    work_hours: float
    clairvoyant_hours: float
    ski_rental_hours: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a policy came to on a workload.

    node_hours        paid for, from request to stop; `usd` at the price of each group's VM size
    overhead_hours    node-hours above the sum of run times packed perfectly
    utilisation       part of the node-hours in which jobs ran (slots in use, lost work left out)
    bounded_slowdown  mean of time from ready to end over run time, runs below 10 s taken as 10 s
    lost_slot_hours   run time lost with nodes that were taken away; `restarts` of jobs
    elasticity        supply against demand; steps of a minute for rises, falls and jitter
    gap               the run beside the bounds of its pool; None where there are several pools
    """

    workload: str
    policy: str
    seed: int
    jobs: int
    unfinished: int
    span_hours: float
    node_hours: float
    usd: float
    overhead_hours: float
    utilisation: float
    waits: Waits
    bounded_slowdown: float
    node_starts: int
    peak_nodes: int
    cancelled_boots: int
    failed_boots: int
    preempted: int
    refused: int
    restarts: int
    lost_slot_hours: float
    elasticity: Elasticity
    gap: Gap | None
    questions: int


def report(run: Run, limits: Bounds | None = None) -> Report:
    """Judge a run. `limits` are the bounds of its workload, if they are known already."""
    workload = run.workload
    groups = run.world.groups
    slots = groups[0][1].slots
    waits = sorted(run.waits)
    node_hours = run.node_seconds / _HOUR
    finished = [job for job, end in enumerate(run.end) if not math.isnan(end)]
    done = math.fsum(workload.run[job] * workload.slots[job] for job in finished)
    offered = math.fsum(
        totals.node_seconds * group.slots for totals, (_, group) in zip(run.groups, groups, strict=True)
    )
    work = sum(workload.sum_run / group.slots for _, group in groups[:1])
    if len(groups) == 1 and limits is None:
        limits = bounds(workload, slots, groups[0][1].boot.mean)
    return Report(
        workload=workload.name,
        policy=run.policy,
        seed=run.seed,
        jobs=len(workload),
        unfinished=len(workload) - len(finished),
        span_hours=run.last_finish / _HOUR,
        node_hours=node_hours,
        usd=sum(
            totals.node_seconds / _HOUR * group.usd_per_hour
            for totals, (_, group) in zip(run.groups, groups, strict=True)
        ),
        overhead_hours=node_hours - work / _HOUR,
        utilisation=done / offered if offered else 0.0,
        waits=_waits(waits),
        bounded_slowdown=mean_bounded_slowdown((run.end[job] - run.ready[job], workload.run[job]) for job in finished),
        node_starts=sum(totals.started for totals in run.groups),
        peak_nodes=sum(totals.peak for totals in run.groups),
        cancelled_boots=sum(totals.cancelled for totals in run.groups),
        failed_boots=sum(totals.failed_boots for totals in run.groups),
        preempted=sum(totals.preempted for totals in run.groups),
        refused=sum(totals.refused for totals in run.groups),
        restarts=run.restarts,
        lost_slot_hours=run.lost_slot_seconds / _HOUR,
        elasticity=_elasticity(run, slots),
        gap=None if limits is None else _gap(node_hours, limits),
        questions=run.questions,
    )


def _waits(ordered: list[float]) -> Waits:
    if not ordered:
        return Waits(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Waits(
        mean=math.fsum(ordered) / len(ordered),
        p50=quantile(ordered, 0.5),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99),
        max=ordered[-1],
        part_waiting=sum(wait > 0 for wait in ordered) / len(ordered),
    )


def _elasticity(run: Run, slots: int) -> Elasticity:
    """Judge the first pool; its resources are its maximum, or the most nodes that it had."""
    series = run.series[0]
    demand, supply, lengths = steps(series, slots, run.last_finish)
    mosts = [group.max_nodes for group in run.world.pools[0].groups]
    known = [most for most in mosts if most is not None]
    resources = sum(known) if len(known) == len(mosts) else max([*supply, *demand], default=0)
    exact = elasticity(demand, supply, lengths, resources)
    by_minute = elasticity(*sampled(series, slots, run.last_finish, 60.0), resources)
    return Elasticity(
        exact.under, exact.over, exact.relative_under, exact.relative_over, exact.under_share, exact.over_share,
        by_minute.rises, by_minute.falls, by_minute.jitter,
    )  # fmt: skip


def steps(series: Series, slots: int, until: float) -> tuple[list[int], list[int], list[float]]:
    """Give demand and supply in nodes, and how long each pair of them held, up to a time."""
    demand, supply, lengths = [], [], []
    count = len(series.at)
    for step in range(count):
        begin = series.at[step]
        end = min(series.at[step + 1], until) if step + 1 < count else until
        if end > begin:
            demand.append(-(-(series.waiting[step] + series.running[step]) // slots))
            supply.append(series.up[step] // slots)
            lengths.append(end - begin)
    return demand, supply, lengths


def sampled(series: Series, slots: int, until: float, every: float) -> tuple[list[int], list[int], list[float]]:
    """Give demand and supply in nodes at regular times."""
    demand, supply = [], []
    step = 0
    for tick in range(int(until // every) + 1):
        at = tick * every
        while step + 1 < len(series.at) and series.at[step + 1] <= at:
            step += 1
        if series.at and series.at[step] <= at:
            demand.append(-(-(series.waiting[step] + series.running[step]) // slots))
            supply.append(series.up[step] // slots)
    return demand, supply, [every] * len(demand)


def _gap(node_hours: float, limits: Bounds) -> Gap:
    def part(bound: float) -> float:
        return node_hours * _HOUR / bound if bound else math.inf

    return Gap(
        to_work=part(limits.work),
        to_clairvoyant=part(limits.clairvoyant),
        to_ski_rental=part(limits.ski_rental),
        work_hours=limits.work / _HOUR,
        clairvoyant_hours=limits.clairvoyant / _HOUR,
        ski_rental_hours=limits.ski_rental / _HOUR,
    )
