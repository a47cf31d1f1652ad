"""Small workloads and worlds for the tests of the simulator, and where the real traces lie."""

import functools
import math
import os
import random
from pathlib import Path

import pytest

from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.run import Run
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


def check_laws(run: Run) -> None:
    """Check what must hold of a run: conservation, causes before effects, Little's law, and that work is paid for."""
    workload = run.workload
    for job in range(len(workload)):
        if math.isnan(run.end[job]):
            continue
        assert run.ready[job] >= workload.submit[job]
        assert run.start[job] >= run.ready[job]
        assert run.end[job] >= run.start[job] + workload.run[job] - 1e-6
        for other in workload.after[job] if workload.after else ():
            assert run.ready[job] >= run.end[other]
    finished = [job for job in range(len(workload)) if not math.isnan(run.end[job])]
    done = sum(workload.run[job] * workload.slots[job] for job in finished)
    offered = sum(
        totals.node_seconds * group.slots for totals, (_, group) in zip(run.groups, run.world.groups, strict=True)
    )
    assert offered >= done + run.lost_slot_seconds - 1e-6
    if run.unfinished:
        return
    for pool, series in enumerate(run.series):
        area = running = paid = 0.0
        for step, at in enumerate(series.at[:-1]):
            length = series.at[step + 1] - at
            assert length > 0
            assert min(series.waiting[step], series.running[step], series.up[step]) >= 0
            assert series.running[step] <= series.up[step] <= series.alive[step]
            area += (series.waiting[step] + series.running[step]) * length
            running += series.running[step] * length
            paid += series.alive[step] * length
        assert (series.waiting[-1], series.running[-1]) == (0, 0)
        if len(run.series) == 1:
            # Little's law on the whole run: the area under the number in the system is the sum of times in it.
            spent = sum((run.end[job] - run.ready[job]) * workload.slots[job] for job in finished)
            assert math.isclose(area, spent, rel_tol=1e-9, abs_tol=1e-6)
            assert math.isclose(running, done + run.lost_slot_seconds, rel_tol=1e-9, abs_tol=1e-6)
            dying = sum(
                t.started * g.deleted_after * g.slots for t, (_, g) in zip(run.groups, run.world.groups, strict=True)
            )
            assert paid + dying >= offered - 1e-6
        assert pool < len(run.world.pools)
