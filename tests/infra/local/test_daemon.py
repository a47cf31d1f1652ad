"""The daemon as users start it: real process, Azurite, and unchanged credentials by the environment alone."""

import base64
import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from typer.testing import CliRunner

from infra.local import supervisor
from infra.local.cli import app
from infra.local.environment import environment, shell_exports
from infra.local.layout import Layout, LocalAzureError
from infra.local.processes import marked, of_folder
from scheduler.cli.place import HOME_VARIABLE
from tests.infra.local.conftest import GROUP, scale_set_body
from tests.infra.local.published_operations import unexpected_statuses

pytestmark = pytest.mark.system

ACCOUNT = {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Name a home, and leave nothing of it running."""
    yield tmp_path
    supervisor.stop(tmp_path)
    assert marked(of_folder(Layout(tmp_path).local)) == []


@contextmanager
def _environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[DefaultAzureCredential]:
    with monkeypatch.context() as patched:
        for name, value in environment(home).items():
            patched.setenv(name, value)
        with DefaultAzureCredential() as credential:
            yield credential


def _client(credential: DefaultAzureCredential, make: Any) -> Any:
    url = f"https://{os.environ['ARM_METADATA_HOSTNAME']}"
    return make(credential, os.environ["ARM_SUBSCRIPTION_ID"], base_url=url, credential_scopes=[f"{url}/.default"])


def test_a_whole_life(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deploy through unchanged clients, use storage with tokens of user and machine, kill and restart the daemon."""
    supervisor.start(home, boot_delay=0.0)
    with _environment(monkeypatch, home) as credential:
        with _client(credential, ResourceManagementClient) as client:
            client.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
        endpoints = _deploy_storage(credential)
        for role in ("Storage Blob Data Contributor", "Storage Queue Data Contributor"):
            _assign(credential, role, _own_id(credential))
        with (
            BlobServiceClient(endpoints.blob, credential) as blobs,
            QueueServiceClient(endpoints.queue, credential) as queues,
        ):
            assert [found.name for found in blobs.list_containers()] == ["bundles"]
            assert [found.name for found in queues.list_queues()] == ["events"]
            blobs.get_blob_client("bundles", "hello").upload_blob(b"hello")
        _machine_reads_the_blob(home, credential, endpoints.blob)
    machines = supervisor.instances(home)
    assert machines == {"pool_0": 1}

    supervisor.kill_daemon(home)
    with pytest.raises(LocalAzureError, match="millpond local up"):
        environment(home)
    assert supervisor.instances(home) == machines
    supervisor.start(home, boot_delay=0.0)
    with _environment(monkeypatch, home) as credential:
        with _client(credential, ComputeManagementClient) as client:
            (instance,) = client.virtual_machine_scale_set_vms.list(GROUP, "pool")
            assert instance.provisioning_state == "Succeeded"
        with BlobServiceClient(endpoints.blob, credential) as blobs:
            assert blobs.get_blob_client("bundles", "hello").download_blob().readall() == b"hello"

    assert supervisor.stop(home) == supervisor.Stopped(daemon=True, instances=1)
    assert marked(of_folder(Layout(home).local)) == []
    supervisor.start(home, boot_delay=0.0)
    with _environment(monkeypatch, home) as credential:
        with BlobServiceClient(endpoints.blob, credential) as blobs:
            assert blobs.get_blob_client("bundles", "hello").download_blob().readall() == b"hello"
        with _client(credential, ResourceManagementClient) as client:
            client.resource_groups.begin_delete(GROUP).result(30)
    left = [" ".join(process.cmdline()) for process, _ in marked(of_folder(Layout(home).local))]
    assert not [line for line in left if "azurite" in line or "bash" in line]
    assert list(Layout(home).storage.iterdir()) == []
    assert unexpected_statuses(Layout(home).requests_log) == []


def _deploy_storage(credential: DefaultAzureCredential) -> Any:
    with _client(credential, StorageManagementClient) as client:
        assert client.storage_accounts.check_name_availability({"name": "acct"}).name_available
        account = client.storage_accounts.begin_create(GROUP, "acct", ACCOUNT).result(60)
        assert account.provisioning_state == "Succeeded"
        client.blob_containers.create(GROUP, "acct", "bundles", {})
        client.blob_containers.create(GROUP, "acct", "bundles", {})
        client.queue.create(GROUP, "acct", "events", {})
        client.queue.create(GROUP, "acct", "other", {})
        client.queue.delete(GROUP, "acct", "other")
        with pytest.raises(ResourceNotFoundError):
            client.queue.get(GROUP, "acct", "other")
        policy = {"properties": {"policy": {"rules": []}}}
        client.management_policies.create_or_update(GROUP, "acct", "default", policy)
        assert not client.storage_accounts.check_name_availability({"name": "acct"}).name_available
        return client.storage_accounts.get_properties(GROUP, "acct").primary_endpoints


def _own_id(credential: DefaultAzureCredential) -> str:
    """Read who one is from one's own token, as clients do."""
    claims = credential.get_token("https://management.azure.com/.default").token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["oid"])


