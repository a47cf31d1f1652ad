"""Whether the steps of a draft make a job: every finding at once."""

from collections.abc import Iterator, Sequence

from scheduler.model import Step


def step_findings(steps: Sequence[Step]) -> tuple[str, ...]:
    """Give what is wrong with the steps of a job, in their order; empty when nothing is.

    Task ids are contiguous from 0 in the order of the steps, and a step depends on earlier ones only, so that there
    can be no cycle.
    """
    if not steps:
        return ("the job has no steps; add at least one",)
    return tuple(_findings(steps))


def _findings(steps: Sequence[Step]) -> Iterator[str]:
    names = {step.definition.step for step in steps}
    earlier: set[str] = set()
    next_task = 0
    for step in steps:
        where = f"step {step.definition.step!r}"
        if step.definition.step in earlier:
            yield f"{where}: there are two steps of this name"
        if step.definition.first_task_id != next_task:
            yield f"{where}: first_task_id is {step.definition.first_task_id}, expected {next_task}"
        yield from (f"{where}: {finding}" for finding in _own(step))
        for other in step.depends_on:
            if other not in names:
                yield f"{where}: depends on {other!r}, which is no step of this job"
            elif other not in earlier:
                yield f"{where}: depends on {other!r}, which must stand before it"
        for other in step.inputs_from:
            if other not in step.depends_on:
                yield f"{where}: takes inputs from {other!r}, which must stand in depends_on too"
        earlier.add(step.definition.step)
        next_task = step.definition.first_task_id + max(step.definition.task_count, 0)


def _own(step: Step) -> Iterator[str]:
    definition = step.definition
    if not definition.step or "/" in definition.step or definition.step in {".", ".."}:
        yield "a step's name is one path segment, because its outputs lie under it"
    if not definition.command:
        yield "the command is empty"
    if definition.task_count < 1:
        yield f"task_count is {definition.task_count}, must be at least 1"
    if definition.wall_clock_limit_seconds is not None and definition.wall_clock_limit_seconds <= 0:
        yield f"wall_clock_limit_seconds is {definition.wall_clock_limit_seconds}, must be above 0"
    if step.expected_task_seconds is not None and step.expected_task_seconds <= 0:
        yield f"expected_task_seconds is {step.expected_task_seconds}, must be above 0"
    for name in ("max_task_retries", "max_node_faults", "max_preemptions"):
        if getattr(step.retry, name) < 0:
            yield f"{name} is {getattr(step.retry, name)}, must be at least 0"
    if len(set(step.depends_on)) != len(step.depends_on):
        yield "depends_on names a step twice"
