"""What it is worth to start ahead of what repeats: `python -m tests.bench.recurrence [--trace NAME]`.

The default policy with and without `anticipate`, on drawn workloads that repeat strictly, loosely or not at all, and
with `--trace` on recorded ones. `worth` is the waiting that is saved, in hours, less the node-hours that it costs: at
the default `waiting_cost` of 1 what is above zero has paid.
"""

import argparse
import math
import random
from collections.abc import Iterable, Iterator

from rich.console import Console

from scheduler.simulator.cases import Case, run_case
from scheduler.simulator.report import limits_of, report
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.bench.frontier import MAIN_TRACES
from tests.scheduler.simulator.worlds import trace

_HOUR, _DAY, _WEEKS = 3600.0, 86_400.0, 10


def nightly(name: str, *, late: float, tasks: int = 40, run: float = 600.0, left_out: float = 0.0) -> Workload:
    """Draw a batch at two each night, up to `late` seconds later, left out in a part of the nights."""
    source = random.Random(name)  # noqa: S311
    jobs = [SimulatedJob(0.0, 60.0)]
    for day in range(_WEEKS * 7):
        at = day * _DAY + 2 * _HOUR + source.uniform(0, late)
        if source.random() >= left_out:
            count = round(tasks * source.uniform(0.8, 1.2))
            jobs += [SimulatedJob(at + source.uniform(0, 5), source.lognormvariate(0, 0.5) * run) for _ in range(count)]
    return workload_of(name, jobs)


def hourly(name: str) -> Workload:
    """Draw ten jobs at each full hour."""
    source = random.Random(name)  # noqa: S311
    hours = range(_WEEKS * 7 * 24)
    return workload_of(
        name,
        [
            SimulatedJob(hour * _HOUR + source.uniform(0, 10), source.lognormvariate(0, 0.3) * 200)
            for hour in hours
            for _ in range(10)
        ],
    )


def office(name: str) -> Workload:
    """Draw thirty jobs an hour in working hours of weekdays, at any time of them, and hardly any else."""
    source = random.Random(name)  # noqa: S311
    jobs, now = [SimulatedJob(0.0, 60.0)], 0.0
    while now < _WEEKS * 7 * _DAY:
        now += source.expovariate(30 / _HOUR)
        works = now // _DAY % 7 < 5 and 9 <= now % _DAY / _HOUR < 18
        if source.random() < (1.0 if works else 0.03):
            jobs.append(SimulatedJob(now, source.lognormvariate(0, 0.8) * 300))
    return workload_of(name, jobs)


def drawn() -> Iterator[Workload]:
    """Give the drawn workloads."""
    yield nightly("nightly, within 20 s", late=20)
    yield nightly("nightly, a fifth of the nights left out", late=20, left_out=0.2)
    yield nightly("nightly, 200 short tasks", late=20, tasks=200, run=20.0)
    yield nightly("nightly, within 5 min", late=280)
    yield nightly("nightly, within 20 min", late=1200)
    yield hourly("hourly")
    yield office("office hours")


def main() -> None:
    """Print a row of a Markdown table for each workload as it ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recurrence")
    parser.add_argument("--trace", action="append", choices=MAIN_TRACES, help="in place of drawn workloads")
    parser.add_argument("--boot", action="append", type=float, help="boot times in seconds; default 240")
    options = parser.parse_args()
    loads: Iterable[Workload] = (trace(name) for name in options.trace) if options.trace else drawn()
    console = Console(width=160)
    console.print("| workload | boot s | overhead h without, with | mean wait s | p95 wait s | worth h |")
    console.print("|---|---|---|---|---|---|")
    for load in loads:
        for boot in options.boot or (240.0,):
            console.print(_row(load, boot), highlight=False)


def _row(load: Workload, boot: float) -> str:
    world = one_pool(Group(boot=Fixed(boot)))
    limits = limits_of(load, world)
    without, ahead = (
        report(run_case(load, world, Case("millpond", (("anticipate", value),))), limits) for value in ("false", "true")
    )
    saved = math.fsum((without.waits.mean, -ahead.waits.mean)) * len(load) / _HOUR
    return (
        f"| {load.name} | {boot:g} | {without.overhead_hours:,.1f}, {ahead.overhead_hours:,.1f}"
        f" | {without.waits.mean:.1f}, {ahead.waits.mean:.1f} | {without.waits.p95:.0f}, {ahead.waits.p95:.0f}"
        f" | {saved - (ahead.node_hours - without.node_hours):+.1f} |"
    )


if __name__ == "__main__":
    main()
