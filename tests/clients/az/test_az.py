"""The command line `az`, as it is published: `make test-az` installs it (733 MB) and asks for these tests."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import cached, opted_in
from tests.infra.local.conftest import RunningAzure

pytestmark = [
    pytest.mark.skipif(not opted_in("MILLPOND_TEST_AZ"), reason="MILLPOND_TEST_AZ is not 1; see `make test-az`"),
    pytest.mark.timeout(900),
]

VERSION = "2.91.0"
GROUP, PLACE = "clients", "westeurope"
IMAGE = "Canonical:ubuntu-24_04-lts:server:latest"
SIZE = "Standard_D2s_v5"

Az = Callable[..., Any]


@pytest.fixture(scope="module")
def program() -> Path:
    """Return the Python of a virtual environment with `az` in it, made at the first use."""
    folder = cached(f"azure-cli-{VERSION}")
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", f"azure-cli=={VERSION}"]
        subprocess.run(install, check=True)
        ready.touch()
    return python


@pytest.fixture(scope="module")
def az(
    program: Path, azure: RunningAzure, client_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Az]:
    """Return a function that runs one command of a signed-in `az` and reads its answer."""
    environment = client_environment | {
        "AZURE_CONFIG_DIR": str(tmp_path_factory.mktemp("config")),
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_LOGIN_EXPERIENCE_V2": "off",
        "AZURE_CORE_OUTPUT": "json",
    }

    def run(*arguments: str, refused: str | None = None) -> Any:
        command = [str(program), "-m", "azure.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if refused is not None:
            assert done.returncode != 0, arguments
            assert refused in done.stderr
            return None
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    account = azure.azure.account
    run("cloud", "register", "-n", "Local", "--endpoint-resource-manager", azure.azure.arm_url)
    run("cloud", "set", "-n", "Local")
    sign_in = ["login", "--service-principal", "-u", account.deployer.client_id, "--tenant", account.tenant_id]
    run(*sign_in, "-p", "wrong", refused="AADSTS7000215")
    signed_in = run(*sign_in, "-p", account.identity_header)
    assert signed_in[0]["id"] == account.subscription_id
    run("group", "create", "-n", GROUP, "-l", PLACE)
    yield run
    run("group", "delete", "-n", GROUP, "--yes")
    assert run("group", "exists", "-n", GROUP) is False
    assert run("resource", "list") == []


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the file of a public key."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return f"{path}.pub"


def test_groups_and_providers(az: Az) -> None:
    """Groups are listed, tagged and found; providers are registered and name their types and versions."""
    assert az("group", "exists", "-n", GROUP) is True
    assert az("group", "exists", "-n", "nowhere") is False
    az("group", "show", "-n", "nowhere", refused="ResourceGroupNotFound")
    assert az("group", "update", "-n", GROUP, "--set", "tags.team=risk")["tags"] == {"team": "risk"}
    assert [group["name"] for group in az("group", "list", "--tag", "team=risk")] == [GROUP]
    az("provider", "register", "-n", "Microsoft.Batch", "--wait")
    assert {"Microsoft.Compute", "Microsoft.Network"} <= {found["namespace"] for found in az("provider", "list")}
    kinds = {kind["resourceType"]: kind for kind in az("provider", "show", "-n", "Microsoft.Batch")["resourceTypes"]}
    assert kinds["batchAccounts"]["apiVersions"]
    assert PLACE in {found["name"] for found in az("account", "list-locations")}


def test_identities_and_roles(az: Az, azure: RunningAzure) -> None:
    """An identity is given a role by the role's name, and the assignment is listed with names."""
    identity = az("identity", "create", "-g", GROUP, "-n", "worker")
    assert az("identity", "show", "-g", GROUP, "-n", "worker")["principalId"] == identity["principalId"]
    scope = f"{azure.subscription}/resourceGroups/{GROUP}"
    az("role", "assignment", "create", "--assignee-object-id", identity["principalId"], "--assignee-principal-type",
       "ServicePrincipal", "--role", "Storage Blob Data Contributor", "--scope", scope)  # fmt: skip
    roles = [found["roleDefinitionName"] for found in az("role", "assignment", "list", "-g", GROUP)]
    assert "Storage Blob Data Contributor" in roles
    assert az("role", "definition", "list", "--name", "Reader")[0]["roleType"] == "BuiltInRole"


