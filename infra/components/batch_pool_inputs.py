"""What a node group's Batch pool is declared with: plain data, without what may never make new machines."""

from typing import Any

from infra.components.scale_set_inputs import OS_DISK_TYPE, image_reference
from infra.config import GroupConfig, PoolConfig
from node_bootstrap.render import OperatingSystem


def batch_pool_inputs(
    pool: PoolConfig, group: GroupConfig, *, subnet_id: Any, identity_id: Any, bootstrap: Any
) -> dict[str, Any]:
    """Give the inputs of the Batch pool; the keywords are ids and the start task's command, known now or later."""
    machine: dict[str, Any] = {
        "image_reference": image_reference(pool),
        "node_agent_sku_id": pool.agent,
        "os_disk": _os_disk(group),
        "node_placement_configuration": {"policy": "Zonal" if group.zones else "Regional"},
    }
    if group.data_disk is not None:
        machine["data_disks"] = [
            {
                "lun": 0,
                "caching": "ReadOnly",
                "disk_size_gb": group.data_disk.size_gb,
                "storage_account_type": group.data_disk.type,
            }
        ]
    if pool.machine_image.system is OperatingSystem.WINDOWS:
        # Off unless the pool asks: a node is replaced, not patched, and an update would restart it under its tasks.
        machine["windows_configuration"] = {"enable_automatic_updates": pool.bootstrap.windows_updates}
    return {
        "vm_size": group.vm_size,
        "deployment_configuration": {"virtual_machine_configuration": machine},
        "identity": {"type": "UserAssigned", "user_assigned_identities": [identity_id]},
        "network_configuration": {
            "subnet_id": subnet_id,
            "public_ip_address_configuration": {"provision": "NoPublicIPAddresses"},
        },
        "target_node_communication_mode": "Simplified",
        "inter_node_communication": "Disabled",
        # The service's own tasks are not used; a start task takes no slot.
        "task_slots_per_node": 1,
        "start_task": {
            "command_line": bootstrap,
            "user_identity": {"auto_user": {"scope": "Pool", "elevation_level": "Admin"}},
            "wait_for_success": True,
            "max_task_retry_count": 0,
        },
    }


def _os_disk(group: GroupConfig) -> dict[str, Any]:
    disk = group.os_disk
    size = {"disk_size_gb": disk.size_gb} if disk.size_gb is not None else {}
    if disk.ephemeral:
        return {"caching": "ReadOnly", "ephemeral_os_disk_settings": {"placement": "CacheDisk"}, **size}
    return {"caching": "ReadOnly", "managed_disk": {"storage_account_type": disk.type or OS_DISK_TYPE}, **size}
