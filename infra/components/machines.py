"""What a node group's scale set is made of, as plain data: declared once, hashed into the generation, then deployed.

The same function makes both: for the generation with the names of what is declared elsewhere, for the deployment with
their ids. So nothing can be added to a machine without making a new generation. What may never make one (capacity,
tags, credentials that nobody knows) is not here.
"""

import base64
from dataclasses import asdict, dataclass, replace
from typing import Any

from infra import naming
from infra.components.network import NETWORK_NAME, NODES_SUBNET
from infra.config import GroupConfig, PoolConfig, StackConfig
from infra.generations import generation
from node_bootstrap.protocol import EVENTS_QUEUE
from node_bootstrap.render import NodeProfile, OperatingSystem, template_digest
from scheduler.model import GroupPriority

ADMINISTRATOR = "millpond"


@dataclass(frozen=True, slots=True)
class Machines:
    """A node group's machines, as declared."""

    stack: StackConfig
    pool: PoolConfig
    group: GroupConfig
    bundle_sha256: str

    @property
    def system(self) -> OperatingSystem:
        """What runs on them."""
        return self.pool.machine_image.system

    @property
    def generation(self) -> str:
        """Their generation: it changes when anything declared about them does."""
        stack, pool, group = self.stack, self.pool, self.group
        symbolic = scale_set(
            self, subnet_id=f"{NETWORK_NAME}/{NODES_SUBNET}", identity_id=naming.identity(pool.name), bootstrap=""
        )
        account = stack.storage.account or naming.account(stack.environment, "", stack.location)
        return generation(
            {
                "environment": stack.environment,
                "revision": group.revision,
                "scale_set": symbolic,
                "bootstrap": {
                    "template": template_digest(self.system),
                    "profile": asdict(self._profile("", account, account, naming.identity(pool.name))),
                },
            }
        )

    @property
    def name(self) -> str:
        """Name of their scale set and of their queue."""
        return naming.node_group(self.pool.name, self.group.name, self.generation)

    def profile(self, blob_endpoint: str, queue_endpoint: str, identity_client_id: str) -> NodeProfile:
        """Say what a node must know to boot."""
        named = self._profile(self.name, blob_endpoint, queue_endpoint, identity_client_id)
        return replace(named, generation=self.generation)

    @property
    def _python_sha256(self) -> str | None:
        pinned = self.stack.windows_python if self.system is OperatingSystem.WINDOWS else None
        return pinned.sha256 if pinned else None

    def _profile(self, queue: str, blob_endpoint: str, queue_endpoint: str, client_id: str) -> NodeProfile:
        return NodeProfile(
            pool=self.pool.name,
            group=self.group.name,
            generation="",
            blob_endpoint=blob_endpoint,
            queue_endpoint=queue_endpoint,
            work_queue=queue,
            events_queue=EVENTS_QUEUE,
            identity_client_id=client_id,
            task_slots=self.group.slots,
            bundle_sha256=self.bundle_sha256,
            status_interval_seconds=self.pool.node.status_interval.total_seconds(),
            python_sha256=self._python_sha256,
        )


def scale_set(machines: Machines, *, subnet_id: Any, identity_id: Any, bootstrap: Any) -> dict[str, Any]:
    """Give the inputs of the scale set; the keywords are ids and extension settings, known now or later."""
    spot = machines.group.priority is GroupPriority.SPOT
    return {
        "location": machines.stack.location,
        "orchestration_mode": "Uniform",
        # Nobody but the scheduler touches an instance: no rolling upgrade, repair, spare or restored one (decision 17).
        "upgrade_policy": {
            "mode": "Manual",
            "automatic_os_upgrade_policy": {"enable_automatic_os_upgrade": False},
        },
        "automatic_repairs_policy": {"enabled": False},
        "overprovision": False,
        "single_placement_group": False,
        "platform_fault_domain_count": 1,
        "identity": {"type": "UserAssigned", "user_assigned_identities": [identity_id]},
        "sku": {"name": machines.group.vm_size, "tier": "Standard"},
        **({"spot_restore_policy": {"enabled": False}} if spot else {}),
        "virtual_machine_profile": {
            "priority": "Spot" if spot else "Regular",
            # Up to the pay-as-you-go price: evicted only when Azure needs the machines.
            **({"eviction_policy": "Delete", "billing_profile": {"max_price": -1.0}} if spot else {}),
            "storage_profile": _storage(machines),
            "os_profile": _operating_system(machines),
            "network_profile": _network(subnet_id),
            "extension_profile": {"extensions": [_extension(machines.system, bootstrap)]},
        },
    }


def extension_settings(system: OperatingSystem, stage_0: str) -> dict[str, str]:
    """Give the settings with which the custom-script extension runs stage 0."""
    encoded = base64.b64encode(stage_0.encode()).decode()
    if system is OperatingSystem.LINUX:
        return {"script": encoded}
    # Not -EncodedCommand: UTF-16 in base64 would pass the 8,191 characters that a Windows command line may have.
    command = f"& ([ScriptBlock]::Create([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('{encoded}'))))"
    return {
        "commandToExecute": f'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -Command "{command}"'
    }


def _storage(machines: Machines) -> dict[str, Any]:
    image = machines.pool.machine_image
    return {
        "image_reference": {
            "publisher": image.publisher,
            "offer": image.offer,
            "sku": image.sku,
            "version": image.version,
        },
        "os_disk": {
            "create_option": "FromImage",
            "caching": "ReadOnly",
            "managed_disk": {"storage_account_type": "StandardSSD_LRS"},
        },
    }


def _operating_system(machines: Machines) -> dict[str, Any]:
    if machines.system is OperatingSystem.WINDOWS:
        settings: dict[str, Any] = {
            # A node is replaced, not patched: an update would restart it under its tasks.
            "windows_configuration": {"provision_vm_agent": True, "enable_automatic_updates": False}
        }
    else:
        settings = {"linux_configuration": {"provision_vm_agent": True, "disable_password_authentication": True}}
    return {"computer_name_prefix": machines.pool.prefix, "admin_username": ADMINISTRATOR, **settings}


def _network(subnet_id: Any) -> dict[str, Any]:
    address = {"name": "address", "primary": True, "subnet": {"id": subnet_id}}
    return {"network_interface_configurations": [{"name": "nic", "primary": True, "ip_configurations": [address]}]}


def _extension(system: OperatingSystem, bootstrap: Any) -> dict[str, Any]:
    linux = system is OperatingSystem.LINUX
    return {
        "name": "bootstrap",
        "publisher": "Microsoft.Azure.Extensions" if linux else "Microsoft.Compute",
        "type": "CustomScript" if linux else "CustomScriptExtension",
        "type_handler_version": "2.1" if linux else "1.10",
        "auto_upgrade_minor_version": True,
        "settings": bootstrap,
    }
