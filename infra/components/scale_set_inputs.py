"""What a node group's scale set is declared with: plain data, without what may never make new machines."""

from typing import Any

from infra.components.stage_0 import extension
from infra.config import GroupConfig, PoolConfig
from node_bootstrap.render import OperatingSystem
from scheduler.model import GroupPriority

ADMINISTRATOR = "millpond"
OS_DISK_TYPE = "StandardSSD_LRS"
# Up to the pay-as-you-go price: evicted only when Azure needs the machines.
NO_HIGHEST_PRICE = -1.0


def scale_set_inputs(
    location: str, pool: PoolConfig, group: GroupConfig, *, subnet_id: Any, identity_id: Any, bootstrap: Any
) -> dict[str, Any]:
    """Give the inputs of the scale set; the keywords are ids and stage 0, known now or later."""
    spot = group.priority is GroupPriority.SPOT
    price = group.spot_max_price or NO_HIGHEST_PRICE
    system = pool.machine_image.system
    return {
        "location": location,
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
        "sku": {"name": group.vm_size, "tier": "Standard"},
        **({"zones": list(group.zones)} if group.zones else {}),
        **({"spot_restore_policy": {"enabled": False}} if spot else {}),
        "virtual_machine_profile": {
            "priority": "Spot" if spot else "Regular",
            **({"eviction_policy": "Delete", "billing_profile": {"max_price": price}} if spot else {}),
            "storage_profile": _storage(pool, group),
            "os_profile": _operating_system(pool),
            "network_profile": _network(subnet_id),
            "extension_profile": {"extensions": [extension(system, bootstrap)]},
        },
    }


def image_reference(pool: PoolConfig) -> dict[str, Any]:
    """Give the image as Azure names it."""
    image = pool.machine_image
    if image.resource_id is not None:
        return {"id": image.resource_id}
    return {"publisher": image.publisher, "offer": image.offer, "sku": image.sku, "version": image.version}


def _storage(pool: PoolConfig, group: GroupConfig) -> dict[str, Any]:
    disk, data = group.os_disk, group.data_disk
    os_disk: dict[str, Any] = {"create_option": "FromImage", "caching": "ReadOnly"}
    if disk.size_gb is not None:
        os_disk["disk_size_gb"] = disk.size_gb
    if disk.ephemeral:
        os_disk["diff_disk_settings"] = {"option": "Local", "placement": "ResourceDisk"}
    else:
        os_disk["managed_disk"] = {"storage_account_type": disk.type or OS_DISK_TYPE}
    profile = {"image_reference": image_reference(pool), "os_disk": os_disk}
    if data is None:
        return profile
    empty = {
        "lun": 0,
        "create_option": "Empty",
        "caching": "ReadOnly",
        "disk_size_gb": data.size_gb,
        "managed_disk": {"storage_account_type": data.type},
    }
    return {**profile, "data_disks": [empty]}


def _operating_system(pool: PoolConfig) -> dict[str, Any]:
    if pool.machine_image.system is OperatingSystem.WINDOWS:
        settings: dict[str, Any] = {
            # Off unless the pool asks: a node is replaced, not patched, and an update would restart it under its tasks.
            "windows_configuration": {
                "provision_vm_agent": True,
                "enable_automatic_updates": pool.bootstrap.windows_updates,
            }
        }
    else:
        settings = {"linux_configuration": {"provision_vm_agent": True, "disable_password_authentication": True}}
    return {"computer_name_prefix": pool.prefix, "admin_username": ADMINISTRATOR, **settings}


def _network(subnet_id: Any) -> dict[str, Any]:
    address = {"name": "address", "primary": True, "subnet": {"id": subnet_id}}
    return {"network_interface_configurations": [{"name": "nic", "primary": True, "ip_configurations": [address]}]}
