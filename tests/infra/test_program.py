"""The program under Pulumi's mocks: what it declares, how it is guarded, and what it gives out."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pulumi
import pytest
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import get_root_resource, reset_options

from infra.components.environment import FIXED
from infra.components.roles import (
    BLOB_DELETE,
    BLOB_READ,
    MESSAGE_DELETE,
    MESSAGE_READ,
    Role,
    on_queues,
    without,
)
from infra.components.scale_set import IGNORED
from infra.config import parse
from infra.program import AZURE_CLI, declare
from node_bootstrap.protocol import CONTAINERS

SUBSCRIPTION = "00000000-0000-0000-0000-00000000000a"
GROUP = {"name": "d2sv5", "vm_size": "Standard_D2s_v5"}
SPOT = {"name": "spot", "vm_size": "Standard_D4s_v5", "priority": "spot"}
STACK: Mapping[str, Any] = {
    "windows_python": {"url": "https://python.example/embed.zip", "sha256": "2" * 64},
    "environment": "test",
    "location": "westeurope",
    "pools": [
        {"name": "risk", "image": "ubuntu-24.04", "groups": [GROUP, SPOT], "tags": {"team": "risk"}},
        {"name": "pricing", "image": "windows-2022", "groups": [GROUP]},
    ],
}
# What the provider adds to a name that it makes.
SUFFIX = "0123abcd"
# Pulumi's mark of a secret on the wire.
SECRET = "4dabf18193072939515e22adb298388d"
OF_PARENTS = {
    "azure-native:storage:Queue": ("resourceGroupName", "accountName"),
}
SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
ROLE = "azure-native:authorization:RoleAssignment"


@dataclass
class Declared:
    """A resource as the program registered it."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    urn: str
    parent: str
    retained: bool
    deleted_with: str
    ignored: list[str]
    replaced_on: list[str]
    text: str
    protected: bool


@dataclass
class Azure(mocks.Mocks):
    """Answers as Azure would, in the shape of its responses."""

    client_id: str = AZURE_CLI
    group: ClassVar[str | None] = None

    def call(self, args: mocks.MockCallArgs) -> Any:
        """Say who deploys."""
        assert args.token == "azure-native:authorization:getClientConfig"
        return {
            "clientId": self.client_id,
            "objectId": "deployer",
            "subscriptionId": SUBSCRIPTION,
            "tenantId": "tenant",
        }

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Make a resource with an id and what its kind adds."""
        state = {key: value for key, value in args.inputs.items() if key != "identity"}
        outer = OF_PARENTS.get(args.typ, ("resourceGroupName",))
        names = [value for key, value in args.inputs.items() if key.endswith("Name") and key not in outer]
        if args.typ.endswith(":StorageAccount"):
            host = f"{args.inputs['accountName']}.{{}}.core.windows.net"
            state["primaryEndpoints"] = {kind: f"https://{host.format(kind)}/" for kind in ("blob", "queue")}
        if args.typ.endswith(":UserAssignedIdentity"):
            state |= {"principalId": f"principal-{args.name}", "clientId": f"client-{args.name}"}
        if args.typ == "azure-native:dbforpostgresql:Server":
            state["fullyQualifiedDomainName"] = f"{args.inputs['serverName']}.postgres.database.azure.com"
        if args.typ.endswith(":BatchAccount"):
            state["accountEndpoint"] = f"{args.name}.westeurope.batch.azure.com"
        state.setdefault(
            "name",
            (self.group or args.inputs.get("resourceGroupName"))
            if args.typ.endswith("ResourceGroup")
            else (names or [f"{args.name}{SUFFIX}"])[0],
        )
        return f"/{args.typ.rsplit(':', 1)[-1]}/{args.name}", state


@dataclass
class Run:
    """What a run of the program registered and exported."""

    resources: list[Declared] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> list[Declared]:
        """All resources of a type."""
        return [resource for resource in self.resources if resource.type == kind]

    def one(self, kind: str, name: str) -> Declared:
        """The resource of that type and name."""
        (found,) = [resource for resource in self.of(kind) if resource.name == name]
        return found


class Recorder(mocks.MockMonitor):
    """A monitor that keeps the options of each registration, which mocks do not see."""

    def __init__(self, azure: Azure, run: Run) -> None:
        super().__init__(azure)
        self.run = run

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        """Record and go on."""
        response = super().RegisterResource(request)
        sent = rpc.deserialize_properties(request.object, keep_unknowns=True)
        self.run.resources.append(
            Declared(
                request.type,
                request.name,
                {key: rpc.unwrap_rpc_secret(value) for key, value in sent.items()},
                response.urn,
                request.parent,
                request.retainOnDelete,
                request.deletedWith,
                list(request.ignoreChanges),
                list(request.replaceOnChanges),
                str(request),
                request.protect,
            )
        )
        return response


def run(values: Mapping[str, Any] = STACK, client_id: str = AZURE_CLI) -> Run:
    """Run the program in a preview whose resources are all known."""
    done, azure = Run(), Azure(client_id)
    # The stack of an earlier run in this process would keep what that one exported.
    reset_options()
    mocks.set_mocks(azure, project="millpond", stack="test", preview=True, monitor=Recorder(azure, done))

    @pulumi.runtime.test
    def program() -> Any:
        declare(parse(values), "https://management.azure.com")
        return pulumi.Output.all(**get_root_resource().outputs).apply(done.outputs.update)

    program()
    return done


@pytest.fixture(scope="module")
def declared() -> Run:
    """One run of the program for all tests that only look."""
    return run()


def test_everything_of_azure_belongs_to_a_component(declared: Run) -> None:
    """Each resource but the group has a component of ours as parent, and the tokens are the project's."""
    for resource in declared.resources:
        if resource.type.startswith("azure-native:") and not resource.type.endswith(":ResourceGroup"):
            assert re.search(r"millpond:\w+:\w+$", resource.parent.split("::")[2]), resource.urn
        elif not resource.type.startswith(("azure-native:", "pulumi:")):
            assert re.fullmatch(r"millpond:\w+:\w+", resource.type), resource.urn


