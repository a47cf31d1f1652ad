"""`millpond pool shadow`: a store with real runs, replayed through the live policy and a proposed one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from click.testing import Result
from typer.testing import CliRunner

from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.autoscale.inputs import Inputs, decide_on, record_of
from scheduler.autoscale.plan import GroupFleet, Reason, ReasonKind, ScaleOut
from scheduler.cli.pool_shadow import changed, pool
from scheduler.errors import InvalidRequestError
from scheduler.model import Job, PoolDemand, Sample, StorageAddress
from scheduler.policy import ScalingPolicy
from scheduler.service import Service
from scheduler.settings import PoolSettings, SchedulerSettings
from scheduler.simulator.readers.history import read_history, record_history
from tests.scheduler.cli.conftest import served
from tests.scheduler.job_world import GROUP, POOL, World, step

MINUTE = timedelta(minutes=1)
LIVE = ScalingPolicy(acceptable_wait=5 * MINUTE, max_nodes=5)


def decide_upon(world: World, waiting: int, proposed: Mapping[str, ScalingPolicy] = MappingProxyType({})) -> None:
    """Decide upon so many waiting tasks and no node, and keep the inputs."""
    fleet, demand = (GroupFleet(GROUP, (), 0),), {POOL: PoolDemand(waiting, 0, 60.0, None)}
    inputs = Inputs({POOL: LIVE}, demand, fleet, (), world.clock.now(), proposed)
    SqlFleetStore(world.database).record_inputs(world.epoch, record_of(inputs, decide_on(inputs), POOL))


class SmallPages(Service):
    """The service, with pages of two jobs."""

    def list_jobs(self, before: str | None = None, limit: int = 2) -> tuple[Job, ...]:
        """Give a page."""
        return super().list_jobs(before, limit)


@pytest.fixture
def world() -> Iterator[World]:
    """Give a world whose clock is an hour behind the present, in which three jobs of two tasks have run."""
    made = World()
    made.clock.advance(datetime.now(UTC) - timedelta(hours=1) - made.clock.now())
    yield made
    made.database.close()


@pytest.fixture
def service(world: World) -> Service:
    """Give its service; the jobs are minutes apart, and the pool had one node throughout."""
    fleet = SqlFleetStore(world.database)
    address = "https://x.blob.core.windows.net/"
    pools = (PoolSettings(POOL, LIVE, (GROUP,)),)
    settings = SchedulerSettings("test", "s", "rg", "westeurope", "https://arm", address, "https://q", "x", pools)
    fleet.sync_groups(world.epoch, settings, world.clock.now())
    fleet.record_decisions(
        world.epoch, (ScaleOut(GROUP.key, 1, Reason(ReasonKind.BACKLOG, "work")),), world.clock.now() + MINUTE
    )
    for number in range(3):
        world.clock.advance(MINUTE)
        fleet.record_sample(world.epoch, Sample(world.clock.now(), POOL, number, 0, 1, 1, 0))
        world.submit(step("only", 0, 2), key=f"key {number}")
        world.finish()
    inputs = Inputs(
        {POOL: LIVE}, {POOL: PoolDemand(40, 0, 60.0, None)}, (GroupFleet(GROUP, (), 0),), (), world.clock.now()
    )
    fleet.record_inputs(world.epoch, record_of(inputs, decide_on(inputs), POOL))
    storage = StorageAddress(address)
    schedules, views = SqlScheduleStore(world.database), SqlJobViews(world.database)
    return SmallPages(
        world.jobs, fleet, lambda: storage, world.clock, schedules=schedules, views=views, blobs=world.blobs
    )


@pytest.fixture
def running(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Serve the service where commands look for it."""
    with served(service, tmp_path / "home", monkeypatch):
        yield service


