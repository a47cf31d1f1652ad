"""A local Azure inside the test process: real sockets, TLS, state and machines, without the daemon around it."""

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from infra.local.azure import LocalAzure
from infra.local.layout import Layout
from infra.local.processes import kill_all, of_folder
from infra.local.services.compute.settings import ComputeSettings
from infra.local.toolchain import azurite_command

GROUP = "rg"
SETTINGS = ComputeSettings(boot_delay_seconds=0.0, regional_cores=20, page_size=2, eviction_notice_seconds=0.1)


class RunningAzure:
    """A local Azure served from a thread, with the official clients pointed at it and nothing changed in them."""

    def __init__(self, home: Path, settings: ComputeSettings = SETTINGS) -> None:
        self.layout = Layout(home)
        self.azure = LocalAzure(self.layout, settings, azurite_command)
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.azure.serve(ready.set)))
        self._thread.start()
        assert ready.wait(30)
        self.subscription = f"/subscriptions/{self.azure.account.subscription_id}"
        self.group = f"{self.subscription}/resourceGroups/{GROUP}"
        self.compute = self.client(ComputeManagementClient)
        self.resources = self.client(ResourceManagementClient)

    def client(self, make: Callable[..., Any]) -> Any:
        """Make a management client."""
        return make(
            self.azure.credential(),
            self.azure.account.subscription_id,
            base_url=self.azure.arm_url,
            credential_scopes=[f"{self.azure.arm_url}/.default"],
            connection_verify=str(self.azure.certificates.bundle),
        )

    def close(self) -> None:
        """Stop serving; machines live on."""
        self.compute.close()
        self.resources.close()
        self.azure.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningAzure]:
    """Serve a local Azure with one resource group in it."""
    served = RunningAzure(tmp_path)
    served.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    yield served
    served.close()
    kill_all(of_folder(served.layout.local))


def scale_set_body(capacity: int, script: str = "exit 0", **properties: Any) -> dict[str, Any]:
    """Return the body of a Linux scale set whose bootstrap is this script."""
    settings = {"script": base64.b64encode(script.encode()).decode()}
    extension = {
        "name": "bootstrap",
        "properties": {
            "publisher": "Microsoft.Azure.Extensions",
            "type": "CustomScript",
            "typeHandlerVersion": "2.1",
            "settings": settings,
        },
    }
    profile = {
        "osProfile": {"computerNamePrefix": "node", "adminUsername": "azureuser", "linuxConfiguration": {}},
        "storageProfile": {
            "imageReference": {
                "publisher": "Canonical",
                "offer": "ubuntu-24_04-lts",
                "sku": "server",
                "version": "latest",
            }
        },
        "extensionProfile": {"extensions": [extension]},
    }
    return {
        "location": "westeurope",
        "sku": {"name": "Standard_D2s_v5", "tier": "Standard", "capacity": capacity},
        "properties": {"upgradePolicy": {"mode": "Manual"}, "overprovision": False, "virtualMachineProfile": profile}
        | properties,
    }
