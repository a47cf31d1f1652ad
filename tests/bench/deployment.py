"""A deployment of real parts for benches: Azurite, runners as processes, the controller over a SQLite file.

Nodes are there from the start (the set that lists them is in memory), so that booting machines is no part of a figure.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from azure.storage.queue import QueueServiceClient

from node_bootstrap.protocol import EVENTS_QUEUE, SCHEDULER
from scheduler.adapters.azure_storage import AzureBlobs
from scheduler.adapters.memory import MemoryCapacity
from scheduler.app import App, SystemClock, build_over
from scheduler.model import GroupKey, GroupPriority, NodeGroup, NodePhase
from scheduler.policy import ScalingPolicy
from scheduler.settings import SETTINGS_BLOB, PoolSettings, SchedulerSettings, dump_settings
from tests.azurite import Storage, azurite, metadata_address
from tests.bench.measure import ROOT

POOL = "bench"
QUEUE = "work-bench-main"
SET = "set"
_START_SECONDS = 60.0


class Deployment:
    """One pool of `nodes` nodes of one slot, and a scheduler in a thread of this process."""

    def __init__(self, folder: Path, storage: Storage, app: App, nodes: int) -> None:
        self.folder = folder
        self.storage = storage
        self.app = app
        self.node_ids = tuple(f"{SET}_{number}" for number in range(nodes))
        self.stop = threading.Event()
        self.scheduler = threading.Thread(target=app.run, args=(self.stop,), name="scheduler")

    def wait_for_nodes(self) -> None:
        """Wait until every node is at work."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            nodes = self.app.service.list_nodes(POOL) if self.app.service.list_pools() else ()
            if sum(node.phase is NodePhase.WORKING for node in nodes) == len(self.node_ids):
                return
            time.sleep(0.1)
        logs = "".join((self.folder / name / "runner.log").read_text()[-500:] for name in self.node_ids)
        raise RuntimeError(f"the nodes did not begin:\n{logs}")


@contextmanager
def deployed(folder: Path, nodes: int) -> Iterator[Deployment]:
    """Start everything, wait until the nodes work, and leave nothing running."""
    with ExitStack() as opened:
        storage = opened.enter_context(azurite(folder, in_memory=False))
        metadata = opened.enter_context(metadata_address(storage.credential))
        with QueueServiceClient(storage.queue_endpoint, storage.credential) as queues:
            queues.create_queue(QUEUE)
        app = _app(folder, storage, nodes)
        made = Deployment(folder, storage, app, nodes)
        for node_id in made.node_ids:
            opened.enter_context(_runner(folder, storage, node_id, metadata))
        made.scheduler.start()
        try:
            made.wait_for_nodes()
            yield made
        finally:
            made.stop.set()
            app.bell.ring()
            made.scheduler.join()


def _app(folder: Path, storage: Storage, nodes: int) -> App:
    """Publish the settings of one pool, and connect a scheduler to it."""
    group = NodeGroup(GroupKey(POOL, "main", "g1"), SET, QUEUE, "Standard_D2s_v5", GroupPriority.REGULAR, 1, nodes)
    policy = ScalingPolicy(min_nodes=nodes, max_nodes=nodes)
    settings = SchedulerSettings(
        environment="bench",
        subscription_id="none",
        resource_group="none",
        location="none",
        resource_manager="none",
        blob_endpoint=f"{storage.blob_endpoint}/",
        queue_endpoint=f"{storage.queue_endpoint}/",
        storage_account="none",
        pools=(PoolSettings(POOL, policy, (group,)),),
    )
    blobs = AzureBlobs(storage.credential, storage.blob_endpoint)
    blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(settings).encode())
    blobs.close()
    clock = SystemClock()
    return build_over(
        MemoryCapacity(clock, [SET], boot_delay=timedelta(0)),
        f"{storage.blob_endpoint}/{SCHEDULER}/{SETTINGS_BLOB}",
        f"sqlite:///{folder / 'store.sqlite'}",
        clock,
        storage.credential,
        interval=1.0,
    )


@contextmanager
def _runner(folder: Path, storage: Storage, node_id: str, metadata: str) -> Iterator[None]:
    """Run one node's runner as its bootstrap does, without a service around it."""
    root = folder / node_id
    root.mkdir()
    settings = {
        "node_id": node_id,
        "pool": POOL,
        "blob_endpoint": f"{storage.blob_endpoint}/",
        "queue_endpoint": f"{storage.queue_endpoint}/",
        "work_queue": QUEUE,
        "events_queue": EVENTS_QUEUE,
        "identity_client_id": "none",
        "task_slots": 1,
        "status_interval_seconds": 10,
        "bundle_sha256": "0" * 64,
        "root": str(root),
    }
    (root / "settings.json").write_text(json.dumps(settings))
    with (root / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "node_bootstrap.runner", str(root / "settings.json")],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "SSL_CERT_FILE": str(storage.certificate),
                "AZURE_POD_IDENTITY_AUTHORITY_HOST": metadata,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)
