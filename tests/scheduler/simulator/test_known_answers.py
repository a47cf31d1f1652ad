"""Reference runs of real workloads, to the digits given."""

import csv
import math
from pathlib import Path

import pytest

from scheduler.simulator.engine import replay
from scheduler.simulator.metrics import quantile
from scheduler.simulator.policies.simple import FixedPool, QueueDepth
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.run import Run
from scheduler.simulator.world import Dispatch, Fixed, Group, Pool, World, one_pool
from tests.scheduler.simulator.worlds import LARGE, TRACES, needs_traces, trace

# The one trace whose rows take long; two of them are enough every time.
_LONG = "metacentrum-2009"
_ALWAYS = {("fixed-fifo", "438"), ("elastic-queue-depth", "219")}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


ANSWERS = _rows(TRACES / "known_answers.csv")
WORKFLOWS = _rows(TRACES / "wfinstances" / "known_answers.csv")


def _cases() -> list[object]:
    cases = []
    for row in ANSWERS:
        name = "/".join(row[column] for column in ("trace", "model", "boot_s", "idle_timeout_s", "max_vms"))
        always = row["trace"] != _LONG or (row["model"], row["max_vms"]) in _ALWAYS
        cases.append(pytest.param(row, id=name, marks=() if always else LARGE))
    return cases or [pytest.param({}, id="none")]


@needs_traces("known_answers.csv")
@pytest.mark.parametrize("row", _cases())
def test_a_reference_run_comes_out_to_its_digits(row: dict[str, str]) -> None:
    """Waits, node-hours, starts and the peak equal those of the reference, in every digit that it gives."""
    workload = trace(row["trace"])
    most = int(row["max_vms"]) if row["max_vms"] else None
    assert len(workload) == int(row["jobs"])
    assert workload.span == float(row["span_s"])
    assert round(workload.sum_run / 3600, 4) == float(row["sum_run_h"])
    run = _run(row, most)
    waits = sorted(run.waits)
    assert round(math.fsum(waits) / len(waits), 4) == float(row["mean_wait_s"])
    for part, column in ((0.5, "p50_wait_s"), (0.95, "p95_wait_s"), (0.99, "p99_wait_s"), (1.0, "max_wait_s")):
        assert quantile(waits, part) == float(row[column])
    assert round(run.node_seconds / 3600, 4) == float(row["vm_hours"])
    assert run.groups[0].started == int(row["vms_started"])
    assert run.groups[0].peak == int(row["peak_vms"])
    if row["last_finish_s"]:
        assert run.last_finish == float(row["last_finish_s"])


def _run(row: dict[str, str], most: int | None) -> Run:
    if row["model"] == "fixed-fifo":
        assert most is not None
        return replay(trace(row["trace"]), one_pool(Group(initial=most, max_nodes=most)), FixedPool())
    assert row["model"] == "elastic-queue-depth"
    group = Group(boot=Fixed(float(row["boot_s"])), max_nodes=most)
    return replay(trace(row["trace"]), one_pool(group), QueueDepth(idle_timeout=float(row["idle_timeout_s"])))


@needs_traces("known_answers.csv")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=LARGE if name == _LONG else ())
        for name in sorted({row["trace"] for row in ANSWERS}) or ["none"]
    ],
)
def test_nodes_that_boot_at_once_and_stop_at_once_cost_what_runs(name: str) -> None:
    """Without boot and idle time no job of a trace waits, and the node-hours are the sum of the run times."""
    workload = trace(name)
    run = replay(workload, one_pool(Group(boot=Fixed(0.0))), QueueDepth(idle_timeout=0.0))
    assert max(run.waits) == 0.0
    assert run.node_seconds == pytest.approx(workload.sum_run, rel=1e-12)


@needs_traces("wfinstances")
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row["instance"]) for row in WORKFLOWS] or [pytest.param({}, id="none")]
)
def test_a_workflow_takes_its_critical_path_when_nothing_is_scarce(row: dict[str, str]) -> None:
    """Tasks, edges, the sum of run times and the critical path are those that are known."""
    reading = read_trace(TRACES / "wfinstances" / f"{row['instance']}.json.gz")
    workload = reading.workload
    assert reading.problems == ()
    assert len(workload) == int(row["tasks"])
    assert sum(map(len, workload.after)) == int(row["edges"])
    assert round(workload.sum_run, 3) == float(row["sum_runtime_s"])
    run = replay(workload, one_pool(Group(boot=Fixed(0.0))), QueueDepth(idle_timeout=0.0))
    assert round(run.last_finish, 3) == float(row["critical_path_s"])


_ORACLE = TRACES / "predictsim-kth-sp2" / "KTH-SP2-easy-clairvoyant.swf.gz"


@needs_traces("predictsim-kth-sp2")
def test_easy_backfilling_gives_the_published_schedule_job_by_job() -> None:
    """Each of the 28,481 jobs waits as long as in the published clairvoyant EASY schedule of KTH-SP2."""
    published, run = _easy(Dispatch.EASY)
    waits = run.waits
    assert len(waits) == 28_481
    assert [(want, got) for want, got in zip(published, waits, strict=True) if want != got] == []
    assert round(math.fsum(waits) / len(waits), 2) == 6327.68
    slowdown = math.fsum(
        max(1.0, (wait + length) / max(length, 10)) for wait, length in zip(waits, run.workload.run, strict=True)
    )
    assert round(slowdown / len(waits), 4) == 71.7224


@needs_traces("predictsim-kth-sp2")
def test_first_come_first_served_gives_the_known_mean() -> None:
    """Without backfilling the same jobs wait for 353,776.409 s on average."""
    _, run = _easy(Dispatch.FIFO)
    assert round(math.fsum(run.waits) / len(run.waits), 3) == 353_776.409


def _easy(dispatch: Dispatch) -> tuple[list[float | None], Run]:
    workload = read_trace(_ORACLE).workload
    pool = Pool(groups=(Group(initial=100, max_nodes=100),), dispatch=dispatch, spread=True)
    return list(workload.recorded_wait), replay(workload.clairvoyant(), World(pools=(pool,)), FixedPool())