def test_all_goes_with_the_resource_group(declared: Run) -> None:
    """Destroying deletes the group alone, so that it is whole also where old node groups are retained."""
    (group,) = declared.of("azure-native:resources:ResourceGroup")
    assert not group.retained
    parts = [r for r in declared.resources if r.type.startswith("azure-native:") and r is not group]
    assert [r.urn for r in parts if r.deleted_with != group.urn] == []


def test_nodes_and_data_outlive_their_declaration(declared: Run) -> None:
    """What nodes work with, and what they wrote, is retained when the stack no longer names it."""
    kinds = {
        "azure-native:storage:StorageAccount",
        "azure-native:storage:BlobContainer",
        "azure-native:storage:Queue",
        "azure-native:managedidentity:UserAssignedIdentity",
        SCALE_SET,
    }
    assert [r.urn for r in declared.resources if r.type in kinds and not r.retained] == []
    assert [r.urn for r in declared.of(ROLE) if not r.retained and not r.name.startswith("deployer")] == []


def test_scale_sets_begin_empty_and_are_never_updated(declared: Run) -> None:
    """Capacity and tags are ignored, credentials too, and any other change would replace and not update."""
    assert len(declared.of(SCALE_SET)) == 3
    for scale_set in declared.of(SCALE_SET):
        assert scale_set.inputs["sku"]["capacity"] == 0
        assert scale_set.ignored == IGNORED
        assert scale_set.replaced_on == ["*"]
        assert scale_set.inputs["vmScaleSetName"] == f"{scale_set.name}{SUFFIX}"
        assert re.fullmatch(r"(risk|pricing)-(d2sv5|spot)-[0-9a-f]{8}", scale_set.name)


def test_a_scale_set_is_left_to_the_scheduler_alone(declared: Run) -> None:
    """Uniform, upgraded by nobody, with no spare, repaired or restored instance (design decision 17)."""
    for scale_set in declared.of(SCALE_SET):
        inputs = scale_set.inputs
        assert inputs["orchestrationMode"] == "Uniform"
        assert inputs["upgradePolicy"]["mode"] == "Manual"
        assert inputs["upgradePolicy"]["automaticOSUpgradePolicy"]["enableAutomaticOSUpgrade"] is False
        assert inputs["automaticRepairsPolicy"]["enabled"] is False
        assert inputs["overprovision"] is False
        assert inputs["singlePlacementGroup"] is False


