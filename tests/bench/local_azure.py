"""Sides of the local Azure: what it costs to start it, to ask it, and to deploy `size` pools to it.

start        `millpond local up` to the first answer, with the tools at hand
storage      a storage account by its PUT, to the end of the operation
raw-get …    requests to the resource manager over one kept connection, no client's work in it
sdk-get …    the same by azure-mgmt-resource, unchanged
preview, up, again
             plain `pulumi` on the project's own program with `size` pools: the engine, the language host, the program
             and the stand-in provider all count; `again` is the second `up`, which changes nothing

Memory is the peak of the daemon (of the storage server for `storage`), not of this process. Every side has a home of
its own, which is gone afterwards.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from azure.identity import DefaultAzureCredential
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

from infra.local import supervisor
from infra.local.environment import environment
from infra.local.layout import Layout, RunningState
from infra.local.lock import require_running
from infra.local.processes import marked, of_storage
from tests.bench.measure import ROOT
from tests.bench.side import Prepared, main, peak_mib

GROUP = "bench"
PLACE = {"location": "westeurope"}
ACCOUNT: Any = {**PLACE, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
STACK = "bench"


class LocalAzure:
    """A running local Azure in a folder, with its environment in this process."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.state: RunningState = supervisor.start(self.home, boot_delay=0.0)
        os.environ.update(environment(self.home))
        os.environ["PULUMI_HOME"] = str(folder / "pulumi")
        self.group = f"{self.state.arm_url}/subscriptions/{self.state.subscription_id}/resourceGroups/{GROUP}"

    def client(self, make: Callable[..., Any]) -> Any:
        """Make a management client."""
        url = self.state.arm_url
        credential = DefaultAzureCredential()
        return make(credential, self.state.subscription_id, base_url=url, credential_scopes=[f"{url}/.default"])

    def daemon_mib(self) -> float:
        """Return the daemon's peak of memory."""
        return peak_mib(require_running(Layout(self.home)).pid)

    def storage_mib(self) -> float:
        """Return the largest storage server's peak of memory."""
        return max(peak_mib(process.pid) for process, _ in marked(of_storage(Layout(self.home.resolve()).local)))

    def stop(self) -> None:
        """Leave nothing running."""
        supervisor.stop(self.home)


def start(_size: int, folder: Path) -> Prepared:
    """Start a home that has been up before."""
    azure = LocalAzure(folder)
    azure.stop()

    def check() -> None:
        assert require_running(Layout(azure.home)).subscription_id == azure.state.subscription_id

    def work() -> None:
        supervisor.start(azure.home, boot_delay=0.0)

    return Prepared(work, 1, check, azure.daemon_mib, azure.stop)


def storage(_size: int, folder: Path) -> Prepared:
    """Make a storage account."""
    azure = LocalAzure(folder)
    azure.client(ResourceManagementClient).resource_groups.create_or_update(GROUP, PLACE)
    accounts = azure.client(StorageManagementClient).storage_accounts

    def check() -> None:
        assert accounts.get_properties(GROUP, "bench").provisioning_state == "Succeeded"

    def work() -> None:
        accounts.begin_create(GROUP, "bench", ACCOUNT).result(60)

    return Prepared(work, 1, check, azure.storage_mib, azure.stop)


def raw(method: str, size: int, folder: Path) -> Prepared:
    """Ask `size` times over one connection."""
    azure = LocalAzure(folder)
    token = DefaultAzureCredential().get_token(f"{azure.state.arm_url}/.default").token
    http = httpx.Client(
        verify=azure.state.ca_file, headers={"Authorization": f"Bearer {token}"}, params={"api-version": "2024-03-01"}
    )
    http.put(azure.group, json=PLACE).raise_for_status()
    body = PLACE if method == "PUT" else None

    def work() -> None:
        for _ in range(size):
            http.request(method, azure.group, json=body).raise_for_status()

    return Prepared(work, size, lambda: None, azure.daemon_mib, azure.stop)


def by_sdk(method: str, size: int, folder: Path) -> Prepared:
    """Ask `size` times by the official client."""
    azure = LocalAzure(folder)
    groups = azure.client(ResourceManagementClient).resource_groups
    groups.create_or_update(GROUP, PLACE)

    def work() -> None:
        for _ in range(size):
            if method == "PUT":
                groups.create_or_update(GROUP, PLACE)
            else:
                groups.get(GROUP)

    return Prepared(work, size, lambda: None, azure.daemon_mib, azure.stop)


def deploy(command: str, pools: int, folder: Path) -> Prepared:
    """Run plain pulumi on the project's program: `preview`, the first `up`, or the second one (`again`)."""
    azure = LocalAzure(folder)
    settings = folder / "Pulumi.bench.yaml"
    settings.write_text(yaml.safe_dump(_settings(pools)), encoding="utf-8")
    said: list[str] = []

    def pulumi(*words: str) -> None:
        done = subprocess.run(
            ["pulumi", *words, "--stack", STACK, "--non-interactive", "--config-file", str(settings)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)

    subprocess.run(["pulumi", "stack", "init", STACK, "--no-select"], cwd=ROOT, capture_output=True, check=True)
    up = ("up", "--yes", "--skip-preview", "--suppress-outputs")
    if command == "again":
        pulumi(*up)

    def check() -> None:
        summary = said[-1].rpartition("Resources:")[2]
        assert ("unchanged" if command == "again" else "create") in summary, said[-1]
        assert command != "again" or not {"update", "create", "delete", "replace"} & set(summary.split()), said[-1]

    words = ("preview", "--suppress-outputs") if command == "preview" else up
    return Prepared(partial(pulumi, *words), 1, check, azure.daemon_mib, azure.stop)


def _settings(pools: int) -> dict[str, Any]:
    """Take the local stack's settings with its first pool as often as asked for."""
    settings: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text(encoding="utf-8"))
    one = settings["config"]["millpond:pools"][0]
    settings["config"]["millpond:pools"] = [{**one, "name": f"pool-{number:03}"} for number in range(pools)]
    return settings


VARIANTS: Mapping[str, Callable[[int, Path], Prepared]] = {
    "start": start,
    "storage": storage,
    "raw-get": partial(raw, "GET"),
    "raw-put": partial(raw, "PUT"),
    "sdk-get": partial(by_sdk, "GET"),
    "sdk-put": partial(by_sdk, "PUT"),
    "preview": partial(deploy, "preview"),
    "up": partial(deploy, "up"),
    "again": partial(deploy, "again"),
}

if __name__ == "__main__":
    main(VARIANTS)
