"""A real service on a store of its own, with one pool."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.autoscale.inputs import Inputs, decide_on, record_of
from scheduler.autoscale.plan import GroupFleet, Hold, Reason, ReasonKind
from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand, Sample, StorageAddress
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
NODE = Node(
    node_id="demo-main-g1_0",
    group=_KEY,
    instance_id="0",
    phase=NodePhase.WORKING,
    control_number=1,
    incarnation="i",
    first_seen_at=_NOW,
    ready_at=_NOW + timedelta(seconds=30),
    status_at=_NOW,
    idle_since=_NOW,
)
_INPUTS = Inputs(
    policies={"demo": ScalingPolicy(max_nodes=4)},
    demand={"demo": PoolDemand(0, 0, None, None)},
    fleet=(GroupFleet(_GROUP, (NODE,), 1),),
    history=(),
    now=_NOW,
)


@pytest.fixture
def blobs() -> MemoryBlobs:
    """Give the storage that the service reads."""
    return MemoryBlobs(ManualClock(_NOW))


@pytest.fixture
def service(tmp_path: Path, blobs: MemoryBlobs) -> Iterator[Service]:
    """Give the service; its pool `demo` has one decision, to hold, and one node that works."""
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    fleet = SqlFleetStore(database)
    epoch = database.begin_epoch()
    fleet.sync_groups(epoch, _SETTINGS, _NOW)
    fleet.save_nodes(epoch, (NODE,), _NOW)
    fleet.record_decisions(epoch, (Hold(_KEY, Reason(ReasonKind.NO_WORK, "no work [waits]")),), _NOW)
    fleet.record_inputs(epoch, record_of(_INPUTS, decide_on(_INPUTS), "demo"))
    fleet.record_sample(epoch, Sample(_NOW, "demo", 0, 0, target_nodes=1, current_nodes=1, booting_nodes=0))
    address = StorageAddress(_SETTINGS.blob_endpoint)
    clock, views = ManualClock(_NOW), SqlJobViews(database)
    yield Service(
        SqlJobStore(database),
        fleet,
        lambda: address,
        clock,
        schedules=SqlScheduleStore(database),
        views=views,
        blobs=blobs,
    )
    database.close()


@contextmanager
def served(service: Service, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve a service where commands look for it."""
    monkeypatch.setenv("MILLPOND_HOME", str(home))
    with ApiServer(create_app(service, "token")) as server:
        StackFolder("local", home).publish_api(ApiAddress(server.url, "token", 1))
        yield
