"""The scheduler as users meet it, over real stores."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.errors import InvalidRequestError, NotFoundError, UnavailableError
from scheduler.job_schedule import JobSpecification, NewJobSchedule, Schedule
from scheduler.model import JobState, NewJob, Sample, StorageAddress, TaskCounts
from scheduler.policy import ScalingPolicy
from scheduler.ports.job_service import JobService
from scheduler.service import Service
from scheduler.settings import PoolSettings, SchedulerSettings
from tests.scheduler.job_world import GROUP, POOL, World, step

NEW = NewJob("var", POOL, "key")
POLICY = ScalingPolicy(min_nodes=1, max_nodes=7, acceptable_wait=timedelta(minutes=2))
SETTINGS = SchedulerSettings(
    environment="test",
    subscription_id="s",
    resource_group="g",
    location="l",
    resource_manager="r",
    blob_endpoint="b",
    queue_endpoint="q",
    storage_account="a",
    pools=(PoolSettings(POOL, POLICY, (GROUP,)),),
)


def serve(world: World, fleet: SqlFleetStore) -> Service:
    """Make the service of a world."""
    address = StorageAddress("https://blobs/")
    views = SqlJobViews(world.database)
    return Service(
        world.jobs,
        fleet,
        lambda: address,
        world.clock,
        schedules=SqlScheduleStore(world.database),
        views=views,
        blobs=world.blobs,
    )


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world without settings yet."""
    made = World()
    yield made
    made.database.close()


@pytest.fixture
def fleet(world: World) -> SqlFleetStore:
    """Give the store of the world's fleet."""
    return SqlFleetStore(world.database)


@pytest.fixture
def service(world: World, fleet: SqlFleetStore) -> JobService:
    """Give a service over the world's store, with one pool taken up."""
    fleet.sync_groups(world.epoch, SETTINGS, world.clock.now())
    return serve(world, fleet)


def test_before_settings_are_read(world: World, fleet: SqlFleetStore) -> None:
    """A scheduler that knows no pool yet asks for patience, instead of calling a pool wrong."""
    service = serve(world, fleet)
    with pytest.raises(UnavailableError, match="try again in a moment"):
        service.create_job(NEW)
    assert service.list_pools() == ()


def test_a_schedule_whose_pool_is_gone_says_so(world: World, fleet: SqlFleetStore, service: JobService) -> None:
    """After a deploy without its pool a schedule makes no job, and tells why; nor does it by hand."""
    job = JobSpecification("prices", POOL, (step("a", 0, 2),))
    service.create_schedule(NewJobSchedule("daily", Schedule(cron="@daily"), job))
    assert service.get_schedule("daily").reason == ""
    other = replace(SETTINGS, pools=(PoolSettings("other", POLICY, ()),))
    fleet.sync_groups(world.epoch, other, world.clock.now())
    assert "there is no pool 'risk'; no job is made until there is" in service.get_schedule("daily").reason
    with pytest.raises(InvalidRequestError, match="there is no pool 'risk'"):
        service.run_schedule("daily", "key")


def test_a_job_from_draft_to_end(world: World, service: JobService) -> None:
    """A job is made, armed, run and seen through the service alone."""
    job = service.create_job(NEW)
    service.add_steps(job.job_id, 0, (step("a", 0, 2),))
    assert service.arm_job(job.job_id, 2).state is JobState.ACTIVE
    world.finish()
    assert service.get_job(job.job_id).counts == TaskCounts(succeeded=2)
    assert service.list_jobs() == (service.get_job(job.job_id),)
    assert [task.task_id for task in service.list_tasks(job.job_id, after=0)] == [1]
    assert len(service.list_outputs(job.job_id, 1)) == 2
    assert service.cancel_job(job.job_id) == service.get_job(job.job_id)
    assert service.storage() == StorageAddress("https://blobs/")


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (replace(NEW, pool="nowhere"), "there is no pool 'nowhere'; there are: risk"),
        (replace(NEW, name=" "), "no name"),
        (replace(NEW, idempotency_key=""), "idempotency key is empty"),
    ],
)
def test_a_wrong_job_is_refused(service: JobService, new: NewJob, words: str) -> None:
    """A request that can never work is refused with what to change, and leaves nothing behind."""
    with pytest.raises(InvalidRequestError, match=words):
        service.create_job(new)
    assert service.list_jobs() == ()


def test_a_page_has_at_least_one_task(service: JobService) -> None:
    """A limit of zero would look like the end of the list."""
    with pytest.raises(InvalidRequestError, match="limit is 0"):
        service.list_tasks("any", limit=0)


def test_a_pool_is_seen_whole(world: World, fleet: SqlFleetStore, service: JobService) -> None:
    """A pool shows its groups, tasks, nodes as last sampled, and its owner's objectives."""
    world.submit(step("a", 0, 3))
    now = world.clock.now()
    fleet.record_sample(world.epoch, Sample(now, POOL, 3, 0, target_nodes=5, current_nodes=4, booting_nodes=1))
    (pool,) = service.list_pools()
    assert (pool.name, pool.groups, pool.counts) == (POOL, (GROUP,), TaskCounts(active=3))
    assert (pool.target_nodes, pool.current_nodes) == (5, 4)
    assert (pool.min_nodes, pool.max_nodes, pool.acceptable_wait) == (1, 7, timedelta(minutes=2))
    assert pool.last_decision is None
    assert service.list_nodes(POOL) == ()
    assert service.list_decisions(POOL) == ()
    assert [sample.at for sample in service.list_samples(POOL)] == [now]


def test_a_pool_that_is_not_there(service: JobService) -> None:
    """Views of an unknown pool name those that there are."""
    for call in (service.list_nodes, service.list_decisions, service.list_samples, service.list_kept_decisions):
        with pytest.raises(NotFoundError, match="there is no pool 'x'; there are: risk"):
            call("x")
