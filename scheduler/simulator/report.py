"""A run in numbers for people and programs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scheduler.simulator.bounds import Bounds, bounds
from scheduler.simulator.fitting import pools_of
from scheduler.simulator.metrics import Elasticity, elasticity, mean_bounded_slowdown, mean_elastic_slowdown, quantile
from scheduler.simulator.nodes import GroupTotals
from scheduler.simulator.run import Run, Series
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Group, Pool, World

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
class GroupReport:
    """What the nodes of one group came to; the fields are those of `Report`."""

    name: str
    vm_size: str
    spot: bool
    node_hours: float
    usd: float
    node_starts: int
    peak_nodes: int
    cancelled_boots: int
    failed_boots: int
    preempted: int
    refused: int
    restarts: int
    lost_slot_hours: float


@dataclass(frozen=True, slots=True)
class PoolReport:
    """What one pool came to; the fields are those of `Report`.

    gap  None where its groups have nodes of different sizes, which the bounds do not know
    """

    name: str
    jobs: int
    unfinished: int
    node_hours: float
    usd: float
    overhead_hours: float
    utilisation: float
    waits: Waits
    elasticity: Elasticity
    gap: Gap | None
    groups: tuple[GroupReport, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a policy came to on a workload.

    node_hours        paid for, from request to stop; `usd` at the price of each group's VM size
    overhead_hours    node-hours above the sum of run times packed perfectly onto nodes of each pool's first group
    utilisation       part of the node-hours in which jobs ran (slots in use, lost work left out)
    bounded_slowdown  mean of time from ready to end over run time, runs below 10 s taken as 10 s; `elastic_slowdown`
                      with runs as they are
    lost_slot_hours   run time lost with nodes that were taken away; `restarts` of jobs
    elasticity        supply of the first pool against its demand; steps of a minute for rises, falls and jitter
    gap               the run beside the bounds of all its pools; None where one of them has none
    pools             the same by pool and group
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
    elastic_slowdown: float
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
    pools: tuple[PoolReport, ...]


Limits = tuple[Bounds | None, ...]


def limits_of(workload: Workload, world: World) -> Limits:
    """Find the bounds of each pool: nodes boot as those of its quickest group; None where they differ in size."""
    found: list[Bounds | None] = []
    for pool, jobs in zip(world.pools, _jobs_of(workload, world), strict=True):
        slots = {group.slots for group in pool.groups}
        boot = min(group.boot.mean for group in pool.groups)
        found.append(bounds(workload, slots.pop(), boot, jobs) if len(slots) == 1 else None)
    return tuple(found)


def report(run: Run, limits: Limits | None = None) -> Report:
    """Judge a run. `limits` are the bounds of its pools, if they are known already."""
    workload = run.workload
    pools = _pools(run, limits_of(workload, run.world) if limits is None else limits)
    groups = [group for pool in pools for group in pool.groups]
    finished = [job for job, end in enumerate(run.end) if not math.isnan(end)]
    times = [(run.end[job] - run.ready[job], workload.run[job]) for job in finished]
    gaps = [pool.gap for pool in pools if pool.gap is not None]
    return Report(
        workload=workload.name,
        policy=run.policy,
        seed=run.seed,
        jobs=len(workload),
        unfinished=len(workload) - len(finished),
        span_hours=run.last_finish / _HOUR,
        node_hours=run.node_seconds / _HOUR,
        usd=sum(pool.usd for pool in pools),
        overhead_hours=sum(pool.overhead_hours for pool in pools),
        utilisation=_utilisation(run, finished, range(len(run.groups))),
        waits=_waits(sorted(run.waits)),
        bounded_slowdown=mean_bounded_slowdown(times),
        elastic_slowdown=mean_elastic_slowdown(times),
        node_starts=sum(group.node_starts for group in groups),
        peak_nodes=sum(group.peak_nodes for group in groups),
        cancelled_boots=sum(group.cancelled_boots for group in groups),
        failed_boots=sum(group.failed_boots for group in groups),
        preempted=sum(group.preempted for group in groups),
        refused=sum(group.refused for group in groups),
        restarts=run.restarts,
        lost_slot_hours=run.lost_slot_seconds / _HOUR,
        elasticity=pools[0].elasticity,
        gap=_joined(gaps, run.node_seconds / _HOUR) if len(gaps) == len(pools) else None,
        questions=run.questions,
        pools=pools,
    )


def _pools(run: Run, limits: Limits) -> tuple[PoolReport, ...]:
    workload, made, first = run.workload, [], 0
    for number, (pool, jobs) in enumerate(zip(run.world.pools, _jobs_of(workload, run.world), strict=True)):
        places = range(first, first + len(pool.groups))
        first += len(pool.groups)
        groups = tuple(_group(group, run.groups[place]) for place, group in zip(places, pool.groups, strict=True))
        finished = [job for job in jobs if not math.isnan(run.end[job])]
        waits = sorted(run.start[job] - run.ready[job] for job in jobs if not math.isnan(run.start[job]))
        hours = math.fsum(group.node_hours for group in groups)
        work = math.fsum(workload.run[job] * workload.slots[job] for job in jobs) / pool.groups[0].slots
        limit = limits[number]
        made.append(
            PoolReport(
                name=pool.name,
                jobs=len(jobs),
                unfinished=len(jobs) - len(finished),
                node_hours=hours,
                usd=math.fsum(group.usd for group in groups),
                overhead_hours=hours - work / _HOUR,
                utilisation=_utilisation(run, finished, places),
                waits=_waits(waits),
                elasticity=_elasticity(run, number, pool),
                gap=None if limit is None else _gap(hours, limit),
                groups=groups,
            )
        )
    return tuple(made)


def _group(group: Group, totals: GroupTotals) -> GroupReport:
    hours = totals.node_seconds / _HOUR
    return GroupReport(
        name=group.name,
        vm_size=group.vm_size,
        spot=group.spot,
        node_hours=hours,
        usd=hours * group.usd_per_hour,
        node_starts=totals.started,
        peak_nodes=totals.peak,
        cancelled_boots=totals.cancelled,
        failed_boots=totals.failed_boots,
        preempted=totals.preempted,
        refused=totals.refused,
        restarts=totals.restarts,
        lost_slot_hours=totals.lost_slot_seconds / _HOUR,
    )


def _jobs_of(workload: Workload, world: World) -> list[Sequence[int]]:
    pool_of = pools_of(workload, world)
    if not pool_of:
        return [range(len(workload)), *([()] * (len(world.pools) - 1))]
    jobs: list[list[int]] = [[] for _ in world.pools]
    for job, number in enumerate(pool_of):
        jobs[number].append(job)
    return list(jobs)


def _utilisation(run: Run, finished: Sequence[int], places: Sequence[int]) -> float:
    done = math.fsum(run.workload.run[job] * run.workload.slots[job] for job in finished)
    groups = run.world.groups
    offered = math.fsum(run.groups[place].node_seconds * groups[place][1].slots for place in places)
    return done / offered if offered else 0.0


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


def _elasticity(run: Run, number: int, pool: Pool) -> Elasticity:
    """Judge a pool; its resources are its maximum, or the most nodes that it had."""
    series, slots = run.series[number], pool.groups[0].slots
    demand, supply, idle, lengths = steps(series, slots, run.last_finish)
    mosts = [group.max_nodes for group in pool.groups]
    known = [most for most in mosts if most is not None]
    resources = sum(known) if len(known) == len(mosts) else max([*supply, *demand], default=0)
    exact = elasticity(demand, supply, lengths, resources, idle)
    by_minute = elasticity(*sampled(series, slots, run.last_finish, 60.0), resources)
    return replace(exact, rises=by_minute.rises, falls=by_minute.falls, jitter=by_minute.jitter)


def steps(series: Series, slots: int, until: float) -> tuple[list[int], list[int], list[float], list[float]]:
    """Give demand, supply and what idles of it in nodes, and how long each of these held, up to a time."""
    demand, supply, idle, lengths = [], [], [], []
    count = len(series.at)
    for step in range(count):
        begin = series.at[step]
        end = min(series.at[step + 1], until) if step + 1 < count else until
        if end > begin:
            demand.append(-(-(series.waiting[step] + series.running[step]) // slots))
            supply.append(series.up[step] // slots)
            idle.append((series.up[step] - series.running[step]) / slots)
            lengths.append(end - begin)
    return demand, supply, idle, lengths


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
    return _beside(node_hours, limits.work / _HOUR, limits.clairvoyant / _HOUR, limits.ski_rental / _HOUR)


def _joined(gaps: Sequence[Gap], node_hours: float) -> Gap:
    return _beside(
        node_hours,
        math.fsum(gap.work_hours for gap in gaps),
        math.fsum(gap.clairvoyant_hours for gap in gaps),
        math.fsum(gap.ski_rental_hours for gap in gaps),
    )


def _beside(node_hours: float, work: float, clairvoyant: float, ski_rental: float) -> Gap:
    def part(bound: float) -> float:
        return node_hours / bound if bound else math.inf

    return Gap(part(work), part(clairvoyant), part(ski_rental), work, clairvoyant, ski_rental)
