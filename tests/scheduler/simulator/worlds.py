"""Small workloads and worlds for the tests of the simulator, and where the real traces lie."""

import random
from pathlib import Path

from scheduler.simulator.workload import SimulatedJob, Workload, workload_of

# Real workloads lie beside the repository; most of their terms allow no copy in it.
TRACES = Path(__file__).parents[4] / "shared" / "traces"
MAIN_TRACES = ("linkerd-gha-2020", "kth-sp2-1996", "metacentrum-2009", "alibaba-gentd26-lora")


def jobs_of(*submit_and_run: tuple[float, float]) -> Workload:
    """Make a workload of one-slot jobs."""
    return workload_of("small", (SimulatedJob(submit, run) for submit, run in submit_and_run))


def poisson(rate: float, mean_run: float, count: int, seed: int = 1) -> Workload:
    """Make a Poisson stream of jobs with exponential run times."""
    source = random.Random(seed)  # noqa: S311
    now = 0.0
    jobs = []
    for _ in range(count):
        now += source.expovariate(rate)
        jobs.append(SimulatedJob(now, source.expovariate(1 / mean_run)))
    return workload_of("poisson", jobs)