def test_storage_by_key_and_by_sign_in(az: Az, azure: RunningAzure, tmp_path: Path) -> None:
    """An account is made and its keys change; containers, blobs and queues are reached with the user's own token."""
    assert az("storage", "account", "check-name", "-n", "azstore")["nameAvailable"] is True
    account = az("storage", "account", "create", "-g", GROUP, "-n", "azstore", "-l", PLACE, "--sku", "Standard_LRS")
    assert az("storage", "account", "check-name", "-n", "azstore")["reason"] == "AlreadyExists"
    first = az("storage", "account", "keys", "list", "-g", GROUP, "-n", "azstore")[0]["value"]
    renewed = az("storage", "account", "keys", "renew", "-g", GROUP, "-n", "azstore", "--key", "key1")
    assert first not in {found["value"] for found in renewed}
    user = ["--assignee-object-id", azure.azure.account.deployer.object_id, "--assignee-principal-type",
            "ServicePrincipal", "--scope", account["id"]]  # fmt: skip
    for role in ("Storage Blob Data Owner", "Storage Queue Data Contributor"):
        az("role", "assignment", "create", "--role", role, *user)
    blob = ["--account-name", "azstore", "--auth-mode", "login", "--blob-endpoint", account["primaryEndpoints"]["blob"]]
    az("storage", "container", "create", "-n", "inputs", *blob)
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)))
    az("storage", "blob", "upload", "-c", "inputs", "-n", "a/b", "-f", str(sent), *blob)
    assert [found["name"] for found in az("storage", "blob", "list", "-c", "inputs", *blob)] == ["a/b"]
    az("storage", "blob", "download", "-c", "inputs", "-n", "a/b", "-f", str(tmp_path / "got"), *blob)
    assert (tmp_path / "got").read_bytes() == sent.read_bytes()
    queue = ["--account-name", "azstore", "--auth-mode", "login", "--queue-endpoint",
             account["primaryEndpoints"]["queue"]]  # fmt: skip
    az("storage", "queue", "create", "-n", "work", *queue)
    az("storage", "message", "put", "-q", "work", "--content", "one", *queue)
    assert az("storage", "message", "get", "-q", "work", *queue)[0]["content"] == "one"


def test_networks(az: Az) -> None:
    """Networks, rules, addresses, a gateway, a balancer from a template, an endpoint and its names are made."""
    here = ["-g", GROUP]
    az("network", "vnet", "create", *here, "-n", "net", "--address-prefix", "10.0.0.0/16", "--subnet-name", "nodes",
       "--subnet-prefix", "10.0.0.0/24")  # fmt: skip
    az("network", "nsg", "create", *here, "-n", "rules")
    az("network", "nsg", "rule", "create", *here, "--nsg-name", "rules", "-n", "none", "--priority", "4096", "--access",
       "Deny")  # fmt: skip
    subnet = ["network", "vnet", "subnet"]
    az(*subnet, "update", *here, "--vnet-name", "net", "-n", "nodes", "--nsg", "rules", "--service-endpoints",
       "Microsoft.Storage")  # fmt: skip
    overlap = ["--vnet-name", "net", "-n", "more", "--address-prefixes", "10.0.0.128/25"]
    az(*subnet, "create", *here, *overlap, refused="NetcfgSubnetRangesOverlap")
    az("network", "nsg", "delete", *here, "-n", "rules", refused="InUseNetworkSecurityGroupCannotBeDeleted")
    az("network", "public-ip", "create", *here, "-n", "address")
    az("network", "nat", "gateway", "create", *here, "-n", "gateway", "--public-ip-addresses", "address")
    az("network", "lb", "create", *here, "-n", "balancer", "--sku", "Standard", "--vnet-name", "net", "--subnet",
       "nodes")  # fmt: skip
    az("network", "nic", "create", *here, "-n", "interface", "--vnet-name", "net", "--subnet", "nodes")
    target = az("storage", "account", "create", *here, "-n", "aznetstore", "-l", PLACE, "--sku", "Standard_LRS")["id"]
    az("network", "private-endpoint", "create", *here, "-n", "endpoint", "--vnet-name", "net", "--subnet", "nodes",
       "--private-connection-resource-id", target, "--group-id", "blob", "--connection-name", "one")  # fmt: skip
    zone = "privatelink.blob.core.windows.net"
    az("network", "private-dns", "zone", "create", *here, "-n", zone)
    az("network", "private-dns", "link", "vnet", "create", *here, "-z", zone, "-n", "link", "-v", "net", "-e", "false")
    az("network", "private-endpoint", "dns-zone-group", "create", *here, "--endpoint-name", "endpoint", "-n", "default",
       "--private-dns-zone", zone, "--zone-name", "blob")  # fmt: skip
    records = az("network", "private-dns", "record-set", "a", "list", *here, "-z", zone)
    assert [record["name"] for record in records] == ["aznetstore"]
    assert az("network", "list-usages", "-l", PLACE)


