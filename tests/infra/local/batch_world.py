"""A Batch account on a local Azure, with the official clients of both planes pointed at it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.mgmt.batch import BatchManagementClient

from tests.infra.local.conftest import GROUP, RunningAzure

ACCOUNT = "acct"
LINUX = {
    "imageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
    "nodeAgentSkuId": "batch.node.ubuntu 24.04",
}
WINDOWS = {
    "imageReference": {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter-g2"},
    "nodeAgentSkuId": "batch.node.windows amd64",
}


class BatchWorld:
    """The account and its clients."""

    def __init__(self, running: RunningAzure) -> None:
        self.running = running
        self.management = running.client(BatchManagementClient)
        self.accounts = self.management.batch_account
        self.account = self.accounts.begin_create(GROUP, ACCOUNT, {"location": "westeurope"}).result(30)
        self.endpoint = f"https://{self.account.account_endpoint}"
        self.batch = self.client()

    def client(self, credential: Any = None) -> BatchClient:
        """Make a client of the data plane, the user's own by default."""
        verify = str(self.running.azure.certificates.bundle)
        return BatchClient(self.endpoint, credential or self.running.azure.credential(), connection_verify=verify)

    def key_client(self, key: str | None = None) -> BatchClient:
        """Make a client that signs with a key of the account."""
        key = key or self.accounts.get_keys(GROUP, ACCOUNT).primary
        return self.client(AzureNamedKeyCredential(ACCOUNT, key))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Send a plain request to the data plane, as clients of other languages do."""
        token = self.running.azure.token("https://batch.core.windows.net//.default")
        return requests.request(
            method,
            f"{self.endpoint}{path}{'&' if '?' in path else '?'}api-version=2024-07-01.20.0",
            json=body,
            headers={"Authorization": f"Bearer {token}", **headers},
            verify=str(self.running.azure.certificates.bundle),
            timeout=30,
        )

    def declare(self, name: str, **properties: Any) -> Any:
        """Declare a Linux pool with no nodes by the resource manager."""
        identity = properties.pop("identity", None)
        body = {
            "properties": {
                "vmSize": "Standard_D2s_v5",
                "deploymentConfiguration": {"virtualMachineConfiguration": properties.pop("machine", LINUX)},
                "scaleSettings": {"fixedScale": {"targetDedicatedNodes": properties.pop("nodes", 0)}},
                **properties,
            }
        } | ({"identity": identity} if identity else {})
        return self.management.pool.create(GROUP, ACCOUNT, name, body)

    def nodes(self, pool: str) -> list[Any]:
        """List the nodes of a pool."""
        return list(self.batch.list_nodes(pool))

    def steady(self, pool: str) -> Any:
        """Wait until a pool is not being resized."""
        eventually(lambda: self.batch.get_pool(pool).allocation_state == "steady")
        return self.batch.get_pool(pool)

    def all_in(self, pool: str, state: str, count: int) -> list[Any]:
        """Wait until a pool has this many nodes, all in this state."""
        eventually(lambda: [node.state for node in self.nodes(pool)] == [state] * count)
        return self.nodes(pool)


@contextmanager
def batch_world(running: RunningAzure) -> Iterator[BatchWorld]:
    """Make the account; close its clients at the end."""
    made = BatchWorld(running)
    yield made
    made.batch.close()
    made.management.close()


def start_task(command: str, **properties: Any) -> dict[str, Any]:
    """Declare a start task that runs a shell command."""
    return {"commandLine": f"/bin/bash -c '{command}'", "waitForSuccess": True, **properties}


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
