"""The scheduler's host as the program declares it, under Pulumi's mocks."""

import base64
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from infra.components.roles import Role
from infra.components.scheduler_access import LINKED_ACTIONS, READS, SCALE_SET_ACTIONS, WRITES
from infra.components.scheduler_host import ADMINISTRATOR, REPLACED_ON
from infra.host_bundle import build_host_bundle
from infra.host_wheels import HostBundleError
from tests.infra.test_program import GROUP, STACK, Run, run
from tests.infra.test_scheduler_host_config import KEY

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
ONE_POOL = {
    **{key: value for key, value in STACK.items() if key != "windows_python"},
    "pools": [{"name": "risk", "image": "ubuntu-24.04", "groups": [GROUP]}],
}
HOST: Mapping[str, Any] = {
    "python": PYTHON,
    "ssh_public_key": KEY,
    "ssh_from": ["10.1.0.0/24"],
    "data_disk": {"size_gib": 64},
}
ROLE = "azure-native:authorization:RoleAssignment"
MACHINE = "azure-native:compute:VirtualMachine"


@pytest.fixture(scope="module")
def declared() -> Run:
    """A stack with a host."""
    return run({**ONE_POOL, "scheduler": HOST})


def profile_of(declared: Run) -> dict[str, Any]:
    """What the host's stage 0 is told."""
    (extension,) = declared.of("azure-native:compute:VirtualMachineExtension")
    script = base64.b64decode(extension.inputs["settings"]["script"]).decode()
    line = next(line for line in script.splitlines() if line.startswith("export MILLPOND_PROFILE="))
    return json.loads(line.removeprefix("export MILLPOND_PROFILE='").removesuffix("'"))


def test_without_the_setting_nothing_of_it_is_declared() -> None:
    """A stack whose scheduler runs elsewhere has no machine, disk, gateway or role of it."""
    kinds = {resource.type for resource in run(ONE_POOL).resources}
    assert not [kind for kind in kinds if re.search(r"VirtualMachine$|:Disk|NatGateway|PublicIP|RoleDefinition", kind)]


def test_nothing_comes_in_from_outside(declared: Run) -> None:
    """The machine has no public address; its subnet lets in a login from the private network named, and no more."""
    (interface,) = declared.of("azure-native:network:NetworkInterface")
    assert "publicIPAddress" not in interface.inputs["ipConfigurations"][0]
    group = declared.one("azure-native:network:NetworkSecurityGroup", "scheduler-network-nsg-scheduler")
    inbound = [rule for rule in group.inputs["securityRules"] if rule["direction"] == "Inbound"]
    allowed = [rule for rule in inbound if rule["access"] == "Allow"]
    assert [(r["sourceAddressPrefix"], r["destinationPortRange"]) for r in allowed] == [("10.1.0.0/24", "22")]
    assert max(inbound, key=lambda rule: rule["priority"])["access"] == "Deny"


def test_the_way_out_leads_to_azures_services_alone(declared: Run) -> None:
    """Resource manager, storage and the own network on 443, by a gateway; all else is denied."""
    (network,) = declared.of("azure-native:network:VirtualNetwork")
    subnet = next(found for found in network.inputs["subnets"] if found["name"] == "scheduler")
    (gateway,) = declared.of("azure-native:network:NatGateway")
    assert gateway.name in subnet["natGateway"]["id"]
    assert subnet["defaultOutboundAccess"] is False
    group = declared.one("azure-native:network:NetworkSecurityGroup", "scheduler-network-nsg-scheduler")
    outbound = [rule for rule in group.inputs["securityRules"] if rule["direction"] == "Outbound"]
    allowed = {rule["destinationAddressPrefix"]: rule for rule in outbound if rule["access"] == "Allow"}
    assert set(allowed) == {"AzureResourceManager", "Storage.westeurope", "VirtualNetwork"}
    assert {rule["destinationPortRange"] for rule in allowed.values()} == {"443"}
    last = max(outbound, key=lambda rule: rule["priority"])
    assert (last["access"], last["destinationAddressPrefix"]) == ("Deny", "*")


def test_its_role_has_the_actions_of_scaling_and_no_more(declared: Run) -> None:
    """The custom role names each action, is good in the group alone, and is taken away with the stack."""
    (definition,) = declared.of("azure-native:authorization:RoleDefinition")
    (permission,) = definition.inputs["permissions"]
    assert set(permission["actions"]) == {*SCALE_SET_ACTIONS, *LINKED_ACTIONS}
    assert not any("*" in action for action in permission["actions"])
    assert definition.inputs["assignableScopes"] == [definition.inputs["scope"]]
    assert definition.deleted_with == "", "a definition would outlive the group in its tenant"
    assignment = declared.one(ROLE, "scheduler-own-role")
    assert assignment.deleted_with == "", "a definition that is still given cannot be deleted"
    assert assignment.inputs["principalId"] == "principal-scheduler"


