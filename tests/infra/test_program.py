"""The program under Pulumi's mocks: what it declares, how it is guarded, and what it gives out."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import get_root_resource

from infra.components.node_group import IGNORED
from infra.components.roles import Role
from infra.config import parse
from infra.program import AZURE_CLI, declare
from node_bootstrap.protocol import CONTAINERS

SUBSCRIPTION = "00000000-0000-0000-0000-00000000000a"
GROUP = {"name": "d2sv5", "vm_size": "Standard_D2s_v5"}
SPOT = {"name": "spot", "vm_size": "Standard_D4s_v5", "priority": "spot"}
STACK: Mapping[str, Any] = {
    "windows_python": {"url": "https://python.example/embed.zip", "sha256": "0" * 64},
    "environment": "test",
    "location": "westeurope",
    "pools": [
        {"name": "risk", "image": "ubuntu-24.04", "groups": [GROUP, SPOT], "tags": {"team": "risk"}},
        {"name": "pricing", "image": "windows-2022", "groups": [GROUP]},
    ],
}
# Pulumi's mark of a secret on the wire.
SECRET = "4dabf18193072939515e22adb298388d"
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


@dataclass
class Azure(mocks.Mocks):
    """Answers as Azure would, in the shape of its responses."""

    client_id: str = AZURE_CLI

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
        names = [value for key, value in args.inputs.items() if key.endswith("Name") and key != "resourceGroupName"]
        if args.typ.endswith(":StorageAccount"):
            host = f"{args.inputs['accountName']}.{{}}.core.windows.net"
            state["primaryEndpoints"] = {kind: f"https://{host.format(kind)}/" for kind in ("blob", "queue")}
        if args.typ.endswith(":UserAssignedIdentity"):
            state |= {"principalId": f"principal-{args.name}", "clientId": f"client-{args.name}"}
        state.setdefault(
            "name",
            args.inputs.get("resourceGroupName") if args.typ.endswith("ResourceGroup") else (names or [args.name])[0],
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
            )
        )
        return response


def run(values: Mapping[str, Any] = STACK, client_id: str = AZURE_CLI) -> Run:
    """Run the program in a preview whose resources are all known."""
    done, azure = Run(), Azure(client_id)
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
        assert scale_set.name == scale_set.inputs["vmScaleSetName"]
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
    """Queue and scale set of a group have one name."""
    queues = {r.inputs["queueName"] for r in declared.of("azure-native:storage:Queue")}
    assert queues == {"events", *(r.name for r in declared.of(SCALE_SET))}


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


def test_nothing_may_come_in(declared: Run) -> None:
    """The nodes' subnet has a security group that denies everything inbound, and no way out of its own."""
    (security_group,) = declared.of("azure-native:network:NetworkSecurityGroup")
    (rule,) = security_group.inputs["securityRules"]
    assert (rule["direction"], rule["access"], rule["protocol"], rule["sourceAddressPrefix"]) == (
        "Inbound",
        "Deny",
        "*",
        "*",
    )
    (network,) = declared.of("azure-native:network:VirtualNetwork")
    (subnet,) = network.inputs["subnets"]
    assert subnet["networkSecurityGroup"]["id"].endswith(security_group.name)
    assert subnet["defaultOutboundAccess"] is False


def test_a_pool_may_do_what_its_nodes_do(declared: Run) -> None:
    """The pool's identity reads three containers, writes two, sends events and works on its own queues alone."""
    given = {
        (r.inputs["scope"], r.inputs["roleDefinitionId"].rsplit("/", 1)[-1], r.inputs.get("condition"))
        for r in declared.of(ROLE)
        if r.inputs["principalId"] == "principal-id-risk"
    }
    own_queues = "@Resource[Microsoft.Storage/storageAccounts/queueServices/queues:name] StringLike 'risk-*'"
    assert given == {
        *(
            (f"/BlobContainer/storage-{name}", Role.STORAGE_BLOB_DATA_READER, None)
            for name in ("bundles", "inputs", "control")
        ),
        *(
            (f"/BlobContainer/storage-{name}", Role.STORAGE_BLOB_DATA_CONTRIBUTOR, None)
            for name in ("outputs", "nodes")
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
    assert {group["scale_set"] for pool in outputs["pools"] for group in pool["groups"]} == {
        r.name for r in declared.of(SCALE_SET)
    }


def test_no_secret_but_windows_passwords_that_nobody_knows(declared: Run) -> None:
    """Azure demands a password for Windows: random, marked secret. Nothing else is, and no output has one."""
    secret = [r for r in declared.resources if SECRET in r.text]
    assert [r.type for r in secret] == [SCALE_SET]
    assert secret[0].name.startswith("pricing-")
    assert SECRET not in str(declared.outputs)
