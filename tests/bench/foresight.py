"""What foresight is worth: `python -m tests.bench.foresight`, with and without it, on workflows that come again.

The recorded workflows lie beside the repository (WfFormat); each is submitted every few hours, its run times varied by
a tenth as another day's would be. Where they do not lie there, workflows that split and merge stand in.
"""

import random
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from scheduler.simulator.cases import Case, run_case
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.report import Limits, Report, limits_of, report
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.scheduler.simulator.worlds import TRACES

_TIMES = 8
_EVERY = 4 * 3600.0
_BOOTS = (120.0, 240.0, 360.0)
_MOST = 200


def repeated(flow: Workload, times: int = _TIMES) -> Workload:
    """Submit a workflow again and again, with run times that differ by a tenth."""
    source = random.Random(flow.name)  # noqa: S311
    jobs: list[SimulatedJob] = []
    for turn in range(times):
        first, at = len(jobs), turn * _EVERY + source.uniform(0, 600)
        jobs += [
            SimulatedJob(
                at,
                flow.run[job] * source.lognormvariate(0, 0.1),
                after=tuple(first + other for other in flow.after[job]) if flow.after else (),
                work=flow.work[job] if flow.work else "",
            )
            for job in range(len(flow))
        ]
    return workload_of(flow.name, jobs)


def main() -> None:
    """Print the table."""
    console = Console(width=120)
    table = Table(
        "workflow", "boot s", "foresight", "node-hours", "overhead h", "mean wait s", "p95 wait s", "last end h"
    )
    for flow in _flows():
        load = repeated(flow)
        for boot in _BOOTS:
            world = one_pool(Group(boot=Fixed(boot), max_nodes=_MOST))
            limits: Limits = limits_of(load, world)
            for foresight in ("false", "true"):
                run = run_case(load, world, Case("millpond", (("foresight", foresight),)))
                _add(table, flow.name, boot, foresight, report(run, limits))
    console.print(table)


def _flows() -> Iterable[Workload]:
    folder = TRACES / "wfinstances"
    if folder.exists():
        for path in sorted(folder.glob("*.json.gz")):
            yield read_trace(path).workload
        return
    jobs = [SimulatedJob(0.0, 300.0, work="split")]
    jobs += [SimulatedJob(0.0, 600.0, after=(0,), work="map") for _ in range(40)]
    yield workload_of("drawn-fork-join", [*jobs, SimulatedJob(0.0, 60.0, after=tuple(range(1, 41)), work="merge")])


def _add(table: Table, name: str, boot: float, foresight: str, found: Report) -> None:
    table.add_row(
        name,
        f"{boot:g}",
        "with" if foresight == "true" else "without",
        f"{found.node_hours:.2f}",
        f"{found.overhead_hours:.2f}",
        f"{found.waits.mean:.1f}",
        f"{found.waits.p95:.0f}",
    )


if __name__ == "__main__":
    main()
