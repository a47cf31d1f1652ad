"""A workload as clients would submit it: jobs of steps and tasks, and the programs that their commands name."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node_bootstrap.protocol import Outcome, TaskDefinition, TaskMessage, TaskRef
from scheduler.errors import InvalidRequestError
from scheduler.model import IndexRange, RetryPolicy, Step, TaskDependency
from scheduler.simulator.faithful.node import Work
from scheduler.simulator.workflows import WorkflowStep, is_workflow, joined, steps_of
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Dispatch, World

# A task whose node goes begins again, however often, as in the fast engine.
_PATIENT = RetryPolicy(max_node_faults=1_000_000, max_preemptions=1_000_000)


@dataclass(frozen=True, slots=True)
class Submission:
    """One job of the real system. `tasks` are the workload's jobs in order of their task ids.

    after   jobs of the workload, of other submissions, that have to end first: a client waits for them
    """

    name: str
    pool: str
    submit: float
    tasks: tuple[int, ...]
    steps: tuple[Step, ...]
    after: tuple[int, ...] = ()


def check_world(workload: Workload, world: World) -> None:
    """Refuse what the real system does not do."""
    wrong = None
    if any(slots != 1 for slots in workload.slots):
        wrong = (
            "a task of Millpond takes one slot of its node, and this workload has jobs of several; give --job-slots one"
            " to replay them as tasks of one slot, or use the fast engine"
        )
    elif any(pool.dispatch is not Dispatch.FIFO or pool.most_waiting is not None for pool in world.pools):
        wrong = (
            "its tasks start in the order in which they come and none is turned away, so there is no EASY backfilling"
            " and no most_waiting; leave them out, or use the fast engine"
        )
    elif world.lag or world.offset:
        wrong = (
            "it reads its own store and the cloud in the step in which it decides, so how old its observations are"
            " comes of its interval, its nodes' statuses and listed_after; leave out lag and offset, and set these"
        )
    if wrong is not None:
        raise InvalidRequestError(f"the faithful engine runs the real scheduler: {wrong}")


def submissions(workload: Workload, world: World) -> list[Submission]:
    """Make jobs, in order of submission.

    Jobs of one application that come at once to one pool are one job, as a user submits an array: those that wait for
    nothing, or for the same ones, are tasks of one step. Where jobs that wait for each other come at different times,
    each is a job of its own and a client waits in between.
    """
    default = world.pools[0].name
    pools = [name or default for name in workload.pool] or [default] * len(workload)
    made: list[Submission] = []
    arrays: dict[tuple[float, str, str], list[int]] = defaultdict(list)
    for members in joined(workload):
        if len(members) == 1:
            work = workload.work[members[0]] if workload.work else ""
            arrays[workload.submit[members[0]], pools[members[0]], work] += members
        elif is_workflow(workload, members, pools):
            made.append(_submission(workload, world, members, pools[members[0]]))
        else:
            for job in members:
                alone = _submission(workload, world, [job], pools[job])
                made.append(
                    Submission(alone.name, alone.pool, alone.submit, alone.tasks, alone.steps, _after(workload, job))
                )
    made += [_submission(workload, world, members, pool) for (_, pool, _), members in arrays.items()]
    return sorted(made, key=lambda each: (each.submit, each.tasks[0]))


class TracePrograms:
    """Programs that run as long as the workload says. `begun`, `ended` are told of the workload's jobs."""

    def __init__(self, workload: Workload, begun: Callable[[int], None], ended: Callable[[int, Outcome], None]) -> None:
        self._run = workload.run
        self._begun = begun
        self._ended = ended
        self._jobs: dict[str, tuple[int, ...]] = {}

    def know(self, job_id: str, tasks: tuple[int, ...]) -> None:
        """Know which jobs of the workload are the tasks of a job."""
        self._jobs[job_id] = tasks

    def number(self, job_id: str, task_id: int) -> int:
        """Give the workload's job that a task is."""
        return self._jobs[job_id][task_id]

    def begin(
        self,
        message: TaskMessage,
        definition: TaskDefinition,  # noqa: ARG002  the task's id says all
        task: TaskRef,
        inputs: Mapping[str, bytes],  # noqa: ARG002  no files travel
    ) -> Work:
        """Start one."""
        job = self.number(message.job_id, task.task_id)
        self._begun(job)
        return Work(self._run[job])

    def end(self, job_id: str, task: TaskRef, outcome: Outcome) -> None:
        """Hear that one has ended."""
        self._ended(self.number(job_id, task.task_id), outcome)


def _after(workload: Workload, job: int) -> tuple[int, ...]:
    return workload.after[job] if workload.after else ()


def _submission(workload: Workload, world: World, members: list[int], pool: str) -> Submission:
    waits = len(members) > 1 and any(_after(workload, job) for job in members)
    found = steps_of(workload, members) if waits else [WorkflowStep((), tuple(members))]
    # Jobs whose run times are known beforehand each bring their own, so they share no step.
    groups = [
        (each.after, part)
        for each in found
        for part in ([(job,) for job in each.jobs] if world.known_runs else [each.jobs])
    ]
    place = {job: (f"s{step}", index) for step, (_, jobs) in enumerate(groups) for index, job in enumerate(jobs)}
    steps, first = [], 0
    for number, (after, jobs) in enumerate(groups):
        needed: dict[str, list[int]] = defaultdict(list)
        for other in after:
            step, index = place[other]
            needed[step].append(index)
        steps.append(
            Step(
                TaskDefinition(f"s{number}", _command(workload, jobs[0]), first_task_id=first, task_count=len(jobs)),
                retry=_PATIENT,
                expected_task_seconds=_estimate(workload, jobs[0]) if world.known_runs else None,
                depends_on_tasks=tuple(
                    TaskDependency(step, tuple(IndexRange(index, index) for index in sorted(indices)))
                    for step, indices in needed.items()
                ),
            )
        )
        first += len(jobs)
    tasks = tuple(job for _, jobs in groups for job in jobs)
    return Submission(f"job-{members[0]:08d}", pool, workload.submit[members[0]], tasks, tuple(steps))


def _command(workload: Workload, job: int) -> tuple[str, ...]:
    """Name the kind of work, which the scheduler knows a program by."""
    return ("simulated", workload.work[job]) if workload.work and workload.work[job] else ("simulated",)


def _estimate(workload: Workload, job: int) -> float:
    believed = workload.estimate[job] if workload.estimate else None
    return workload.run[job] if believed is None else believed
