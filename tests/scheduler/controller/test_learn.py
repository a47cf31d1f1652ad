"""What pools learn outlives the scheduler."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.controller.learn import Learning
from scheduler.model import PoolDemand
from scheduler.policy import ScalingPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """Open a fresh store in each database."""
    opened = Database(store_url)
    yield opened
    opened.close()


def work(tasks: int) -> PoolDemand:
    """Make a demand of so many tasks."""
    return PoolDemand(tasks, 0, None, None)


def test_the_next_leader_goes_on_from_what_was_learned(database: Database) -> None:
    """What is learned is kept at most a minute later, and read by whoever leads next."""
    store = SqlFleetStore(database)
    learning, epoch = Learning(store), database.begin_epoch()
    learning.observe(epoch, {"pool": work(5)}, NOW, {})
    learning.observe(epoch, {"pool": work(0)}, NOW + MINUTE, {})
    learned = learning.observe(epoch, {"pool": None}, NOW + 2 * MINUTE, {})["pool"]
    assert learned == observed(observed(PoolHistory(), 5, NOW), 0, NOW + MINUTE)
    assert store.learned("pool") == learned
    later = NOW + 9 * MINUTE
    assert Learning(store).observe(database.begin_epoch(), {"pool": work(2)}, later, {})["pool"] == observed(
        learned, 2, later
    )


def test_one_that_leads_again_reads_what_others_learned(database: Database) -> None:
    """A new epoch begins from the store: another may have led in between."""
    store = SqlFleetStore(database)
    learning = Learning(store)
    learning.observe(database.begin_epoch(), {"pool": work(5)}, NOW, {})
    store.record_learned(database.begin_epoch(), {"pool": PoolHistory(demand=9)})
    assert learning.observe(database.begin_epoch(), {"pool": None}, NOW + MINUTE, {})["pool"] == PoolHistory(demand=9)


def test_nothing_is_written_while_nothing_changes(database: Database) -> None:
    """A pool without work writes nothing, however often it is seen, until its five minutes are over."""
    store = SqlFleetStore(database)
    learning, epoch = Learning(store), database.begin_epoch()
    learning.observe(epoch, {"pool": work(0)}, NOW, {})
    database.begin_epoch()  # any write of the old leader would be refused now
    for minutes in range(1, 5):
        learning.observe(epoch, {"pool": work(0)}, NOW + minutes * MINUTE, {})


def test_what_repeats_is_kept_whole_and_told_in_short(database: Database) -> None:
    """The store has every five minutes that were seen, by the pool's clock; a decision is told what is expected."""
    store = SqlFleetStore(database)
    learning, epoch = Learning(store), database.begin_epoch()
    zone = {"pool": ScalingPolicy(time_zone="Asia/Tokyo")}
    for minutes in range(0, 16, 5):
        told = learning.observe(epoch, {"pool": work(minutes)}, NOW + minutes * MINUTE, zone)["pool"]
        assert told.recurrence.profile.days == ()
    (day,) = store.learned("pool").recurrence.profile.days
    assert day.peaks[21 * 12 :] == (0, 5, 10)
