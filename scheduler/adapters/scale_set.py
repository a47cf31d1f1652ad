"""`Capacity` over Uniform virtual machine scale sets, by azure-mgmt-compute.

No operation is waited for: one failed extension fails a whole operation, so instances and status blobs are the truth
(design decision 3).
"""

from typing import Any

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.pipeline.transport import HttpTransport
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute import models as compute

from scheduler.adapters.azure_capacity import (
    CONNECTION_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    retry_policy,
    still_there,
)
from scheduler.adapters.azure_errors import has_capacity_code, translated
from scheduler.errors import ConflictError, NotFoundError, PreconditionError
from scheduler.model import Instance, InstanceState, NodeGroup, ScaleSetView
from scheduler.ports.capacity import check_raise

_PROVISIONING = {
    "creating": InstanceState.CREATING,
    "deleting": InstanceState.DELETING,
    "failed": InstanceState.FAILED,
    "canceled": InstanceState.FAILED,
}
_STOPPED = frozenset(
    {"PowerState/stopped", "PowerState/stopping", "PowerState/deallocated", "PowerState/deallocating"},
)


class ScaleSetCapacity:
    """The scale sets of one resource group. One thread calls it."""

    def __init__(
        self,
        credential: TokenCredential,
        subscription_id: str,
        resource_group: str,
        resource_manager: str,
        transport: HttpTransport[Any, Any] | None = None,
    ) -> None:
        """Use the resource manager at an https address; `transport` replaces the SDK's own, as a proxy may need."""
        self._client = ComputeManagementClient(
            credential,
            subscription_id,
            base_url=resource_manager.rstrip("/"),
            credential_scopes=[resource_manager.rstrip("/") + "/.default"],
            retry_policy=retry_policy(),
            connection_timeout=CONNECTION_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            transport=transport,
        )
        self._resource_group = resource_group

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read the set, then list all its instances; None when the set does not exist."""
        try:
            found = self._read(group)
            instances = self._instances(group)
        except NotFoundError:
            return None
        error = _late_refusal(found, instances)
        return ScaleSetView(group.scale_set, _capacity(found), found.etag or "", instances, error)

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Ask for more machines than there are, provided that the set is as it was read."""
        check_raise(group, view, capacity)
        if not view.etag:
            raise PreconditionError(f"the reading of scale set {group.scale_set} has no ETag to guard a write with")
        with translated(f"asking {capacity} instances of scale set {group.scale_set} in place of {view.capacity}"):
            self._client.virtual_machine_scale_sets.begin_update(
                self._resource_group,
                group.scale_set,
                compute.VirtualMachineScaleSetUpdate(sku=compute.Sku(capacity=capacity)),
                etag=view.etag,
                match_condition=MatchConditions.IfNotModified,
                polling=False,
            )

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Delete exactly these instances. The service refuses ids that are gone, so the present ones are asked for."""
        try:
            listed = self._instances(group)
        except NotFoundError:
            return
        present = still_there(listed, instance_ids)
        if not present:
            return
        with translated(f"deleting instances {', '.join(present)} of scale set {group.scale_set}"):
            self._client.virtual_machine_scale_sets.begin_delete_instances(
                self._resource_group,
                group.scale_set,
                compute.VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=present),
                polling=False,
            )

    def delete_group(self, group: NodeGroup) -> None:
        """Delete an empty set."""
        view = self.observe(group)
        if view is None:
            return
        if view.instances or view.capacity:
            raise ConflictError(
                f"the scale set {group.scale_set} still has {len(view.instances)} instances and capacity "
                f"{view.capacity}; remove them first"
            )
        try:
            with translated(f"deleting scale set {group.scale_set}"):
                self._client.virtual_machine_scale_sets.begin_delete(
                    self._resource_group, group.scale_set, polling=False
                )
        except NotFoundError:
            return

    def _read(self, group: NodeGroup) -> compute.VirtualMachineScaleSet:
        with translated(f"reading scale set {group.scale_set}"):
            return self._client.virtual_machine_scale_sets.get(self._resource_group, group.scale_set)

    def _instances(self, group: NodeGroup) -> tuple[Instance, ...]:
        with translated(f"listing the instances of scale set {group.scale_set}"):
            machines = self._client.virtual_machine_scale_set_vms.list(
                self._resource_group, group.scale_set, expand="instanceView"
            )
            return tuple(_instance(group, machine) for machine in machines)


def _capacity(found: compute.VirtualMachineScaleSet) -> int:
    return int(found.sku.capacity or 0) if found.sku is not None else 0


def _late_refusal(found: compute.VirtualMachineScaleSet, instances: tuple[Instance, ...]) -> str | None:
    """Say why nodes that were asked for will not come: an instance without a machine, or none where one is due."""
    refused = [instance.error for instance in instances if has_capacity_code(instance.error)]
    if refused:
        return refused[0]
    state = str(found.provisioning_state or "").lower()
    if state == "failed" and _capacity(found) > len(instances):
        return f"the scale set is in state Failed with {len(instances)} of {_capacity(found)} instances"
    return None


def _instance(group: NodeGroup, machine: compute.VirtualMachineScaleSetVM) -> Instance:
    statuses = machine.instance_view.statuses or [] if machine.instance_view is not None else []
    state = _PROVISIONING.get(str(machine.provisioning_state or "").lower(), InstanceState.RUNNING)
    if state is InstanceState.RUNNING and any(status.code in _STOPPED for status in statuses):
        state = InstanceState.STOPPED
    errors = (f"{status.code}: {status.message}" for status in statuses if status.level == "Error")
    identifier = str(machine.instance_id)
    return Instance(identifier, machine.name or f"{group.scale_set}_{identifier}", state, "; ".join(errors))
