"""The Batch account, open to Entra tokens only."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import batch

from infra import naming
from infra.components.placement import Placement, within


@dataclass(frozen=True)
class BatchAccountArgs:
    """Where the account is placed."""

    placement: Placement
    environment: str


class BatchAccount(pulumi.ComponentResource):
    """An account whose pools Azure Batch allocates."""

    def __init__(self, name: str, args: BatchAccountArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:batch:BatchAccount", name, {}, opts)
        place = args.placement
        account = batch.BatchAccount(
            name,
            account_name=place.subscription_id.apply(lambda s: naming.account(args.environment, s, place.location)),
            resource_group_name=place.resource_group.name,
            location=place.location,
            pool_allocation_mode=batch.PoolAllocationMode.BATCH_SERVICE,
            allowed_authentication_modes=[batch.AuthenticationMode.AAD],
            tags=place.tags,
            opts=within(self, place),
        )
        self.account_name = account.name
        self.register_outputs({"account": self.account_name})
