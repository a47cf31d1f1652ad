"""The simulator's side of its bench, and SimPy doing the same replay of a fixed pool."""

import math
import random
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import simpy

from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.faithful.engine import replay_faithfully
from scheduler.simulator.policies.own import OwnPolicy, own_policy
from scheduler.simulator.policies.simple import FixedPool, QueueDepth
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Fixed, Group, World, one_pool
from tests.bench.side import Prepared, main

_NODES = 150
_BETWEEN = 149.0
_MEAN_RUN = 20_000.0


def workload(jobs: int) -> Workload:
    """Draw jobs: a hundred thousand of them last half a year, with about 134 at work on average."""
    source = random.Random(1)  # noqa: S311
    now = 0.0
    submit, run = [], []
    for _ in range(jobs):
        now += source.expovariate(1 / _BETWEEN)
        submit.append(now)
        run.append(source.expovariate(1 / _MEAN_RUN))
    return Workload("drawn", tuple(submit), tuple(run), (1,) * jobs)


def fixed(jobs: int, _: Path) -> Prepared:
    """Replay on a fixed pool."""
    return _ours(jobs, lambda load: replay(load, one_pool(Group(initial=_NODES)), FixedPool()))


def elastic(jobs: int, _: Path) -> Prepared:
    """Replay through an elastic policy that is asked every five seconds."""
    policy = QueueDepth(idle_timeout=300.0, interval=5.0)
    return _ours(jobs, lambda load: replay(load, one_pool(Group(boot=Fixed(240.0))), policy))


def _day(jobs: int) -> tuple[Workload, World, OwnPolicy]:
    """Draw jobs of a quarter of an hour on average, so that 60 of them take a day, and the world of both engines."""
    source = random.Random(1)  # noqa: S311
    now = 0.0
    submit, run = [], []
    for _ in range(jobs):
        now += source.expovariate(1 / 1440)
        submit.append(now)
        run.append(source.expovariate(1 / 900))
    world = one_pool(Group(boot=Fixed(240.0), max_nodes=20))
    return (
        Workload("day", tuple(submit), tuple(run), (1,) * jobs),
        world,
        own_policy(world, ScalingPolicy(max_nodes=20)),
    )


def faithful(jobs: int, _: Path) -> Prepared:
    """Replay through the real controller, store and runner."""
    load, world, policy = _day(jobs)
    return _checked(load, lambda: replay_faithfully(load, world, policy))


def same_fast(jobs: int, _: Path) -> Prepared:
    """Replay the same on the fast engine."""
    load, world, policy = _day(jobs)
    return _checked(load, lambda: replay(load, world, policy))


def _ours(jobs: int, work: Callable[[Workload], Run]) -> Prepared:
    load = workload(jobs)
    return _checked(load, lambda: work(load))


def _checked(load: Workload, work: Callable[[], Run]) -> Prepared:
    done: list[Run] = []

    def check() -> None:
        assert done[0].unfinished == 0

    return Prepared(lambda: done.append(work()), len(load), check)


def by_simpy(jobs: int, _: Path) -> Prepared:
    """Replay on a fixed pool with SimPy; its waits must be ours."""
    load = workload(jobs)
    waits: list[float] = []

    def work() -> None:
        environment = simpy.Environment()
        nodes = simpy.Resource(environment, capacity=_NODES)

        def job(run: float) -> Generator[Any, Any, None]:
            ready = environment.now
            with nodes.request() as request:
                yield request
                waits.append(environment.now - ready)
                yield environment.timeout(run)

        def arrivals() -> Generator[Any, Any, None]:
            for submit, run in zip(load.submit, load.run, strict=True):
                yield environment.timeout(submit - environment.now)
                environment.process(job(run))

        environment.process(arrivals())
        environment.run()

    def check() -> None:
        ours = replay(load, one_pool(Group(initial=_NODES)), FixedPool()).waits
        assert math.isclose(math.fsum(waits), math.fsum(ours), rel_tol=1e-6, abs_tol=1e-3)

    return Prepared(work, jobs, check)


VARIANTS: Mapping[str, Callable[[int, Path], Prepared]] = {
    "fixed": fixed,
    "elastic": elastic,
    "simpy": by_simpy,
    "faithful": faithful,
    "same-fast": same_fast,
}

if __name__ == "__main__":
    main(VARIANTS)
