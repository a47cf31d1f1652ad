"""What compiled formulas lose against their policy, simulated: deterministic numbers, no times.

Each workload brings out something that a formula approximates: how often it is evaluated, the run time that it takes
every task to have, and idleness that is counted over the pool.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from rich.table import Table

from scheduler.formula.compiler import CompileSettings
from scheduler.policy import ScalingPolicy
from scheduler.simulator.quantities import span_text
from scheduler.simulator.regret import regret
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group

JOBS = 2000
_BOOT = 240.0
_SLOTS = 4
_MINUTES = (5, 15)


@dataclass(frozen=True, slots=True)
class Kind:
    """A workload that is drawn, and the run time that the policy tells the formula."""

    name: str
    draw: Callable[[random.Random, int], SimulatedJob]
    task_time: timedelta


@dataclass(frozen=True, slots=True)
class Found:
    """Node-hours and waits of a policy and of its formula on one workload at one interval."""

    workload: str
    minutes: int
    policy_node_hours: float
    formula_node_hours: float
    policy_waits: tuple[float, float]
    formula_waits: tuple[float, float]


def _steady(source: random.Random, number: int) -> SimulatedJob:
    return SimulatedJob(60.0 * number + source.uniform(0, 60), source.expovariate(1 / 300))


def _bursts(source: random.Random, number: int) -> SimulatedJob:
    return SimulatedJob(3600.0 * (number // 100) + source.uniform(0, 10), source.uniform(20, 40))


def _two_lengths(source: random.Random, number: int) -> SimulatedJob:
    return SimulatedJob(60.0 * number + source.uniform(0, 60), source.choice((10.0, 10.0, 10.0, 1200.0)))


KINDS = (
    Kind("steady, tasks of about 5 min", _steady, timedelta(minutes=5)),
    Kind("the same, told 30 s", _steady, timedelta(seconds=30)),
    Kind("100 tasks of 30 s each hour", _bursts, timedelta(seconds=30)),
    Kind("three of 10 s, one of 20 min", _two_lengths, timedelta(seconds=307)),
)


def measure_regrets(jobs: int) -> Iterator[Found]:
    """Replay every kind at every interval."""
    for kind in KINDS:
        source = random.Random(1)  # noqa: S311
        workload: Workload = workload_of(kind.name, [kind.draw(source, number) for number in range(jobs)])
        policy = ScalingPolicy(max_nodes=100, default_task_time=kind.task_time)
        for minutes in _MINUTES:
            settings = CompileSettings(_SLOTS, interval=timedelta(minutes=minutes))
            found = regret(workload, Group(slots=_SLOTS, boot=Fixed(_BOOT), max_nodes=100), policy, settings)
            assert found.policy.unfinished == found.formula.unfinished == 0
            yield Found(
                kind.name,
                minutes,
                found.policy.node_hours,
                found.formula.node_hours,
                (found.policy.waits.mean, found.policy.waits.p95),
                (found.formula.waits.mean, found.formula.waits.p95),
            )


def regrets_table(regrets: list[Found]) -> Table:
    """Lay the regrets out: what the policy comes to, and what its formula does."""
    title = f"regret: a compiled formula in place of its policy, simulated ({_SLOTS} slots, boots of {_BOOT:.0f} s)"
    table = Table("workload", title=title, title_justify="left", title_style="bold")
    for heading in ("evaluated", "node-hours", "mean wait", "p95 wait"):
        table.add_column(heading, justify="right")
    for each in regrets:
        pairs = zip(each.policy_waits, each.formula_waits, strict=True)
        table.add_row(
            each.workload,
            f"{each.minutes} min",
            f"{each.policy_node_hours:,.1f} -> {each.formula_node_hours:,.1f}",
            *(f"{span_text(policy)} -> {span_text(formula)}" for policy, formula in pairs),
        )
    return table
