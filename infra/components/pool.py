"""A pool: its identity, and the current generation of each of its node groups."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from infra.components.machines import Machines
from infra.components.node_group import NodeGroupArgs, NodeGroupComponent
from infra.components.placement import Placement
from infra.components.pool_identity import PoolIdentity, PoolIdentityArgs
from infra.components.storage import Storage
from infra.config import PoolConfig, StackConfig
from node_bootstrap.render import OperatingSystem
from scheduler.settings import PoolSettings


@dataclass(frozen=True)
class PoolArgs:
    """What is declared of the pool, and what it is placed in. `bundles` are the runner's hashes by system."""

    placement: Placement
    stack: StackConfig
    pool: PoolConfig
    storage: Storage
    subnet_id: pulumi.Input[str]
    bundles: Mapping[OperatingSystem, str]


class Pool(pulumi.ComponentResource):
    """Nodes of one image that work for one backlog."""

    def __init__(self, name: str, args: PoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:pool:Pool", name, {}, opts)
        inside = pulumi.ResourceOptions(parent=self)
        identity = PoolIdentity(f"id-{name}", PoolIdentityArgs(args.placement, name, args.storage), inside)
        bundle = args.bundles[args.pool.machine_image.system]
        groups = [
            NodeGroupComponent(
                NodeGroupArgs(
                    args.placement,
                    Machines(args.stack, args.pool, group, bundle),
                    args.subnet_id,
                    identity,
                    args.storage,
                ),
                inside,
            )
            for group in args.pool.groups
        ]
        self.settings = PoolSettings(name, args.pool.scaling, tuple(group.group for group in groups))
        self.ready = pulumi.Output.all(*(group.ready for group in groups))
        self.register_outputs({"groups": [group.group.scale_set for group in groups]})
