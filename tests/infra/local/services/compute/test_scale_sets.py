"""Scale sets, driven by the unchanged compute client over HTTPS."""

import json
from pathlib import Path
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

from infra.local import supervisor
from infra.local.processes import marked
from tests.infra.local.conftest import GROUP, RunningAzure, scale_set_body
from tests.infra.local.machine_checks import code_of, eventually, processes

# A machine with a runner and a task in a session of its own, as nodes have them.
_BUSY = """\
nohup sleep 300 >/dev/null 2>&1 &
MILLPOND_TASK_INDEX=7 setsid sleep 300 >/dev/null 2>&1 &
"""


def _create(running: RunningAzure, name: str, body: dict[str, Any]) -> Any:
    return running.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, name, body).result(30)


def _ids(running: RunningAzure, name: str) -> list[str]:
    return [found.instance_id for found in running.compute.virtual_machine_scale_set_vms.list(GROUP, name)]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_capacity_becomes_instances_that_ran_their_script(running: RunningAzure) -> None:
    """Each unit of capacity is an instance with a folder, an environment and a finished script, listed in pages."""
    created = _create(running, "pool", scale_set_body(3, 'env > "$MILLPOND_ROOT/seen"; pwd'))
    assert created.provisioning_state == "Succeeded"
    assert created.sku.capacity == 3
    listed = list(running.compute.virtual_machine_scale_set_vms.list(GROUP, "pool", expand="instanceView"))
    assert [found.instance_id for found in listed] == ["0", "1", "2"]
    assert [found.name for found in listed] == ["pool_0", "pool_1", "pool_2"]
    assert {found.provisioning_state for found in listed} == {"Succeeded"}
    assert {found.latest_model_applied for found in listed} == {True}
    assert listed[0].instance_view.statuses[-1].code == "PowerState/running"
    seen = (running.layout.instances / "pool_0" / "root" / "seen").read_text()
    assert "MILLPOND_INSTANCE=pool_0" in seen
    assert f"AZURE_POD_IDENTITY_AUTHORITY_HOST={running.azure.metadata_url}/vm/" in seen
    assert running.azure.account.identity_header not in seen


def test_named_deletion_lowers_the_capacity_and_ids_never_return(running: RunningAzure) -> None:
    """Deleting instance 1 of three leaves 0 and 2 and capacity 2; growing again gives 3, not 1."""
    _create(running, "pool", scale_set_body(3))
    running.compute.virtual_machine_scale_sets.begin_delete_instances(GROUP, "pool", {"instanceIds": ["1"]}).result(30)
    assert _ids(running, "pool") == ["0", "2"]
    assert running.compute.virtual_machine_scale_sets.get(GROUP, "pool").sku.capacity == 2
    running.compute.virtual_machine_scale_sets.begin_update(GROUP, "pool", {"sku": {"capacity": 3}}).result(30)
    assert _ids(running, "pool") == ["0", "2", "3"]
    with pytest.raises(HttpResponseError, match="not an active Virtual Machine Scale Set VM instanceId") as refused:
        running.compute.virtual_machine_scale_sets.begin_delete_instances(GROUP, "pool", {"instanceIds": ["1"]})
    assert refused.value.status_code == 400


def test_a_lower_capacity_deletes_instances_whether_busy_or_not(running: RunningAzure) -> None:
    """The service picks the victims, kills their tasks, and the judge's log says so: the danger nodes are spared."""
    _create(running, "pool", scale_set_body(2, _BUSY))
    eventually(lambda: len(processes(running, "pool_1")) == 2)
    running.compute.virtual_machine_scale_sets.begin_update(GROUP, "pool", {"sku": {"capacity": 1}}).result(30)
    assert _ids(running, "pool") == ["0"]
    assert processes(running, "pool_1") == []
    assert len(processes(running, "pool_0")) == 2
    (line,) = _lines(running.layout.deletes_log)
    assert (line["node_id"], line["task_processes"], line["tasks"]) == ("pool_1", 1, ["7"])
    (patch,) = [line for line in _lines(running.layout.requests_log) if line["method"] == "PATCH"]
    assert (patch["capacity"], patch["status"]) == (1, 200)


def test_a_changed_model_does_not_touch_instances(running: RunningAzure) -> None:
    """A PUT with another size and script merges; the instance keeps its processes and shows the old model."""
    _create(running, "pool", scale_set_body(1, _BUSY))
    eventually(lambda: len(processes(running, "pool_0")) == 2)
    before = {process.pid for process in processes(running, "pool_0")}
    changed = {"location": "westeurope", "sku": {"name": "Standard_D4s_v5", "capacity": "1"}, "tags": {"a": "b"}}
    result = _create(running, "pool", changed)
    assert result.virtual_machine_profile.os_profile.computer_name_prefix == "node"
    assert (result.sku.name, result.sku.capacity, result.tags) == ("Standard_D4s_v5", 1, {"a": "b"})
    instance = running.compute.virtual_machine_scale_set_vms.get(GROUP, "pool", "0")
    assert instance.latest_model_applied is False
    assert instance.sku.name == "Standard_D2s_v5"
    model = {"virtualMachineProfile": {"userData": "aGVsbG8="}}
    sets = running.compute.virtual_machine_scale_sets
    sets.begin_update(GROUP, "pool", {"properties": model}).result(30)
    assert sets.get(GROUP, "pool").virtual_machine_profile.user_data is None
    assert sets.get(GROUP, "pool", expand="userData").virtual_machine_profile.user_data == "aGVsbG8="
    assert {process.pid for process in processes(running, "pool_0")} == before