def test_spot_groups_alone_are_spot(declared: Run) -> None:
    """A Spot group is evicted by deletion and not restored; the others say nothing of eviction."""
    for scale_set in declared.of(SCALE_SET):
        profile = scale_set.inputs["virtualMachineProfile"]
        spot = "-spot-" in scale_set.name
        assert profile["priority"] == ("Spot" if spot else "Regular")
        assert profile.get("evictionPolicy") == ("Delete" if spot else None)
        assert scale_set.inputs.get("spotRestorePolicy") == ({"enabled": False} if spot else None)


def test_each_generation_has_a_queue_of_its_own(declared: Run) -> None:
    """The queue is named by the provider, anew each time it is declared, and the set as the queue is."""
    queues = {r.name: r.inputs.get("queueName") for r in declared.of("azure-native:storage:Queue")}
    assert queues == {"storage-events": "events", **{r.name: None for r in declared.of(SCALE_SET)}}


def test_storage_takes_entra_tokens_only(declared: Run) -> None:
    """No shared keys, no public blobs, TLS 1.2; the protocol's containers are there."""
    (account,) = declared.of("azure-native:storage:StorageAccount")
    assert account.inputs["allowSharedKeyAccess"] is False
    assert account.inputs["allowBlobPublicAccess"] is False
    assert account.inputs["minimumTlsVersion"] == "TLS1_2"
    containers = declared.of("azure-native:storage:BlobContainer")
    assert {r.inputs["containerName"] for r in containers} == set(CONTAINERS)


def test_age_removes_only_what_nodes_say_of_themselves(declared: Run) -> None:
    """No lifecycle rule reaches inputs, outputs, bundles, control or the scheduler's own blobs."""
    (policy,) = declared.of("azure-native:storage:ManagementPolicy")
    rules = policy.inputs["policy"]["rules"]
    prefixes = [prefix for rule in rules for prefix in rule["definition"]["filters"]["prefixMatch"]]
    assert sorted(prefixes) == ["nodes/boot/", "nodes/status/"]


def rules(done: Run) -> list[tuple[str, str, str, str]]:
    """The nodes' security rules in the order in which Azure asks them: direction, access, destination, port."""
    (security_group,) = done.of("azure-native:network:NetworkSecurityGroup")
    ordered = sorted(security_group.inputs["securityRules"], key=lambda rule: rule["priority"])
    assert all(rule["sourceAddressPrefix"] == "*" for rule in ordered)
    return [
        (rule["direction"], rule["access"], rule["destinationAddressPrefix"], rule["destinationPortRange"])
        for rule in ordered
    ]


def test_a_node_needs_storage_and_the_metadata_address_and_nothing_else(declared: Run) -> None:
    """Nothing comes in; out goes HTTPS to the region's storage alone. Rules do not apply to the metadata address."""
    assert rules(declared) == [
        ("Outbound", "Allow", "Storage.westeurope", "443"),
        ("Inbound", "Deny", "*", "*"),
        ("Outbound", "Deny", "*", "*"),
    ]
    (security_group,) = declared.of("azure-native:network:NetworkSecurityGroup")
    (network,) = declared.of("azure-native:network:VirtualNetwork")
    nodes, *others = network.inputs["subnets"]
    assert nodes["networkSecurityGroup"]["id"].endswith(security_group.name)
    assert nodes["serviceEndpoints"] == [{"service": "Microsoft.Storage"}]
    assert [subnet["name"] for subnet in others] == ["scheduler", "endpoints"]
    assert not any(subnet["defaultOutboundAccess"] for subnet in network.inputs["subnets"])


def test_storage_lets_in_the_nodes_and_named_deployers_alone() -> None:
    """Nobody is let in by default; deployers are named by public addresses, or all are let in where that is written."""
    for deployers, action, addresses, subnets in (
        ([], "Deny", [], 1),
        (["203.0.114.7", "203.0.115.0/24"], "Deny", ["203.0.114.7", "203.0.115.0/24"], 1),
        ("any", "Allow", [], 0),
    ):
        (account,) = run({**STACK, "network": {"deployers": deployers}}).of("azure-native:storage:StorageAccount")
        firewall = account.inputs["networkRuleSet"]
        assert firewall["defaultAction"] == action
        assert [rule["iPAddressOrRange"] for rule in firewall["ipRules"]] == addresses
        assert len(firewall["virtualNetworkRules"]) == subnets


