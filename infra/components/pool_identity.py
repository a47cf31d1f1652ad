"""A pool's identity: what its nodes may do, and nothing else."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import managedidentity

from infra.components.placement import Placement, retained
from infra.components.roles import (
    BLOB_DELETE,
    BLOB_READ,
    MESSAGE_DELETE,
    MESSAGE_READ,
    Principal,
    Role,
    assign,
    on_queues,
    without,
)
from infra.components.storage import Storage
from node_bootstrap.protocol import BUNDLES, CONTROL, EVENTS_QUEUE, INPUTS, NODES, OUTPUTS

READS = (BUNDLES, INPUTS, CONTROL)
# A node reads what other tasks have made, and overwrites what it says of itself; it deletes no blob.
WRITES = {OUTPUTS: (BLOB_DELETE,), NODES: (BLOB_DELETE, BLOB_READ)}

# Each generation of a node group has a queue of its own, named after the pool. The right to them is the pool's and not
# the queue's: it outlives generations, takes no minutes to spread to a new one, and leaves nothing behind with the old.
# Contributor, because renewing a lease needs more than Message Processor; a node neither peeks nor clears.
QUEUES_OF_POOL = "{pool}-*"
NOT_ON_MESSAGES = (MESSAGE_READ, MESSAGE_DELETE)


@dataclass(frozen=True)
class PoolIdentityArgs:
    """The pool, and the storage that its nodes work with."""

    placement: Placement
    pool: str
    storage: Storage


class PoolIdentity(pulumi.ComponentResource):
    """A managed identity and its roles.

    All of it is retained: nodes that still work must not lose their rights because their pool was taken out of the
    settings. The provider makes the identity's name, so that a pool that comes back gets one beside the old.
    """

    def __init__(self, name: str, args: PoolIdentityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:identity:PoolIdentity", name, {}, opts)
        place, kept = args.placement, retained(self, args.placement)
        identity = managedidentity.UserAssignedIdentity(
            name,
            resource_group_name=place.group_name,
            location=place.location,
            tags=place.tags,
            opts=kept,
        )
        self.identity_id = identity.id
        self.client_id = identity.client_id
        principal = Principal(identity.principal_id, "ServicePrincipal")
        grants = [
            *((container, Role.STORAGE_BLOB_DATA_READER, None) for container in READS),
            *(
                (container, Role.STORAGE_BLOB_DATA_CONTRIBUTOR, without(container, *excluded))
                for container, excluded in WRITES.items()
            ),
        ]
        for container, role, condition in grants:
            scope = args.storage.containers[container].id
            assign(f"{name}-{container}", principal, role, scope, place.subscription_id, kept, condition)
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
            condition=on_queues(QUEUES_OF_POOL.format(pool=args.pool), *NOT_ON_MESSAGES),
        )
        self.register_outputs({"client_id": self.client_id})