def test_a_stale_etag_is_refused(running: RunningAzure) -> None:
    """A conditional raise is taken once; with the same etag again, or after a deletion, it is refused with 412."""
    sets = running.compute.virtual_machine_scale_sets
    first = _create(running, "pool", scale_set_body(1))
    condition = {"etag": first.etag, "match_condition": MatchConditions.IfNotModified}
    sets.begin_update(GROUP, "pool", {"sku": {"capacity": 2}}, **condition).result(30)
    with pytest.raises(ResourceModifiedError):
        sets.begin_update(GROUP, "pool", {"sku": {"capacity": 3}}, **condition)
    second = sets.get(GROUP, "pool")
    assert second.etag != first.etag
    sets.begin_delete_instances(GROUP, "pool", {"instanceIds": ["0"]}).result(30)
    assert sets.get(GROUP, "pool").etag != second.etag


def test_what_azure_refuses_is_refused(running: RunningAzure) -> None:
    """Quota, missing capacity, unknown references get the codes that clients act on."""
    with pytest.raises(ResourceExistsError, match="Cores quota") as quota:
        _create(running, "pool", scale_set_body(11))
    assert code_of(quota) == "OperationNotAllowed"
    body = scale_set_body(1)
    del body["sku"]["capacity"]
    with pytest.raises(HttpResponseError, match=r"sku\.capacity"):
        _create(running, "pool", body)
    body = scale_set_body(1)
    body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {f"{running.group}/providers/x/y/z": {}}}
    with pytest.raises(HttpResponseError) as identity:
        _create(running, "pool", body)
    assert code_of(identity) == "FailedIdentityOperation"
    with pytest.raises(ResourceNotFoundError):
        running.compute.virtual_machine_scale_sets.get(GROUP, "pool")


def test_a_failing_bootstrap_fails_instance_and_operation(running: RunningAzure) -> None:
    """The end of what the script printed is in the error; the instance stays, as failed."""
    with pytest.raises(HttpResponseError, match="out of cheese") as failed:
        _create(running, "pool", scale_set_body(1, "echo out of cheese; exit 3"))
    assert code_of(failed) == "VMExtensionProvisioningError"
    assert running.compute.virtual_machine_scale_sets.get(GROUP, "pool").provisioning_state == "Failed"
    view = running.compute.virtual_machine_scale_set_vms.get_instance_view(GROUP, "pool", "0")
    assert view.statuses[0].code == "ProvisioningState/failed/VMExtensionProvisioningError"


def test_a_windows_image_cannot_be_allocated_here(running: RunningAzure) -> None:
    """On this host a Windows image ends in AllocationFailed, with a sentence that says what to do."""
    body = scale_set_body(1)
    image = body["properties"]["virtualMachineProfile"]["storageProfile"]["imageReference"]
    image.update(publisher="MicrosoftWindowsServer", offer="WindowsServer", sku="2022-datacenter-g2")
    with pytest.raises(HttpResponseError, match="Choose a Linux image") as failed:
        _create(running, "pool", body)
    assert code_of(failed) == "AllocationFailed"


def test_a_killed_machine_is_listed_as_failed_and_can_be_restarted(running: RunningAzure) -> None:
    """After the kill fault nothing of the machine runs, and its instance says so until it is restarted."""
    _create(running, "pool", scale_set_body(1, _BUSY))
    eventually(lambda: len(processes(running, "pool_0")) == 2)
    assert supervisor.kill_instance(running.layout.home, "pool_0") == 2
    assert processes(running, "pool_0") == []
    instances = running.compute.virtual_machine_scale_set_vms
    eventually(lambda: instances.get(GROUP, "pool", "0").provisioning_state == "Failed")
    (instance,) = instances.list(GROUP, "pool", expand="instanceView")
    assert [status.code for status in instance.instance_view.statuses] == [
        "ProvisioningState/failed/VMStoppedUnexpectedly",
        "PowerState/stopped",
    ]
    instances.begin_restart(GROUP, "pool", "0").result(30)
    assert len(processes(running, "pool_0")) == 2
    assert instances.get_instance_view(GROUP, "pool", "0").statuses[-1].code == "PowerState/running"
    with pytest.raises(supervisor.LocalAzureError, match="there are: pool_0"):
        supervisor.kill_instance(running.layout.home, "pool_9")


