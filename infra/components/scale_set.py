"""A virtual machine scale set that the scheduler alone fills."""

import secrets
from dataclasses import dataclass
from functools import cache
from typing import Any

import pulumi
from pulumi_azure_native import compute

from infra.components.credentials import throw_away_public_key
from infra.components.machines import Machines
from infra.components.placement import Placement, retained
from infra.components.scale_set_inputs import ADMINISTRATOR
from infra.components.stage_0 import extension_settings
from node_bootstrap.render import OperatingSystem

# What may change without making new machines. Capacity is the scheduler's; the engine keeps the value of its state for
# these, and an update for any other reason would send that value (0) with the whole set and so end every node.
IGNORED = [
    "sku.capacity",
    "tags",
    "virtualMachineProfile.osProfile.adminPassword",
    "virtualMachineProfile.osProfile.linuxConfiguration.ssh",
]

# One for all sets: making them takes longer than a preview may.
_public_key = cache(throw_away_public_key)


@dataclass(frozen=True)
class SetArgs:
    """The declared machines and what they work with: also of a Batch pool. `stage_0` is the rendered script."""

    placement: Placement
    machines: Machines
    set_name: pulumi.Input[str]
    subnet_id: pulumi.Input[str]
    identity_id: pulumi.Input[str]
    stage_0: pulumi.Output[str]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the environment and of the pool."""
        return {**self.placement.tags, **self.machines.pool.tags}


class ScaleSet(pulumi.ComponentResource):
    """A set without instances, never updated in place.

    Should anything about it change after all, the engine is to replace it and not to update it, which fails on the name
    before it reaches a node.
    """

    def __init__(self, name: str, args: SetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:compute:ScaleSet", name, {}, opts)
        machines, place = args.machines, args.placement
        inputs = machines.inputs(
            subnet_id=args.subnet_id,
            identity_id=args.identity_id,
            bootstrap=args.stage_0.apply(lambda script: extension_settings(machines.system, script)),
        )
        inputs["sku"]["capacity"] = 0
        _add_credentials(inputs["virtual_machine_profile"]["os_profile"], machines.system)
        scale_set = compute.VirtualMachineScaleSet(
            name,
            vm_scale_set_name=args.set_name,
            resource_group_name=place.group_name,
            tags=args.tags,
            **inputs,
            opts=pulumi.ResourceOptions.merge(
                retained(self, place), pulumi.ResourceOptions(ignore_changes=IGNORED, replace_on_changes=["*"])
            ),
        )
        self.resource_id = scale_set.id
        self.register_outputs({"name": args.set_name})


def _add_credentials(os_profile: dict[str, Any], system: OperatingSystem) -> None:
    """Add what Azure demands to log in with: made here, kept by nobody. No one logs in to a node."""
    if system is OperatingSystem.WINDOWS:
        # Azure wants three of four kinds of characters; the suffix has them all.
        os_profile["admin_password"] = pulumi.Output.secret(f"{secrets.token_urlsafe(32)}-aA1")
        return
    path = f"/home/{ADMINISTRATOR}/.ssh/authorized_keys"
    os_profile["linux_configuration"]["ssh"] = {"public_keys": [{"key_data": _public_key(), "path": path}]}
