"""Schedulers on PostgreSQL: the server goes away and comes back, and of two schedulers one works."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from infra.local.postgres.server import PostgresServer
from scheduler.model import NodePhase
from tests.scheduler.controller.fleet_world import POOL
from tests.scheduler.controller.stage import Stage

SECOND = timedelta(seconds=1)


@pytest.fixture
def stage(postgres_url: str) -> Iterator[Stage]:
    """Give a deployment whose store is on PostgreSQL."""
    made = Stage(postgres_url)
    yield made
    made.close()


def test_the_controller_goes_on_after_an_outage(
    stage: Stage, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps without a database change nothing and say why once; the first step after it goes on as leader."""
    controller, _ = stage.controller(apart=True)
    stage.world.submit(4)
    stage.run(controller, 1)
    raised = list(stage.world.capacity.raised)
    postgres.crash()
    stage.run(controller, 2, every=SECOND)
    assert caplog.text.count("did not answer") == 1
    assert stage.world.capacity.raised == raised
    postgres.start()
    stage.run(controller, 12)
    assert controller.leads
    assert set(stage.world.phases().values()) == {NodePhase.WORKING}
    assert stage.world.queues.depth("work-g1") > 0


@pytest.mark.parametrize("part", ["collect", "feed", "fleet"])
def test_an_outage_in_the_middle_of_a_step(
    stage: Stage, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Wherever in a step the server goes away, the loop goes on, and so does the work once it is back."""
    controller, _ = stage.controller(apart=True)
    stage.world.submit(4)
    stage.run(controller, 1)
    owner = getattr(controller, f"_{part}")
    name = "act" if part == "fleet" else "step"
    whole = getattr(owner, name)

    def away(*args: object) -> None:
        postgres.crash()
        whole(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, away)
        stage.run(controller, 1)
    postgres.start()
    stage.run(controller, 12)
    assert set(stage.world.phases().values()) == {NodePhase.WORKING}


def test_of_two_schedulers_one_works(stage: Stage) -> None:
    """Two processes on one database: one leads; when it stands still the other takes over and the work goes on once."""
    (first, _), (second, _) = stage.controller(apart=True), stage.controller(apart=True)
    stage.world.submit(4)
    for _ in range(3):
        stage.run(first, 1, every=SECOND)
        second.step(stage.world.clock.now())
    assert (first.leads, second.leads) == (True, False)
    stage.run(second, 12)
    assert second.leads
    raised = list(stage.world.capacity.raised)
    # The first one wakes: its lease is gone, and nothing it does is written.
    first.step(stage.world.clock.now())
    assert not first.leads
    assert stage.world.capacity.raised == raised
    assert set(stage.world.phases().values()) == {NodePhase.WORKING}
    assert sum(sample.target_nodes for sample in stage.world.store.samples(POOL, 1)) == len(stage.world.phases())


def test_a_leader_that_missed_the_end_of_its_lease_writes_nothing(stage: Stage) -> None:
    """A leader that believes in its lease, because it cannot see that it is gone, is refused by the epoch."""
    (first, lease), (second, _) = stage.controller(apart=True), stage.controller(apart=True)
    stage.run(first, 1)
    stage.run(second, 6)
    assert second.leads
    stage.world.submit(4)
    lease.hold = lambda store_id: True  # type: ignore[method-assign]
    before = stage.world.store.samples(POOL, 1000)
    first.step(stage.world.clock.now())
    assert not first.leads
    assert stage.world.capacity.raised == []
    assert stage.world.store.samples(POOL, 1000) == before
