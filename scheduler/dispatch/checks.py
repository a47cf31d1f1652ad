"""Whether the steps of a draft make a job: every finding at once."""

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence

from node_bootstrap.protocol import TaskDefinition
from scheduler.model import Step, TaskDependency


def step_findings(steps: Sequence[Step]) -> tuple[str, ...]:
    """Give what is wrong with the steps of a job, in their order; empty when nothing is.

    Task ids are contiguous from 0 in the order of the steps, and a step depends on earlier ones only, so that there
    can be no cycle.
    """
    if not steps:
        return ("the job has no steps; add at least one",)
    return tuple(_findings(steps))


def _findings(steps: Sequence[Step]) -> Iterator[str]:
    counts = {step.definition.step: step.definition.task_count for step in steps}
    earlier: set[str] = set()
    next_task = 0
    for step in steps:
        where = f"step {step.definition.step!r}"
        if step.definition.step in earlier:
            yield f"{where}: there are two steps of this name"
        if step.definition.first_task_id != next_task:
            yield f"{where}: first_task_id is {step.definition.first_task_id}, expected {next_task}"
        yield from (f"{where}: {finding}" for finding in _own(step))
        yield from (f"{where}: {finding}" for finding in _named(step, counts, earlier))
        for dependency in step.depends_on_tasks:
            yield from (f"{where}: {finding}" for finding in _on_tasks(dependency, step, counts))
        earlier.add(step.definition.step)
        next_task = step.definition.first_task_id + max(step.definition.task_count, 0)


def _named(step: Step, counts: Mapping[str, int], earlier: Container[str]) -> Iterator[str]:
    named = (*step.depends_on, *(dependency.step for dependency in step.depends_on_tasks))
    for other in named:
        if other not in counts:
            yield f"depends on {other!r}, which is no step of this job"
        elif other not in earlier:
            yield f"depends on {other!r}, which must stand before it"
    for other in sorted(other for other, times in Counter(named).items() if times > 1):
        yield f"depends on {other!r} twice; name a step once, with all of its indices"
    for other in step.inputs_from:
        if other not in named:
            yield f"takes inputs from {other!r}, which must be depended on, too"


def _own(step: Step) -> Iterator[str]:
    definition = step.definition
    if not definition.step or "/" in definition.step or definition.step in {".", ".."}:
        yield "a step's name is one path segment, because its outputs lie under it"
    if not definition.command:
        yield "the command is empty"
    if definition.task_count < 1:
        yield f"task_count is {definition.task_count}, must be at least 1"
    yield from _sweep(definition)
    if definition.wall_clock_limit_seconds is not None and definition.wall_clock_limit_seconds <= 0:
        yield f"wall_clock_limit_seconds is {definition.wall_clock_limit_seconds}, must be above 0"
    if step.expected_task_seconds is not None and step.expected_task_seconds <= 0:
        yield f"expected_task_seconds is {step.expected_task_seconds}, must be above 0"
    for name in ("max_task_retries", "max_node_faults", "max_preemptions"):
        if getattr(step.retry, name) < 0:
            yield f"{name} is {getattr(step.retry, name)}, must be at least 0"
    if not 0 <= step.needed_success <= 1:
        yield f"needed_success is {step.needed_success}, must be from 0 to 1"


def _sweep(definition: TaskDefinition) -> Iterator[str]:
    axes, table = definition.axes, definition.table
    if axes and table is not None:
        yield "give either axes or a table"
    combinations = math.prod(axis.length for axis in axes)
    if axes and combinations != definition.task_count:
        yield f"the axes have {combinations} combinations, yet task_count is {definition.task_count}"
    names = [axis.name for axis in axes] if table is None else list(table.names)
    if len({name.upper() for name in names}) != len(names):
        yield "two parameters have the same name in capital letters"
    if table is not None:
        fits = table.rows_in_part > 0 and math.ceil(definition.task_count / table.rows_in_part) == len(table.parts)
        if not fits:
            yield f"{len(table.parts)} parts of {table.rows_in_part} rows do not make {definition.task_count} tasks"


def _on_tasks(dependency: TaskDependency, step: Step, counts: Mapping[str, int]) -> Iterator[str]:
    where = f"depends on tasks of {dependency.step!r}"
    count = counts.get(dependency.step)
    if dependency.each == bool(dependency.indices):
        yield f"{where}: give either indices or each"
    if dependency.each and count is not None and count != step.definition.task_count:
        yield f"{where} one by one: that has {count} tasks, this step {step.definition.task_count}"
    reached = -1
    for indices in dependency.indices:
        said = f"{indices.first}-{indices.last}"
        if indices.first > indices.last or indices.first < 0:
            yield f"{where}: {said} is no range of indices"
        elif count is not None and indices.last >= count:
            yield f"{where}: {said} goes beyond its last task, {count - 1}"
        if indices.first <= reached:
            yield f"{where}: {said} overlaps or comes before an earlier range"
        reached = max(reached, indices.last)
