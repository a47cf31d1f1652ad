"""Schedules in the controller: exactly one job for each occurrence, whatever dies when."""

from datetime import timedelta

import pytest

from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.controller.schedules import Schedules
from scheduler.errors import InvalidRequestError, MillpondError
from scheduler.job_schedule import JobSchedule, JobSpecification, NewJobSchedule, Overlap, RunState, Schedule
from scheduler.recurrence.due import Standing, Start
from tests.scheduler.controller.fuse import Crash, Fuse
from tests.scheduler.job_world import POOL, World, step

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
POOLS = frozenset({POOL})


def create(world: World, schedule_id: str, overlap: Overlap = Overlap.ALLOW, pool: str = POOL) -> JobSchedule:
    """Make a schedule with a job of two steps every hour from an hour on."""
    now = world.clock.now()
    schedule = Schedule(recurrence_interval=HOUR, do_not_run_until=now + HOUR, overlap=overlap)
    steps = (step("a", 0, 3), step("b", 3, 1, ("a",)))
    new = NewJobSchedule(schedule_id, schedule, JobSpecification("prices", pool, steps))
    return SqlScheduleStore(world.database).create(new, now)


def lead(world: World, leader: Schedules) -> Schedules:
    """Do a step; if the leader dies in it, another takes its place and does one."""
    try:
        leader.step(world.epoch, world.clock.now())
    except Crash:
        world.epoch = world.database.begin_epoch()
        leader = Schedules(SqlScheduleStore(world.database), lambda: POOLS)
        leader.step(world.epoch, world.clock.now())
    return leader


@pytest.mark.parametrize("after", [False, True])
def test_crash_anywhere(world: World, after: bool) -> None:
    """Whichever call the leader dies in, before or after it took effect, each occurrence has made one job."""
    store = SqlScheduleStore(world.database)
    postgresql = world.database.address.startswith("postgresql")
    crash_at, blown = 0, True
    while blown:
        # PostgreSQL sees every ninth of these crashes; what is between the calls is the same code.
        crash_at += 9 if postgresql else 1
        name = f"crash-at-{crash_at}"
        schedule = create(world, name, Overlap.REPLACE)
        fuse = Fuse(crash_at, after=after)
        leader = Schedules(fuse.guard(store), lambda: POOLS)
        for _ in range(2):
            world.clock.advance(HOUR)
            leader = lead(world, leader)
        runs = store.runs(name, 100)
        assert [run.occurrence for run in runs] == [schedule.created_at + number * HOUR for number in (2, 1)]
        assert [run.state for run in runs] == [RunState.ACTIVE, RunState.COMPLETED]
        assert {run.job_id for run in runs} == {job.job_id for job in world.jobs.jobs()}
        store.begin_delete(name, world.clock.now(), keep_jobs=False)
        while store.schedules(world.clock.now()):
            leader = lead(world, leader)
            world.clear.step(world.epoch, world.clock.now())
        assert world.jobs.jobs() == ()
        blown = fuse.blown
    assert crash_at > 10


class _Picky(SqlScheduleStore):
    """A store that cannot make one schedule's jobs."""

    def start(self, epoch: int, seen: Standing, start: Start, now: object) -> str:
        """Refuse that of `bad`."""
        if seen.schedule_id == "bad":
            raise InvalidRequestError("its steps make no job")
        return super().start(epoch, seen, start, now)  # type: ignore[arg-type]


def test_one_that_fails_keeps_no_other_from_its_time(world: World) -> None:
    """All others are served first, then what failed is said; it is tried again."""
    for name in ("bad", "good"):
        create(world, name)
    schedules = Schedules(_Picky(world.database), lambda: POOLS)
    world.clock.advance(HOUR)
    for _ in range(2):
        with pytest.raises(MillpondError, match="schedule bad: its steps make no job"):
            schedules.step(world.epoch, world.clock.now())
    assert len(world.jobs.jobs()) == 1


def test_a_pool_that_is_gone_is_waited_for(world: World) -> None:
    """No job is made for a pool that is not there, and one is as soon as it is."""
    create(world, "early", pool="later")
    pools = {POOL}
    schedules = Schedules(SqlScheduleStore(world.database), lambda: frozenset(pools))
    world.clock.advance(HOUR)
    schedules.step(world.epoch, world.clock.now())
    assert world.jobs.jobs() == ()
    pools.add("later")
    world.clock.advance(MINUTE)
    schedules.step(world.epoch, world.clock.now())
    assert len(world.jobs.jobs()) == 1


def test_it_is_looked_for_no_more_often_than_asked(world: World) -> None:
    """Between two looks nothing is asked of the store; a clock that was set back does not stop the looking."""
    create(world, "hourly")
    schedules = Schedules(SqlScheduleStore(world.database), lambda: POOLS)
    schedules.step(world.epoch, world.clock.now())
    world.clock.advance(HOUR)
    schedules.step(world.epoch, world.clock.now(), every=2 * HOUR)
    assert world.jobs.jobs() == ()
    schedules.step(world.epoch, world.clock.now(), every=HOUR)
    assert len(world.jobs.jobs()) == 1
