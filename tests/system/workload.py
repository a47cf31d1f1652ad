"""Jobs for a simulated pool, and what each of their tasks must give, computed beforehand."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from node_bootstrap.protocol import ExitCodeRules, Outcome, TaskDefinition, TaskMessage, TaskRef, sha256_hex
from scheduler.model import RetryPolicy, Step, TaskResult
from scheduler.simulator.faithful.node import OUTPUT, Work

DOOMED_EXIT_CODE = 3
TORN = b"what a failed run left"

# Faults must not use a budget up: what a job has to give would then depend on them.
_PATIENT = RetryPolicy(max_task_retries=10, max_node_faults=100_000, max_preemptions=100_000)


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Tasks of one step. Flaky indices fail in their first attempt, doomed ones always."""

    name: str
    task_seconds: tuple[int, ...]
    flaky: frozenset[int] = frozenset()
    doomed: frozenset[int] = frozenset()
    after: str | None = None


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job: its steps in order; each that comes after another reads that one's outputs. It is sent at `arrives`."""

    name: str
    priority: int
    steps: tuple[StepPlan, ...]
    arrives: timedelta = timedelta(0)

    @property
    def task_count(self) -> int:
        """All tasks."""
        return sum(len(step.task_seconds) for step in self.steps)

    @property
    def doomed(self) -> bool:
        """Whether the job has to fail."""
        return any(step.doomed for step in self.steps)

    def job_steps(self) -> tuple[Step, ...]:
        """Write the plan as a client would send it."""
        steps, first = [], 0
        for plan in self.steps:
            definition = TaskDefinition(
                step=plan.name,
                command=("simulated", self.name, plan.name),
                first_task_id=first,
                task_count=len(plan.task_seconds),
                output_patterns=(OUTPUT,),
                exit_codes=ExitCodeRules(permanent=(DOOMED_EXIT_CODE,)),
            )
            after = () if plan.after is None else (plan.after,)
            steps.append(Step(definition, depends_on=after, inputs_from=after, retry=_PATIENT))
            first += len(plan.task_seconds)
        return tuple(steps)

    def find(self, step: str) -> StepPlan:
        """Give a step by name."""
        return next(plan for plan in self.steps if plan.name == step)


@dataclass(frozen=True, slots=True)
class PlannedPrograms:
    """The programs that the commands of planned jobs name; `plan_of` gives the plan of a job id."""

    plan_of: Callable[[str], JobPlan]

    def begin(
        self, message: TaskMessage, definition: TaskDefinition, task: TaskRef, inputs: Mapping[str, bytes]
    ) -> Work:
        """Do what the plan says."""
        plan = self.plan_of(message.job_id)
        step = plan.find(definition.step)
        index = task.task_id - definition.first_task_id
        code = exit_code(step, index, task.attempt)
        output = compute(plan.name, step.name, index, inputs) if code == 0 else TORN
        return Work(step.task_seconds[index], code, output, TORN)

    def end(self, job_id: str, task: TaskRef, outcome: Outcome) -> None:
        """The judge looks at what is committed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How a task has to end, and the bytes of its output where it succeeds."""

    result: TaskResult
    output: bytes | None


def compute(job: str, step: str, index: int, inputs: Mapping[str, bytes]) -> bytes:
    """Do the work of a task: its output depends on what it is and on every byte that it reads."""
    read = "".join(f"{path} {sha256_hex(data)}\n" for path, data in sorted(inputs.items()))
    return f"{job} {step} {index}\n{read}".encode()


def exit_code(plan: StepPlan, index: int, attempt: int) -> int:
    """Give the code that a run of a task ends with."""
    if index in plan.doomed:
        return DOOMED_EXIT_CODE
    return 1 if index in plan.flaky and attempt == 1 else 0


def expected(job: JobPlan) -> dict[tuple[str, int], Expected]:
    """Work out the whole job, by step and index; steps after a failed one never run."""
    found: dict[tuple[str, int], Expected] = {}
    whole: dict[str, bool] = {}
    for plan in job.steps:
        if plan.after is not None and not whole[plan.after]:
            whole[plan.name] = False
            found |= {
                (plan.name, index): Expected(TaskResult.CANCELLED, None) for index in range(len(plan.task_seconds))
            }
            continue
        inputs = inputs_of(job, plan, found)
        for index in range(len(plan.task_seconds)):
            bad = index in plan.doomed
            output = None if bad else compute(job.name, plan.name, index, inputs)
            found[plan.name, index] = Expected(TaskResult.FAILURE if bad else TaskResult.SUCCESS, output)
        whole[plan.name] = not plan.doomed
    return found


def inputs_of(job: JobPlan, plan: StepPlan, found: Mapping[tuple[str, int], Expected]) -> dict[str, bytes]:
    """Give the files that the tasks of a step read, by path in their working directory."""
    if plan.after is None:
        return {}
    return {
        f"{step}/{index}/{OUTPUT}": result.output
        for (step, index), result in found.items()
        if step == plan.after and result.output is not None
    }


def draw_jobs(source: random.Random) -> tuple[JobPlan, ...]:
    """Draw one to four jobs of one or two steps that come one after another, while nodes come and go."""
    return tuple(
        _draw_job(source, f"job-{number}", timedelta(seconds=number * source.randint(0, 90)))
        for number in range(source.randint(1, 4))
    )


def draw_small_job(source: random.Random, name: str) -> JobPlan:
    """Draw a job of at most three short tasks, and perhaps one that reads what they made."""
    steps = [_draw_step(source, "map", source.randint(1, 3), short=True)]
    if source.random() < 0.5:
        steps.append(_draw_step(source, "reduce", 1, short=True, after="map"))
    return JobPlan(name, source.choice((0, 1)), tuple(steps))


def _draw_job(source: random.Random, name: str, arrives: timedelta) -> JobPlan:
    short = source.random() < 0.5
    steps = [_draw_step(source, "map", source.randint(1, 12), short=short)]
    if source.random() < 0.6:
        steps.append(_draw_step(source, "reduce", source.randint(1, 2), short=short, after="map"))
    return JobPlan(name, source.choice((0, 0, 1)), tuple(steps), arrives)


def _draw_step(source: random.Random, name: str, count: int, *, short: bool, after: str | None = None) -> StepPlan:
    seconds = tuple(source.randint(1, 4) if short else source.randint(5, 60) for _ in range(count))
    flaky = frozenset(index for index in range(count) if source.random() < 0.15)
    doomed = frozenset({source.randrange(count)}) if source.random() < 0.1 else frozenset()
    return StepPlan(name, seconds, flaky - doomed, doomed, after)