def shadow(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(pool, ["shadow", *arguments])


def test_policies_are_laid_side_by_side(running: Service) -> None:
    """What was, and what both policies would have made of the same six tasks; now the proposed one would buy less."""
    told = shadow(POOL, "--set", "max_nodes=2", "--json")
    assert told.exit_code == 0, told.stderr
    document = json.loads(told.stdout)
    recorded, live, proposed = document["accounts"]
    assert [each["total"]["tasks"] for each in (recorded, live, proposed)] == [6, 6, 6]
    assert recorded["total"]["node_starts"] == 1
    assert recorded["total"]["node_hours"] == pytest.approx(2 / 60)
    assert live["total"]["node_hours"] > 0
    assert live["total"]["mean_wait"] >= 0
    assert (document["live"]["max_nodes"], document["proposed"]["max_nodes"]) == (5, 2)
    assert document["now"]["proposed"][1].startswith("Scale out 2 nodes of group main")


def test_people_get_a_table(running: Service) -> None:
    """A row a day and policy, what is proposed, and where the policies differ now; the same policy differs nowhere."""
    told = shadow(POOL, "--set", "acceptable_wait=1min").stdout
    assert "Pool risk: acceptable_wait 60 s in place of 5 min" in told
    assert told.count("proposed policy, replayed") >= 2
    assert "all days" in told
    assert "At the last decision, " in told


def test_a_declared_proposal_needs_no_option(running: Service, world: World) -> None:
    """The `shadow` of the pool's settings is what is replayed; --set changes it further."""
    world.clock.advance(MINUTE)
    decide_upon(world, 0, {POOL: replace(LIVE, acceptable_wait=MINUTE)})
    said = "acceptable_wait 60 s in place of 5 min"
    assert said in shadow(POOL).stdout
    assert f"{said}, min_nodes 1 in place of 0" in shadow(POOL, "--set", "min_nodes=1").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((POOL,), "nothing is proposed for pool risk: declare `shadow` in its settings, or give --set NAME=VALUE"),
        (("risky", "--set", "min_nodes=1"), "there is no pool 'risky'"),
        ((POOL, "--set", "min_nodes"), "expected NAME=VALUE"),
        ((POOL, "--set", "nodes=1"), "a policy has no 'nodes'; it has: "),
        ((POOL, "--set", "min_nodes=many"), "--set min_nodes=many: "),
        ((POOL, "--set", "acceptable_wait=long"), "'long' is no span of time"),
        ((POOL, "--set", "min_nodes=9"), "the proposed policy cannot be: "),
    ],
)
def test_wrong_use_is_told(running: Service, arguments: tuple[str, ...], says: str) -> None:
    """What cannot be done says why, with exit code 2."""
    wrong = shadow(*arguments)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert says in wrong.stderr


def test_fields_are_read_as_people_write_them() -> None:
    """Spans with or without a unit, numbers, and none where a field may be left out."""
    settings = ("acceptable_wait=90", "idle_timeout=2min", "max_nodes=7", "waiting_cost=0.5")
    assert changed(ScalingPolicy(), settings) == ScalingPolicy(
        acceptable_wait=90 * MINUTE / 60, idle_timeout=2 * MINUTE, max_nodes=7, waiting_cost=0.5
    )
    assert changed(ScalingPolicy(idle_timeout=MINUTE), ("idle_timeout=none",)) == ScalingPolicy()
    with pytest.raises(InvalidRequestError, match="'none' is no span of time"):
        changed(ScalingPolicy(), ("acceptable_wait=none",))


def test_a_history_goes_through_all_pages(service: Service, world: World) -> None:
    """Every job is in a history, however many pages they are on; from an instant on, only the later ones."""
    whole = read_history("whole", "\n".join(record_history(service, POOL)))
    assert len(whole.workload) == 6
    assert whole.workload.recorded_wait == (0.0,) * 6
    assert whole.workload.begins_at == world.clock.now() - 2 * MINUTE
    later = record_history(service, POOL, world.clock.now() - MINUTE)
    assert len(read_history("later", "\n".join(later)).workload) == 4