def test_batch_accounts_and_pools(az: Az) -> None:
    """An account is made with its storage, shows and changes its keys, and its pool grows to a node and goes."""
    here = ["-g", GROUP, "-n", "azbatch"]
    az("storage", "account", "create", "-g", GROUP, "-n", "azauto", "-l", PLACE, "--sku", "Standard_LRS")
    account = az("batch", "account", "create", *here, "-l", PLACE, "--storage-account", "azauto")
    assert account["provisioningState"] == "Succeeded"
    az("batch", "account", "create", "-g", GROUP, "-n", "Wrong", "-l", PLACE, refused="AccountName")
    assert az("batch", "account", "show", *here)["accountEndpoint"] == account["accountEndpoint"]
    before = az("batch", "account", "keys", "list", *here)["primary"]
    assert az("batch", "account", "keys", "renew", *here, "--key-name", "primary")["primary"] != before
    az("batch", "account", "login", *here)
    az("batch", "pool", "create", "--id", "pool", "--vm-size", SIZE, "--target-dedicated-nodes", "0", "--image",
       "canonical:ubuntu-24_04-lts:server:latest", "--node-agent-sku-id", "batch.node.ubuntu 24.04")  # fmt: skip
    assert [pool["id"] for pool in az("batch", "pool", "list")] == ["pool"]
    az("batch", "pool", "delete", "--pool-id", "pool", "--yes")


def test_scale_sets(az: Az, key: str) -> None:
    """A set is made from a template, scales, and its instances are shown, stopped, started, renewed and deleted."""
    az("identity", "create", "-g", GROUP, "-n", "nodes")
    here = ["-g", GROUP, "-n", "nodes"]
    made = az("vmss", "create", *here, "--orchestration-mode", "Uniform", "--image", IMAGE, "--instance-count", "2",
              "--vm-sku", SIZE, "--admin-username", "azureuser", "--ssh-key-values", key, "--upgrade-policy-mode",
              "Manual", "--assign-identity", "nodes")  # fmt: skip
    assert made["vmss"]["provisioningState"] == "Succeeded"
    az("vmss", "scale", *here, "--new-capacity", "3")
    instances = az("vmss", "list-instances", *here)
    assert [found["instanceId"] for found in instances] == ["0", "1", "2"]
    assert az("vmss", "get-instance-view", *here)["virtualMachine"]["statusesSummary"][0]["count"] == 3
    az("vmss", "deallocate", *here, "--instance-ids", "1")
    view = az("vmss", "get-instance-view", *here, "--instance-id", "1")
    assert "PowerState/deallocated" in {status["code"] for status in view["statuses"]}
    for verb in ("start", "restart", "reimage"):
        az("vmss", verb, *here, "--instance-ids", "1")
    az("vmss", "simulate-eviction", *here, "--instance-id", "0", refused="OperationNotAllowed")
    az("vmss", "delete-instances", *here, "--instance-ids", "2")
    assert az("vmss", "show", *here)["sku"]["capacity"] == 2
    az("network", "lb", "delete", "-g", GROUP, "-n", "nodesLB", refused="LoadBalancerInUseByVirtualMachineScaleSet")
    az("vmss", "delete", *here)


