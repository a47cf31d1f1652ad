"""A generation of a node group: a scale set with no nodes, and its queue."""

import secrets
from dataclasses import dataclass
from typing import Any

import pulumi
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pulumi_azure_native import compute, storage

from infra.components.machines import ADMINISTRATOR, Machines, extension_settings, scale_set
from infra.components.placement import Placement, retained
from infra.components.pool_identity import PoolIdentity
from infra.components.storage import Storage
from node_bootstrap.render import OperatingSystem, render_stage_0
from scheduler.model import GroupKey, NodeGroup

# What may change without making new machines. Capacity is the scheduler's; the engine keeps the value of its state for
# these, and an update for any other reason would send that value (0) with the whole set and so end every node.
IGNORED = [
    "sku.capacity",
    "tags",
    "virtualMachineProfile.osProfile.adminPassword",
    "virtualMachineProfile.osProfile.linuxConfiguration.ssh",
]


@dataclass(frozen=True)
class NodeGroupArgs:
    """The declared machines, and what they work with."""

    placement: Placement
    machines: Machines
    subnet_id: pulumi.Input[str]
    identity: PoolIdentity
    storage: Storage


class NodeGroupComponent(pulumi.ComponentResource):
    """One generation, never updated in place.

    Its resources carry the generation in their names and are retained when a new one takes their place: nodes work on
    until the scheduler has drained and removed them. Should anything about the set change after all, the engine is to
    replace it and not to update it, which fails on the name before it reaches a node.
    """

    def __init__(self, args: NodeGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        machines, place = args.machines, args.placement
        name = machines.name
        super().__init__("millpond:pool:NodeGroup", name, {}, opts)
        kept = retained(self, place)
        queue = storage.Queue(
            f"{name}-queue",
            queue_name=name,
            account_name=args.storage.account_name,
            resource_group_name=place.resource_group.name,
            opts=kept,
        )
        bootstrap = pulumi.Output.all(
            args.storage.blob_endpoint, args.storage.queue_endpoint, args.identity.client_id
        ).apply(
            lambda known: extension_settings(machines.system, render_stage_0(machines.system, machines.profile(*known)))
        )
        inputs = scale_set(
            machines, subnet_id=args.subnet_id, identity_id=args.identity.identity_id, bootstrap=bootstrap
        )
        inputs["sku"]["capacity"] = 0
        _add_credentials(inputs["virtual_machine_profile"]["os_profile"], machines.system)
        self.scale_set = compute.VirtualMachineScaleSet(
            name,
            vm_scale_set_name=name,
            resource_group_name=place.resource_group.name,
            tags={**place.tags, **machines.pool.tags},
            **inputs,
            opts=pulumi.ResourceOptions.merge(
                kept, pulumi.ResourceOptions(ignore_changes=IGNORED, replace_on_changes=["*"])
            ),
        )
        self.group = NodeGroup(
            key=GroupKey(machines.pool.name, machines.group.name, machines.generation),
            scale_set=name,
            queue=name,
            vm_size=machines.group.vm_size,
            priority=machines.group.priority,
            task_slots=machines.group.slots,
            max_nodes=machines.pool.group_limit(machines.group),
        )
        # The scheduler may be told of the group once these are there.
        self.ready = pulumi.Output.all(self.scale_set.id, queue.id)
        self.register_outputs({"scale_set": name, "queue": name})


def _add_credentials(os_profile: dict[str, Any], system: OperatingSystem) -> None:
    """Add what Azure demands to log in with: made here, kept by nobody. No one logs in to a node."""
    if system is OperatingSystem.WINDOWS:
        # Azure wants three of four kinds of characters; the suffix has them all.
        os_profile["admin_password"] = pulumi.Output.secret(f"{secrets.token_urlsafe(32)}-aA1")
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    path = f"/home/{ADMINISTRATOR}/.ssh/authorized_keys"
    os_profile["linux_configuration"]["ssh"] = {"public_keys": [{"key_data": text, "path": path}]}
