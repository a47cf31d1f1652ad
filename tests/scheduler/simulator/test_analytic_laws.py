"""Streams whose mean wait or node-hours a law gives exactly: the value lies in a 99 % interval by batch means.

Every case has the same seed, chosen before any was run. Streams are short in the common tests; `make test-exactness`
takes a million jobs and more.
"""

import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from scheduler.simulator.engine import replay
from scheduler.simulator.interface import Detail, Observation, Orders
from scheduler.simulator.policies.simple import FixedPool, QueueDepth
from scheduler.simulator.run import Run
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Distribution, Exponential, Fixed, Group, Pool, World, one_pool
from tests.scheduler.simulator.worlds import LARGE

JOBS = 1_000_000 if "MILLPOND_TEST_EXACTNESS" in os.environ else 50_000
SEED = 20_261_129
BATCHES = 30
# Student's t for 29 degrees of freedom, 99 % two-sided.
T_99 = 2.756


@dataclass(frozen=True)
class Erlang:
    """A sum of exponential phases: less spread than one."""

    mean: float
    phases: int

    def draw(self, source: random.Random) -> float:
        """Draw one."""
        return source.gammavariate(self.phases, self.mean / self.phases)


@dataclass(frozen=True)
class Hyper:
    """Two exponentials with balanced means: as much spread as is asked for (squared coefficient of variation)."""

    mean: float
    spread: float

    def draw(self, source: random.Random) -> float:
        """Draw one."""
        part = (1 + math.sqrt((self.spread - 1) / (self.spread + 1))) / 2
        part = part if source.random() < part else 1 - part
        return source.expovariate(2 * part / self.mean)


def stream(between: float, run: Distribution | Erlang | Hyper, jobs: int = 0) -> Workload:
    """Draw a Poisson stream."""
    source = random.Random(SEED)  # noqa: S311
    now = 0.0
    submit, runs = [], []
    for _ in range(jobs or JOBS):
        now += source.expovariate(1 / between)
        submit.append(now)
        runs.append(run.draw(source))
    return Workload("stream", tuple(submit), tuple(runs), (1,) * len(runs))


def interval(values: list[float]) -> tuple[float, float]:
    """Give a 99 % interval of the mean by batch means; the first batch is the warm-up."""
    size = len(values) // (BATCHES + 1)
    means = [math.fsum(values[n * size : (n + 1) * size]) / size for n in range(1, BATCHES + 1)]
    mean = math.fsum(means) / BATCHES
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in means) / (BATCHES - 1))
    half = T_99 * deviation / math.sqrt(BATCHES)
    return mean - half, mean + half


def holds(value: float, run: Run) -> None:
    """Check that a mean wait lies in its interval, and that the interval says something."""
    low, high = interval(run.waits)
    assert low <= value <= high
    assert high - low < 1.5 * value


def erlang_b(load: float, servers: int) -> float:
    """Give the part of jobs that find all servers busy and are lost, by recursion."""
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked


def erlang_c(load: float, servers: int) -> float:
    """Give the part of jobs that wait at all where none is lost."""
    blocked = erlang_b(load, servers)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait_mmc(between: float, run: float, servers: int) -> float:
    """Give the mean wait of M/M/c (Erlang C)."""
    return erlang_c(run / between, servers) / (servers / run - 1 / between)


# c, load of each server, Erlang B and C, E[Wq] and P(Wq > 600 s) for runs of 300 s: the digits of the traces' README.
MMC = [
    (1, 0.5, 0.3333333333, 0.5000000000, 300.0, 0.18393972),
    (1, 0.8, 0.4444444444, 0.8000000000, 1200.0, 0.53625604),
    (2, 0.8, 0.3298969072, 0.7111111111, 533.333333, 0.31952282),
    (5, 0.7, 0.1541120698, 0.3778382267, 75.567645, 0.01881146),
    (5, 0.9, 0.2430210018, 0.7624932207, 457.495932, 0.28050558),
    (10, 0.8, 0.1216610643, 0.4091801508, 61.377023, 0.00749440),
    (10, 0.95, 0.1913791583, 0.8255855781, 495.351347, 0.30371596),
    (50, 0.9, 0.0541044722, 0.3638644672, 21.831868, 0.00001652),
    (100, 0.95, 0.0488042062, 0.5064568539, 30.387411, 0.00002299),
]
# A part of jobs that is smaller is met too seldom for batches of them to tell.
_OFTEN = 0.1


@pytest.mark.parametrize(("servers", "busy", "lost", "waiting", "wait", "long"), MMC)
def test_a_fixed_pool_obeys_erlang_c(
    servers: int, busy: float, lost: float, waiting: float, wait: float, long: float
) -> None:
    """M/M/c: the mean wait, who waits at all and who for longer than ten minutes, for one node to a hundred."""
    between = 300 / (servers * busy)
    assert erlang_b(servers * busy, servers) == pytest.approx(lost, abs=1e-10)
    assert erlang_c(servers * busy, servers) == pytest.approx(waiting, abs=1e-10)
    assert mean_wait_mmc(between, 300, servers) == pytest.approx(wait, abs=1e-6)
    assert waiting * math.exp(-(servers / 300 - 1 / between) * 600) == pytest.approx(long, abs=1e-8)
    run = replay(stream(between, Exponential(300)), one_pool(Group(initial=servers)), FixedPool())
    holds(wait, run)
    for part, least in ((waiting, 0.0), (long, 600.0)):
        low, high = interval([float(each > least) for each in run.waits])
        assert part < _OFTEN or low <= part <= high


