"""Small workloads and worlds for the tests of the simulator, and where the real traces lie."""

import functools
import os
import random
from pathlib import Path

import pytest

from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of

# Real workloads lie beside the repository, or beside a folder that it is in; most of their terms allow no copy in it.
_NEAR = [folder / "shared" / "traces" for folder in Path(__file__).parents[4:]]
TRACES = next((folder for folder in _NEAR if folder.exists()), _NEAR[0])


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


def needs_traces(*names: str) -> pytest.MarkDecorator:
    """Skip, and count, a test whose traces are not there."""
    missing = [name for name in names if not (TRACES / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"not beside the repository: {', '.join(missing)}")


# Large cases: `make test-exactness`.
LARGE = pytest.mark.skipif("MILLPOND_TEST_EXACTNESS" not in os.environ, reason="large: make test-exactness")


@functools.cache
def trace(name: str) -> Workload:
    """Read a trace, one slot a job."""
    return read_trace(TRACES / name / "jobs.csv.gz").workload.single_slots()