def test_spot_instances_are_evicted(az: Az, key: str) -> None:
    """The eviction of a Spot instance can be simulated, and it goes."""
    here = ["-g", GROUP, "-n", "spot"]
    az("vmss", "create", *here, "--orchestration-mode", "Uniform", "--image", IMAGE, "--instance-count", "1",
       "--vm-sku", SIZE, "--admin-username", "azureuser", "--ssh-key-values", key, "--priority", "Spot",
       "--eviction-policy", "Delete", "--lb", "")  # fmt: skip
    az("vmss", "simulate-eviction", *here, "--instance-id", "0")
    az("vmss", "delete", *here)


def test_flexible_sets_and_single_machines(az: Az, key: str) -> None:
    """A set of the default mode has machines of its own, and a single machine is made, stopped and deleted."""
    access = ["--image", IMAGE, "--admin-username", "azureuser", "--ssh-key-values", key]
    made = az("vmss", "create", "-g", GROUP, "-n", "flexible", "--instance-count", "1", "--vm-sku", SIZE, *access)
    assert made["vmss"]["orchestrationMode"] == "Flexible"
    assert len(az("vmss", "list-instances", "-g", GROUP, "-n", "flexible")) == 1
    here = ["-g", GROUP, "-n", "host"]
    assert az("vm", "create", *here, "--size", SIZE, *access)["powerState"] == "VM running"
    az("vm", "deallocate", *here)
    az("vm", "delete", *here, "--yes")


def test_templates_are_deployed(az: Az, tmp_path: Path) -> None:
    """A template with comments is validated and deployed, and shows its outputs and operations; a wrong one is told."""
    template = tmp_path / "template.json"
    template.write_text(
        """{
  // what it makes
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
  "contentVersion": "1.0.0.0",
  "parameters": {"name": {"type": "string"}},
  "resources": [{
    "type": "Microsoft.Network/networkSecurityGroups", "apiVersion": "2024-05-01",
    "name": "[toLower(parameters('name'))]", "location": "[resourceGroup().location]"
  }],
  "outputs": {"RuleCount": {"type": "int",
    "value": "[length(reference(toLower(parameters('name'))).defaultSecurityRules)]"}}
}"""
    )
    here = ["-g", GROUP, "--template-file", str(template), "-p", "name=Deployed"]
    assert az("deployment", "group", "validate", *here)["properties"]["provisioningState"] == "Succeeded"
    deployed = az("deployment", "group", "create", "-n", "one", *here)
    assert deployed["properties"]["outputs"]["ruleCount"]["value"] == 6
    assert len(az("deployment", "operation", "group", "list", "-g", GROUP, "-n", "one")) == 1
    template.write_text(template.read_text().replace("toLower(", "lower("))
    az("deployment", "group", "create", "-n", "two", *here, refused="InvalidTemplate")


def test_resources_and_tags(az: Az) -> None:
    """What lies in a group is listed by type and tag, and tags are changed by themselves."""
    az("network", "nsg", "create", "-g", GROUP, "-n", "tagged", "--tags", "use=this")
    found = az("resource", "list", "--tag", "use=this")
    assert [resource["name"] for resource in found] == ["tagged"]
    kind = ["--resource-type", "Microsoft.Network/networkSecurityGroups"]
    assert az("resource", "show", "-g", GROUP, "-n", "tagged", *kind)["id"] == found[0]["id"]
    tags = az("tag", "update", "--resource-id", found[0]["id"], "--operation", "merge", "--tags", "more=that")
    assert tags["properties"]["tags"] == {"use": "this", "more": "that"}
