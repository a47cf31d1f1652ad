"""Where resources are placed: what every component passes on to its children."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import resources


@dataclass(frozen=True)
class Placement:
    """The environment's resource group, region and tags, and who deploys.

    `location` is the declared one: resource groups report theirs in another spelling. `group_name` is the group's name
    once it has been found to be the one that is declared; whatever is placed in the group takes it from here.
    """

    resource_group: resources.ResourceGroup
    location: str
    tags: Mapping[str, str]
    subscription_id: pulumi.Output[str]
    group_name: pulumi.Output[str]


def within(parent: pulumi.Resource, placement: Placement) -> pulumi.ResourceOptions:
    """Options of a child that goes when the resource group goes.

    Azure deletes a group whole; taking its parts apart one by one first is slow, and refused where a node group that
    the stack no longer names still uses them.
    """
    return pulumi.ResourceOptions(parent=parent, deleted_with=placement.resource_group)


def retained(parent: pulumi.Resource, placement: Placement) -> pulumi.ResourceOptions:
    """Options of a child that outlives its declaration, because nodes or people may still use it.

    What a stack no longer names stays in Azure until the scheduler has drained and removed it, or until the resource
    group goes.
    """
    return pulumi.ResourceOptions(parent=parent, deleted_with=placement.resource_group, retain_on_delete=True)
