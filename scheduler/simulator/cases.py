"""Many replays of one workload: each case is a policy with its settings; they run beside each other in processes."""

import importlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.context import SpawnContext
from typing import cast

from scheduler.errors import InvalidRequestError, MillpondError
from scheduler.simulator.engine import Progress, replay
from scheduler.simulator.policies.catalogue import make_policy
from scheduler.simulator.policies.own import OwnPolicy
from scheduler.simulator.report import Limits, Report, limits_of, report
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import World

_YEAR = 365 * 86400.0
# Far longer than any history; what takes longer is a slip, and its minutes are not worth counting.
_LONGEST = 200 * _YEAR

# What a worker process was given once, so that a workload travels to each of them only once.
_GIVEN: dict[str, tuple[Workload, World, Limits]] = {}


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
    """Replay one case; `InvalidRequestError` where its numbers lead beyond what can be counted."""
    policy = make_policy(case.policy, world, dict(case.settings))
    try:
        if case.engine is Engine.FAITHFUL:
            if not isinstance(policy, OwnPolicy):
                raise InvalidRequestError(
                    f"the faithful engine runs the real scheduler, which is millpond, not {case.policy}"
                )
            # Loaded when it is used: the store that it brings takes longer to load than most replays.
            faithful = importlib.import_module("scheduler.simulator.faithful.engine")
            run = cast("Run", faithful.replay_faithfully(workload, world, policy, seed=case.seed, progress=progress))
        else:
            run = replay(workload, world, policy, seed=case.seed, progress=progress)
    except ArithmeticError as error:
        raise InvalidRequestError(
            f"{case.label}: with such numbers the replay leads beyond what can be counted ({error}); look at the"
            f" settings, and whether there are enough nodes for the work"
        ) from error
    if run.last_finish > _LONGEST:
        raise InvalidRequestError(
            f"{case.label}: the work would take {run.last_finish / _YEAR:,.0f} years; allow more nodes, or look at the"
            f" run times: they are seconds"
        )
    return run


def run_cases(
    workload: Workload,
    world: World,
    cases: Sequence[Case],
    *,
    processes: int = 1,
    done: Callable[[Judged], None] = lambda _: None,
) -> list[Judged]:
    """Replay cases in so many processes, and give them in order; `done` is told of each as it ends.

    However this ends, by Ctrl-C too, no process is left. `MillpondError` when one of them was killed.
    """
    for case in cases:  # a wrong setting is told before any time is spent
        make_policy(case.policy, world, dict(case.settings))
    limits = limits_of(workload, world)
    results: dict[int, Judged] = {}

    def keep(number: int, judged: Judged) -> None:
        results[number] = judged
        done(judged)

    if processes <= 1 or len(cases) <= 1:
        for number, case in enumerate(cases):
            keep(number, Judged(case, report(run_case(workload, world, case), limits)))
    else:
        # New interpreters, not copies of this one: copying a process that has threads is not safe.
        context = multiprocessing.get_context("spawn")
        _run_beside(context, workload, world, cases, limits, min(processes, len(cases)), keep)
    return [results[number] for number in range(len(cases))]


def _run_beside(
    context: SpawnContext,
    workload: Workload,
    world: World,
    cases: Sequence[Case],
    limits: Limits,
    workers: int,
    keep: Callable[[int, Judged], None],
) -> None:
    pool = ProcessPoolExecutor(workers, context, initializer=_take, initargs=(workload, world, limits))
    try:
        waiting = {pool.submit(_judge, case): number for number, case in enumerate(cases)}
        for future in as_completed(waiting):
            keep(waiting[future], future.result())
    except BrokenProcessPool as error:
        raise MillpondError(
            f"a process that replayed a setting was killed, for want of memory perhaps; of {len(cases)} settings"
            f" not all were replayed: try fewer at a time, --processes 1"
        ) from error
    except BaseException:
        for process in list((pool._processes or {}).values()):  # noqa: SLF001  it has no public way to end them at once
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


def _take(workload: Workload, world: World, limits: Limits) -> None:
    # Ctrl-C reaches every process of a terminal: the first one tells, and ends the others. Should it be killed itself,
    # they end by themselves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _GIVEN["all"] = workload, world, limits


def _judge(case: Case) -> Judged:
    workload, world, limits = _GIVEN["all"]
    return Judged(case, report(run_case(workload, world, case), limits))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
