"""Small workloads and worlds for the tests of the simulator, and where the real traces lie."""

import functools
import math
import os
import random
from pathlib import Path

import pytest

from scheduler.simulator.fitting import pools_of
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


def check_laws(run: Run, *, twice: bool = False) -> None:
    """Check what must hold of a run: conservation, causes before effects, Little's law, and that work is paid for.

    twice   two nodes may have had a job at one time, as in the real system: it runs once then, and one of them in vain
    """
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
    pool_of = pools_of(workload, run.world) or [0] * len(workload)
    for pool, series in enumerate(run.series):
        groups = [
            (t, g) for t, (owner, g) in zip(run.groups, run.world.groups, strict=True) if owner is run.world.pools[pool]
        ]
        own = [job for job in finished if pool_of[job] == pool]
        in_system = sorted((run.end[job], (run.end[job] - run.ready[job]) * workload.slots[job]) for job in own)
        area = running = paid = spent = 0.0
        gone = 0
        for step, at in enumerate(series.at[:-1]):
            if series.waiting[step] == series.running[step] == 0:
                # Little's law on each window from one emptiness to another: the area under the number in the system is
                # the sum of times in it.
                while gone < len(in_system) and in_system[gone][0] <= at:
                    spent += in_system[gone][1]
                    gone += 1
                assert math.isclose(area, spent, rel_tol=1e-9, abs_tol=1e-6)
            length = series.at[step + 1] - at
            assert length > 0
            assert min(series.waiting[step], series.running[step], series.up[step]) >= 0
            assert series.running[step] <= series.up[step] <= series.alive[step]
            area += (series.waiting[step] + series.running[step]) * length
            running += series.running[step] * length
            paid += series.alive[step] * length
        assert not series.at or (series.waiting[-1], series.running[-1]) == (0, 0)
        # And on the whole run.
        spent = sum(each for _, each in in_system)
        worked = sum(workload.run[job] * workload.slots[job] for job in own)
        lost = sum(totals.lost_slot_seconds for totals, _ in groups)
        assert math.isclose(area, spent, rel_tol=1e-9, abs_tol=1e-6)
        assert (
            running <= worked + lost + 1e-6
            if twice
            else math.isclose(running, worked + lost, rel_tol=1e-9, abs_tol=1e-6)
        )
        # What is paid for after a node was told to go is in no series.
        dying = sum(totals.started * group.deleted_after * group.slots for totals, group in groups)
        assert paid + dying >= sum(totals.node_seconds * group.slots for totals, group in groups) - 1e-6
