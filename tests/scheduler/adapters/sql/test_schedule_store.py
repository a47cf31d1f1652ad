"""Job schedules in each database: what is kept of them, and how they end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from node_bootstrap.protocol import FileRef, TaskDefinition, decode, file_blob
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.controller.schedules import Schedules
from scheduler.errors import ConflictError, InvalidRequestError, NotFoundError, PreconditionError, StaleLeaderError
from scheduler.job_schedule import (
    JobScheduleState,
    JobSpecification,
    NewJobSchedule,
    Overlap,
    RunState,
    Schedule,
)
from scheduler.model import JobResult, JobState, Step
from scheduler.recurrence.due import Start
from tests.scheduler.job_world import POOL, World, step

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PROGRAM = FileRef("run.py", "inputs", file_blob("0" * 64), 0, 7, "0" * 64)
AT = ("AT", "${{schedule.time}}")
DEFINITION = TaskDefinition("price", ("price", "--day=${{ schedule.date }}"), 0, 2, environment=(AT,))
HOURLY = NewJobSchedule(
    "hourly",
    Schedule(cron="0 * * * *", time_zone="Europe/Zurich"),
    JobSpecification("prices", POOL, (Step(replace(DEFINITION, resource_files=(PROGRAM,))),), priority=2),
)


class Scheduled:
    """A world and its schedules, at half past an hour."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = SqlScheduleStore(world.database)
        self.controller = Schedules(self.store, lambda: frozenset({POOL}))
        now = world.clock.now()
        world.clock.advance(now.replace(minute=30, second=0, microsecond=0) + HOUR - now)
        self.next = self.now + 30 * MINUTE

    @property
    def now(self) -> datetime:
        """Give the present instant."""
        return self.world.clock.now()

    def pass_time(self, span: timedelta) -> None:
        """Let time pass, and do one step at its end."""
        self.world.clock.advance(span)
        self.controller.step(self.world.epoch, self.now)

    def jobs(self) -> list[str]:
        """Give the states of all jobs, newest first."""
        return [job.state.value for job in self.world.jobs.jobs()]


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Give the address of an empty store, on the two kinds of database."""
    return "sqlite://" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def scheduled(world: World) -> Scheduled:
    """Give a world with schedules, over each database."""
    return Scheduled(world)


def test_an_occurrence_becomes_a_job(scheduled: Scheduled) -> None:
    """At its time the job is made as its file says, with the time put in, and runs to its end."""
    made = scheduled.store.create(HOURLY, scheduled.now)
    assert made.next_occurrences[:2] == (scheduled.next, scheduled.next + HOUR)
    scheduled.pass_time(29 * MINUTE)
    assert scheduled.jobs() == []
    scheduled.pass_time(MINUTE + timedelta(seconds=2))
    (job,) = scheduled.world.jobs.jobs()
    assert (job.name, job.pool, job.priority, job.state, job.counts.active) == ("prices", POOL, 2, JobState.ACTIVE, 2)
    assert job.job_id.startswith(f"hourly-{scheduled.next.astimezone(UTC):%Y%m%dt%H%M}-")
    scheduled.world.hand_out()
    (entry,) = scheduled.world.blobs.list("inputs", "definitions/")
    definition = decode(TaskDefinition, scheduled.world.blobs.read("inputs", entry.name))
    local = scheduled.next.astimezone(ZoneInfo("Europe/Zurich"))
    assert definition.command == ("price", f"--day={local:%Y-%m-%d}")
    environment = dict(definition.environment)
    assert environment["AT"] == f"{scheduled.next:%Y-%m-%dT%H:%M:%SZ}"
    assert environment["MILLPOND_SCHEDULE_ID"] == "hourly"
    assert environment["MILLPOND_SCHEDULE_LOCAL_TIME"] == local.isoformat()
    scheduled.world.finish()
    assert scheduled.world.jobs.job(job.job_id).result is JobResult.SUCCESS
    (run,) = scheduled.store.runs("hourly", 10)
    assert (run.occurrence, run.state, run.job_id) == (scheduled.next, RunState.COMPLETED, job.job_id)
    # The result outlives the job.
    scheduled.pass_time(MINUTE)
    scheduled.world.jobs.begin_delete(job.job_id)
    scheduled.world.clear.step(scheduled.world.epoch, scheduled.now)
    (run,) = scheduled.store.runs("hourly", 10)
    assert (run.state, run.result) == (RunState.COMPLETED, JobResult.SUCCESS)


def test_the_same_request_is_one_schedule(scheduled: Scheduled) -> None:
    """A client that repeats itself makes one; the id with anything else is refused, and so is what is no job."""
    first = scheduled.store.create(HOURLY, scheduled.now)
    scheduled.world.clock.advance(MINUTE)
    assert scheduled.store.create(HOURLY, scheduled.now) == first
    for other in (
        replace(HOURLY, schedule=replace(HOURLY.schedule, start_window=HOUR)),
        replace(HOURLY, job=replace(HOURLY.job, priority=3)),
    ):
        with pytest.raises(ConflictError, match="there is a schedule hourly already, active"):
            scheduled.store.create(other, scheduled.now)
    with pytest.raises(InvalidRequestError, match="'b', which is no step"):
        scheduled.store.create(
            replace(HOURLY, schedule_id="x", job=replace(HOURLY.job, steps=(step("a", 0, 1, ("b",)),))), scheduled.now
        )
    with pytest.raises(NotFoundError, match="there is no schedule x"):
        scheduled.store.schedule("x", scheduled.now)


def test_a_schedule_is_replaced(scheduled: Scheduled) -> None:
    """Its times count from now and its runs stay; one that is disabled stays so, one that ended begins anew."""
    scheduled.store.create(HOURLY, scheduled.now)
    scheduled.pass_time(HOUR)
    scheduled.world.finish()
    scheduled.store.disable("hourly")
    other = JobSpecification("other", POOL, (step("a", 0, 1),))
    daily = replace(HOURLY, schedule=Schedule(recurrence_interval=DAY), job=other)
    with pytest.raises(ConflictError, match="or replace it"):
        scheduled.store.create(daily, scheduled.now)
    replaced = scheduled.store.create(daily, scheduled.now, replace=True)
    assert (replaced.state, replaced.job_name) == (JobScheduleState.DISABLED, "other")
    assert len(scheduled.store.runs("hourly", 10)) == 1
    scheduled.store.enable("hourly", scheduled.now)
    begun = scheduled.now
    scheduled.world.clock.advance(MINUTE)
    assert scheduled.store.create(daily, scheduled.now, replace=True).created_at == begun  # the same again
    scheduled.pass_time(DAY)
    assert [job.name for job in scheduled.world.jobs.jobs()] == ["other", "prices"]
    scheduled.store.terminate("hourly", scheduled.now)
    scheduled.pass_time(MINUTE)
    assert scheduled.store.create(HOURLY, scheduled.now, replace=True).state is JobScheduleState.ACTIVE
    scheduled.pass_time(HOUR)
    assert [run.state for run in scheduled.store.runs("hourly", 10)] == [RunState.ACTIVE, *[RunState.COMPLETED] * 2]


def test_an_outage_makes_one_job(scheduled: Scheduled) -> None:
    """After five hours without a scheduler the newest job is made, and the others are one line of history."""
    scheduled.store.create(HOURLY, scheduled.now)
    scheduled.pass_time(4 * HOUR + 45 * MINUTE)
    assert scheduled.jobs() == ["active"]
    made, missed = scheduled.store.runs("hourly", 10)
    assert (made.occurrence, made.state) == (scheduled.next + 4 * HOUR, RunState.ACTIVE)
    assert (missed.occurrence, missed.state, missed.count) == (scheduled.next + 3 * HOUR, RunState.MISSED, 4)


@pytest.mark.parametrize(
    ("overlap", "jobs", "states"),
    [
        (Overlap.WAIT, ["active"], ["active"]),
        (Overlap.SKIP, ["active"], ["skipped", "active"]),
        (Overlap.ALLOW, ["active"] * 3, ["active"] * 3),
        (Overlap.REPLACE, ["active", "completed", "completed"], ["active", "completed", "completed"]),
    ],
)
def test_jobs_that_overlap(scheduled: Scheduled, overlap: Overlap, jobs: list[str], states: list[str]) -> None:
    """Each rule over three hours in which no job ends by itself; then all end, and the next is made."""
    scheduled.store.create(replace(HOURLY, schedule=replace(HOURLY.schedule, overlap=overlap)), scheduled.now)
    for _ in range(3):
        scheduled.pass_time(HOUR)
    assert scheduled.jobs() == jobs
    runs = scheduled.store.runs("hourly", 10)
    assert [run.state.value for run in runs] == states
    if overlap is Overlap.SKIP:
        assert runs[0].count == 2
    scheduled.world.finish()
    scheduled.pass_time(HOUR)
    assert scheduled.jobs() == ["active", *["completed"] * len(jobs)]
    if overlap is Overlap.WAIT:
        newest, missed, _ = scheduled.store.runs("hourly", 10)
        assert (newest.occurrence, missed.count) == (scheduled.next + 3 * HOUR, 2)


def test_a_job_that_is_run_again_holds_the_next_one_back(scheduled: Scheduled) -> None:
    """A requeued job counts as one that has not ended, and its run tells of its new end."""
    scheduled.store.create(HOURLY, scheduled.now)
    scheduled.pass_time(HOUR)
    (job,) = scheduled.world.jobs.jobs()
    scheduled.world.jobs.cancel_job(job.job_id, scheduled.now)
    scheduled.pass_time(MINUTE)
    assert scheduled.store.runs("hourly", 1)[0].result is JobResult.CANCELLED
    scheduled.world.jobs.requeue_job(job.job_id, None, scheduled.now)
    scheduled.pass_time(HOUR)
    assert scheduled.jobs() == ["active"]
    found = scheduled.store.schedule("hourly", scheduled.now)
    assert found.reason == f"job {job.job_id} has not ended; the job is made when it has"
    scheduled.world.finish()
    scheduled.pass_time(MINUTE)
    newest, before = scheduled.store.runs("hourly", 10)
    assert (newest.state, before.result) == (RunState.ACTIVE, JobResult.SUCCESS)


def test_disabled_means_no_jobs_and_none_made_up_for(scheduled: Scheduled) -> None:
    """What would have come while it was disabled does not come; what runs goes on."""
    scheduled.store.create(HOURLY, scheduled.now)
    scheduled.pass_time(HOUR)
    for _ in range(2):
        scheduled.store.disable("hourly")
    found = scheduled.store.schedule("hourly", scheduled.now)
    assert (found.state, found.next_occurrences, len(found.active_jobs)) == (JobScheduleState.DISABLED, (), 1)
    scheduled.pass_time(3 * HOUR)
    for _ in range(2):
        scheduled.store.enable("hourly", scheduled.now)
    scheduled.pass_time(MINUTE)
    assert scheduled.jobs() == ["active"]
    scheduled.world.finish()
    scheduled.pass_time(HOUR)
    assert scheduled.jobs() == ["active", "completed"]


def test_a_run_by_hand(scheduled: Scheduled) -> None:
    """A run by hand is one for each key, is told its time, obeys the rule for overlaps and moves no clock."""
    scheduled.store.create(HOURLY, scheduled.now)
    yesterday = scheduled.next - DAY
    run = scheduled.store.run("hourly", "k1", yesterday, scheduled.now)
    assert scheduled.store.run("hourly", "k1", yesterday, scheduled.now + MINUTE) == run
    assert (run.manual, run.occurrence, run.state) == (True, yesterday, RunState.ACTIVE)
    assert len(scheduled.jobs()) == 1
    with pytest.raises(ConflictError, match="has not ended; cancel it first"):
        scheduled.store.run("hourly", "k2", scheduled.now, scheduled.now)
    scheduled.world.finish()
    scheduled.store.disable("hourly")
    assert scheduled.store.run("hourly", "k2", yesterday, scheduled.now).job_id != run.job_id
    scheduled.store.enable("hourly", scheduled.now)
    scheduled.world.finish()
    scheduled.pass_time(30 * MINUTE)
    assert scheduled.jobs() == ["active", "completed", "completed"]
    scheduled.store.terminate("hourly", scheduled.now)
    with pytest.raises(ConflictError, match="schedule hourly is terminating; make another"):
        scheduled.store.run("hourly", "k3", scheduled.now, scheduled.now)


def test_terminated_and_completed(scheduled: Scheduled) -> None:
    """Terminating cancels what runs and is over when that is; one that ran out completes by itself."""
    scheduled.store.create(HOURLY, scheduled.now)
    once = Schedule(do_not_run_until=scheduled.next)
    scheduled.store.create(replace(HOURLY, schedule_id="once", schedule=once), scheduled.now)
    scheduled.pass_time(31 * MINUTE)
    scheduled.world.hand_out()
    for _ in range(2):
        scheduled.store.terminate("hourly", scheduled.now)
    scheduled.pass_time(MINUTE)
    ended = scheduled.store.schedule("hourly", scheduled.now)
    assert (ended.state, ended.ended_at) == (JobScheduleState.COMPLETED, scheduled.now)
    assert scheduled.store.schedule("once", scheduled.now).state is JobScheduleState.ACTIVE
    scheduled.world.finish()
    scheduled.pass_time(MINUTE)
    done = scheduled.store.schedule("once", scheduled.now)
    assert (done.state, done.next_occurrences) == (JobScheduleState.COMPLETED, ())
    scheduled.pass_time(3 * HOUR)
    assert scheduled.jobs() == ["completed", "completed"]
    for command in (scheduled.store.disable, lambda name: scheduled.store.enable(name, scheduled.now)):
        with pytest.raises(ConflictError, match="is completed"):
            command("once")


@pytest.mark.parametrize("keep_jobs", [False, True])
def test_deleted_with_its_jobs_or_without(scheduled: Scheduled, keep_jobs: bool) -> None:
    """Its jobs go with it unless they are kept; its files become garbage then, and not before."""
    world = scheduled.world
    world.blobs.write("inputs", PROGRAM.blob, b"program")
    scheduled.store.create(HOURLY, scheduled.now)
    scheduled.pass_time(31 * MINUTE)
    world.finish()
    (job,) = world.jobs.jobs()
    assert world.deletions.named([PROGRAM.blob]) == {PROGRAM.blob}
    scheduled.store.begin_delete("hourly", scheduled.now, keep_jobs=keep_jobs)
    for _ in range(3):
        scheduled.pass_time(MINUTE)
        world.clear.step(world.epoch, scheduled.now)
    assert scheduled.store.schedules(scheduled.now) == ()
    assert [each.job_id for each in world.jobs.jobs()] == ([job.job_id] if keep_jobs else [])
    assert world.deletions.named([PROGRAM.blob]) == ({PROGRAM.blob} if keep_jobs else frozenset())
    world.clock.advance(2 * DAY)
    for _ in range(2):
        world.clear.step(world.epoch, scheduled.now)
    assert bool(world.blobs.list("inputs", PROGRAM.blob)) is keep_jobs
    # The id is free again.
    assert scheduled.store.create(HOURLY, scheduled.now).state is JobScheduleState.ACTIVE


def test_files_are_kept_for_jobs_to_come(scheduled: Scheduled) -> None:
    """Before the first job is made, what it will need counts as wanted."""
    scheduled.store.create(HOURLY, scheduled.now)
    assert scheduled.world.deletions.named([PROGRAM.blob, "files/other"]) == {PROGRAM.blob}


def test_only_the_leader_acts_and_only_on_what_it_saw(scheduled: Scheduled) -> None:
    """An old leader writes nothing, and a decision about a schedule that has changed since is not carried out."""
    scheduled.store.create(HOURLY, scheduled.now)
    scheduled.world.clock.advance(HOUR)
    (seen,) = scheduled.store.due(scheduled.now)
    start = Start(scheduled.next, 0, (), "")
    old = scheduled.world.epoch
    scheduled.world.epoch = scheduled.world.database.begin_epoch()
    with pytest.raises(StaleLeaderError):
        scheduled.store.start(old, seen, start, scheduled.now)
    scheduled.store.run("hourly", "by hand", scheduled.now, scheduled.now)
    with pytest.raises(PreconditionError, match="changed since it was looked at"):
        scheduled.store.start(scheduled.world.epoch, seen, start, scheduled.now)
    scheduled.world.finish()
    scheduled.store.start(scheduled.world.epoch, seen, start, scheduled.now)
    with pytest.raises(PreconditionError):
        scheduled.store.start(scheduled.world.epoch, seen, start, scheduled.now)
    assert scheduled.jobs() == ["active", "completed"]
