"""The scheduler's identity: what it may do with the data, and with the machines."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import authorization, managedidentity

from infra import naming
from infra.components.placement import Placement, within
from infra.components.roles import Principal, Role, assign
from infra.components.storage import Storage
from node_bootstrap.protocol import BUNDLES, CONTROL, INPUTS, NODES, OUTPUTS, SCHEDULER

# It fetches its bundle and reads what nodes have made; it writes definitions, orders, its lease, and its boot records.
READS = (BUNDLES,)
WRITES = (INPUTS, OUTPUTS, NODES, CONTROL, SCHEDULER)

# Exactly what `scheduler.adapters.scale_set` asks for: read a set, write its capacity, delete instances by their ids,
# list them with their views, delete an empty set.
SCALE_SET_ACTIONS = (
    "Microsoft.Compute/virtualMachineScaleSets/read",
    "Microsoft.Compute/virtualMachineScaleSets/write",
    "Microsoft.Compute/virtualMachineScaleSets/delete",
    "Microsoft.Compute/virtualMachineScaleSets/delete/action",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/instanceView/read",
)
# A write on a set is checked for what the set's model links to, also when only the capacity is written: else
# 403 LinkedAuthorizationFailed (kubernetes/autoscaler and aks-engine issues; docs: permissions of a scale set's write).
# Marketplace images, disks made from them and the subnet's own security group are not linked in the model.
JOIN_ACTION = "Microsoft.Network/virtualNetworks/subnets/join/action"
LINKED_ACTIONS = (JOIN_ACTION, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")


@dataclass(frozen=True)
class SchedulerAccessArgs:
    """`batch_account_id` where pools of Azure Batch are declared; `subnets` are nodes' subnets in other groups."""

    placement: Placement
    environment: str
    storage: Storage
    batch_account_id: pulumi.Input[str] | None = None
    subnets: Sequence[str] = ()


class SchedulerAccess(pulumi.ComponentResource):
    """A managed identity, its roles for the data, and a role of its own for scale sets."""

    def __init__(self, name: str, args: SchedulerAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("millpond:identity:SchedulerAccess", name, {}, opts)
        place, inside = args.placement, within(self, args.placement)
        identity = managedidentity.UserAssignedIdentity(
            name,
            resource_name_=naming.identity(name),
            resource_group_name=place.group_name,
            location=place.location,
            tags=place.tags,
            opts=inside,
        )
        self.identity_id = identity.id
        self.identity_name = naming.identity(name)
        self.client_id = identity.client_id
        self.principal_id = identity.principal_id
        principal = Principal(identity.principal_id, "ServicePrincipal")
        grants = [
            *((container, Role.STORAGE_BLOB_DATA_READER) for container in READS),
            *((container, Role.STORAGE_BLOB_DATA_CONTRIBUTOR) for container in WRITES),
        ]
        given: list[authorization.RoleAssignment] = [
            assign(
                f"{name}-{container}",
                principal,
                role,
                args.storage.containers[container].id,
                place.subscription_id,
                inside,
            )
            for container, role in grants
        ]
        # All queues: it sends to every group's, reads the events and removes the queues of retired generations.
        given.append(
            assign(
                f"{name}-queues",
                principal,
                Role.STORAGE_QUEUE_DATA_CONTRIBUTOR,
                args.storage.account_id,
                place.subscription_id,
                inside,
            )
        )
        if args.batch_account_id is not None:
            given.append(
                assign(
                    f"{name}-batch",
                    principal,
                    Role.AZURE_BATCH_DATA_CONTRIBUTOR,
                    args.batch_account_id,
                    place.subscription_id,
                    inside,
                )
            )
        group_id = place.resource_group.id
        given.append(self._own_role(name, args, principal, group_id, (*SCALE_SET_ACTIONS, *LINKED_ACTIONS)))
        for number, subnet in enumerate(args.subnets):
            role = f"{name}-join-{number}"
            given.append(self._own_role(role, args, principal, subnet.split("/providers/")[0], (JOIN_ACTION,), subnet))
        self.granted = pulumi.Output.all(*(assignment.id for assignment in given))
        self.register_outputs({"client_id": self.client_id})

    def _own_role(
        self,
        name: str,
        args: SchedulerAccessArgs,
        principal: Principal,
        group_id: pulumi.Input[str],
        actions: Sequence[str],
        scope: str | None = None,
    ) -> authorization.RoleAssignment:
        """Define a role in a resource group, and give it on a scope: the group itself, or something in it.

        Not left to the group's deletion: a definition would stay behind in the tenant, and one that is still given
        cannot be deleted.
        """
        place, inside = args.placement, pulumi.ResourceOptions(parent=self)
        definition = authorization.RoleDefinition(
            f"{name}-role",
            role_definition_id=pulumi.Output.from_input(group_id).apply(
                lambda known: naming.role_definition(known, name)
            ),
            scope=group_id,
            # Unique in the tenant (docs: Azure custom roles), so that it carries subscription and environment.
            role_name=place.subscription_id.apply(lambda known: f"Millpond {args.environment} {name} ({known})"),
            role_type="CustomRole",
            description="What Millpond's scheduler does with the machines of its environment, and nothing else.",
            assignable_scopes=[group_id],
            permissions=[{"actions": list(actions), "not_actions": [], "data_actions": [], "not_data_actions": []}],
            opts=inside,
        )
        where: pulumi.Input[str] = scope or group_id
        return authorization.RoleAssignment(
            f"{name}-own-role",
            role_assignment_name=pulumi.Output.all(where, principal.principal_id, definition.id).apply(
                lambda parts: naming.role_assignment(*parts)
            ),
            scope=where,
            principal_id=principal.principal_id,
            principal_type=principal.principal_type,
            role_definition_id=definition.id,
            opts=inside,
        )
