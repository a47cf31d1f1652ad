"""A job on a Batch pool: local Azure, real storage, a pool whose start task is stage 0, the scheduler, real processes.

The resources are made by the official management clients, so that nothing but the pool's kind is new here.
"""

import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.batch import BatchManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobServiceClient

from infra.components.roles import Role
from infra.local.processes import kill_all, of_folder
from node_bootstrap.bundle import build_bundle
from node_bootstrap.protocol import CONTAINERS, EVENTS_QUEUE, TaskDefinition
from node_bootstrap.render import NodeProfile, OperatingSystem, render_stage_0
from scheduler.app import App, SystemClock, build
from scheduler.model import GroupKey, GroupKind, GroupPriority, JobState, NewJob, NodeGroup, Step, TaskResult
from scheduler.policy import ScalingPolicy
from scheduler.settings import SETTINGS_BLOB, PoolSettings, SchedulerSettings, dump_settings
from tests.infra.local.conftest import GROUP, RunningAzure

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

POOL, ACCOUNT, STORAGE, TASKS = "risk", "batch1", "store1", 4
KEY = GroupKey(POOL, "main", "g1")
NODE_GROUP = NodeGroup(
    KEY, "risk-main-g1", "risk-main-g1", "Standard_D2s_v5", GroupPriority.REGULAR, 2, 2, kind=GroupKind.BATCH
)


@dataclass
class Deployment:
    """What is declared, and clients for it."""

    running: RunningAzure
    endpoint: str
    settings_url: str

    def batch(self) -> BatchClient:
        """Make a client of the Batch service."""
        verify = str(self.running.azure.certificates.bundle)
        return BatchClient(self.endpoint, self.running.azure.credential(), connection_verify=verify)


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Declare storage, identity, roles, account and pool, and publish bundle and settings."""
    running = RunningAzure(tmp_path / "home")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.azure.certificates.bundle))
    try:
        running.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
        yield declare(running)
    finally:
        running.close()
        kill_all(of_folder(running.layout.local))


def declare(running: RunningAzure) -> Deployment:
    """Declare everything that a deployment has."""
    place = {"location": "westeurope"}
    with running.client(StorageManagementClient) as client:
        body = {**place, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
        account = client.storage_accounts.begin_create(GROUP, STORAGE, body).result(60)
        for container in CONTAINERS:
            client.blob_containers.create(GROUP, STORAGE, container, {})
        for queue in (EVENTS_QUEUE, NODE_GROUP.queue):
            client.queue.create(GROUP, STORAGE, queue, {})
    with running.client(ManagedServiceIdentityClient) as client:
        identity = client.user_assigned_identities.create_or_update(GROUP, POOL, place)
    assign(running, account.id, identity.principal_id)
    assign(running, account.id, running.azure.account.deployer.object_id)
    blobs, queues = account.primary_endpoints.blob, account.primary_endpoints.queue
    bundle = build_bundle(OperatingSystem.LINUX)
    profile = NodeProfile(
        pool=POOL,
        group=KEY.name,
        generation=KEY.generation,
        blob_endpoint=blobs,
        queue_endpoint=queues,
        work_queue=NODE_GROUP.queue,
        events_queue=EVENTS_QUEUE,
        identity_client_id=identity.client_id,
        task_slots=NODE_GROUP.task_slots,
        bundle_sha256=bundle.sha256,
        status_interval_seconds=1.0,
    )
    endpoint = declare_pool(running, identity.id, render_stage_0(OperatingSystem.LINUX, profile))
    settings = SchedulerSettings(
        environment="local",
        subscription_id=running.azure.account.subscription_id,
        resource_group=GROUP,
        location="westeurope",
        resource_manager=running.azure.arm_url,
        blob_endpoint=blobs,
        queue_endpoint=queues,
        storage_account=STORAGE,
        pools=(PoolSettings(POOL, ScalingPolicy(idle_timeout=timedelta(seconds=2), max_nodes=2), (NODE_GROUP,)),),
        batch_endpoint=endpoint,
        batch_account=ACCOUNT,
    )
    verify = str(running.azure.certificates.bundle)
    with BlobServiceClient(blobs, running.azure.credential(), connection_verify=verify) as client:
        client.get_blob_client("bundles", f"{bundle.sha256}.tar.gz").upload_blob(bundle.data)
        client.get_blob_client("scheduler", SETTINGS_BLOB).upload_blob(dump_settings(settings))
    return Deployment(running, endpoint, f"{blobs}scheduler/{SETTINGS_BLOB}")


def assign(running: RunningAzure, scope: str, principal_id: str) -> None:
    """Give somebody the data of an account."""
    with running.client(AuthorizationManagementClient) as client:
        for role in (Role.STORAGE_BLOB_DATA_CONTRIBUTOR, Role.STORAGE_QUEUE_DATA_CONTRIBUTOR):
            definition = f"{running.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role.value}"
            body = {"properties": {"roleDefinitionId": definition, "principalId": principal_id}}
            client.role_assignments.create(scope, str(uuid.uuid4()), body)


def declare_pool(running: RunningAzure, identity_id: str, stage_0: str) -> str:
    """Declare the Batch account and the pool with no nodes, and give the account's address."""
    with running.client(BatchManagementClient) as client:
        account = client.batch_account.begin_create(GROUP, ACCOUNT, {"location": "westeurope"}).result(30)
        image = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
        machine = {"imageReference": image, "nodeAgentSkuId": "batch.node.ubuntu 24.04"}
        user = {"autoUser": {"scope": "Pool", "elevationLevel": "Admin"}}
        command = f"/bin/bash -c {shlex.quote(stage_0)}"
        properties = {
            "vmSize": NODE_GROUP.vm_size,
            "deploymentConfiguration": {"virtualMachineConfiguration": machine},
            "scaleSettings": {"fixedScale": {"targetDedicatedNodes": 0}},
            "startTask": {"commandLine": command, "userIdentity": user, "waitForSuccess": True},
        }
        body = {
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity_id: {}}},
            "properties": properties,
        }
        client.pool.create(GROUP, ACCOUNT, NODE_GROUP.scale_set, body)
    return f"https://{account.account_endpoint}"