@pytest.mark.parametrize(
    ("law", "wait"),
    [(Fixed(300), 600.0), (Erlang(300, 4), 750.0), (Exponential(300), 1200.0), (Hyper(300, 10), 6600.0)],
)
def test_one_node_obeys_pollaczek_and_khinchine(law: Distribution, wait: float) -> None:
    """M/G/1 at a load of 0.8: the mean wait for run times of little and of much spread."""
    holds(wait, replay(stream(375, law), one_pool(Group(initial=1)), FixedPool()))


def seen_by_arrivals(workload: Workload, at: Sequence[float], values: Sequence[int]) -> Iterator[int]:
    """Give what each job found when it came; Poisson arrivals see time averages (PASTA)."""
    step = 0
    for submit in workload.submit:
        while step + 1 < len(at) and at[step + 1] < submit:
            step += 1
        # Nothing is there before the first step.
        yield values[step] if at[step] < submit else 0


@pytest.mark.parametrize("law", [Fixed(300), Exponential(300), Hyper(300, 10)])
def test_without_a_limit_the_number_at_work_is_poisson(law: Distribution) -> None:
    """M/G/inf: mean and variance of the jobs in service are the load, whatever the law of run times."""
    workload = stream(30, law)
    run = replay(workload, one_pool(Group(boot=Fixed(0))), QueueDepth(idle_timeout=0))
    assert run.waits == [0.0] * len(workload)
    assert run.node_seconds == pytest.approx(workload.sum_run)
    found = [float(running) for running in seen_by_arrivals(workload, run.series[0].at, run.series[0].running)]
    low, high = interval(found)
    assert low <= 10 <= high
    low, high = interval([(number - 10) ** 2 for number in found])
    assert low <= 10 <= high


@dataclass(frozen=True)
class FreshNodes:
    """A new node for each job, which stops when its job has ended."""

    name: str = "fresh nodes"
    interval: float | None = None
    detail: Detail = Detail.COUNTS

    def start(self) -> None:
        """Begin with nothing to remember."""

    def decide(self, seen: Observation, state: None) -> tuple[Orders, None]:
        """Ask for a node for each job that came, and let those at work take no other."""
        return Orders(request=seen.arrived, retire_busy=seen.busy), state


@pytest.mark.parametrize("law", [Fixed(300), Exponential(300), Hyper(300, 10)])
def test_without_reuse_each_job_waits_for_one_boot(law: Distribution) -> None:
    """Elastic without reuse: each wait is the boot, VM-hours are exact, VMs alive are Poisson with (E[S] + B) / gap."""
    boot = 240.0
    workload = stream(30, law)
    run = replay(workload, one_pool(Group(boot=Fixed(boot))), FreshNodes())
    assert all(wait == pytest.approx(boot, abs=1e-6) for wait in run.waits)
    assert run.node_seconds == pytest.approx(workload.sum_run + len(workload) * boot, rel=1e-9)
    load = (300 + boot) / 30
    found = [float(alive) for alive in seen_by_arrivals(workload, run.series[0].at, run.series[0].alive)]
    low, high = interval(found)
    assert low <= load <= high
    low, high = interval([(number - load) ** 2 for number in found])
    assert low <= load <= high


@pytest.mark.parametrize("law", [Fixed(300), Exponential(300), Hyper(300, 10)])
def test_a_pool_that_turns_jobs_away_obeys_erlang_b(law: Distribution) -> None:
    """M/G/c/c: the part of lost jobs, whatever the law of run times."""
    pool = Pool(groups=(Group(initial=5),), most_waiting=0)
    run = replay(stream(300 / 3.5, law), World(pools=(pool,)), FixedPool())
    lost = [float(math.isnan(start)) for start in run.start]
    assert run.turned_away == sum(lost)
    low, high = interval(lost)
    assert low <= erlang_b(3.5, 5) <= high


# Gap between jobs, law of runs, boot, idle time-out, E[Wq], part of the time that is paid for.
ONE_NODE = [
    (600, Exponential(300), 240, 0, 505.714286, 0.64285714),
    (600, Exponential(300), 240, 300, 440.575492, 0.75594533),
    (600, Fixed(300), 240, 900, 208.995974, 0.89757643),
    (3600, Exponential(300), 360, 600, 322.271696, 0.28461449),
    (400, Exponential(300), 120, 0, 1006.153846, 0.80769231),
]


