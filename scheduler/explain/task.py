"""Why a task waits, runs, failed or ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from node_bootstrap.protocol import Outcome
from scheduler.explain.pool import PoolFacts, decided, nodes_of
from scheduler.explain.words import ago, at, clause, facts, listed, number, span
from scheduler.model import Job, JobState, Node, NodePhase, Task, TaskResult, TaskState
from scheduler.views import Explanation, Fact, Handout, StepView

_ENDING = frozenset({NodePhase.DRAINING, NodePhase.DRAINED, NodePhase.REMOVING})


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """A task and what its fate depends on.

    `steps` are those of its job; `handout` is what carries its present attempt; `tasks_ahead` are ready tasks of jobs
    of its pool that come first by priority; `pool` is None where it is no longer declared.
    """

    task: Task
    job: Job
    steps: tuple[StepView, ...]
    handout: Handout | None
    tasks_ahead: int
    pool: PoolFacts | None

    @property
    def step(self) -> StepView | None:
        """The task's own step."""
        return next((step for step in self.steps if step.name == self.task.step), None)


def explain_task(known: TaskFacts, now: datetime) -> Explanation:
    """Say in a paragraph why the task is where it is."""
    task = known.task
    match task.state:
        case TaskState.COMPLETED:
            sentences = _ended(task)
        case TaskState.RUNNING:
            sentences = _running(known, now)
        case TaskState.BLOCKED:
            sentences = _blocked(known)
        case TaskState.ACTIVE:
            sentences = _waiting(known, now)
    paragraph = " ".join([*sentences, *_tries(task)])
    return Explanation(f"task {task.task_id} ({task.step} {task.index}) of job {task.job_id}", paragraph, _facts(known))


def _ended(task: Task) -> Iterator[str]:
    took = f" after {span(task.ended_at - task.started_at)}" if task.started_at and task.ended_at else ""
    where = f" on node {task.node_id}" if task.node_id else ""
    when = f", at {at(task.ended_at)}" if task.ended_at else ""
    match task.result:
        case TaskResult.SUCCESS:
            yield f"It succeeded on attempt {task.attempt}{where}{took}{when}."
            if task.outcome is Outcome.IGNORABLE:
                what = "this end" if task.exit_code is None else f"exit code {task.exit_code}"
                why = f": {clause(task.reason)}" if task.reason else ""
                yield f"Its job counts {what} as good enough{why}."
        case TaskResult.FAILURE:
            code = "" if task.exit_code is None else f" with exit code {task.exit_code}"
            yield f"It failed on attempt {task.attempt}{where}{code}{took}{when}: {clause(task.reason)}."
            if task.outcome is Outcome.PERMANENT:
                yield "A failure of this kind is not tried again."
        case _:
            yield f"It was cancelled{when}: {clause(task.reason) or 'no reason was kept'}."


def _running(known: TaskFacts, now: datetime) -> Iterator[str]:
    task = known.task
    since = f" for {span(now - task.started_at)}" if task.started_at else ""
    yield f"It runs on node {task.node_id or 'unknown'}{since}, attempt {task.attempt}."
    step = known.step
    if step is not None and step.mean_seconds is not None:
        yield f"Tasks of step {step.name} that succeeded took {span(timedelta(seconds=step.mean_seconds))} on average."
    node = _node(known)
    if node is not None and node.phase is NodePhase.LOST:
        yield "Its node is lost; unless it is heard of again, the task is handed out anew."
    elif node is not None and node.phase in _ENDING:
        yield f"Its node is {node.phase.value}: it ends what it holds first."
    if known.job.state is JobState.TERMINATING:
        yield "Its job is cancelled, so it is being stopped."


def _blocked(known: TaskFacts) -> Iterator[str]:
    step = known.step
    before = [other for other in known.steps if step is not None and other.name in step.depends_on]
    waits_for = [other for other in before if other.open_tasks or other.unsuccessful]
    if not waits_for:
        yield f"It waits for the steps before it: {listed(other.name for other in before) or 'none is known'}."
    for other in waits_for:
        yield (
            f"It waits for step {other.name}, of whose {number(other.task_count, 'task')} "
            f"{other.open_tasks:,} {'has' if other.open_tasks == 1 else 'have'} not ended."
        )


def _waiting(known: TaskFacts, now: datetime) -> Iterator[str]:
    handout = known.handout
    if known.pool is None:
        yield f"It is ready, but its pool {known.job.pool} is no longer declared; deploy the pool, or cancel the job."
        return
    if handout is not None and handout.started_at is not None:
        yield (
            f"Node {handout.node_id} took it {ago(handout.started_at, now)} in one message with other tasks and runs "
            "them in order; this one has not begun."
        )
        return
    if handout is not None:
        sent = "is on its queue" if handout.sent_at else "is about to be put on its queue"
        yield (
            f"It is ready and was handed out to group {handout.group} {ago(handout.handed_out_at, now)}; the message "
            f"{sent} until a node with a free slot takes it."
        )
    else:
        yield "It is ready and not handed out yet: only as much is put on queues as nodes can begin soon."
        if known.tasks_ahead:
            yield f"{number(known.tasks_ahead, 'ready task')} of jobs with precedence or of the same rank come first."
    yield f"The pool has {nodes_of(known.pool)}."
    if not known.pool.in_phase(NodePhase.WORKING) or handout is None:
        yield from (f"{decided(decision, now)}." for decision in known.pool.newest())


def _tries(task: Task) -> Iterator[str]:
    """Say why there was more than one attempt."""
    causes = [
        (task.retries, "failure", "of its own"),
        (task.node_faults, "node fault", ""),
        (task.preemptions, "preemption", ""),
    ]
    said = listed(f"{number(count, noun)} {more}".strip() for count, noun, more in causes if count)
    if said:
        yield f"It was tried again after {said}."
        if task.state is not TaskState.COMPLETED and task.reason:
            yield f"The last time: {clause(task.reason)}."


def _node(known: TaskFacts) -> Node | None:
    if known.pool is None:
        return None
    return next((node for node in known.pool.nodes if node.node_id == known.task.node_id), None)


def _facts(known: TaskFacts) -> tuple[Fact, ...]:
    task, handout, pool = known.task, known.handout, known.pool
    node = _node(known)
    return facts(
        ("state", task.state.value if task.result is None else f"{task.state.value}, {task.result.value}"),
        ("attempt", task.attempt),
        ("node", None if task.node_id is None else f"{task.node_id}{f' ({node.phase.value})' if node else ''}"),
        ("exit code", task.exit_code),
        ("outcome of the last run", task.outcome.value if task.outcome else None),
        ("reason kept", task.reason),
        ("started", task.started_at),
        ("ended", task.ended_at),
        ("charged", f"{task.retries} retries, {task.node_faults} node faults, {task.preemptions} preemptions"),
        ("message", None if handout is None else handout.message_id),
        ("queue", None if handout is None else handout.queue),
        ("sent", None if handout is None else handout.sent_at),
        ("taken", None if handout is None else handout.started_at),
        ("ready tasks ahead of it", known.tasks_ahead if task.state is TaskState.ACTIVE and handout is None else None),
        ("nodes of the pool", nodes_of(pool) if pool is not None else None),
        ("job", f"{known.job.job_id}, {known.job.state.value}, priority {known.job.priority}"),
    )
