"""What the store says of a pool's work beyond its numbers: by step, since when, how long, and what is to come."""

from dataclasses import replace
from datetime import timedelta

import pytest

from node_bootstrap.protocol import TaskMessage
from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind
from scheduler.dispatch.records import Start
from scheduler.model import IndexRange, JobState, NewJob, Step, TaskDependency
from tests.scheduler.job_world import POOL, World, step

MINUTE = timedelta(minutes=1)


def start(world: World, message: TaskMessage, node: str = "node") -> None:
    """Have a node begin all tasks of a message."""
    now = world.clock.now()
    world.store.record(world.epoch, (Start(message.message_id, node, message.tasks, now),), (), now)


def report(world: World, message: TaskMessage, seconds: float = 5.0) -> None:
    """Have a node end a message."""
    world.tell(world.upload(message, seconds=seconds))
    world.gather()


def begin_all(world: World, slots: int = 4) -> list[TaskMessage]:
    """Hand out for so many slots, and have all of it run."""
    world.hand_out(slots=slots)
    messages = [message for _, message in world.receive()]
    for message in messages:
        start(world, message)
    return messages


def classes(world: World) -> dict[str, DemandClass]:
    """Give the pool's classes by step."""
    return {each.step: each for each in world.store.demand(POOL).classes}


def foreseen(world: World) -> dict[str, Foreseen]:
    """Give what is to come by step."""
    return {each.step: each for each in world.store.demand(POOL).foreseen}


def behind(found: Foreseen) -> dict[str, tuple[int, int]]:
    """Give what foreseen tasks wait for: waiting and running tasks by step."""
    return {each.step: (each.active_tasks, each.running_tasks) for each in found.behind}


def test_classes_are_steps_with_the_ages_of_what_runs(world: World) -> None:
    """Each step with waiting or running tasks is a class; since when tasks run is told for each age, oldest first."""
    job_id = world.submit(step("a", 0, 3, expected=600.0), step("b", 3, 5, expected=20.0), step("c", 8, 1, ("a",)))
    began = world.clock.now()
    world.hand_out(slots=2)
    first, second, *_ = [message for _, message in world.receive()]
    start(world, first)
    world.clock.advance(5 * MINUTE)
    start(world, second, "other")
    found = classes(world)
    assert set(found) == {"a", "b"}
    assert (found["a"].job, found["a"].active_tasks, found["a"].running_tasks) == (job_id, 1, 2)
    assert found["a"].cohorts == (Cohort(began, 1), Cohort(began + 5 * MINUTE, 1))
    assert found["a"].task_seconds == pytest.approx(600.0)
    assert (found["b"].slots, found["b"].running_tasks, found["b"].cohorts) == (5, 0, ())
    # 300 s are left of one and 600 s of the other.
    now = world.clock.now()
    assert [found["a"].ending(timedelta(seconds=span), now) for span in (299, 300, 599, 600)] == [0.0, 1.0, 1.0, 2.0]
    for message in (first, second):
        report(world, message)
    assert (classes(world)["a"].slots, classes(world)["a"].cohorts) == (1, ())


def test_run_times_are_kept_by_kind_of_work(world: World) -> None:
    """What one job took is expected of the next job of its kind, and less so of other work of the pool."""
    world.submit(step("a", 0, 60), key="first")
    for _ in range(60):
        begun = begin_all(world, slots=60)
        for message in begun:
            report(world, message, seconds=40.0)
    assert world.store.demand(POOL).mean_task_seconds == pytest.approx(40.0)
    render = step("r", 0, 1)
    world.submit(replace(render, definition=replace(render.definition, command=("render", "scene"))), key="render")
    (message,) = begin_all(world)
    report(world, message, seconds=4000.0)
    world.submit(step("b", 0, 2), key="same")
    again = replace(render, definition=replace(render.definition, command=("render", "scene", "-x")))
    world.submit(again, key="again")
    found = classes(world)
    # One run of 4000 s leans with even weight on the pool's, of which it is one of 61: the longest, so cut to twice 40.
    pool = (60 * 40 + 80) / 61
    assert found["b"].task_seconds == pytest.approx(40.0, rel=0.01)
    assert found["r"].task_seconds == pytest.approx((4000 * pool) ** 0.5, rel=1e-3)
    assert world.store.demand("other").mean_task_seconds is None


def test_dependents_are_foreseen_when_all_they_wait_for_is_at_hand(world: World) -> None:
    """A merge waits for its two steps; what waits for the merge is not foreseen before that can start."""
    job_id = world.submit(
        step("left", 0, 2, expected=10.0),
        step("right", 2, 1, expected=10.0),
        step("merge", 3, 4, ("left", "right"), expected=100.0),
        step("report", 7, 1, ("merge",)),
    )
    found = foreseen(world)
    assert set(found) == {"merge"}
    merge = found["merge"]
    assert (merge.kind, merge.job, merge.tasks) == (ForeseenKind.DEPENDENTS, job_id, 4)
    assert merge.times.mean() == pytest.approx(100.0)
    assert behind(merge) == {"left": (2, 0), "right": (1, 0)}
    messages = begin_all(world, slots=3)
    assert behind(foreseen(world)["merge"]) == {"left": (0, 2), "right": (0, 1)}
    report(world, messages[0])
    assert behind(foreseen(world)["merge"]) == {"left": (0, 1), "right": (0, 1)}
    for message in messages[1:]:
        report(world, message)
    found = foreseen(world)
    assert set(found) == {"report"}
    assert behind(found["report"]) == {"merge": (4, 0)}
    world.finish()
    assert world.store.demand(POOL).foreseen == ()