def test_its_data_roles_are_by_container(declared: Run) -> None:
    """It writes where the scheduler writes, reads what nodes made, and never gets the account's blobs as a whole."""
    given = [r for r in declared.of(ROLE) if r.inputs["principalId"] == "principal-scheduler"]
    blobs = {r.inputs["scope"].rsplit("-", 1)[-1]: r.inputs["roleDefinitionId"].rsplit("/", 1)[-1] for r in given}
    assert {name for name, role in blobs.items() if role == Role.STORAGE_BLOB_DATA_READER} == set(READS)
    assert {name for name, role in blobs.items() if role == Role.STORAGE_BLOB_DATA_CONTRIBUTOR} == set(WRITES)


def test_subnets_elsewhere_have_a_role_of_their_own() -> None:
    """A pool in a subnet of another group: joining it is allowed there, and nothing else is."""
    subnet = (
        "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg-hub/providers/Microsoft.Network"
        "/virtualNetworks/hub/subnets/nodes"
    )
    elsewhere = run({**ONE_POOL, "scheduler": HOST, "network": {"subnet_id": subnet}})
    definition = elsewhere.one("azure-native:authorization:RoleDefinition", "scheduler-join-0-role")
    assert definition.inputs["assignableScopes"] == [subnet.split("/providers/", maxsplit=1)[0]]
    assert definition.inputs["permissions"][0]["actions"] == [LINKED_ACTIONS[0]]
    assert elsewhere.one(ROLE, "scheduler-join-0-own-role").inputs["scope"] == subnet


def test_azure_batch_is_let_in_where_pools_of_it_are_declared(declared: Run) -> None:
    """Its data role on the account and its service tag are there with a Batch pool, and not without."""
    pool = {**ONE_POOL["pools"][0], "kind": "batch"}
    with_batch = run({**ONE_POOL, "pools": [pool], "scheduler": HOST})
    assignment = with_batch.one(ROLE, "scheduler-batch")
    assert assignment.inputs["roleDefinitionId"].endswith(Role.AZURE_BATCH_DATA_CONTRIBUTOR)
    with_tag, without = (
        str(made.one("azure-native:network:NetworkSecurityGroup", "scheduler-network-nsg-scheduler").inputs)
        for made in (with_batch, declared)
    )
    assert "BatchNodeManagement.westeurope" in with_tag
    assert "BatchNodeManagement" not in without
    assert not [made for made in declared.of(ROLE) if made.name == "scheduler-batch"]


def test_the_store_outlives_the_machine(declared: Run) -> None:
    """The disk is a resource of its own, retained; a new machine is made after the old one has let go of it."""
    (disk,) = declared.of("azure-native:compute:Disk")
    assert disk.retained
    assert disk.inputs["diskSizeGB"] == 64
    assert "protect: true" not in disk.text
    (machine,) = declared.of(MACHINE)
    (data,) = machine.inputs["storageProfile"]["dataDisks"]
    assert (data["createOption"], data["deleteOption"], data["lun"]) == ("Attach", "Detach", 0)
    assert disk.name in data["managedDisk"]["id"]
    assert "deleteBeforeReplace: true" in machine.text
    assert machine.replaced_on == REPLACED_ON
    assert "hardwareProfile.vmSize" not in machine.replaced_on


def test_nobody_logs_in_by_what_azure_was_shown(declared: Run) -> None:
    """No password, a key that nobody has; the declared key goes to the bootstrap, where it can be changed."""
    (machine,) = declared.of(MACHINE)
    linux = machine.inputs["osProfile"]["linuxConfiguration"]
    assert linux["disablePasswordAuthentication"] is True
    assert linux["ssh"]["publicKeys"][0]["keyData"] != KEY
    assert machine.ignored == ["osProfile.linuxConfiguration.ssh"]
    assert profile_of(declared)["ssh_public_key"] == KEY
    assert profile_of(declared)["administrator"] == ADMINISTRATOR
    assert machine.inputs["securityProfile"]["securityType"] == "TrustedLaunch"


def test_the_host_runs_the_bundle_of_the_present_sources(declared: Run) -> None:
    """Stage 0 names the bundle by its hash, the settings by their address, and no secret."""
    profile = profile_of(declared)
    assert profile["bundle_sha256"] == build_host_bundle(PYTHON).sha256
    assert profile["settings_url"] == declared.outputs["scheduler_settings_url"]
    assert profile["identity_client_id"] == "client-scheduler"
    assert declared.outputs["scheduler_host"]["machine"] == "vm-scheduler"


def test_a_preview_that_cannot_fetch_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is shown as unknown; everything else is planned as usual."""

    def offline(python: str) -> None:
        raise HostBundleError(f"no packages for {python}")

    monkeypatch.setattr("infra.components.scheduler.build_host_bundle", offline)
    planned = run({**ONE_POOL, "scheduler": HOST})
    (extension,) = planned.of("azure-native:compute:VirtualMachineExtension")
    assert "script" not in str(extension.inputs.get("settings"))
    assert planned.of(MACHINE)
