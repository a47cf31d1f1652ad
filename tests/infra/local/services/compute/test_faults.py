"""Injected faults in compute: real in operations and instance views, with Azure's codes."""

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError

from infra.local.faults import FaultKind
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body
from tests.infra.local.machine_checks import code_of, eventually


def _create(running: RunningAzure, name: str, body: dict[str, Any]) -> Any:
    return running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, name, body).result(30)


def _states(running: RunningAzure, name: str) -> list[str]:
    listed = running.compute.virtual_machine_scale_set_vms.list(GROUP, name)
    return [str(found.provisioning_state) for found in listed]


def test_a_boot_failure_strikes_one_instance(running: RunningAzure) -> None:
    """The struck instance ends as failed without having run its script; the others run."""
    running.azure.faults.add(FaultKind.BOOT_FAILURE, target="pool_1", times=1)
    with pytest.raises(HttpResponseError) as failed:
        _create(running, "pool", scale_set_body(2, 'touch "$MILLPOND_ROOT/ran"'))
    assert code_of(failed) == "VMExtensionProvisioningError"
    assert _states(running, "pool") == ["Succeeded", "Failed"]
    assert not (running.layout.instances / "pool_1" / "root" / "ran").exists()
    view = running.compute.virtual_machine_scale_set_vms.get_instance_view(GROUP, "pool", "1")
    assert view.statuses[0].code == "ProvisioningState/failed/VMExtensionProvisioningError"


@pytest.mark.parametrize(("zones", "code"), [({}, "AllocationFailed"), ({"zones": ["2"]}, "ZonalAllocationFailed")])
def test_a_failed_allocation_fails_operation_and_instances(
    running: RunningAzure, zones: dict[str, Any], code: str
) -> None:
    """Without capacity in the region, or in the zone, the operation fails so, and its instances are not running."""
    running.azure.faults.add(FaultKind.ALLOCATION_FAILURE, target="pool", times=1)
    with pytest.raises(HttpResponseError, match="do not have sufficient capacity") as failed:
        _create(running, "pool", scale_set_body(2) | zones)
    assert code_of(failed) == code
    assert _states(running, "pool") == ["Failed", "Failed"]
    view = running.compute.virtual_machine_scale_set_vms.get_instance_view(GROUP, "pool", "0")
    assert [status.code for status in view.statuses] == [f"ProvisioningState/failed/{code}"]
    sets = running.compute.virtual_machine_scale_sets
    sets.begin_delete_instances(GROUP, "pool", {"instanceIds": ["*"]}).result(30)
    assert sets.begin_update(GROUP, "pool", {"sku": {"capacity": 1}}).result(30).sku.capacity == 1


def test_an_exceeded_quota_refuses_the_write(running: RunningAzure) -> None:
    """The raise is refused with 409 OperationNotAllowed and the text that tells a quota; a later one is taken."""
    _create(running, "pool", scale_set_body(1))
    running.azure.faults.add(FaultKind.QUOTA, target="po*", times=1)
    sets = running.compute.virtual_machine_scale_sets
    with pytest.raises(ResourceExistsError, match="exceeding approved Total Regional Cores quota") as refused:
        sets.begin_update(GROUP, "pool", {"sku": {"capacity": 2}})
    assert code_of(refused) == "OperationNotAllowed"
    assert sets.get(GROUP, "pool").sku.capacity == 1
    assert sets.begin_update(GROUP, "pool", {"sku": {"capacity": 2}}).result(30).sku.capacity == 2


def test_a_stuck_resize_ends_with_its_fault(running: RunningAzure) -> None:
    """The operation stays under way and the instances Creating until the fault is cleared; then they run."""
    fault = running.azure.faults.add(FaultKind.STUCK_RESIZE, target="pool", times=1)
    sets = running.compute.virtual_machine_scale_sets
    creation = sets.begin_create_or_update(GROUP, "pool", scale_set_body(1))
    booting = running.azure.store.unfinished(f"{running.group}/providers/{_SET}/pool/virtualMachines/0", "boot")[0]

    def looked_at_twice() -> bool:
        (now,) = running.azure.store.unfinished(booting.resource_id, "boot")
        return now.due > booting.due + 0.3

    eventually(looked_at_twice)
    assert (_states(running, "pool"), creation.status()) == (["Creating"], "InProgress")
    running.azure.faults.clear(fault.id)
    creation.result(30)
    assert _states(running, "pool") == ["Succeeded"]


_SET = "Microsoft.Compute/virtualMachineScaleSets"


def test_a_slow_boot_is_ordered_for_later(running: RunningAzure) -> None:
    """The struck instance is to boot after the fault's seconds, and stays Creating; the other runs."""
    running.azure.faults.add(FaultKind.SLOW_BOOT, target="pool_1", seconds=3600.0)
    running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", scale_set_body(2))
    eventually(lambda: _states(running, "pool") == ["Succeeded", "Creating"])
    (slow,) = running.azure.store.unfinished(f"{running.group}/providers/{_SET}/pool/virtualMachines/1", "boot")
    assert slow.due >= slow.created + 3600.0
