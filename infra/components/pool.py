"""A pool: its identity, and the current generation of each of its node groups."""

from dataclasses import dataclass

import pulumi

from infra.components.machines import Machines, Software
from infra.components.node_group import NodeGroupArgs, NodeGroupComponent
from infra.components.placement import Placement
from infra.components.pool_identity import PoolIdentity, PoolIdentityArgs
from infra.components.storage import Storage
from infra.config import PoolConfig, StackConfig
from scheduler.model import GroupKind
from scheduler.settings import PoolSettings


@dataclass(frozen=True)
class PoolArgs:
    """What is declared of the pool, and what it is placed in; `software` is what its nodes run.

    `subnet_id` is the stack's own, for pools that name none.
    """

    placement: Placement
    stack: StackConfig
    pool: PoolConfig
    storage: Storage
    subnet_id: pulumi.Input[str]
    software: Software
    batch_account: pulumi.Input[str] | None = None


class Pool(pulumi.ComponentResource):
    """Nodes of one image that work for one backlog."""

    def __init__(self, name: str, args: PoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:pool:Pool", name, {}, opts)
        inside, pool = pulumi.ResourceOptions(parent=self), args.pool
        identity = PoolIdentity(f"id-{name}", PoolIdentityArgs(args.placement, name, args.storage), inside)
        groups = [
            NodeGroupComponent(
                NodeGroupArgs(
                    args.placement,
                    Machines(args.stack, pool, group, args.software),
                    args.stack.subnet_of(pool) or args.subnet_id,
                    identity,
                    args.storage,
                    args.batch_account if pool.kind is GroupKind.BATCH else None,
                ),
                inside,
            )
            for group in pool.node_groups
        ]
        self.settings: pulumi.Output[PoolSettings] = pulumi.Output.all(*(group.group for group in groups)).apply(
            lambda known: PoolSettings(name, pool.policy, tuple(known), pool.proposed)
        )
        self.ready = pulumi.Output.all(*(group.ready for group in groups))
        self.register_outputs({"sets": [group.group.scale_set for group in groups]})
