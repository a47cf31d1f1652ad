"""The page at the end of the demonstration."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from examples.value_at_risk.parametric import Measures
from examples.value_at_risk.pictures import draw_losses, draw_runs, draw_timeline
from examples.value_at_risk.report import (
    Figure,
    Observed,
    compare,
    critical_path_seconds,
    deployed_resources,
    node_rows,
    write_page,
)
from examples.value_at_risk.trouble import Trouble, followed_live, happenings
from node_bootstrap.protocol import Outcome
from scheduler.model import (
    Decision,
    GroupKey,
    GroupPriority,
    Job,
    JobResult,
    JobState,
    Node,
    NodeGroup,
    NodePhase,
    Sample,
    Task,
    TaskCounts,
    TaskResult,
    TaskState,
)

_START = datetime(2026, 1, 1, tzinfo=UTC)
_KEY = GroupKey("risk", "d2sv5", "g1")
_GROUP = NodeGroup(_KEY, "vmss-risk", "q-risk", "Standard_D2s_v5", GroupPriority.SPOT, 2, 4)


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _task(number: int, step: str, index: int, begin: float, end: float) -> Task:
    return Task(
        job_id="j1",
        task_id=number,
        step=step,
        index=index,
        state=TaskState.COMPLETED,
        result=TaskResult.SUCCESS,
        attempt=1,
        retries=0,
        node_faults=0,
        preemptions=0,
        node_id=f"vmss-risk_{number % 2}",
        exit_code=0,
        outcome=Outcome.SUCCESS,
        started_at=_at(begin),
        ended_at=_at(end),
    )


def _node(number: int, gone: float | None) -> Node:
    return Node(
        node_id=f"vmss-risk_{number}",
        group=_KEY,
        instance_id=str(number),
        phase=NodePhase.GONE if gone else NodePhase.WORKING,
        control_number=2,
        incarnation="i",
        first_seen_at=_at(2),
        ready_at=_at(6),
        status_at=_at(19),
        idle_since=None,
        gone_at=_at(gone) if gone else None,
    )


_OBSERVED = Observed(
    job=Job(
        job_id="j1",
        name="value-at-risk",
        pool="risk",
        priority=0,
        state=JobState.COMPLETED,
        result=JobResult.SUCCESS,
        counts=TaskCounts(succeeded=5),
        created_at=_at(-1),
        armed_at=_START,
        ended_at=_at(15),
        steps=("simulate", "reduce"),
    ),
    tasks=(*(_task(n, "simulate", n, 7 + n / 2, 9.5 + n / 2) for n in range(4)), _task(4, "reduce", 0, 14, 14.5)),
    groups=(_GROUP,),
    nodes=(_node(0, 3602), _node(1, None)),
    decisions=(Decision(_at(1), _KEY, "scale_out", 2, (), "4 tasks wait <b>long</b>"),),
    samples=tuple(Sample(_at(n), "risk", max(0, 4 - n), min(n, 2), 2, min(n, 2), 0) for n in range(12)),
)


_TROUBLE = Trouble("vmss-risk_0", _at(3), 2, _at(4), ((_at(4), "10 of 20 <days>"), (_at(6.5), "20 of 20 days")))


def test_what_happened_is_told_in_order_of_time() -> None:
    """The kill, the log, the scheduler's decision, the end of the node, and each attempt that followed."""
    lost = Decision(_at(8), _KEY, "remove", 1, ("vmss-risk_0",), "lost: no status came")
    before = Decision(_at(1), _KEY, "drain", 1, ("vmss-risk_0",), "an earlier node of the name")
    again = replace(_OBSERVED.tasks[0], attempt=2, node_faults=1, node_id="vmss-risk_1", started_at=_at(9))
    moved = replace(_OBSERVED.tasks[1], attempt=2, started_at=_at(10), result=TaskResult.FAILURE)
    told = happenings(_TROUBLE, (again, moved, *_OBSERVED.tasks[2:]), (_node(0, 12),), (before, lost))
    begins = "{} began attempt 2 on vmss-risk_1, because {}"
    fault, message = "its node had been lost while it ran", "its message was lost with the node"
    assert [(each.at, each.what) for each in told] == [
        (_at(3), "node vmss-risk_0 was killed while it worked"),
        (_at(4), "the log of task 2 was followed while it ran: 2 lines, the last 2.5 s after the first"),
        (_at(8), "remove, vmss-risk_0: lost: no status came"),
        (_at(9), begins.format("task 0 (simulate 0)", f"{fault}; it succeeded")),
        (_at(10), begins.format("task 1 (simulate 1)", f"{message}; it ended without success")),
        (_at(12), "node vmss-risk_0 was gone"),
    ]


