"""A generation of a node group: a scale set or Batch pool with no nodes, and its queue."""

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import storage

from infra import naming
from infra.components.batch_pool import BatchPool, BatchPoolArgs
from infra.components.machines import Machines
from infra.components.placement import Placement, retained
from infra.components.pool_identity import PoolIdentity
from infra.components.scale_set import ScaleSet, SetArgs
from infra.components.storage import Storage
from node_bootstrap.render import OperatingSystem, render_stage_0
from scheduler.model import GroupKey, GroupKind, NodeGroup


@dataclass(frozen=True)
class NodeGroupArgs:
    """The declared machines, and what they work with; `batch_account` is the name of the account of Batch pools."""

    placement: Placement
    machines: Machines
    subnet_id: pulumi.Input[str]
    identity: PoolIdentity
    storage: Storage
    batch_account: pulumi.Input[str] | None = None


class NodeGroupComponent(pulumi.ComponentResource):
    """One generation, never updated in place.

    Its resources are retained when a new one takes their place: nodes work on until the scheduler has drained and
    removed them. So the same declaration may come back while those of its last time are still there. The queue has no
    name of ours for that reason: the provider makes one, of the declaration's name and digits that are new each time
    it is declared (`pulumi:autonaming` in Pulumi.yaml), and the set is called as its queue is.
    """

    def __init__(self, args: NodeGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        machines, place = args.machines, args.placement
        name = machines.name
        super().__init__("millpond:pool:NodeGroup", name, {}, opts)
        queue = storage.Queue(
            name,
            account_name=args.storage.account_name,
            resource_group_name=place.group_name,
            opts=retained(self, place),
        )
        set_args = SetArgs(
            place, machines, queue.name, args.subnet_id, args.identity.identity_id, self._stage_0(args, queue.name)
        )
        inside = pulumi.ResourceOptions(parent=self)
        if args.batch_account is None:
            ready = ScaleSet(name, set_args, inside).resource_id
        else:
            ready = BatchPool(name, BatchPoolArgs(set_args, args.batch_account), inside).resource_id
        # The scheduler may be told of the group once these are there.
        self.ready = pulumi.Output.all(ready, queue.id)
        self.group: pulumi.Output[NodeGroup] = queue.name.apply(lambda known: _group(machines, known))
        self.register_outputs({"set": queue.name, "queue": queue.name})

    def _stage_0(self, args: NodeGroupArgs, queue_name: pulumi.Output[str]) -> pulumi.Output[str]:
        machines = args.machines
        return pulumi.Output.all(
            queue_name, args.storage.blob_endpoint, args.storage.queue_endpoint, args.identity.client_id
        ).apply(lambda known: render_stage_0(machines.system, machines.profile(*known)))


def _group(machines: Machines, name: str) -> NodeGroup:
    """Describe the group to the scheduler."""
    pool, group = machines.pool, machines.group
    return NodeGroup(
        key=GroupKey(pool.name, group.name, naming.generation(name, pool.name, group.name)),
        scale_set=name,
        queue=name,
        vm_size=group.vm_size,
        priority=group.priority,
        task_slots=group.slots,
        max_nodes=pool.group_limit(group),
        kind=GroupKind(pool.kind),
        windows=machines.system is OperatingSystem.WINDOWS,
    )
