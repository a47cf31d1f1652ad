"""The options of a Pulumi resource, through the real engine: what is retained, protected, ignored, imported, secret."""

from pathlib import Path

import pulumi
import pulumi_azure_native as azure
import pytest
from pulumi import automation

from tests.infra.local.arm_stub import SUBSCRIPTION
from tests.infra.local.provider.test_server import GROUP_ID, Provider, engine_stack, served

__all__ = ["served"]

pytestmark = pytest.mark.system

IDENTITY_ID = f"{GROUP_ID}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
ACCOUNT_ID = f"{GROUP_ID}/providers/Microsoft.Storage/storageAccounts/acct"
PASSWORD = "correct-horse-battery"


def program() -> None:
    """Declare resources with the options that a program uses."""
    settings = pulumi.Config()
    group = azure.resources.ResourceGroup("group", resource_group_name="rg")  # its location is the configured one
    azure.managedidentity.UserAssignedIdentity(
        "identity",
        resource_group_name=group.name,
        resource_name_="id",
        location="westeurope",
        opts=pulumi.ResourceOptions(import_=IDENTITY_ID if settings.get_bool("import") else None),
    )
    account = azure.storage.StorageAccount(
        "account",
        resource_group_name=group.name,
        account_name="acct",
        kind="StorageV2",
        sku={"name": "Standard_LRS"},
        opts=pulumi.ResourceOptions(retain_on_delete=True),
    )
    azure.storage.BlobContainer(
        "container",
        resource_group_name=group.name,
        account_name=account.name,
        container_name="box",
        opts=pulumi.ResourceOptions(deleted_with=group),
    )
    azure.network.VirtualNetwork(
        "network",
        resource_group_name=group.name,
        virtual_network_name="net",
        tags={"color": settings.require("color")},
        opts=pulumi.ResourceOptions(ignore_changes=["tags"]),
    )
    azure.network.NetworkSecurityGroup(
        "guard", resource_group_name=group.name, opts=pulumi.ResourceOptions(protect=True)
    )
    azure.compute.VirtualMachineScaleSet(
        "nodes",
        resource_group_name=group.name,
        vm_scale_set_name="vmss",
        virtual_machine_profile={"os_profile": {"admin_password": pulumi.Output.secret(PASSWORD)}},
    )


@pytest.fixture
def stack(served: Provider, tmp_path: Path) -> automation.Stack:
    """Make a stack whose resource group is in the configured location."""
    made = engine_stack(served, tmp_path, program)
    for name, value in {"azure-native:location": "westeurope", "color": "red"}.items():
        made.set_config(name, automation.ConfigValue(value))
    return made


def test_options_mean_what_pulumi_says(served: Provider, stack: automation.Stack) -> None:
    """Imports are taken over, ignored changes ignored, protection holds, a refresh is quiet, the retained stays."""
    served.arm.resources[IDENTITY_ID.lower()] = {
        "id": IDENTITY_ID,
        "name": "id",
        "location": "westeurope",
        "properties": {"clientId": "c", "principalId": "p"},
    }
    stack.set_config("import", automation.ConfigValue("true"))
    assert stack.up().summary.resource_changes == {"create": 7, "import": 1}
    assert served.arm.resources[GROUP_ID.lower()]["location"] == "westeurope"
    assert "PUT id" not in served.arm.methods()

    state = Path(stack.workspace.work_dir, ".pulumi", "stacks", "tiny", "dev.json").read_text(encoding="utf-8")
    assert "adminPassword" in state
    assert PASSWORD not in state
    set_body = next(body for method, path, body in served.arm.requests if method == "PUT" and path.endswith("/vmss"))
    assert set_body["properties"]["virtualMachineProfile"]["osProfile"]["adminPassword"] == PASSWORD

    stack.set_config("color", automation.ConfigValue("blue"))
    assert stack.up().summary.resource_changes == {"same": 8}
    assert stack.refresh().summary.resource_changes == {"same": 8}

    with pytest.raises(automation.CommandError, match="protect"):
        stack.destroy()
    assert any("/networksecuritygroups/" in key for key in served.arm.resources)
    stack.workspace.pulumi_command.run(
        ["state", "unprotect", "--all", "--yes", "--stack", "dev"],
        str(stack.workspace.work_dir),
        stack.workspace.env_vars,
    )
    stack.destroy()
    deleted = {path.rpartition("/")[2] for method, path, _ in served.arm.requests if method == "DELETE"}
    assert {"acct", "box"}.isdisjoint(deleted)
    assert {"net", "id", "vmss", "rg"} <= deleted
    assert ACCOUNT_ID.lower() in served.arm.resources
    assert SUBSCRIPTION in ACCOUNT_ID
