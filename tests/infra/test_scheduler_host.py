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
POSTGRESQL = "azure-native:dbforpostgresql"
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


@pytest.fixture(scope="module")
def with_database() -> Run:
    """A stack whose scheduler keeps its store in a database."""
    host = {key: value for key, value in HOST.items() if key != "data_disk"}
    database = {
        "sku": "Standard_D2ds_v5",
        "storage_gib": 128,
        "backup_days": 30,
        "geo_redundant_backup": True,
        "high_availability": "zone-redundant",
        "zone": "1",
        "standby_zone": "3",
    }
    return run({**ONE_POOL, "protect": True, "scheduler": {**host, "database": database}})


def test_a_database_is_declared_as_it_is_written(with_database: Run) -> None:
    """Size, storage, backups and the second server are the settings' own, and the name is the environment's."""
    (server,) = with_database.of(f"{POSTGRESQL}:Server")
    assert server.inputs["sku"] == {"name": "Standard_D2ds_v5", "tier": "GeneralPurpose"}
    assert server.inputs["storage"] == {"storageSizeGB": 128, "autoGrow": "Enabled"}
    assert server.inputs["backup"] == {"backupRetentionDays": 30, "geoRedundantBackup": "Enabled"}
    assert server.inputs["highAvailability"] == {"mode": "ZoneRedundant", "standbyAvailabilityZone": "3"}
    assert (server.inputs["version"], server.inputs["availabilityZone"]) == ("16", "1")
    assert re.fullmatch(r"mptest[0-9a-f]{12}", server.inputs["serverName"])
    assert {"availabilityZone", "backup.geoRedundantBackup"} <= set(server.ignored), "a change would make a new server"


def test_nobody_signs_in_to_the_database_with_a_password(with_database: Run) -> None:
    """Entra alone, the scheduler's identity alone, and no password or administrator's name anywhere."""
    (server,) = with_database.of(f"{POSTGRESQL}:Server")
    expected = {"activeDirectoryAuth": "Enabled", "passwordAuth": "Disabled", "tenantId": "tenant"}
    assert server.inputs["authConfig"] == expected
    assert not [key for key in server.inputs if "administratorLogin" in key]
    (administrator,) = with_database.of(f"{POSTGRESQL}:AdministratorsMicrosoftEntra")
    inputs = {key: administrator.inputs[key] for key in ("objectId", "principalName", "principalType", "tenantId")}
    assert inputs == {
        "objectId": "principal-scheduler",
        "principalName": "id-scheduler",
        "principalType": "servicePrincipal",
        "tenantId": "tenant",
    }


def test_the_database_is_reached_from_the_own_network_alone(with_database: Run) -> None:
    """No public access and no firewall rule; a private endpoint with its zone, and a way out of the host to it."""
    (server,) = with_database.of(f"{POSTGRESQL}:Server")
    assert server.inputs["network"] == {"publicNetworkAccess": "Disabled"}
    assert not with_database.of(f"{POSTGRESQL}:FirewallRule")
    endpoint = with_database.one("azure-native:network:PrivateEndpoint", "pe-scheduler-database")
    (connection,) = endpoint.inputs["privateLinkServiceConnections"]
    assert connection["groupIds"] == ["postgresqlServer"]
    assert server.name in connection["privateLinkServiceId"]
    zones = [zone.inputs["privateZoneName"] for zone in with_database.of("azure-native:privatedns:PrivateZone")]
    assert zones == ["privatelink.postgres.database.azure.com"]
    group = with_database.one("azure-native:network:NetworkSecurityGroup", "scheduler-network-nsg-scheduler")
    (rule,) = [rule for rule in group.inputs["securityRules"] if rule["destinationPortRange"] == "5432"]
    assert (rule["access"], rule["destinationAddressPrefix"]) == ("Allow", "10.64.192.0/18")


def test_the_database_is_the_store_and_outlives_the_machine(with_database: Run) -> None:
    """The host has no data disk; it gets the database's address, without a password; server and data are retained."""
    assert not with_database.of("azure-native:compute:Disk")
    (machine,) = with_database.of(MACHINE)
    assert machine.inputs["storageProfile"].get("dataDisks", []) == []
    address = profile_of(with_database)["store_url"]
    (server,) = with_database.of(f"{POSTGRESQL}:Server")
    host = f"{server.inputs['serverName']}.postgres.database.azure.com"
    assert address == f"postgresql+psycopg://id-scheduler@{host}/millpond?sslmode=verify-full"
    assert with_database.outputs["scheduler_host"]["store"] == address
    kept = [*with_database.of(f"{POSTGRESQL}:Server"), *with_database.of(f"{POSTGRESQL}:Database")]
    assert all(part.retained and part.protected for part in kept)


def test_without_a_database_nothing_of_it_is_declared(declared: Run) -> None:
    """A store on the disk has no server, no rule for one, and no address in the profile."""
    assert not [resource.type for resource in declared.resources if resource.type.startswith(POSTGRESQL)]
    assert "5432" not in str(declared.of("azure-native:network:NetworkSecurityGroup"))
    assert profile_of(declared)["store_url"] is None
    assert declared.outputs["scheduler_host"]["store"] == "sqlite on the data disk"


def test_a_preview_that_cannot_fetch_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle is shown as unknown; everything else is planned as usual."""

    def offline(python: str) -> None:
        raise HostBundleError(f"no packages for {python}")

    monkeypatch.setattr("infra.components.scheduler.build_host_bundle", offline)
    planned = run({**ONE_POOL, "scheduler": HOST})
    (extension,) = planned.of("azure-native:compute:VirtualMachineExtension")
    assert "script" not in str(extension.inputs.get("settings"))
    assert planned.of(MACHINE)
