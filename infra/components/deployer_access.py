"""What the deploying principal may do with the data: publish bundles and settings, and act as the scheduler."""

from dataclasses import dataclass

import pulumi

from infra.components.placement import Placement, within
from infra.components.roles import Principal, Role, assign
from infra.components.storage import Storage


@dataclass(frozen=True)
class DeployerAccessArgs:
    """The storage, and who deploys."""

    placement: Placement
    storage: Storage
    deployer: Principal


class DeployerAccess(pulumi.ComponentResource):
    """Data roles on the account: owning a storage account gives no right to its data."""

    def __init__(self, name: str, args: DeployerAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:identity:DeployerAccess", name, {}, opts)
        place = args.placement
        assignments = [
            assign(
                f"{name}-{kind}",
                args.deployer,
                role,
                args.storage.account_id,
                place.subscription_id,
                within(self, place),
            )
            for kind, role in (
                ("blobs", Role.STORAGE_BLOB_DATA_CONTRIBUTOR),
                ("queues", Role.STORAGE_QUEUE_DATA_CONTRIBUTOR),
            )
        ]
        self.granted = pulumi.Output.all(*(assignment.id for assignment in assignments))
        self.register_outputs({})
