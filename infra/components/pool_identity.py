"""A pool's identity: what its nodes may do, and nothing else."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import managedidentity

from infra import naming
from infra.components.placement import Placement, retained
from infra.components.roles import Principal, Role, assign
from infra.components.storage import Storage
from node_bootstrap.protocol import BUNDLES, CONTROL, EVENTS_QUEUE, INPUTS, NODES, OUTPUTS

READS = (BUNDLES, INPUTS, CONTROL)
WRITES = (OUTPUTS, NODES)

# Each generation of a node group has a queue of its own, named after the pool. The right to them is the pool's and not
# the queue's: it outlives generations, takes no minutes to spread to a new one, and leaves nothing behind with the old.
# Contributor, because renewing a lease needs more than Message Processor. Attribute: docs, "Actions and attributes for
# Azure role assignment conditions for Azure Queue Storage".
QUEUES_OF_POOL = "@Resource[Microsoft.Storage/storageAccounts/queueServices/queues:name] StringLike '{pool}-*'"


@dataclass(frozen=True)
class PoolIdentityArgs:
    """The pool, and the storage that its nodes work with."""

    placement: Placement
    pool: str
    storage: Storage


class PoolIdentity(pulumi.ComponentResource):
    """A managed identity and its roles.

    All of it is retained: nodes that still work must not lose their rights because their pool was taken out of the
    settings.
    """

    def __init__(self, name: str, args: PoolIdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:identity:PoolIdentity", name, {}, opts)
        place, kept = args.placement, retained(self, args.placement)
        identity = managedidentity.UserAssignedIdentity(
            name,
            resource_name_=naming.identity(args.pool),
            resource_group_name=place.resource_group.name,
            location=place.location,
            tags=place.tags,
            opts=kept,
        )
        self.identity_id = identity.id
        self.client_id = identity.client_id
        principal = Principal(identity.principal_id, "ServicePrincipal")
        grants = [
            *((container, Role.STORAGE_BLOB_DATA_READER) for container in READS),
            *((container, Role.STORAGE_BLOB_DATA_CONTRIBUTOR) for container in WRITES),
        ]
        for container, role in grants:
            scope = args.storage.containers[container].id
            assign(f"{name}-{container}", principal, role, scope, place.subscription_id, kept)
        assign(
            f"{name}-{EVENTS_QUEUE}",
            principal,
            Role.STORAGE_QUEUE_DATA_MESSAGE_SENDER,
            args.storage.events_queue.id,
            place.subscription_id,
            kept,
        )
        assign(
            f"{name}-work-queues",
            principal,
            Role.STORAGE_QUEUE_DATA_CONTRIBUTOR,
            args.storage.account_id,
            place.subscription_id,
            kept,
            condition=QUEUES_OF_POOL.format(pool=args.pool),
        )
        self.register_outputs({"client_id": self.client_id})
