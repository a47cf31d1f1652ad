"""Why a job waits, runs, failed or ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from scheduler.explain.pool import PoolFacts, decided, nodes_of
from scheduler.explain.words import ago, at, clause, facts, listed, number, span
from scheduler.model import Job, JobResult, JobState, Task, TaskResult
from scheduler.views import Explanation, Fact, StepView


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job and what its fate depends on.

    `troubled` are some of its tasks that failed or were tried again, failed ones first; `tasks_ahead` and `pool` as for
    a task.
    """

    job: Job
    steps: tuple[StepView, ...]
    troubled: tuple[Task, ...]
    tasks_ahead: int
    pool: PoolFacts | None


def explain_job(known: JobFacts, now: datetime) -> Explanation:
    """Say in a paragraph why the job is where it is."""
    job = known.job
    match job.state:
        case JobState.DRAFT:
            sentences = _draft(job, now)
        case JobState.ACTIVE:
            sentences = _active(known, now)
        case JobState.TERMINATING:
            sentences = _ending(job)
        case JobState.COMPLETED:
            sentences = _completed(known)
    return Explanation(f"job {job.job_id}", " ".join(sentences), _facts(known))


def _draft(job: Job, now: datetime) -> Iterator[str]:
    yield f"It is a draft, opened {ago(job.created_at, now)}: its submission has not ended, so nothing of it runs."
    yield "Submit the file again with the --key it had, and it goes on where it stopped; or cancel it."


def _ending(job: Job) -> Iterator[str]:
    yield f"It is being ended ({clause(job.reason)}): nothing of it starts any more."
    yield f"Tasks that still run until they are stopped: {job.counts.running:,}."


def _active(known: JobFacts, now: datetime) -> Iterator[str]:
    counts = known.job.counts
    yield (
        f"Of its {number(counts.total, 'task')}, {counts.completed:,} ended, {counts.running:,} "
        f"{'runs' if counts.running == 1 else 'run'}, {counts.active:,} {'is' if counts.active == 1 else 'are'} ready "
        f"and {counts.blocked:,} {'waits' if counts.blocked == 1 else 'wait'} for steps before them."
    )
    if counts.blocked:
        waits = listed(f"{step.name} for {listed(step.depends_on)}" for step in _blocked(known.steps))
        if waits:
            yield f"Waiting steps: {waits}."
    if counts.active:
        if known.tasks_ahead:
            yield f"{number(known.tasks_ahead, 'ready task')} of jobs with precedence or of the same rank come first."
        yield from _capacity(known, now)
    yield from _failures(known)


def _capacity(known: JobFacts, now: datetime) -> Iterator[str]:
    if known.pool is None:
        yield f"Its pool {known.job.pool} is no longer declared, so nothing can run: deploy it, or cancel the job."
        return
    yield f"The pool has {nodes_of(known.pool)}."
    yield from (f"{decided(decision, now)}." for decision in known.pool.newest())


def _completed(known: JobFacts) -> Iterator[str]:
    job = known.job
    took = f", {span(job.ended_at - job.armed_at)} after it was started" if job.ended_at and job.armed_at else ""
    when = f" at {at(job.ended_at)}" if job.ended_at else ""
    match job.result:
        case JobResult.SUCCESS:
            yield f"It succeeded{when}{took}: all of its {number(job.counts.total, 'task')} did."
        case JobResult.FAILURE:
            yield f"It failed{when}{took}: {clause(job.reason)}."
        case _:
            yield f"It was cancelled{when}{took}: {clause(job.reason) or 'no reason was kept'}."
    if job.counts.cancelled and job.result is JobResult.FAILURE:
        yield f"Cancelled, because what they depend on did not succeed: {number(job.counts.cancelled, 'task')}."
    yield from _failures(known)


def _failures(known: JobFacts) -> Iterator[str]:
    failed = [task for task in known.troubled if task.result is TaskResult.FAILURE]
    again = sum(task.attempt > 1 for task in known.troubled)
    if failed:
        first = failed[0]
        yield f"The first that failed is task {first.task_id} ({first.step} {first.index}): {clause(first.reason)}."
    elif again:
        yield f"Tried more than once: {listed(str(task.task_id) for task in known.troubled if task.attempt > 1)}."


def _blocked(steps: tuple[StepView, ...]) -> Iterator[StepView]:
    open_ones = {step.name for step in steps if step.open_tasks}
    return (step for step in steps if step.open_tasks and not open_ones.isdisjoint(step.depends_on))


def _facts(known: JobFacts) -> tuple[Fact, ...]:
    job = known.job
    return facts(
        ("state", job.state.value if job.result is None else f"{job.state.value}, {job.result.value}"),
        ("reason kept", job.reason),
        ("pool", job.pool),
        ("priority", job.priority),
        ("created", job.created_at),
        ("armed", job.armed_at),
        ("ended", job.ended_at),
        *((f"step {step.name}", _step(step)) for step in known.steps),
        *(
            (
                f"task {task.task_id} ({task.step} {task.index})",
                f"{_where(task)}, attempt {task.attempt}: {task.reason}",
            )
            for task in known.troubled
        ),
        ("nodes of the pool", nodes_of(known.pool) if known.pool is not None else "the pool is not declared"),
    )


def _step(step: StepView) -> str:
    ended = step.task_count - step.open_tasks
    after = f", after {listed(step.depends_on)}" if step.depends_on else ""
    bad = f", {step.unsuccessful} without success" if step.unsuccessful else ""
    return f"{ended} of {step.task_count} tasks ended{bad}{after}"


def _where(task: Task) -> str:
    return task.state.value if task.result is None else task.result.value