@pytest.mark.parametrize(("between", "law", "boot", "timeout", "wait", "billed"), ONE_NODE)
def test_one_elastic_node_obeys_its_law(
    between: float, law: Distribution, boot: float, timeout: float, wait: float, billed: float
) -> None:
    """One node with a boot time and an idle time-out: mean wait and the part of the time that is paid for."""
    group = Group(boot=Fixed(boot), max_nodes=1)
    run = replay(stream(between, law), one_pool(group), QueueDepth(idle_timeout=timeout))
    holds(wait, run)
    low, high = interval([paid - billed * gap for paid, gap in _paid_between(run)])
    assert low <= 0 <= high


def _paid_between(run: Run) -> list[tuple[float, float]]:
    """Give what was paid for between each arrival and the next, and how long that was."""
    series = run.series[0]
    paid = []
    step = 0
    for begin, end in itertools.pairwise(run.workload.submit):
        total = 0.0
        at = begin
        while at < end:
            while step + 1 < len(series.at) and series.at[step + 1] <= at:
                step += 1
            until = min(end, series.at[step + 1]) if step + 1 < len(series.at) else end
            total += (until - at) * series.alive[step]
            at = until
        paid.append((total, end - begin))
    return paid


# c, load, E[S], E[Wq], mean boots in progress: M/M/c/Setup, exponential boots of 240 s on average; then the mean wait
# that another program found with boots of 240 s each, to about a hundredth.
SETUP = [
    (2, 0.6, 300, 356.340899, 0.289212, 346.6), (5, 0.7, 300, 200.188153, 0.625371, 205.6),
    (10, 0.5, 300, 89.337253, 1.290504, 114.0), (10, 0.8, 300, 151.234100, 0.927012, 161.1),
    (20, 0.7, 60, 35.394103, 3.924941, 47.6), (50, 0.6, 300, 37.076671, 3.681500, 52.6),
]  # fmt: skip


@pytest.mark.parametrize(("servers", "busy", "mean_run", "wait", "boots", "_fixed"), SETUP)
def test_nodes_that_boot_for_each_waiting_job_obey_the_setup_law(
    servers: int, busy: float, mean_run: float, wait: float, boots: float, _fixed: float
) -> None:
    """M/M/c/Setup: mean wait, boots in progress by their node-seconds, and as many nodes at work as the load is."""
    workload = stream(mean_run / (servers * busy), Exponential(mean_run))
    group = Group(boot=Exponential(240), max_nodes=servers)
    run = replay(workload, one_pool(group), QueueDepth(idle_timeout=0, cancels=True))
    holds(wait, run)
    near = 0.1 if JOBS < 100_000 else 0.02
    assert run.groups[0].boot_seconds / run.ended == pytest.approx(boots, rel=near)
    assert workload.sum_run / run.ended == pytest.approx(servers * busy, rel=near)


@LARGE
@pytest.mark.parametrize(("servers", "busy", "mean_run", "_wait", "_boots", "fixed"), SETUP)
def test_nodes_that_take_equally_long_to_boot_are_as_another_program_found(
    servers: int, busy: float, mean_run: float, _wait: float, _boots: float, fixed: float
) -> None:
    """M/M/c with fixed boots has no known law; exponential ones flatter it where there are many nodes."""
    workload = stream(mean_run / (servers * busy), Exponential(mean_run))
    run = replay(
        workload, one_pool(Group(boot=Fixed(240), max_nodes=servers)), QueueDepth(idle_timeout=0, cancels=True)
    )
    low, high = interval(run.waits)
    assert low * 0.98 <= fixed <= high * 1.02


@pytest.mark.parametrize(("law", "spread"), [(Fixed(300), 0.0), (Erlang(300, 4), 0.25), (Hyper(300, 4), 4.0)])
def test_many_nodes_are_near_allen_and_cunneen(law: Distribution, spread: float) -> None:
    """M/G/c: half of one and the squared variation times the wait of M/M/c, an approximation, to a sixth."""
    run = replay(stream(300 / 4.5, law), one_pool(Group(initial=5)), FixedPool())
    mean = math.fsum(run.waits) / len(run.waits)
    assert mean == pytest.approx((1 + spread) / 2 * mean_wait_mmc(300 / 4.5, 300, 5), rel=1 / 6)


@pytest.mark.parametrize(
    ("servers", "busy", "wait"), [(2, 0.6, 408.75), (5, 0.7, 315.5676), (10, 0.5, 242.1663), (10, 0.8, 301.3770)]
)
def test_nodes_that_boot_one_after_another_obey_their_law(servers: int, busy: float, wait: float) -> None:
    """Staggered boots: the wait is that of M/M/c and one boot more."""
    between = 300 / (servers * busy)
    assert mean_wait_mmc(between, 300, servers) + 240 == pytest.approx(wait, abs=1e-4)
    group = Group(boot=Exponential(240), max_nodes=servers)
    policy = QueueDepth(idle_timeout=0, cancels=True, most_booting=1)
    holds(wait, replay(stream(between, Exponential(300)), one_pool(group), policy))


@pytest.mark.parametrize("shape", [lambda: Fixed(10), lambda: Exponential(10)])
def test_the_same_stream_is_drawn_again(shape: Callable[[], Distribution]) -> None:
    """The cases are the same at every run of the tests."""
    assert stream(1, shape(), 100) == stream(1, shape(), 100)
