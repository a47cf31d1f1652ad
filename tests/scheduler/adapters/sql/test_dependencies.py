"""What waits for what: whole steps, single tasks, one by one, and what happens when some of them fail."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_bootstrap.protocol import INPUTS, Outcome, ResolvedInputs, TextFile, decode, resolved_blob
from scheduler.adapters.sql.database import Database
from scheduler.errors import InvalidRequestError
from scheduler.model import (
    IndexRange,
    JobResult,
    JobState,
    RetryPolicy,
    Step,
    Task,
    TaskCounts,
    TaskDependency,
    TaskResult,
    TaskState,
)
from tests.scheduler.job_world import World, empty, step

ONCE = RetryPolicy(max_task_retries=0)


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """Give one database for all examples: opening it is most of an example's time."""
    made = Database("sqlite://")
    yield made
    made.close()


@pytest.fixture
def world(database: Database) -> World:
    """Give a world on an empty database."""
    return fresh_world(database)


def fresh_world(database: Database) -> World:
    """Empty the database and give a world on it."""
    empty(database)
    return World(database=database)


def after(plain: Step, *dependencies: TaskDependency, needed: float = 1.0) -> Step:
    """Give a step that waits for single tasks, tried once."""
    return replace(plain, depends_on_tasks=dependencies, needed_success=needed, retry=ONCE)


def run(world: World, failing: set[int], pick: st.DataObject | None = None) -> None:
    """Run everything that can run, one task a report, in any order; these tasks fail."""
    for _ in range(200):
        world.hand_out(slots=2)
        received = world.receive()
        refs = [(message, ref) for _, message in received for ref in message.tasks]
        if not refs:
            return
        if pick is not None:
            refs = pick.draw(st.permutations(refs))
        for number, (message, ref) in enumerate(refs):
            outcome = Outcome.PERMANENT if ref.task_id in failing else Outcome.SUCCESS
            world.tell(world.upload(message, [ref], outcome, run=f"r{ref.task_id}.{number}"))
            world.gather()
            world.check_counters()
        for item, _ in received:
            world.queues.delete(item)
    raise AssertionError("there is always more to do")


def states(world: World, job_id: str) -> list[str]:
    """Give where each task stands, in order."""
    return [task.result.value if task.result else task.state.value for task in world.tasks(job_id)]


def test_one_by_one(world: World) -> None:
    """Task i waits for task i alone; one that failed ends its own follower and no other."""
    each = TaskDependency("a", each=True)
    job_id = world.submit(replace(step("a", 0, 3), retry=ONCE), after(step("b", 3, 3), each), step("c", 6, 1, ("b",)))
    assert states(world, job_id) == ["active"] * 3 + ["blocked"] * 4
    world.hand_out()
    first, second, third = (message for _, message in world.receive())
    world.tell(world.upload(second))
    world.gather()
    assert states(world, job_id) == ["active", "success", "active", "blocked", "active", "blocked", "blocked"]
    world.tell(world.upload(third, outcome=Outcome.PERMANENT))
    world.gather()
    assert states(world, job_id)[3:] == ["blocked", "active", "cancelled", "cancelled"]
    assert world.jobs.task(job_id, 5).reason == "a task of step 'a' did not succeed, which this one depends on"
    assert world.jobs.task(job_id, 6).reason == "a task of step 'a' did not succeed, which this one depends on"
    world.tell(world.upload(first))
    world.gather()
    world.finish()
    assert world.jobs.job(job_id).counts == TaskCounts(succeeded=4, failed=1, cancelled=2)
    world.check_counters()


def test_one_by_one_with_inputs(world: World) -> None:
    """Each task reads the outputs of its own one, and all read those of a step that they share."""
    merge = after(replace(step("b", 4, 3), inputs_from=("a", "s")), TaskDependency("a", each=True))
    job_id = world.submit(step("a", 0, 3), step("s", 3, 1), replace(merge, depends_on=("s",)))
    world.hand_out()
    world.run_all()
    world.gather()
    world.hand_out()
    messages = [message for _, message in world.receive()]
    assert sorted(ref.task_id for message in messages for ref in message.tasks) == [4, 5, 6]
    for message in messages:
        assert message.inputs is not None
        assert message.own_inputs is not None
        shared = decode(ResolvedInputs, world.blobs.read(INPUTS, resolved_blob(message.inputs)))
        assert [file.path for file in shared.files] == ["s/0/out.json"]
        own = decode(ResolvedInputs, world.blobs.read(INPUTS, resolved_blob(message.own_inputs)))
        found = {files.task_id: [file.path for file in files.files] for files in own.own}
        assert found == {ref.task_id: [f"a/{ref.task_id - 4}/out.json"] for ref in message.tasks}
        world.tell(world.upload(message))
    world.gather()
    assert world.jobs.job(job_id).counts == TaskCounts(succeeded=7)