KEY_VAULT = {
    "id": (
        "/subscriptions/00000000-0000-0000-0000-00000000000a/resourceGroups/rg/providers/Microsoft.KeyVault"
        "/vaults/kv-batch"
    ),
    "url": "https://kv-batch.vault.azure.net/",
}
BATCH_POOL = {
    "name": "batchy",
    "kind": "batch",
    "image": "windows-2025-core",
    "groups": [{**SPOT, "zones": ["1", "2", "3"], "data_disk": {"size_gb": 32}, "task_slots": 3}],
}
CLOSED: Mapping[str, Any] = {
    **STACK,
    "batch": {"allocation_mode": "user-subscription", "key_vault": KEY_VAULT, "public_network_access": False},
    "network": {"storage_access": "private-endpoint"},
    "pools": [STACK["pools"][0], BATCH_POOL],
}


@pytest.fixture(scope="module")
def closed() -> Run:
    """A stack with private endpoints and a Batch pool."""
    return run(CLOSED)


def test_a_closed_stack_has_private_ways_to_its_accounts(closed: Run) -> None:
    """Blobs, queues and both parts of the Batch account have an endpoint each, with their names in zones of ours."""
    endpoints = closed.of("azure-native:network:PrivateEndpoint")
    parts = [one["groupIds"] for r in endpoints for one in r.inputs["privateLinkServiceConnections"]]
    assert sorted(part for (part,) in parts) == ["batchAccount", "blob", "nodeManagement", "queue"]
    assert {r.inputs["privateZoneName"] for r in closed.of("azure-native:privatedns:PrivateZone")} == {
        "privatelink.blob.core.windows.net",
        "privatelink.queue.core.windows.net",
        "privatelink.batch.azure.com",
    }
    assert len(closed.of("azure-native:privatedns:VirtualNetworkLink")) == 3
    assert len(closed.of("azure-native:network:PrivateDnsZoneGroup")) == len(endpoints)
    (account,) = closed.of("azure-native:storage:StorageAccount")
    assert account.inputs["networkRuleSet"]["defaultAction"] == "Deny"
    assert account.inputs["networkRuleSet"]["virtualNetworkRules"] == []


def test_nodes_of_azure_batch_need_its_node_management_too(closed: Run) -> None:
    """Besides storage, simplified communication and the endpoints' subnet are let out, and still nothing comes in."""
    assert rules(closed) == [
        ("Outbound", "Allow", "Storage.westeurope", "443"),
        ("Outbound", "Allow", "BatchNodeManagement.westeurope", "443"),
        ("Outbound", "Allow", "10.64.192.0/18", "443"),
        ("Inbound", "Deny", "*", "*"),
        ("Outbound", "Deny", "*", "*"),
    ]


def test_a_batch_account_is_linked_to_the_storage_by_an_identity(closed: Run) -> None:
    """No keys: Entra tokens for people, an identity with a role for the linked storage, the vault by its id."""
    (account,) = closed.of("azure-native:batch:BatchAccount")
    assert account.inputs["allowedAuthenticationModes"] == ["AAD"]
    assert account.inputs["poolAllocationMode"] == "UserSubscription"
    assert account.inputs["keyVaultReference"] == KEY_VAULT
    assert account.inputs["publicNetworkAccess"] == "Disabled"
    assert account.inputs["autoStorage"] == {
        "storageAccountId": "/StorageAccount/storage",
        "authenticationMode": "BatchAccountManagedIdentity",
    }
    assert account.inputs["identity"] == {
        "type": "UserAssigned",
        "userAssignedIdentities": ["/UserAssignedIdentity/id-batch"],
    }
    assert account.retained
    assert closed.outputs["batch_endpoint"] == "https://mptest.westeurope.batch.azure.com"


