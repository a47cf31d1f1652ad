"""How far the fast engine is from the real scheduler: `python -m tests.bench.fidelity`, both on the same workloads.

A line adds up three draws, since one decision a few seconds earlier may buy a node more. Between the two engines stands
the fast one whose nodes come up and go as much later as scheduler and node take to talk: what is left between that and
the faithful one is not talk. The recorded days are left out where the traces do not lie beside the repository.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from time import process_time

from rich.console import Console
from rich.table import Table

from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.faithful.engine import replay_faithfully
from scheduler.simulator.metrics import quantile
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.run import Run
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Distribution, Exponential, Group, LogNormal, Pool, Quota, World, one_pool
from tests.scheduler.simulator.worlds import TRACES

_DRAWS = 3
_HOUR = 3600.0
_DAY = 24 * _HOUR
# Not a multiple of the time between two looks, so that machines come up at any time between them.
_BOOT = LogNormal(240.0, 0.1)
_MOST = 20
_USUAL = Group(max_nodes=_MOST, boot=_BOOT)
_ONE_POOL = one_pool(_USUAL)
# A node that is up is seen at the next look (each 5 s) and reads what it is told within a second.
_ADMITTED_AFTER = 3.5
# An idle node is seen to idle at a look, reads within 4.5 s that it is to drain, and is seen to have done so at a look.
_LEAVES_AFTER = 7.0


@dataclass(frozen=True, slots=True)
class Later:
    """What takes so much longer than something else."""

    usual: Distribution
    by: float

    def draw(self, source: random.Random) -> float:
        """Draw one."""
        return self.usual.draw(source) + self.by

    @property
    def mean(self) -> float:
        """Its expectation."""
        return self.usual.mean + self.by


@dataclass(frozen=True, slots=True)
class Kind:
    """A workload that is drawn, and the world that it comes to."""

    name: str
    draw: Callable[[random.Random], Workload]
    world: World = _ONE_POOL


def constant(source: random.Random) -> Workload:
    """Draw five nodes' work for three hours: a job a minute, of five minutes."""
    return workload_of("constant", (SimulatedJob(60.0 * n + source.uniform(0, 5), 300.0) for n in range(180)))


def day(source: random.Random) -> Workload:
    """Draw a day of 60 jobs of up to an hour."""
    return workload_of("day", (SimulatedJob(source.uniform(0, _DAY), source.uniform(20, 3600)) for _ in range(60)))


def bursts(source: random.Random, pools: tuple[str, ...] = ("",)) -> Workload:
    """Draw 25 jobs within a minute, each hour."""
    return workload_of(
        "bursts",
        (
            SimulatedJob(_HOUR * hour + source.uniform(0, 60), source.uniform(120, 360), pool=source.choice(pools))
            for hour in range(4)
            for _ in range(25)
        ),
    )


def arrays(source: random.Random, tasks: int = 40, shortest: float = 120.0, longest: float = 360.0) -> Workload:
    """Draw an array at once, each hour."""
    return workload_of(
        "arrays",
        (SimulatedJob(_HOUR * hour, source.uniform(shortest, longest)) for hour in range(4) for _ in range(tasks)),
    )


def long_jobs(source: random.Random) -> Workload:
    """Draw 40 jobs of about 20 minutes over four hours."""
    return workload_of(
        "long", (SimulatedJob(source.uniform(0, 4 * _HOUR), source.uniform(900, 1500)) for _ in range(40))
    )


def recorded(name: str, source: random.Random) -> Workload:
    """Take a day that somebody recorded, of 30 to 200 jobs, one slot each."""
    whole = read_trace(TRACES / name / "jobs.csv.gz").workload
    days: dict[int, list[int]] = {}
    for job, submit in enumerate(whole.submit):
        days.setdefault(int(submit // _DAY), []).append(job)
    chosen = source.choice([jobs for jobs in days.values() if 30 <= len(jobs) <= 200])
    return workload_of(name, (SimulatedJob(whole.submit[job], min(whole.run[job], 4 * _HOUR)) for job in chosen))


def kinds() -> Iterator[Kind]:
    """Give what is compared."""
    two = World(tuple(Pool(name, (_USUAL,)) for name in "ab"), quotas=(Quota(("a/nodes", "b/nodes"), 8),))
    yield Kind("constant: a job of 5 min each min, 3 h", constant)
    yield Kind("a day of 60 jobs of up to 1 h", day)
    yield Kind("bursts: 25 jobs of 2 to 6 min in a min, 4 times", bursts)
    yield Kind("arrays: 40 tasks of 2 to 6 min, 4 times", arrays)
    yield Kind("arrays: 400 tasks of 5 to 15 s, 4 times", lambda source: arrays(source, 400, 5.0, 15.0))
    yield Kind("the bursts, two pools, a quota of 8 nodes", lambda source: bursts(source, ("a", "b")), two)
    yield Kind("the bursts, a fifth of the boots fail", bursts, one_pool(replace(_USUAL, boot_failure=0.2)))
    yield Kind(
        "40 jobs of 20 min in 4 h, Spot nodes live 1 h",
        long_jobs,
        one_pool(replace(_USUAL, lifetime=Exponential(_HOUR), spot=True)),
    )
    for name in ("kth-sp2-1996", "linkerd-gha-2020"):
        if (TRACES / name).exists():
            yield Kind(f"{name}, one day", lambda source, name=name: recorded(name, source))  # type: ignore[misc]


def with_talk(world: World) -> World:
    """Have nodes come up and go as much later as the talk takes."""

    def later(group: Group) -> Group:
        boot = Later(group.boot, _ADMITTED_AFTER)
        return replace(group, boot=boot, deleted_after=group.deleted_after + _LEAVES_AFTER)

    return replace(world, pools=tuple(replace(p, groups=tuple(later(g) for g in p.groups)) for p in world.pools))


def main() -> None:
    """Print the table."""
    console = Console(width=140)
    table = Table("workload", "engine", "node-hours", "starts", "restarts", "wait mean s", "p50", "p95", "max", "CPU s")
    for kind in kinds():
        runs: dict[str, list[Run]] = {"fast": [], "fast with talk": [], "faithful": []}
        seconds = dict.fromkeys(runs, 0.0)
        for seed in range(_DRAWS):
            load = kind.draw(random.Random(seed))  # noqa: S311
            rules = ScalingPolicy(acceptable_wait=timedelta(minutes=1), max_nodes=_MOST)
            for engine, found in runs.items():
                begun = process_time()
                world = with_talk(kind.world) if engine == "fast with talk" else kind.world
                replays = replay_faithfully if engine == "faithful" else replay
                run = replays(load, world, own_policy(world, rules), seed=seed)
                assert run.unfinished == 0
                seconds[engine] += process_time() - begun
                found.append(run)
        for engine, found in runs.items():
            _add(table, kind.name if engine == "fast" else "", engine, found, seconds[engine])
    console.print(table)


def _add(table: Table, name: str, engine: str, runs: list[Run], seconds: float) -> None:
    waits = sorted(wait for run in runs for wait in run.waits)
    table.add_row(
        name,
        engine,
        f"{sum(run.node_seconds for run in runs) / _HOUR:.2f}",
        f"{sum(group.started for run in runs for group in run.groups)}",
        f"{sum(run.restarts for run in runs)}",
        f"{math.fsum(waits) / len(waits):.1f}",
        *(f"{quantile(waits, part):.0f}" for part in (0.5, 0.95)),
        f"{waits[-1]:.0f}",
        f"{seconds:.1f}",
    )


if __name__ == "__main__":
    main()
