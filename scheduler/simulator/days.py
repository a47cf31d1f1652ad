"""What a pool cost and how long its tasks waited, day by day: as it was recorded, and as a policy would have had it.

A task counts on the day of its submission, a node on the days that it was there. Days are those of UTC.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise

from scheduler.catalog import VM_SIZES
from scheduler.model import Decision, GroupPriority, NodeGroup, Sample
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.metrics import quantile
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Fixed, Group, Measured, Pool, World

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a day, or of all of them; waits in seconds."""

    node_hours: float
    node_starts: int
    tasks: int
    mean_wait: float
    p95_wait: float
    longest_wait: float


@dataclass(frozen=True, slots=True)
class Account:
    """A policy's days, in order, and all of them together."""

    name: str
    days: tuple[tuple[date, Figures], ...]
    total: Figures


@dataclass(slots=True)
class _Tally:
    node_time: timedelta = timedelta(0)
    starts: int = 0
    waits: list[float] = field(default_factory=list)

    def figures(self) -> Figures:
        waits = sorted(self.waits)
        return Figures(
            node_hours=self.node_time / _HOUR,
            node_starts=self.starts,
            tasks=len(waits),
            mean_wait=math.fsum(waits) / len(waits) if waits else 0.0,
            p95_wait=quantile(waits, 0.95) if waits else 0.0,
            longest_wait=waits[-1] if waits else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Supply:
    """So many nodes, or parts of them, from one instant to another."""

    begin: datetime
    end: datetime
    nodes: float


def account(
    name: str,
    waits: Iterable[tuple[datetime, float]],
    supply: Iterable[Supply],
    starts: Iterable[tuple[datetime, int]],
) -> Account:
    """Lay out by day how long tasks waited, by submission, what nodes there were, and which were started."""
    days: defaultdict[date, _Tally] = defaultdict(_Tally)
    whole = _Tally()
    for submitted_at, wait in waits:
        for tally in (days[submitted_at.date()], whole):
            tally.waits.append(wait)
    for each in supply:
        for day, length in _split(each.begin, each.end):
            for tally in (days[day], whole):
                tally.node_time += length * each.nodes
    for at, count in starts:
        for tally in (days[at.date()], whole):
            tally.starts += count
    return Account(name, tuple((day, days[day].figures()) for day in sorted(days)), whole.figures())


def recorded(
    workload: Workload, begins_at: datetime, samples: Sequence[Sample], decisions: Sequence[Decision]
) -> Account:
    """Account for what was: waits of the workload, nodes of the pool's timeline, orders of its decisions."""
    waits = (
        (_at(begins_at, submit), wait)
        for submit, wait in zip(workload.submit, workload.recorded_wait, strict=False)
        if wait is not None
    )
    supply = (
        Supply(max(begins_at, one.at), after.at, one.current_nodes)
        for one, after in pairwise(samples)
        if after.at > begins_at
    )
    starts = ((each.at, each.count) for each in decisions if each.action == "scale_out" and each.at >= begins_at)
    return account("as it was", waits, supply, starts)


def replayed(
    name: str, workload: Workload, begins_at: datetime, world: World, policy: ScalingPolicy, seed: int = 0
) -> Account:
    """Account for what a policy would have done with the same work, from no node on."""
    run = replay(workload, world, own_policy(world, policy), seed=seed)
    waits = (
        (_at(begins_at, submit), start - ready)
        for submit, ready, start in zip(workload.submit, run.ready, run.start, strict=True)
        if not math.isnan(start)
    )
    return account(name, waits, _supply(run, begins_at), _starts(run, begins_at))


def world_of(pool: str, groups: Sequence[NodeGroup], boots: tuple[float, ...]) -> World:
    """Make the pool's own world: its current groups, whose nodes boot as those that were measured."""
    boot = Measured(boots) if boots else Fixed(UNMEASURED_BOOT.total_seconds())
    made = tuple(
        Group(
            name=group.key.name,
            slots=group.task_slots,
            max_nodes=group.max_nodes,
            boot=boot,
            usd_per_hour=_price(group),
            vm_size=group.vm_size,
            spot=group.priority is GroupPriority.SPOT,
        )
        for group in groups
        if group.current
    )
    return World((Pool(name=pool, groups=made),))


def _price(group: NodeGroup) -> float:
    known = VM_SIZES.get(group.vm_size)
    return 0.0 if known is None else known.usd_per_hour(spot=group.priority is GroupPriority.SPOT)


def _supply(run: Run, begins_at: datetime) -> Iterator[Supply]:
    """Give the nodes that were paid for; where groups differ in slots, each step has its part of the node-hours."""
    series = run.series[0]
    ends = [*series.at[1:], max(run.ended, series.at[-1])] if series.at else []
    steps = list(zip(series.at, ends, series.alive, strict=True))
    slot_seconds = math.fsum((end - begin) * alive for begin, end, alive in steps)
    part = run.node_seconds / slot_seconds if slot_seconds else 0.0
    for begin, end, alive in steps:
        if alive and end > begin:
            yield Supply(_at(begins_at, begin), _at(begins_at, end), alive * part)


def _starts(run: Run, begins_at: datetime) -> Iterator[tuple[datetime, int]]:
    """Give when nodes were asked for, as the rises of those that are paid for."""
    series = run.series[0]
    least = min(group.slots for _, group in run.world.groups)
    before = 0
    for at, alive in zip(series.at, series.alive, strict=True):
        if alive > before:
            yield _at(begins_at, at), (alive - before) // least
        before = alive


def _split(begin: datetime, end: datetime) -> Iterator[tuple[date, timedelta]]:
    """Split a span at the ends of days."""
    while begin < end:
        midnight = datetime.combine(begin.date() + _DAY, datetime.min.time(), begin.tzinfo)
        yield begin.date(), min(end, midnight) - begin
        begin = midnight


def _at(begins_at: datetime, seconds: float) -> datetime:
    return begins_at + timedelta(seconds=seconds)