def test_a_batch_pool_begins_empty_and_is_never_updated(closed: Run) -> None:
    """A generation like that of a scale set: nodes are the scheduler's, tags are ignored, any other change replaces."""
    (pool,) = closed.of("azure-native:batch:Pool")
    fixed = pool.inputs["scaleSettings"]["fixedScale"]
    assert (fixed["targetDedicatedNodes"], fixed["targetLowPriorityNodes"]) == (0, 0)
    assert pool.ignored == ["scaleSettings", "tags"]
    assert pool.replaced_on == ["*"]
    assert pool.retained
    assert pool.inputs["poolName"] == f"{pool.name}{SUFFIX}"
    assert pool.inputs["targetNodeCommunicationMode"] == "Simplified"
    assert pool.inputs["networkConfiguration"]["publicIPAddressConfiguration"] == {"provision": "NoPublicIPAddresses"}
    machine = pool.inputs["deploymentConfiguration"]["virtualMachineConfiguration"]
    assert machine["nodeAgentSkuId"] == "batch.node.windows amd64"
    assert machine["nodePlacementConfiguration"] == {"policy": "Zonal"}
    start = pool.inputs["startTask"]
    assert start["commandLine"].startswith("powershell.exe ")
    assert start["waitForSuccess"] is True
    assert start["userIdentity"]["autoUser"] == {"scope": "Pool", "elevationLevel": "Admin"}
    (group,) = next(pool for pool in closed.outputs["pools"] if pool["name"] == "batchy")["groups"]
    assert (group["kind"], group["priority"], group["task_slots"]) == ("batch", "spot", 3)


def test_a_stack_of_scale_sets_has_no_batch_account(declared: Run) -> None:
    """A subscription may have very few: one is declared only where it is wanted."""
    assert declared.of("azure-native:batch:BatchAccount") == []
    assert "batch_endpoint" not in declared.outputs


def test_disks_zones_and_prices_are_as_declared() -> None:
    """What a group says of its machines is what its scale set is made with."""
    group = {
        **SPOT,
        "vm_size": "Standard_D4ds_v4",
        "zones": [1, 3],
        "os_disk": {"size_gb": 64, "ephemeral": True},
        "data_disk": {"size_gb": 128, "type": "Premium_LRS"},
        "spot_max_price": 0.05,
    }
    (scale_set,) = run({**STACK, "pools": [{**STACK["pools"][0], "groups": [group]}]}).of(SCALE_SET)
    profile = scale_set.inputs["virtualMachineProfile"]
    assert scale_set.inputs["zones"] == ["1", "3"]
    assert profile["billingProfile"] == {"maxPrice": 0.05}
    assert profile["storageProfile"]["osDisk"]["diffDiskSettings"] == {"option": "Local", "placement": "ResourceDisk"}
    (disk,) = profile["storageProfile"]["dataDisks"]
    assert (disk["diskSizeGB"], disk["managedDisk"]) == (128, {"storageAccountType": "Premium_LRS"})


def test_an_environment_is_neither_renamed_nor_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's group stays the one that it is, and with other settings nothing else is declared."""
    assert run().one("azure-native:resources:ResourceGroup", "resource-group").ignored == FIXED
    monkeypatch.setattr(Azure, "group", "rg-millpond-old")
    with pytest.raises(pulumi.RunError, match="is the resource group rg-millpond-old"):
        run()


def test_protection_holds_the_group_and_the_data() -> None:
    """With `protect`, the engine itself refuses to remove the resource group or the storage account."""
    protected = [r.type.rsplit(":")[-1] for r in run({**STACK, "protect": True}).resources if r.protected]
    assert sorted(protected) == ["ResourceGroup", "StorageAccount"]
    assert not any(r.protected for r in run().resources)


def test_a_pool_may_do_what_its_nodes_do(declared: Run) -> None:
    """The pool's identity reads three containers, writes two, sends events and works on its own queues alone."""
    given = {
        (r.inputs["scope"], r.inputs["roleDefinitionId"].rsplit("/", 1)[-1], r.inputs.get("condition"))
        for r in declared.of(ROLE)
        if r.inputs["principalId"] == "principal-id-risk"
    }
    own_queues = on_queues("risk-*", MESSAGE_READ, MESSAGE_DELETE)
    assert given == {
        *(
            (f"/BlobContainer/storage-{name}", Role.STORAGE_BLOB_DATA_READER, None)
            for name in ("bundles", "inputs", "control")
        ),
        *(
            (f"/BlobContainer/storage-{name}", Role.STORAGE_BLOB_DATA_CONTRIBUTOR, without(name, *excluded))
            for name, excluded in (("outputs", (BLOB_DELETE,)), ("nodes", (BLOB_DELETE, BLOB_READ)))
        ),
        ("/Queue/storage-events", Role.STORAGE_QUEUE_DATA_MESSAGE_SENDER, None),
        ("/StorageAccount/storage", Role.STORAGE_QUEUE_DATA_CONTRIBUTOR, own_queues),
    }


