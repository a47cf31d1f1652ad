"""A real service on a store of its own, with one pool."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.adapters.memory import ManualClock
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.autoscale.plan import Hold, Reason, ReasonKind
from scheduler.model import GroupKey, GroupPriority, NodeGroup, StorageAddress
from scheduler.policy import ScalingPolicy
from scheduler.service import Service
from scheduler.settings import PoolSettings, SchedulerSettings

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_KEY = GroupKey("demo", "main", "g1")
_GROUP = NodeGroup(
    key=_KEY,
    scale_set="demo-main-g1",
    queue="demo-main-g1",
    vm_size="Standard_D2s_v5",
    priority=GroupPriority.REGULAR,
    task_slots=2,
    max_nodes=4,
)
_SETTINGS = SchedulerSettings(
    environment="test",
    subscription_id="s",
    resource_group="rg",
    location="westeurope",
    resource_manager="https://management.azure.com",
    blob_endpoint="https://x.blob.core.windows.net/",
    queue_endpoint="https://x.queue.core.windows.net/",
    storage_account="x",
    pools=(PoolSettings("demo", ScalingPolicy(max_nodes=4), (_GROUP,)),),
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Give the service; its pool `demo` has one decision, to hold."""
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    fleet = SqlFleetStore(database)
    epoch = database.begin_epoch()
    fleet.sync_groups(epoch, _SETTINGS, _NOW)
    fleet.record_decisions(epoch, (Hold(_KEY, Reason(ReasonKind.NO_WORK, "no work [waits]")),), _NOW)
    yield Service(SqlJobStore(database), fleet, lambda: StorageAddress(_SETTINGS.blob_endpoint), ManualClock(_NOW))
    database.close()