def test_a_machine_killed_in_its_boot_fails(running: RunningAzure) -> None:
    """Killed with its launcher, an instance fails as one whose extension was killed, and does not boot for ever."""
    sets = running.compute.virtual_machine_scale_sets
    creation = sets.begin_create_or_update(GROUP, "pool", scale_set_body(1, "sleep 300"))
    eventually(lambda: len(processes(running, "pool_0")) == 3)
    supervisor.kill_instance(running.layout.home, "pool_0")
    with pytest.raises(HttpResponseError, match="exit status=137") as failed:
        creation.result(30)
    assert code_of(failed) == "VMExtensionProvisioningError"


def test_protected_instances_survive_a_lower_capacity(running: RunningAzure) -> None:
    """The instance protected from scaling in stays; the other goes."""
    _create(running, "pool", scale_set_body(2))
    protection = {"location": "westeurope", "properties": {"protectionPolicy": {"protectFromScaleIn": True}}}
    running.compute.virtual_machine_scale_set_vms.begin_update(GROUP, "pool", "1", protection).result(30)
    running.compute.virtual_machine_scale_sets.begin_update(GROUP, "pool", {"sku": {"capacity": 1}}).result(30)
    assert _ids(running, "pool") == ["1"]


def test_deleting_a_group_kills_its_machines(running: RunningAzure) -> None:
    """After the deletion of the resource group neither resources nor processes nor folders are left."""
    _create(running, "pool", scale_set_body(1, _BUSY))
    eventually(lambda: len(processes(running, "pool_0")) == 2)
    running.resources.resource_groups.begin_delete(GROUP).result(30)
    assert not running.resources.resource_groups.check_existence(GROUP)
    assert processes(running, "pool_0") == []
    assert list(running.layout.instances.iterdir()) == []
    assert running.azure.store.find() == []


def test_state_survives_a_restart_in_the_middle_of_an_operation(tmp_path: Path) -> None:
    """An operation under way goes on after a restart on the same ports; machines live through it."""
    first = RunningAzure(tmp_path)
    first.resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    script = 'echo $$ > "$MILLPOND_ROOT/pid"; until [ -e "$MILLPOND_ROOT/go" ]; do sleep 0.05; done'
    first.compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", scale_set_body(1, script))
    root = first.layout.instances / "pool_0" / "root"
    eventually((root / "pid").exists)
    url = first.azure.arm_url
    first.close()
    second = RunningAzure(tmp_path)
    try:
        assert second.azure.arm_url == url
        (instance,) = second.compute.virtual_machine_scale_set_vms.list(GROUP, "pool")
        assert instance.provisioning_state == "Creating"
        (root / "go").touch()
        eventually(lambda: _succeeded(second))
        second.resources.resource_groups.begin_delete(GROUP).result(30)
    finally:
        second.close()
    assert not list(marked(lambda environment: environment.get("MILLPOND_ROOT") == str(root)))


def _succeeded(served: RunningAzure) -> bool:
    found = served.compute.virtual_machine_scale_sets.get(GROUP, "pool")
    return bool(found.provisioning_state == "Succeeded")


def test_a_booting_instance_can_be_deleted(running: RunningAzure) -> None:
    """Deleted in the middle of its script, an instance leaves no process, and the creation of the set still ends."""
    sets = running.compute.virtual_machine_scale_sets
    creation = sets.begin_create_or_update(GROUP, "pool", scale_set_body(2, "sleep 300 & wait"))
    eventually(lambda: all(processes(running, f"pool_{number}") for number in range(2)))
    sets.begin_delete_instances(GROUP, "pool", {"instanceIds": ["0"]}).result(30)
    assert processes(running, "pool_0") == []
    running.compute.virtual_machine_scale_set_vms.begin_delete(GROUP, "pool", "1").result(30)
    assert creation.result(30).sku.capacity == 0
    assert _ids(running, "pool") == []
    assert not list(running.layout.instances.iterdir())


def test_a_deleted_set_ends_its_operations_and_its_name_is_free(running: RunningAzure) -> None:
    """Deleting a set preempts its creation; a set of the same name begins anew with instance 0."""
    sets = running.compute.virtual_machine_scale_sets
    creation = sets.begin_create_or_update(GROUP, "pool", scale_set_body(1, "sleep 300"))
    sets.begin_delete(GROUP, "pool").result(30)
    with pytest.raises(HttpResponseError) as preempted:
        creation.result(30)
    assert code_of(preempted) == "OperationPreempted"
    _create(running, "pool", scale_set_body(1))
    assert _ids(running, "pool") == ["0"]


def test_sets_of_one_name_in_two_groups_do_not_mix(running: RunningAzure) -> None:
    """Instance 0 of a set of another group has a folder and processes of its own; deleting one spares the other."""
    _create(running, "pool", scale_set_body(1, _BUSY))
    running.resources.resource_groups.create_or_update("other", {"location": "westeurope"})
    sets = running.compute.virtual_machine_scale_sets
    sets.begin_create_or_update("other", "pool", scale_set_body(1, _BUSY)).result(30)
    assert len(processes(running, "pool_0")) == len(processes(running, "pool_0~other")) == 2
    running.resources.resource_groups.begin_delete("other").result(30)
    assert (len(processes(running, "pool_0")), processes(running, "pool_0~other")) == (2, [])