def test_a_log_that_came_late_is_not_called_live() -> None:
    """Lines that arrived after the task's end were read, not followed."""
    late = replace(_TROUBLE, lines=((_at(60), "20 of 20 days"),))
    assert [followed_live(each, _OBSERVED.tasks) for each in (_TROUBLE, late)] == [True, False]
    assert any("was read after it had ended" in each.what for each in happenings(late, _OBSERVED.tasks, (), ()))


def test_the_critical_path_is_the_slowest_task_of_each_step() -> None:
    """Steps follow each other, and the tasks of one step could all run at once."""
    assert critical_path_seconds(_OBSERVED.tasks) == pytest.approx(2.5 + 0.5)


def test_nodes_cost_what_they_lived() -> None:
    """A node costs its size's price for the time that its instance existed; one that lives, until now."""
    rows, total = node_rows(_OBSERVED, _at(1802))
    assert [row["lived"] for row in rows] == ["3600.0", "1800.0"]
    assert [row["tasks"] for row in rows] == ["3", "2"]
    assert total == pytest.approx(0.096 * 0.22 * 1.5, rel=0.01)


def test_resources_are_read_from_the_engines_record(tmp_path: Path) -> None:
    """Azure resources are listed, components and providers are not."""
    resources = [
        {"type": "pulumi:pulumi:Stack", "urn": "urn:pulumi:local::millpond::pulumi:pulumi:Stack::millpond-local"},
        {"type": "azure-native:storage:StorageAccount", "urn": "urn:pulumi:local::millpond::x$y::storage"},
    ]
    (tmp_path / "local.json").write_text(json.dumps({"checkpoint": {"latest": {"resources": resources}}}))
    assert deployed_resources(tmp_path / "local.json") == [{"type": "storage:StorageAccount", "name": "storage"}]


def test_the_page_is_whole_and_escapes_what_it_shows(tmp_path: Path) -> None:
    """The page carries its pictures and everything seen, and no text in it is markup."""
    result = {
        "level": 0.99,
        "days": 1000,
        "value_at_risk": 100.0,
        "value_at_risk_standard_error": 5.0,
        "expected_shortfall": 120.0,
        "expected_shortfall_standard_error": 6.0,
        "histogram": {
            "from": -150.0,
            "bin_width": 10.0,
            "counts": [1, 4, 9, 40, 90, 120, 130, 120, 100, 90, 40, 9, 4, 3],
        },
    }
    exact = Measures(value_at_risk=101.0, expected_shortfall=200.0)
    pictures = {name: tmp_path / f"{name}.png" for name in ("losses", "timeline", "runs")}
    draw_losses(result, exact, pictures["losses"])
    draw_timeline(_OBSERVED.samples, _START, pictures["timeline"])
    draw_runs(_OBSERVED.tasks, _START, pictures["runs"])
    comparison = compare(result, exact)
    write_page(
        tmp_path / "index.html",
        _OBSERVED,
        model={"source": "prices", "from": "a", "to": "b", "stocks": ["A"], "portfolio": [500.0]},
        result=result,
        comparison=comparison,
        trouble=_TROUBLE,
        resources=[{"type": "storage:StorageAccount", "name": "storage"}],
        phases=(("the job", 12.0),),
        figures=(Figure("boot delay", "3 s", "note"),),
        boot_delay=3.0,
        pictures=pictures,
        end=_at(20),
    )
    page = (tmp_path / "index.html").read_text()
    assert [item.agrees for item in comparison] == [True, False]
    assert page.count("data:image/png;base64,") == 3
    assert "4 tasks wait &lt;b&gt;long&lt;/b&gt;" in page
    assert "node vmss-risk_0 was killed while it worked" in page
    assert "10 of 20 &lt;days&gt;" in page
    assert "agrees" in page
    assert "differs" in page
    assert "{{" not in page
