"""Capacity over a local Azure whose machines boot only when a test says so."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.faults import FaultKind
from infra.local.processes import kill_all, of_folder
from infra.local.services.compute.settings import ComputeSettings
from scheduler.adapters.batch_pool import BatchPoolCapacity
from scheduler.adapters.scale_set import ScaleSetCapacity
from tests.infra.local.batch_world import batch_world
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body

# Longer than any test: nothing boots by itself.
_NEVER = ComputeSettings(boot_delay_seconds=3600.0, regional_cores=100)


class LocalCloud:
    """A local Azure and what there is to do to it from outside."""

    def __init__(self, running: RunningAzure) -> None:
        self.running = running

    def settle(self) -> None:
        """Let everything under way come to its end."""
        store = self.running.azure.store
        deadline = time.monotonic() + 60
        while unfinished := store.unfinished():
            assert time.monotonic() < deadline
            for operation in unfinished:
                store.postpone(operation.id, 0.0)
            self.running.azure.operations.wake()
            time.sleep(0.02)

    def fail(self, kind: FaultKind) -> None:
        """Let the next order come to nothing."""
        self.running.azure.faults.add(kind, times=1)


@contextmanager
def local_cloud(home: Path) -> Iterator[LocalCloud]:
    """Serve a local Azure with a resource group."""
    running = RunningAzure(home, _NEVER)
    running.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    try:
        yield LocalCloud(running)
    finally:
        running.close()
        kill_all(of_folder(running.layout.local))


@contextmanager
def local_scale_set(cloud: LocalCloud, name: str) -> Iterator[ScaleSetCapacity]:
    """Declare an empty scale set, and give the adapter over it."""
    azure = cloud.running.azure
    cloud.running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, name, scale_set_body(0)).result(30)
    capacity = ScaleSetCapacity(azure.credential(), azure.account.subscription_id, GROUP, azure.arm_url)
    yield capacity
    capacity.close()


@contextmanager
def local_batch_pool(cloud: LocalCloud, name: str) -> Iterator[BatchPoolCapacity]:
    """Declare an account with an empty pool, and give the adapter over it."""
    with batch_world(cloud.running) as world:
        world.declare(name)
        capacity = BatchPoolCapacity(cloud.running.azure.credential(), world.endpoint)
        yield capacity
        capacity.close()
