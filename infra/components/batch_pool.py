"""A pool of Azure Batch that the scheduler alone fills; its nodes run our task runner."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import batch

from infra.components.placement import retained
from infra.components.scale_set import SetArgs
from infra.components.stage_0 import start_command

# What may change without making new machines. The number of nodes is the scheduler's, as with a scale set.
IGNORED = ["scaleSettings", "tags"]


@dataclass(frozen=True)
class BatchPoolArgs:
    """What a set of machines has, and the account that the pool is in."""

    machines: SetArgs
    account_name: pulumi.Input[str]


class BatchPool(pulumi.ComponentResource):
    """A pool without nodes, never updated in place: see `ScaleSet`."""

    def __init__(self, name: str, args: BatchPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:batch:BatchPool", name, {}, opts)
        given = args.machines
        machines, place = given.machines, given.placement
        inputs = machines.inputs(
            subnet_id=given.subnet_id,
            identity_id=given.identity_id,
            bootstrap=given.stage_0.apply(lambda script: start_command(machines.system, script)),
        )
        pool = batch.Pool(
            name,
            pool_name=given.set_name,
            account_name=args.account_name,
            resource_group_name=place.group_name,
            scale_settings={
                "fixed_scale": {
                    "target_dedicated_nodes": 0,
                    "target_low_priority_nodes": 0,
                    "resize_timeout": "PT15M",  # the service's own default, written so that a read finds it declared
                }
            },
            tags=given.tags,
            **inputs,
            opts=pulumi.ResourceOptions.merge(
                retained(self, place), pulumi.ResourceOptions(ignore_changes=IGNORED, replace_on_changes=["*"])
            ),
        )
        self.resource_id = pool.id
        self.register_outputs({"name": given.set_name})
