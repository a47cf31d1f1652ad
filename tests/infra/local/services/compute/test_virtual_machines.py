"""Virtual machines, their extensions and disks, through the unchanged compute client and with real processes."""

import base64
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.network import NetworkManagementClient

from tests.infra.local.conftest import GROUP, RunningAzure
from tests.infra.local.machine_checks import code_of, eventually, processes

_UBUNTU = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}


def _interface(running: RunningAzure, name: str) -> str:
    client = running.client(NetworkManagementClient)
    subnet = {"name": "main", "properties": {"addressPrefix": "10.0.0.0/24"}}
    prefixes = {"addressPrefixes": ["10.0.0.0/16"]}
    body = {"location": "westeurope", "properties": {"addressSpace": prefixes, "subnets": [subnet]}}
    network = client.virtual_networks.begin_create_or_update(GROUP, "net", body).result(30)
    address = {"name": "address", "properties": {"subnet": {"id": network.subnets[0].id}}}
    nic = {"location": "westeurope", "properties": {"ipConfigurations": [address]}}
    made = client.network_interfaces.begin_create_or_update(GROUP, name, nic).result(30)
    client.close()
    return str(made.id)


def _disk(running: RunningAzure, name: str) -> str:
    body = {"location": "westeurope", "properties": {"diskSizeGB": 8, "creationData": {"createOption": "Empty"}}}
    return str(running.compute.disks.begin_create_or_update(GROUP, name, body).result(30).id)


def _body(interface: str, disk: str | None = None) -> dict[str, Any]:
    data = {"lun": 0, "createOption": "Attach", "managedDisk": {"id": disk}}
    return {
        "location": "westeurope",
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": {
                "imageReference": dict(_UBUNTU),
                "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"},
                "dataDisks": [data] if disk else [],
            },
            "osProfile": {"computerName": "host", "adminUsername": "someone", "adminPassword": "Pa55word!"},
            "networkProfile": {"networkInterfaces": [{"id": interface, "properties": {"primary": True}}]},
        },
    }


def _extension(script: str) -> dict[str, Any]:
    return {
        "location": "westeurope",
        "properties": {
            "publisher": "Microsoft.Azure.Extensions",
            "type": "CustomScript",
            "typeHandlerVersion": "2.1",
            "settings": {"script": base64.b64encode(script.encode()).decode()},
        },
    }


def _put(running: RunningAzure, name: str, body: dict[str, Any]) -> Any:
    return running.compute.virtual_machines.begin_create_or_update(GROUP, name, body).result(30)


def _extend(running: RunningAzure, machine: str, body: dict[str, Any], name: str = "bootstrap") -> Any:
    extensions = running.compute.virtual_machine_extensions
    return extensions.begin_create_or_update(GROUP, machine, name, body).result(30)


def test_a_machine_runs_its_extension_with_its_disk_and_outlives_restarts(running: RunningAzure) -> None:
    """The script of an extension runs when it is put, finds the data disk, and runs again when the machine restarts."""
    made = _put(running, "host", _body(_interface(running, "nic"), _disk(running, "store")))
    assert (made.provisioning_state, made.os_profile.admin_password) == ("Succeeded", None)
    assert running.compute.disks.get(GROUP, "store").disk_state == "Attached"
    script = 'echo run >> "$MILLPOND_DATA_DISK_0/runs"; echo hello; nohup sleep 300 >/dev/null 2>&1 &'
    assert _extend(running, "host", _extension(script)).provisioning_state == "Succeeded"
    runs = running.layout.local / "disks" / "store" / "runs"
    assert runs.read_text() == "run\n"
    view = running.compute.virtual_machines.instance_view(GROUP, "host")
    assert "hello" in view.extensions[0].statuses[0].message
    assert view.statuses[-1].code == "PowerState/running"
    (before,) = processes(running, "host")
    _extend(running, "host", _extension(script))
    assert processes(running, "host") == [before], "an extension that is put unchanged does not run again"
    running.compute.virtual_machines.begin_restart(GROUP, "host").result(30)
    (after,) = processes(running, "host")
    assert (after != before, runs.read_text()) == (True, "run\nrun\n")
    _extend(running, "host", _extension(script.replace("run >>", "changed >>")))
    assert runs.read_text() == "run\nrun\nchanged\n"


