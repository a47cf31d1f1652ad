"""What a step of a job file waits for, and how much of it has to succeed."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scheduler.model import IndexRange, TaskDependency

_RANGE = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def _ranges(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError('expected indices such as "0-9, 15"')  # noqa: TRY004  pydantic reports ValueErrors only
    found = []
    for part in value.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f"{part.strip()!r} is no index and no range of indices; write them as 0-9, 15")
        found.append(IndexRange(int(match[1]), int(match[2] or match[1])))
    return tuple(found)


def _share(value: object) -> object:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a percentage, such as 95%")
    return float(match[1]) / 100


class StepDependency(BaseModel):
    """A dependency on a whole step, on some of its tasks, or of each task on the one of its own index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    each: bool = False
    tasks: Annotated[tuple[IndexRange, ...], BeforeValidator(_ranges)] = ()

    @model_validator(mode="after")
    def _one_way(self) -> "StepDependency":
        if self.each and self.tasks:
            raise ValueError("tasks and each exclude each other")
        return self


class AtLeast(BaseModel):
    """A share of the tasks before that has to succeed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]


def _dependency(value: object) -> object:
    return {"step": value} if isinstance(value, str) else value


def _when(value: object) -> object:
    shares = {"all": 1.0, "any_end": 0.0}
    if isinstance(value, str):
        if value not in shares:
            raise ValueError(f"{value!r} is not known; write all, any_end or {{at_least: 95%}}")
        return AtLeast.model_construct(at_least=shares[value])
    return value


Dependencies = tuple[Annotated[StepDependency, BeforeValidator(_dependency)], ...]
When = Annotated[AtLeast, BeforeValidator(_when)]
ALL = AtLeast.model_construct(at_least=1.0)


def whole_steps(dependencies: Sequence[StepDependency], inputs_from: Sequence[str]) -> tuple[str, ...]:
    """Give the steps that are waited for as a whole; whose outputs are read is waited for."""
    single = {other.step for other in dependencies if other.each or other.tasks}
    named = (*(other.step for other in dependencies), *inputs_from)
    return tuple(dict.fromkeys(name for name in named if name not in single))


def single_tasks(dependencies: Sequence[StepDependency]) -> tuple[TaskDependency, ...]:
    """Give the dependencies on single tasks."""
    return tuple(
        TaskDependency(other.step, other.tasks, other.each) for other in dependencies if other.each or other.tasks
    )


def findings(dependencies: Sequence[StepDependency], count: int, counts: dict[str, int]) -> Iterator[tuple[int, str]]:
    """Give what is wrong with dependencies on single tasks, by position; `counts` are tasks by step."""
    for position, other in enumerate(dependencies):
        there = counts.get(other.step)
        if there is None:
            continue
        if other.each and there != count:
            yield position, f"each: {other.step!r} has {there} tasks, this step {count}; they must be as many"
        for part in other.tasks:
            if part.first > part.last:
                yield position, f"tasks: {part.first}-{part.last} is no range"
            elif part.last >= there:
                yield (
                    position,
                    f"tasks: {part.first}-{part.last} goes beyond the last task of {other.step!r}, {there - 1}",
                )
        for before, part in zip(other.tasks, other.tasks[1:], strict=False):
            if part.first <= before.last:
                yield position, f"tasks: {part.first}-{part.last} overlaps or comes before an earlier range"