def depending(name: str, first: int, count: int, *on: TaskDependency) -> Step:
    """Make a step that depends on single tasks."""
    return replace(step(name, first, count), depends_on_tasks=on)


def test_dependents_on_single_tasks_are_foreseen_by_those(world: World) -> None:
    """Task by task, each follows one; on a range, only the tasks of the range are waited for."""
    world.submit(
        step("a", 0, 6, expected=60.0),
        depending("each", 6, 6, TaskDependency("a", each=True)),
        depending("some", 12, 3, TaskDependency("a", (IndexRange(0, 1),))),
    )
    found = foreseen(world)
    assert (found["each"].kind, found["each"].tasks) == (ForeseenKind.ONE_BY_ONE, 6)
    assert (found["some"].kind, found["some"].tasks) == (ForeseenKind.DEPENDENTS, 3)
    assert (behind(found["each"]), behind(found["some"])) == ({"a": (6, 0)}, {"a": (2, 0)})
    world.hand_out(slots=3)
    messages = [message for _, message in world.receive()][:3]
    for message in messages:
        start(world, message)
    found = foreseen(world)
    assert (behind(found["each"]), behind(found["some"])) == ({"a": (3, 3)}, {"a": (0, 2)})
    for message in messages:
        report(world, message)
    found = foreseen(world)
    assert set(found) == {"each"}
    assert (found["each"].tasks, behind(found["each"])) == (3, {"a": (3, 0)})


def test_a_draft_is_foreseen_until_it_is_armed(world: World) -> None:
    """Of the chunks sent so far those tasks come that wait for no other step."""
    draft = world.jobs.create_job(NewJob("nightly", POOL, "key"), world.clock.now())
    assert world.store.demand(POOL).foreseen == ()
    world.jobs.add_steps(draft.job_id, 0, (step("a", 0, 500), step("b", 500, 30, ("a",))))
    world.jobs.add_steps(draft.job_id, 0, (step("a", 0, 500), step("b", 500, 30, ("a",))))
    world.jobs.add_steps(draft.job_id, 1, (step("c", 530, 20),))
    (coming,) = world.store.demand(POOL).foreseen
    assert (coming.kind, coming.job, coming.tasks) == (ForeseenKind.FEEDING, draft.job_id, 520)
    assert coming.earliest == draft.created_at
    assert world.store.demand("other").foreseen == ()
    world.jobs.arm_job(draft.job_id, 550, world.clock.now())
    assert [each.kind for each in world.store.demand(POOL).foreseen] == [ForeseenKind.DEPENDENTS]
    given_up = world.jobs.create_job(NewJob("other", POOL, "other"), world.clock.now())
    world.jobs.add_steps(given_up.job_id, 0, (step("a", 0, 5),))
    assert world.jobs.cancel_job(given_up.job_id, world.clock.now()).state is JobState.COMPLETED
    assert given_up.job_id not in {each.job for each in world.store.demand(POOL).foreseen}


def test_many_steps_are_told_together(world: World) -> None:
    """The greatest steps are classes, all others one: no task is lost, and the mean and the oldest are those of all."""
    began = world.clock.now()
    for number in range(40):
        world.submit(step("s", 0, number + 1, expected=float(number + 1)), key=f"job {number}")
        world.clock.advance(timedelta(seconds=1))
    demand = world.store.demand(POOL)
    assert len(demand.classes) == 17
    *told, rest = demand.classes
    assert [each.active_tasks for each in told] == list(range(40, 24, -1))
    small = range(1, 25)
    assert (rest.job, rest.step, rest.active_tasks) == ("", "", sum(small))
    assert rest.task_seconds == pytest.approx(sum(each * each for each in small) / sum(small))
    assert sum(each.slots for each in demand.classes) == demand.active_tasks == sum(range(41))
    assert demand.mean_task_seconds == pytest.approx(sum(each * each for each in range(41)) / sum(range(41)))
    assert demand.oldest_active_at == began
    for message in begin_all(world, slots=400):
        report(world, message, seconds=30.0)
    world.finish()
    demand = world.store.demand(POOL)
    assert (demand.classes, demand.active_tasks, demand.oldest_active_at) == ((), 0, None)


def test_what_runs_in_many_small_steps_has_its_ages(world: World) -> None:
    """Tasks of the steps that are told together run since when they were begun."""
    for number in range(30):
        world.submit(step("s", 0, 1, expected=600.0), key=f"job {number}")
    began = world.clock.now()
    begin_all(world, slots=30)
    world.clock.advance(MINUTE)
    *told, rest = world.store.demand(POOL).classes
    assert [each.cohorts for each in told] == [(Cohort(began, 1),)] * 16
    assert (rest.running_tasks, rest.cohorts) == (14, (Cohort(began, 14),))
    assert rest.ending(9 * MINUTE, world.clock.now()) == pytest.approx(14.0)


def test_work_that_nobody_runs_any_more_is_forgotten(world: World) -> None:
    """What took how long is known for a quarter of a year after its last run."""
    world.submit(step("a", 0, 1))
    (message,) = begin_all(world)
    report(world, message, seconds=40.0)
    for days, known in ((99, 40.0), (2, None)):
        world.clock.advance(timedelta(days=days))
        world.store.prune(world.epoch, world.clock.now())
        assert world.store.demand(POOL).mean_task_seconds == known
