"""The page at the end of the demonstration: one file with its pictures inside."""

import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from examples.value_at_risk.parametric import Measures
from examples.value_at_risk.trouble import Trouble, followed_live, happenings
from scheduler.catalog import VM_SIZES
from scheduler.model import Decision, GroupPriority, Job, Node, NodeGroup, Sample, Task

_TEMPLATE = Path(__file__).with_name("page.html.j2")
# The demonstration's own bound: a right simulation is outside it once in 16,000 runs.
MOST_STANDARD_ERRORS = 4.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure, simulated and in closed form."""

    name: str
    simulated: float
    error: float
    exact: float

    @property
    def apart(self) -> float:
        """How far apart they are, in standard errors."""
        return (self.simulated - self.exact) / self.error

    @property
    def agrees(self) -> bool:
        """Whether that is near enough."""
        return abs(self.apart) <= MOST_STANDARD_ERRORS


@dataclass(frozen=True, slots=True)
class Observed:
    """What the scheduler knows of the demonstration's run."""

    job: Job
    tasks: tuple[Task, ...]
    groups: tuple[NodeGroup, ...]
    nodes: tuple[Node, ...]
    decisions: tuple[Decision, ...]
    samples: tuple[Sample, ...]

    @property
    def start(self) -> datetime:
        """When the job was armed: second 0 of every picture."""
        return self.job.armed_at or self.job.created_at


@dataclass(frozen=True, slots=True)
class Figure:
    """One number at the head of the page."""

    name: str
    value: str
    note: str


def compare(result: dict[str, Any], exact: Measures) -> tuple[Comparison, ...]:
    """Lay the simulated measures beside the closed form."""
    return tuple(
        Comparison(name.replace("_", " "), result[name], result[f"{name}_standard_error"], getattr(exact, name))
        for name in ("value_at_risk", "expected_shortfall")
    )


def critical_path_seconds(tasks: Sequence[Task]) -> float:
    """Give the shortest time the job could have taken on any number of nodes: the slowest task of each of its steps.

    The steps of this job form a chain.
    """
    slowest: dict[str, float] = {}
    for task in tasks:
        if task.started_at and task.ended_at:
            took = (task.ended_at - task.started_at).total_seconds()
            slowest[task.step] = max(took, slowest.get(task.step, 0.0))
    return sum(slowest.values())


def deployed_resources(checkpoint: Path) -> list[dict[str, str]]:
    """List the Azure resources in the engine's own record of a stack."""
    latest = json.loads(checkpoint.read_text(encoding="utf-8"))["checkpoint"].get("latest") or {}
    found = [
        {"type": item["type"].removeprefix("azure-native:"), "name": item["urn"].rpartition("::")[2]}
        for item in latest.get("resources", [])
        if item["type"].startswith("azure-native:")
    ]
    return sorted(found, key=lambda item: (item["type"], item["name"]))


def lifetime_seconds(node: Node, end: datetime) -> float:
    """Give how long a node's instance existed."""
    return ((node.gone_at or end) - node.first_seen_at).total_seconds()


def node_rows(observed: Observed, end: datetime) -> tuple[list[dict[str, str]], float]:
    """Describe each node and what it would have cost; give the sum, too."""
    groups = {group.key: group for group in observed.groups}
    ran = Counter(task.node_id for task in observed.tasks)
    rows = []
    total = 0.0
    for node in observed.nodes:
        group = groups.get(node.group)
        size = VM_SIZES.get(group.vm_size) if group else None
        lived = lifetime_seconds(node, end)
        rate = size.usd_per_hour(spot=group.priority is GroupPriority.SPOT) if size and group else None
        cost = None if rate is None else rate * lived / 3600
        total += cost or 0.0
        boot = (node.ready_at - node.first_seen_at).total_seconds() if node.ready_at else None
        rows.append(
            {
                "name": node.node_id,
                "size": group.vm_size if group else "unknown",
                "priority": group.priority.value if group else "",
                "boot": "-" if boot is None else f"{boot:.1f}",
                "lived": f"{lived:.1f}",
                "tasks": str(ran[node.node_id]),
                "rate": "unknown" if rate is None else f"{rate:.3f}",
                "cost": "unknown" if cost is None else f"{cost:.6f}",
            }
        )
    return rows, total


def write_page(
    target: Path,
    observed: Observed,
    *,
    model: dict[str, Any],
    result: dict[str, Any],
    comparison: Sequence[Comparison],
    trouble: Trouble,
    resources: Sequence[dict[str, str]],
    phases: Sequence[tuple[str, float]],
    figures: Sequence[Figure],
    boot_delay: float,
    pictures: dict[str, Path],
    end: datetime,
) -> None:
    """Write the page."""
    nodes, cost = node_rows(observed, end)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        job=observed.job,
        model=model,
        result=result,
        comparison=comparison,
        resources=resources,
        phases=phases,
        figures=figures,
        boot_delay=f"{boot_delay:g}",
        pictures={name: _embedded(path) for name, path in pictures.items()},
        nodes=nodes,
        cost=f"{cost:.6f}",
        decisions=[_decision_row(item, observed.start) for item in observed.decisions],
        trouble=trouble,
        live=followed_live(trouble, observed.tasks),
        happenings=[
            {"second": f"{(each.at - observed.start).total_seconds():.1f}", "what": each.what}
            for each in happenings(trouble, observed.tasks, observed.nodes, observed.decisions)
        ],
        log=[{"second": f"{(at - observed.start).total_seconds():.1f}", "text": text} for at, text in trouble.lines],
        tasks=[_task_row(task, observed.start) for task in observed.tasks],
        written=end.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
    )
    target.write_text(page, encoding="utf-8")


def _decision_row(item: Decision, start: datetime) -> dict[str, object]:
    return {
        "second": f"{(item.at - start).total_seconds():.0f}",
        "action": item.action.replace("_", " "),
        "count": item.count,
        "group": f"{item.group.pool}/{item.group.name}",
        "reason": item.reason,
    }


def _task_row(task: Task, start: datetime) -> dict[str, object]:
    took = (task.ended_at - task.started_at).total_seconds() if task.started_at and task.ended_at else None
    return {
        "name": f"{task.step} {task.index}",
        "node": task.node_id or "-",
        "attempt": task.attempt,
        "started": f"{(task.started_at - start).total_seconds():.1f}" if task.started_at else "-",
        "took": "-" if took is None else f"{took:.2f}",
        "result": task.result.value if task.result else task.state.value,
    }


def _embedded(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