def test_role_assignments_are_named_by_guids_that_last(declared: Run) -> None:
    """A second run gives every assignment the same GUID, and no two share one."""
    names = {r.urn: r.inputs["roleAssignmentName"] for r in declared.of(ROLE)}
    assert names == {r.urn: r.inputs["roleAssignmentName"] for r in run().of(ROLE)}
    assert len({uuid.UUID(name) for name in names.values()}) == len(names)


@pytest.mark.parametrize(("client_id", "kind"), [(AZURE_CLI, "User"), ("of-a-service-principal", "ServicePrincipal")])
def test_who_deploys_may_publish(client_id: str, kind: str) -> None:
    """The deploying principal gets the data roles on the account, as the kind of principal that it is."""
    roles = [r.inputs for r in run(client_id=client_id).of(ROLE) if r.inputs["principalId"] == "deployer"]
    assert {role["roleDefinitionId"].rsplit("/", 1)[-1] for role in roles} == {
        Role.STORAGE_BLOB_DATA_CONTRIBUTOR,
        Role.STORAGE_QUEUE_DATA_CONTRIBUTOR,
    }
    assert {(role["scope"], role["principalType"]) for role in roles} == {("/StorageAccount/storage", kind)}


def test_managed_identities_are_service_principals(declared: Run) -> None:
    """The SDK's default (User) would be refused for them."""
    kinds = {r.inputs["principalType"] for r in declared.of(ROLE) if r.inputs["principalId"].startswith("principal-")}
    assert kinds == {"ServicePrincipal"}


def test_a_tag_changes_no_node_group() -> None:
    """With other tags the same names come out, and all that differs at a scale set is what is ignored."""
    tagged = run({**STACK, "tags": {"cost-centre": "7"}})
    before = {r.urn: strip(r.inputs) for r in run().of(SCALE_SET)}
    assert before == {r.urn: strip(r.inputs) for r in tagged.of(SCALE_SET)}


def strip(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a scale set without what is ignored."""
    profile = dict(inputs["virtualMachineProfile"])
    system = {key: value for key, value in profile["osProfile"].items() if key != "adminPassword"}
    system["linuxConfiguration"] = {k: v for k, v in system.get("linuxConfiguration", {}).items() if k != "ssh"}
    return {**inputs, "tags": None, "virtualMachineProfile": {**profile, "osProfile": system}}


def test_a_new_size_stands_beside_the_old() -> None:
    """Changing the VM size declares another scale set and leaves the other groups as they are."""
    pools = [{**STACK["pools"][0], "groups": [{**GROUP, "vm_size": "Standard_D8s_v5"}, SPOT]}, STACK["pools"][1]]
    before = {r.urn for r in run().of(SCALE_SET)}
    after = {r.urn for r in run({**STACK, "pools": pools}).of(SCALE_SET)}
    assert len(before & after) == 2
    assert len(after - before) == 1


def test_outputs_are_what_the_scheduler_starts_from(declared: Run) -> None:
    """The contract's outputs, plain and without a secret."""
    outputs = declared.outputs
    assert set(outputs) == {"scheduler_settings_url", "storage_account", "blob_endpoint", "resource_group", "pools"}
    assert outputs["resource_group"] == "rg-millpond-test"
    assert outputs["scheduler_settings_url"] == f"{outputs['blob_endpoint']}scheduler/settings.json"
    assert [pool["name"] for pool in outputs["pools"]] == ["risk", "pricing"]
    groups = [group for pool in outputs["pools"] for group in pool["groups"]]
    assert {group["scale_set"] for group in groups} == {f"{r.name}{SUFFIX}" for r in declared.of(SCALE_SET)}
    assert all(group["scale_set"].endswith(f"-{group['generation']}") for group in groups)


def test_no_secret_but_windows_passwords_that_nobody_knows(declared: Run) -> None:
    """Azure demands a password for Windows: random, marked secret. Nothing else is, and no output has one."""
    secret = [r for r in declared.resources if SECRET in r.text]
    assert [r.type for r in secret] == [SCALE_SET]
    assert secret[0].name.startswith("pricing-")
    assert SECRET not in str(declared.outputs)