def test_a_data_disk_outlives_its_machine_and_cannot_go_before_it(running: RunningAzure) -> None:
    """Deleting a machine takes its own disk, and leaves the attached one with what is on it to be deleted later."""
    _put(running, "host", _body(_interface(running, "nic"), _disk(running, "store")))
    _extend(running, "host", _extension('echo kept > "$MILLPOND_DATA_DISK_0/file"'))
    with pytest.raises(ResourceExistsError, match="is attached to VM"):
        running.compute.disks.begin_delete(GROUP, "store")
    assert len(list(running.compute.disks.list())) == 2
    running.compute.virtual_machines.begin_delete(GROUP, "host").result(30)
    eventually(lambda: [found.name for found in running.compute.disks.list()] == ["store"])
    folder = running.layout.local / "disks" / "store"
    assert (folder / "file").read_text() == "kept\n"
    assert not (running.layout.instances / "host").exists()
    assert running.compute.disks.get(GROUP, "store").disk_state == "Unattached"
    running.compute.disks.begin_delete(GROUP, "store").result(30)
    assert not folder.exists()


def test_a_failing_extension_fails_alone_and_can_be_mended(running: RunningAzure) -> None:
    """The end of its output is in the error; the machine runs on, and a changed extension runs."""
    _put(running, "host", _body(_interface(running, "nic")))
    with pytest.raises(HttpResponseError, match="out of cheese") as failed:
        _extend(running, "host", _extension("echo out of cheese; exit 4"))
    assert code_of(failed) == "VMExtensionProvisioningError"
    extensions = running.compute.virtual_machine_extensions
    shown = extensions.get(GROUP, "host", "bootstrap", expand="instanceView")
    assert shown.provisioning_state == "Failed"
    assert shown.instance_view.statuses[0].level == "Error"
    assert running.compute.virtual_machines.get(GROUP, "host").provisioning_state == "Succeeded"
    assert _extend(running, "host", _extension("exit 0")).provisioning_state == "Succeeded"
    with pytest.raises(HttpResponseError, match="Multiple VMExtensions per handler"):
        _extend(running, "host", _extension("exit 0"), "another")
    extensions.begin_delete(GROUP, "host", "bootstrap").result(30)
    assert list(extensions.list(GROUP, "host").value) == []


def test_power_of_a_machine(running: RunningAzure) -> None:
    """Deallocated, a machine has no process and takes no extension; started, it runs again."""
    machines = running.compute.virtual_machines
    _put(running, "host", _body(_interface(running, "nic"), _disk(running, "store")))
    _extend(running, "host", _extension("nohup sleep 300 >/dev/null 2>&1 &"))
    machines.begin_deallocate(GROUP, "host").result(30)
    assert machines.instance_view(GROUP, "host").statuses[-1].code == "PowerState/deallocated"
    assert (processes(running, "host"), running.compute.disks.get(GROUP, "store").disk_state) == ([], "Reserved")
    with pytest.raises(ResourceExistsError, match="when the VM is not running"):
        _extend(running, "host", _extension("exit 0"))
    machines.begin_start(GROUP, "host").result(30)
    assert len(processes(running, "host")) == 1
    machines.begin_power_off(GROUP, "host").result(30)
    assert machines.instance_view(GROUP, "host").statuses[-1].code == "PowerState/stopped"
    machines.begin_start(GROUP, "host").result(30)
    for process in processes(running, "host"):
        process.kill()
    eventually(lambda: machines.instance_view(GROUP, "host").statuses[-1].code == "PowerState/stopped")
    assert machines.get(GROUP, "host").provisioning_state == "Succeeded"


