"""What steps depend on, as rows of a job that is armed."""

import math
from collections.abc import Sequence

from scheduler.adapters.sql.job_schema import EdgeKind
from scheduler.model import IndexRange, Step


def waits(step: Step) -> bool:
    """Say whether a step waits for anything."""
    return bool(step.depends_on or step.depends_on_tasks)


def edge_rows(job: int, steps: Sequence[Step]) -> list[dict[str, object]]:
    """Give the rows of `EDGES`; the steps have been checked."""
    positions = {step.definition.step: position for position, step in enumerate(steps)}
    rows: list[dict[str, object]] = []

    def edge(name: str, dependent: int, kind: EdgeKind, indices: IndexRange) -> None:
        before, step = steps[positions[name]].definition, steps[dependent]
        total = 1 if kind is EdgeKind.EACH else indices.last - indices.first + 1
        counted = total if kind is EdgeKind.TASKS else 0
        rows.append(
            {
                "job": job,
                "predecessor": positions[name],
                "dependent": dependent,
                "first": before.first_task_id + indices.first,
                "last": before.first_task_id + indices.last,
                "dependent_first": step.definition.first_task_id,
                "kind": kind.value,
                "needed": _needed(step.needed_success, total),
                "open_tasks": counted,
            }
        )

    for dependent, step in enumerate(steps):
        for name in step.depends_on:
            edge(name, dependent, EdgeKind.STEP, _whole(steps[positions[name]]))
        for other in step.depends_on_tasks:
            if other.each:
                edge(other.step, dependent, EdgeKind.EACH, _whole(steps[positions[other.step]]))
            for indices in other.indices:
                edge(other.step, dependent, EdgeKind.TASKS, indices)
    return rows


def _whole(step: Step) -> IndexRange:
    return IndexRange(0, step.definition.task_count - 1)


def _needed(share: float, total: int) -> int:
    """Give how many of so many have to succeed; 0.95 of 20 is 19, whatever a binary fraction makes of it."""
    return math.ceil(round(share * total, 6))
