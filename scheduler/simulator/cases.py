"""Many replays of one workload: each case is a policy with its settings; they run beside each other in processes."""

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum

from scheduler.errors import InvalidRequestError
from scheduler.simulator.bounds import Bounds, bounds
from scheduler.simulator.engine import Progress, replay
from scheduler.simulator.faithful.engine import replay_faithfully
from scheduler.simulator.policies.catalogue import make_policy
from scheduler.simulator.policies.own import OwnPolicy
from scheduler.simulator.report import Report, report
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World

# What a worker process was given once, so that a workload travels to each of them only once.
_GIVEN: dict[str, tuple[Workload, World, Bounds]] = {}


class Engine(StrEnum):
    """What replays.

    FAST      the simulator's own queue and nodes; a policy is asked at its interval
    FAITHFUL  the real controller, store and runner on adapters in memory; ours only, and much slower
    """

    FAST = "fast"
    FAITHFUL = "faithful"


@dataclass(frozen=True, slots=True)
class Case:
    """A policy by name, its settings as people write them, a seed, and what replays it."""

    policy: str
    settings: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    engine: Engine = Engine.FAST

    @property
    def label(self) -> str:
        """Name of the policy and what is set."""
        return " ".join([self.policy, *(f"{name}={value}" for name, value in self.settings)])


@dataclass(frozen=True, slots=True)
class Judged:
    """A case and how it came out."""

    case: Case
    report: Report


def grid(policy: str, values: Mapping[str, Sequence[str]], fixed: Mapping[str, str], seed: int) -> list[Case]:
    """Give a case for each combination of values, and of settings that stay the same."""
    names = list(values)
    return [
        Case(policy, (*((n, v) for n, v in fixed.items() if n not in values), *zip(names, chosen, strict=True)), seed)
        for chosen in itertools.product(*(values[name] for name in names))
    ]


def run_case(workload: Workload, world: World, case: Case, progress: Progress | None = None) -> Run:
    """Replay one case."""
    policy = make_policy(case.policy, world, dict(case.settings))
    if case.engine is Engine.FAITHFUL:
        if not isinstance(policy, OwnPolicy):
            raise InvalidRequestError(
                f"the faithful engine runs the real scheduler, which is millpond, not {case.policy}"
            )
        return replay_faithfully(workload, world, policy, seed=case.seed, progress=progress)
    return replay(workload, world, policy, seed=case.seed, progress=progress)


def run_cases(
    workload: Workload,
    world: World,
    cases: Sequence[Case],
    *,
    processes: int = 1,
    done: Callable[[Judged], None] = lambda _: None,
) -> list[Judged]:
    """Replay cases in so many processes, and give them in order; `done` is told of each as it ends."""
    for case in cases:  # a wrong setting is told before any time is spent
        make_policy(case.policy, world, dict(case.settings))
    limits = bounds(workload, world.groups[0][1].slots, world.groups[0][1].boot.mean)
    results: dict[int, Judged] = {}
    if processes <= 1 or len(cases) <= 1:
        for number, case in enumerate(cases):
            results[number] = Judged(case, report(run_case(workload, world, case), limits))
            done(results[number])
    else:
        # New interpreters, not copies of this one: copying a process that has threads is not safe.
        context = multiprocessing.get_context("spawn")
        workers = min(processes, len(cases))
        with ProcessPoolExecutor(workers, context, initializer=_take, initargs=(workload, world, limits)) as pool:
            waiting = {pool.submit(_judge, case): number for number, case in enumerate(cases)}
            for future in as_completed(waiting):
                results[waiting[future]] = future.result()
                done(results[waiting[future]])
    return [results[number] for number in range(len(cases))]


def not_dominated(points: Iterable[tuple[float, float]]) -> list[int]:
    """Give the places of the points that no other beats in both numbers."""
    given = list(points)
    return [
        place
        for place, (cost, wait) in enumerate(given)
        if not any(
            other_cost <= cost and other_wait <= wait and (other_cost < cost or other_wait < wait)
            for other_cost, other_wait in given
        )
    ]


def _take(workload: Workload, world: World, limits: Bounds) -> None:
    _GIVEN["all"] = workload, world, limits


def _judge(case: Case) -> Judged:
    workload, world, limits = _GIVEN["all"]
    return Judged(case, report(run_case(workload, world, case), limits))