def test_some_tasks_of_a_step(world: World) -> None:
    """A step that waits for a few indices starts when these have succeeded, whatever the others do."""
    some = TaskDependency("a", (IndexRange(0, 1), IndexRange(4, 4)))
    job_id = world.submit(replace(step("a", 0, 5), retry=ONCE), after(step("b", 5, 2), some))
    world.hand_out(slots=8)
    messages = {message.tasks[0].task_id: message for _, message in world.receive()}
    for task_id in (3, 0, 4):
        world.tell(world.upload(messages[task_id], outcome=Outcome.PERMANENT if task_id == 3 else Outcome.SUCCESS))
    world.gather()
    assert states(world, job_id)[5:] == ["blocked"] * 2
    world.tell(world.upload(messages[1]))
    world.gather()
    assert states(world, job_id)[5:] == ["active"] * 2
    world.tell(world.upload(messages[2]))
    world.gather()
    world.finish()
    job = world.jobs.job(job_id)
    assert (job.result, job.reason) == (JobResult.FAILURE, "1 of 7 tasks failed")


@pytest.mark.parametrize(
    ("needed", "failing", "result"),
    [
        (1.0, {7}, JobResult.FAILURE),
        (0.95, {7}, JobResult.SUCCESS),
        (0.95, {7, 8}, JobResult.FAILURE),
        (0.0, set(range(20)), JobResult.SUCCESS),
    ],
)
def test_a_merge_says_how_much_has_to_succeed(
    world: World, needed: float, failing: set[int], result: JobResult
) -> None:
    """With enough successes it runs when all have ended and knows what is missing; with too few it is cancelled."""
    merge = replace(step("merge", 20, 1, ("a",), ("a",)), needed_success=needed)
    job_id = world.submit(replace(step("a", 0, 20), retry=ONCE), merge)
    run(world, failing)
    job = world.jobs.job(job_id)
    assert (job.state, job.result) == (JobState.COMPLETED, result)
    if result is JobResult.SUCCESS:
        assert job.reason == f"{len(failing)} of 21 tasks failed, which the steps after them allow"
        inputs = world.store.step_sources(job_id, 1).inputs
        assert inputs is not None
        resolved = decode(ResolvedInputs, inputs)
        assert resolved.texts == (TextFile("a/missing.txt", "".join(f"{index}\n" for index in sorted(failing))),)
        assert len(resolved.files) == 20 - len(failing)
    else:
        assert world.jobs.task(job_id, 20).result is TaskResult.CANCELLED


def test_a_merge_waits_for_all_although_enough_have_succeeded(world: World) -> None:
    """What is still running may be worth having: a tolerant merge starts when everything before it has ended."""
    merge = replace(step("merge", 3, 1, ("a",)), needed_success=0.0)
    job_id = world.submit(step("a", 0, 3), merge)
    world.hand_out()
    messages = [message for _, message in world.receive()]
    for message in messages[:2]:
        world.tell(world.upload(message, outcome=Outcome.PERMANENT))
    world.gather()
    assert states(world, job_id)[3] == "blocked"
    world.tell(world.upload(messages[2]))
    world.gather()
    assert states(world, job_id)[3] == "active"


def test_requeueing_brings_single_followers_back(world: World) -> None:
    """What was cancelled one by one comes back one by one, and counts of some indices are right again."""
    each, some = TaskDependency("a", each=True), TaskDependency("a", (IndexRange(1, 2),))
    job_id = world.submit(
        replace(step("a", 0, 3), retry=ONCE), after(step("b", 3, 3), each), after(step("c", 6, 1), some)
    )
    run(world, {1, 2})
    assert states(world, job_id) == ["success", "failure", "failure", "success", "cancelled", "cancelled", "cancelled"]
    world.jobs.requeue_job(job_id, (1,), world.clock.now())
    world.check_counters()
    assert states(world, job_id) == ["success", "active", "failure", "success", "blocked", "cancelled", "cancelled"]
    world.jobs.requeue_job(job_id, None, world.clock.now())
    world.check_counters()
    assert states(world, job_id) == ["success", "active", "active", "success", "blocked", "blocked", "blocked"]
    run(world, set())
    assert world.jobs.job(job_id).counts == TaskCounts(succeeded=7)