@pytest.fixture
def app(deployment: Deployment, tmp_path: Path) -> Iterator[App]:
    """The scheduler of the deployment."""
    credential = deployment.running.azure.credential()
    made = build(deployment.settings_url, f"sqlite:///{tmp_path / 'store.db'}", SystemClock(), credential, 0.2)
    yield made
    made.controller.release()
    made.close()


def step_until(app: App, holds: Callable[[], object], seconds: float = 90) -> None:
    """Let the scheduler work until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, [decision.reason for decision in app.service.list_decisions(POOL)]
        app.controller.step(app.clock.now())
        time.sleep(0.1)


def test_a_job_runs_on_a_batch_pool_and_its_nodes_go(deployment: Deployment, app: App) -> None:
    """Nodes are bought by a resize, work under their Batch names, drain when idle, and are removed by their ids."""
    app.controller.step(app.clock.now())
    job = app.service.create_job(NewJob("sums", POOL, "key-1"))
    command = ("python3", "-c", "import os; open('out.txt', 'w').write(os.environ['MILLPOND_TASK_INDEX'])")
    definition = TaskDefinition("sum", command, first_task_id=0, task_count=TASKS, output_patterns=("out.txt",))
    app.service.add_steps(job.job_id, 0, (Step(definition),))
    app.service.arm_job(job.job_id, TASKS)
    step_until(app, lambda: app.service.get_job(job.job_id).state is JobState.COMPLETED)
    tasks = app.service.list_tasks(job.job_id)
    assert [task.result for task in tasks] == [TaskResult.SUCCESS] * TASKS
    assert all(task.node_id is not None and task.node_id.startswith("tvmps_") for task in tasks)
    names = {output.file.path for output in app.service.list_outputs(job.job_id)}
    assert "out.txt" in names
    with deployment.batch() as client:
        step_until(app, lambda: not list(client.list_nodes(NODE_GROUP.scale_set)))
        assert client.get_pool(NODE_GROUP.scale_set).target_dedicated_nodes == 0
    deletes = deployment.running.layout.deletes_log.read_text()
    assert '"task_processes": 0' in deletes
    assert '"task_processes": 1' not in deletes
    requests = deployment.running.layout.requests_log.read_text().splitlines()
    assert any("/removenodes" in line for line in requests)
    assert sum("/resize" in line and '"status": 202' in line for line in requests) >= 1