def test_a_machine_knows_itself_and_runs_custom_data(running: RunningAzure) -> None:
    """Custom data that is a script runs at boot; the metadata service names the machine, which is in no set."""
    body = _body(_interface(running, "nic"))
    script = '#!/bin/bash\necho "$AZURE_POD_IDENTITY_AUTHORITY_HOST" > "$MILLPOND_ROOT/metadata"\n'
    body["properties"]["osProfile"]["customData"] = base64.b64encode(script.encode()).decode()
    made = _put(running, "host", body)
    assert made.os_profile.custom_data is None
    address = (running.layout.instances / "host" / "root" / "metadata").read_text().strip()
    answer = httpx.get(f"{address}/metadata/instance?api-version=2021-02-01", headers={"Metadata": "true"})
    document = answer.json()["compute"]
    assert (document["name"], document["vmScaleSetName"], document["vmId"]) == ("host", "", made.vm_id)


def test_what_a_machine_cannot_have_is_refused(running: RunningAzure) -> None:
    """Missing interfaces and disks, those of others, unknown sizes and images, and other images later, are refused."""
    interface, disk = _interface(running, "nic"), _disk(running, "store")
    with pytest.raises(HttpResponseError) as missing:
        _put(running, "host", _body(interface + "x"))
    assert code_of(missing) == "InvalidResourceReference"
    body = _body(interface)
    body["properties"]["hardwareProfile"]["vmSize"] = "Standard_None_v9"
    with pytest.raises(HttpResponseError, match="Standard_None_v9 provided for the VM size is not valid"):
        _put(running, "host", body)
    body = _body(interface)
    body["properties"]["storageProfile"]["imageReference"]["sku"] = "none"
    with pytest.raises(ResourceNotFoundError) as image:
        _put(running, "host", body)
    assert code_of(image) == "PlatformImageNotFound"
    _put(running, "host", _body(interface, disk))
    with pytest.raises(ResourceExistsError) as used:
        _put(running, "other", _body(_interface(running, "nic2"), disk))
    assert code_of(used) == "ConflictingUserInput"
    body = _body(interface, disk)
    body["properties"]["storageProfile"]["imageReference"]["sku"] = "minimal"
    with pytest.raises(ResourceExistsError) as changed:
        _put(running, "host", body)
    assert code_of(changed) == "PropertyChangeNotAllowed"


def test_putting_a_machine_again_changes_nothing(running: RunningAzure) -> None:
    """The same body leaves disks, processes and ids; another size restarts the machine."""
    body = _body(_interface(running, "nic"), _disk(running, "store"))
    first = _put(running, "host", body)
    _extend(running, "host", _extension("nohup sleep 300 >/dev/null 2>&1 &"))
    before = processes(running, "host")
    second = _put(running, "host", body)
    assert (second.vm_id, second.storage_profile.os_disk.name) == (first.vm_id, first.storage_profile.os_disk.name)
    assert processes(running, "host") == before
    body["properties"]["hardwareProfile"]["vmSize"] = "Standard_D4s_v5"
    assert _put(running, "host", body).hardware_profile.vm_size == "Standard_D4s_v5"
    assert len(processes(running, "host")) == 1
    assert processes(running, "host") != before
    assert len(list(running.compute.disks.list())) == 2


def test_a_windows_machine_cannot_be_allocated_here(running: RunningAzure) -> None:
    """On this host a Windows image ends in AllocationFailed, with a sentence that says what to do."""
    body = _body(_interface(running, "nic"))
    reference = {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter-g2"}
    body["properties"]["storageProfile"]["imageReference"] |= reference
    with pytest.raises(HttpResponseError, match="Choose a Linux image") as failed:
        _put(running, "host", body)
    assert code_of(failed) == "AllocationFailed"