def _assign(credential: DefaultAzureCredential, role: str, principal_id: str) -> None:
    """Give a role on the resource group."""
    with _client(credential, AuthorizationManagementClient) as client:
        scope = f"/subscriptions/{os.environ['ARM_SUBSCRIPTION_ID']}/resourceGroups/{GROUP}"
        (definition,) = client.role_definitions.list(scope, filter=f"roleName eq '{role}'")
        properties = {
            "roleDefinitionId": definition.id,
            "principalId": principal_id,
            "principalType": "ServicePrincipal",
        }
        client.role_assignments.create(scope, str(uuid.uuid4()), {"properties": properties})


def _machine_reads_the_blob(home: Path, credential: DefaultAzureCredential, blob_endpoint: str) -> None:
    """Boot a machine whose script reads its name, a token and the blob with the standard library alone."""
    with _client(credential, ManagedServiceIdentityClient) as client:
        identity = client.user_assigned_identities.create_or_update(GROUP, "id-pool", {"location": "westeurope"})
    _assign(credential, "Storage Blob Data Reader", identity.principal_id)
    script = f"""\
python3 - <<'END'
import json, os, urllib.request
base = os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
def ask(path):
    request = urllib.request.Request(base + path, headers={{"Metadata": "true"}})
    return json.load(urllib.request.urlopen(request))
token = ask("/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://storage.azure.com/"
            "&client_id={identity.client_id}")["access_token"]
request = urllib.request.Request("{blob_endpoint}bundles/hello",
                                 headers={{"Authorization": "Bearer " + token, "x-ms-version": "2021-08-06"}})
text = urllib.request.urlopen(request).read().decode()
name = ask("/metadata/instance/compute?api-version=2021-02-01")["name"]
events = ask("/metadata/scheduledevents?api-version=2020-07-01")["Events"]
print(name, text, events)
END
nohup sleep 600 >/dev/null 2>&1 &
"""
    body = scale_set_body(1, script)
    body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {identity.id: {}}}
    with _client(credential, ComputeManagementClient) as client:
        client.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", body).result(30)
    console = Layout(home).instances / "pool_0" / "console.log"
    assert console.read_text() == "pool_0 hello []\n"


def test_up_and_down_by_the_command_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands say one clear thing when it is not up, `up` twice is once, state is private, `down` twice is fine."""
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    runner = CliRunner()
    for command in (["status"], ["env"], ["fault", "kill", "pool_0"], ["logs"]):
        refused = runner.invoke(app, command)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("Error: ")
    first = runner.invoke(app, ["up", "--boot-delay", "0"])
    assert first.exit_code == 0, first.output
    state_file = Layout(home).state_file
    assert stat.S_IMODE(state_file.stat().st_mode) == 0o600
    again = runner.invoke(app, ["up", "--boot-delay", "0"])
    assert "already up" in again.stdout
    other = runner.invoke(app, ["up", "--boot-delay", "9"])
    assert "up already, with a boot delay of 0 s" in other.stderr
    assert "Up since" in runner.invoke(app, ["status"]).stdout
    exports = runner.invoke(app, ["env"])
    assert exports.stdout == shell_exports(environment(home))
    assert "Stopped, with 0 machines" in runner.invoke(app, ["down"]).stdout
    assert "was not up" in runner.invoke(app, ["down"]).stdout
    assert not state_file.exists()


def test_down_finds_what_a_killed_daemon_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL of the daemon, `down` still ends its storage and machines."""
    supervisor.start(home, boot_delay=0.0)
    with _environment(monkeypatch, home) as credential:
        with _client(credential, ResourceManagementClient) as client:
            client.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
        with _client(credential, ComputeManagementClient) as client:
            body = scale_set_body(1, "nohup sleep 600 >/dev/null 2>&1 &")
            client.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", body).result(30)
    supervisor.kill_daemon(home)
    (machine,) = [process for process, found in marked(of_folder(Layout(home).local)) if "MILLPOND_INSTANCE" in found]
    assert supervisor.stop(home) == supervisor.Stopped(daemon=False, instances=1)
    assert not psutil.pid_exists(machine.pid) or machine.status() == psutil.STATUS_ZOMBIE