def test_wrong_dependencies_are_all_told(world: World) -> None:
    """Unknown steps, circles, ranges that are none: every finding at once, and nothing is written."""
    wrong = after(
        step("b", 3, 2),
        TaskDependency("a", (IndexRange(2, 1), IndexRange(0, 3), IndexRange(3, 3))),
        TaskDependency("none", each=True),
        TaskDependency("a"),
        TaskDependency("b", each=True),
        needed=1.5,
    )
    odd = after(step("c", 5, 4), TaskDependency("a", each=True))
    with pytest.raises(InvalidRequestError) as raised:
        world.submit(step("a", 0, 3), wrong, odd)
    for words in (
        "'none', which is no step",
        "'b', which must stand before it",
        "depends on 'a' twice",
        "2-1 is no range",
        "0-3 goes beyond its last task, 2",
        "3-3 overlaps",
        "give either indices or each",
        "one by one: that has 3 tasks, this step 4",
        "needed_success is 1.5",
    ):
        assert words in str(raised.value)


@dataclass(frozen=True)
class Plan:
    """Steps with dependencies, and the tasks that fail whenever they run."""

    steps: tuple[Step, ...]
    failing: frozenset[int]

    def ends(self) -> dict[int, TaskResult]:
        """Say how each task has to end: worked out from the definition alone, step by step."""
        ends: dict[int, TaskResult] = {}
        ranges: dict[str, range] = {}
        for each in self.steps:
            first = each.definition.first_task_id
            ranges[each.definition.step] = range(first, first + each.definition.task_count)
            for index, task_id in enumerate(ranges[each.definition.step]):
                groups = [list(ranges[name]) for name in each.depends_on]
                for other in each.depends_on_tasks:
                    there = ranges[other.step]
                    groups += [[there[index]]] if other.each else []
                    groups += [[there[number] for number in range(part.first, part.last + 1)] for part in other.indices]
                good = all(
                    sum(ends[other] is TaskResult.SUCCESS for other in group)
                    >= math.ceil(round(each.needed_success * len(group), 6))
                    for group in groups
                )
                failed = TaskResult.FAILURE if task_id in self.failing else TaskResult.SUCCESS
                ends[task_id] = failed if good else TaskResult.CANCELLED
        return ends


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a few steps that wait for each other in every way there is."""
    steps: list[Step] = []
    first = 0
    for number in range(draw(st.integers(1, 5))):
        count = draw(st.sampled_from([1, 3, 3, 4]))
        whole, single = [], []
        for other in steps:
            name, size = other.definition.step, other.definition.task_count
            kind = draw(st.sampled_from(["none", "whole", "some", "each"]))
            if kind == "whole":
                whole.append(name)
            elif kind == "some":
                begin = draw(st.integers(0, size - 1))
                single.append(TaskDependency(name, (IndexRange(begin, draw(st.integers(begin, size - 1))),)))
            elif kind == "each" and size == count:
                single.append(TaskDependency(name, each=True))
        plain = step(f"s{number}", first, count, tuple(whole))
        steps.append(after(plain, *single, needed=draw(st.sampled_from([1.0, 1.0, 0.5, 0.0]))))
        first += count
    failing = draw(st.sets(st.integers(0, first - 1), max_size=4))
    return Plan(tuple(steps), frozenset(failing))


@given(plan=plans(), data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_job_always_ends_as_its_definition_says(database: Database, plan: Plan, data: st.DataObject) -> None:
    """Whatever fails, in whatever order reports come, each task ends as the definition says, and the job with it.

    A requeue of all that did not succeed, with nothing failing any more, makes everything succeed.
    """
    world = fresh_world(database)
    job_id = world.submit(*plan.steps)
    run(world, set(plan.failing), data)
    assert {task.task_id: task.result for task in world.tasks(job_id)} == plan.ends()
    assert world.jobs.job(job_id).state is JobState.COMPLETED
    if set(plan.ends().values()) == {TaskResult.SUCCESS}:
        return
    world.jobs.requeue_job(job_id, None, world.clock.now())
    world.check_counters()
    run(world, set(), data)
    assert world.jobs.job(job_id).counts.succeeded == world.jobs.job(job_id).counts.total
    assert world.jobs.job(job_id).result is JobResult.SUCCESS


@given(plan=plans(), data=st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_requeueing_some_leaves_nothing_waiting_for_ever(database: Database, plan: Plan, data: st.DataObject) -> None:
    """Whichever failed tasks are requeued, and whatever of them fails again, the job ends."""
    world = fresh_world(database)
    job_id = world.submit(*plan.steps)
    run(world, set(plan.failing), data)
    failed = [task.task_id for task in world.tasks(job_id) if task.result is TaskResult.FAILURE]
    if not failed:
        return
    chosen = data.draw(st.lists(st.sampled_from(failed), min_size=1, unique=True))
    world.jobs.requeue_job(job_id, chosen, world.clock.now())
    world.check_counters()
    run(world, set(data.draw(st.sets(st.sampled_from(failed)))), data)
    job = world.jobs.job(job_id)
    assert job.state is JobState.COMPLETED, [task for task in world.tasks(job_id) if _waits(task)]


def _waits(task: Task) -> bool:
    return task.state is not TaskState.COMPLETED
