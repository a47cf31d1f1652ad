"""The stand-in provider speaks ARM as azure-native does, and the real engine deploys through it."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import grpc
import pulumi
import pulumi_azure_native as azure
import pytest
from google.protobuf import empty_pb2
from pulumi import automation
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2
from pulumi.runtime.rpc import UNKNOWN

from infra.local import toolchain
from infra.local.provider import server as provider
from infra.local.provider.functions import CLIENT_CONFIG
from infra.local.provider.values import read_struct, write_struct
from tests.infra.local.arm_stub import SUBSCRIPTION, ArmStub, serving

GROUP = "azure-native:resources:ResourceGroup"
SCALE_SET = "azure-native:compute:VirtualMachineScaleSet"
ACCOUNT = "azure-native:storage:StorageAccount"
NETWORK = "azure-native:network:VirtualNetwork"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
SET_ID = f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachineScaleSets/vmss"
SET_INPUTS = {"resourceGroupName": "rg", "vmScaleSetName": "vmss", "location": "westeurope", "sku": {"capacity": 0}}


def token(audience: str = "arm") -> str:
    """Make a token that says who we are, unsigned."""
    claims = json.dumps({"oid": "object", "appid": "client", "tid": "tenant", "aud": audience}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.x"


@dataclass
class Provider:
    """A served provider: its port, the stub behind it, and a client."""

    port: int
    arm: ArmStub
    client: provider_pb2_grpc.ResourceProviderStub

    def create(self, kind: str, inputs: dict[str, Any], **more: Any) -> Any:
        """Call Create."""
        request = provider_pb2.CreateRequest(urn=urn(kind), properties=write_struct(inputs), **more)
        return self.client.Create(request)


def urn(kind: str, name: str = "thing") -> str:
    """Return the URN of a resource within a component."""
    return f"urn:pulumi:dev::millpond::millpond:index:Pool${kind}::{name}"


@pytest.fixture
def served() -> Iterator[Provider]:
    """Serve a provider on a stub."""
    with serving() as arm:
        server, port = provider.start(arm.url, token, Path(certifi.where()), subscription_id=SUBSCRIPTION)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Provider(port, arm, provider_pb2_grpc.ResourceProviderStub(channel))
        server.stop(None).wait()


def test_create_asks_first_writes_waits_and_reads(served: Provider) -> None:
    """Create is GET, PUT, polls until the operation has ended, GET; its outputs are ARM's."""
    answer = served.create(SCALE_SET, SET_INPUTS)
    assert answer.id == SET_ID
    assert read_struct(answer.properties)["provisioningState"] == "Succeeded"
    assert read_struct(answer.properties)["sku"] == {"capacity": 0}
    assert served.arm.methods() == ["GET vmss", "PUT vmss", "GET vmss"]
    assert list(served.arm.polls.values()) == [2]
    assert served.arm.tokens == {f"Bearer {token()}"}


@pytest.mark.parametrize(("kind", "name"), [(ACCOUNT, "accountName"), (NETWORK, "virtualNetworkName")])
def test_every_way_of_waiting_ends(served: Provider, kind: str, name: str) -> None:
    """Operations told by Location, and those told by the resource's own state alone, are waited for too."""
    answer = served.create(kind, {"resourceGroupName": "rg", name: "n1", "location": "westeurope"})
    assert read_struct(answer.properties)["provisioningState"] == "Succeeded"


def test_what_exists_already_is_not_taken_over(served: Provider) -> None:
    """Create refuses a resource that somebody else has made."""
    served.create(SCALE_SET, SET_INPUTS)
    with pytest.raises(grpc.RpcError, match="cannot create already existing resource"):
        served.create(SCALE_SET, SET_INPUTS)


def test_errors_of_arm_reach_the_user(served: Provider) -> None:
    """A refusal carries ARM's code, message and the request; no second try is made."""
    served.arm.refused[SET_ID.lower()] = [(409, "QuotaExceeded", "no cores left")]
    with pytest.raises(grpc.RpcError, match=r"QuotaExceeded: no cores left\n\(PUT .*/vmss\)"):
        served.create(SCALE_SET, SET_INPUTS)
    assert served.arm.methods() == ["GET vmss", "PUT vmss"]


@pytest.mark.parametrize("refusal", [(429, "TooManyRequests", "wait"), (409, "AnotherOperationInProgress", "wait")])
def test_passing_errors_are_tried_again(served: Provider, refusal: tuple[int, str, str]) -> None:
    """Throttling and operations in progress are waited out."""
    served.arm.refused[SET_ID.lower()] = [refusal]
    assert served.create(SCALE_SET, SET_INPUTS).id == SET_ID


def test_a_failed_operation_leaves_the_resource_in_the_state(served: Provider) -> None:
    """When ARM accepts and then fails, the engine learns id and properties, so that a next run can mend it."""
    served.arm.fails_later.add(SET_ID.lower())
    with pytest.raises(grpc.RpcError, match="AllocationFailed: there is no room") as caught:
        served.create(SCALE_SET, SET_INPUTS)
    [(name, value)] = caught.value.trailing_metadata()  # type: ignore[attr-defined]
    assert name == "grpc-status-details-bin"
    detail = provider_pb2.ErrorResourceInitFailed()
    assert status_pb2.Status.FromString(value).details[0].Unpack(detail)
    assert detail.id == SET_ID
    assert read_struct(detail.inputs) == SET_INPUTS


def test_cancel_ends_the_waiting_of_one_engine(served: Provider) -> None:
    """An engine that gives up gets its calls back; another engine's calls go on, and a new start forgets it."""
    key = SET_ID.lower()
    served.client.Cancel(empty_pb2.Empty())
    served.arm.refused[key] = [(429, "TooManyRequests", "wait")]
    with pytest.raises(grpc.RpcError, match="Canceled: the engine gave up"):
        served.create(SCALE_SET, SET_INPUTS)
    served.arm.refused[key] = [(429, "TooManyRequests", "wait")]
    with grpc.insecure_channel(f"127.0.0.1:{served.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        other = provider_pb2_grpc.ResourceProviderStub(channel)
        request = provider_pb2.CreateRequest(urn=urn(SCALE_SET), properties=write_struct(SET_INPUTS))
        assert other.Create(request).id == SET_ID
    served.client.Handshake(provider_pb2.ProviderHandshakeRequest())
    assert served.client.Delete(provider_pb2.DeleteRequest(id=SET_ID, urn=urn(SCALE_SET))) == empty_pb2.Empty()


def test_update_puts_the_whole(served: Provider) -> None:
    """Update sends all inputs, also the capacity, as simple-mindedly as the real provider."""
    served.create(SCALE_SET, SET_INPUTS)
    news = {**SET_INPUTS, "sku": {"capacity": 3}, "overprovision": False}
    request = provider_pb2.UpdateRequest(id=SET_ID, urn=urn(SCALE_SET), news=write_struct(news))
    outputs = read_struct(served.client.Update(request).properties)
    assert outputs["sku"] == {"capacity": 3}
    sent = [body for method, _, body in served.arm.requests if method == "PUT"][-1]
    assert sent == {"location": "westeurope", "sku": {"capacity": 3}, "properties": {"overprovision": False}}


def test_delete_waits_and_what_is_gone_is_deleted(served: Provider) -> None:
    """Delete follows the operation to its end; a resource that is not there counts as deleted."""
    served.create(SCALE_SET, SET_INPUTS)
    request = provider_pb2.DeleteRequest(id=SET_ID, urn=urn(SCALE_SET))
    served.client.Delete(request)
    assert served.arm.resources == {}
    served.client.Delete(request)


def test_read_shows_what_is_there_now(served: Provider) -> None:
    """A refresh returns live outputs, inputs brought up to date, and nothing for what has gone."""
    served.create(SCALE_SET, SET_INPUTS)
    served.arm.resources[SET_ID.lower()]["sku"] = {"capacity": 7}
    request = provider_pb2.ReadRequest(id=SET_ID, urn=urn(SCALE_SET), inputs=write_struct(SET_INPUTS))
    assert read_struct(served.client.Read(request).inputs) == {**SET_INPUTS, "sku": {"capacity": 7}}
    served.arm.resources.clear()
    assert served.client.Read(request).id == ""


def test_a_preview_sends_nothing(served: Provider) -> None:
    """Create in a preview returns the foreseen outputs in ARM's shape, unknown where inputs are, without a request."""
    inputs = {**SET_INPUTS, "identity": {"userAssignedIdentities": ["/i"]}, "tags": {"a": UNKNOWN}}
    outputs = read_struct(served.create(SCALE_SET, inputs, preview=True).properties)
    assert outputs["identity"] == {"userAssignedIdentities": {"/i": {}}}
    assert outputs["tags"] == {"a": UNKNOWN}
    assert served.arm.requests == []


def test_names_are_made_up_once(served: Provider) -> None:
    """A missing name comes from the engine's seed, and stays when the resource is checked again."""

    def check(kind: str, olds: dict[str, Any], seed: bytes) -> dict[str, Any]:
        news = write_struct({"resourceGroupName": "rg", "location": "westeurope"})
        request = provider_pb2.CheckRequest(urn=urn(kind), olds=write_struct(olds), news=news, randomSeed=seed)
        return read_struct(served.client.Check(request).inputs)

    first = check(SCALE_SET, {}, b"seed")
    assert first["vmScaleSetName"].startswith("thing")
    assert check(SCALE_SET, {}, b"seed") == first
    assert check(SCALE_SET, first, b"other") == first
    assert check("azure-native:storage:ManagementPolicy", {}, b"seed")["managementPolicyName"] == "default"


def test_a_missing_location_is_the_groups(served: Provider) -> None:
    """A resource without a location gets its group's; a group without one is a finding."""
    served.create(GROUP, {"resourceGroupName": "rg", "location": "northeurope"})
    request = provider_pb2.CheckRequest(urn=urn(SCALE_SET), news=write_struct({"resourceGroupName": "rg"}))
    assert read_struct(served.client.Check(request).inputs)["location"] == "northeurope"
    request = provider_pb2.CheckRequest(urn=urn(GROUP), news=write_struct({}))
    assert [failure.property for failure in served.client.Check(request).failures] == ["location"]


def test_an_unknown_type_is_a_finding(served: Provider) -> None:
    """A type that the table lacks is named, with those it has."""
    request = provider_pb2.CheckRequest(urn=urn("azure-native:web:WebApp"), news=write_struct({}))
    [failure] = served.client.Check(request).failures
    assert "does not know azure-native:web:WebApp" in failure.reason


def test_replacing_under_the_same_name_deletes_first(served: Provider) -> None:
    """Where only an immutable property changes the old resource has to go first; under a new name it may stay."""

    def diff(change: dict[str, Any]) -> Any:
        old, new = write_struct(SET_INPUTS), write_struct({**SET_INPUTS, **change})
        request = provider_pb2.DiffRequest(id=SET_ID, urn=urn(SCALE_SET), old_inputs=old, news=new)
        return served.client.Diff(request)

    assert diff({}).changes == provider_pb2.DiffResponse.DIFF_NONE
    moved, renamed, tagged = diff({"location": "x"}), diff({"vmScaleSetName": "b"}), diff({"tags": {"a": "b"}})
    assert (list(moved.replaces), moved.deleteBeforeReplace) == (["location"], True)
    assert (list(renamed.replaces), renamed.deleteBeforeReplace) == (["vmScaleSetName"], False)
    assert (list(tagged.replaces), list(tagged.detailedDiff)) == ([], ["tags"])


def test_client_config_is_the_tokens(served: Provider) -> None:
    """The client configuration tells who deploys, from the token's claims."""
    answer = served.client.Invoke(provider_pb2.InvokeRequest(tok=CLIENT_CONFIG))
    assert read_struct(getattr(answer, "return")) == {
        "clientId": "client",
        "objectId": "object",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": "tenant",
    }


def program() -> None:
    """Declare a group, an identity, a role and a scale set that uses them."""
    size = pulumi.Config().require("size")
    group = azure.resources.ResourceGroup("group", resource_group_name="rg", location="westeurope")
    who = azure.authorization.get_client_config_output()
    identity = azure.managedidentity.UserAssignedIdentity("id", resource_group_name=group.name)
    azure.authorization.RoleAssignment(
        "role", principal_id=who.object_id, principal_type="User", role_definition_id="/role", scope=group.id
    )
    nodes = azure.compute.VirtualMachineScaleSet(
        "nodes",
        resource_group_name=group.name,
        vm_scale_set_name="vmss",
        sku={"name": size, "tier": "Standard", "capacity": 0},
        identity={"type": "UserAssigned", "user_assigned_identities": [identity.id]},
        opts=pulumi.ResourceOptions(ignore_changes=["sku.capacity"]),
    )
    clients = nodes.identity.apply(lambda found: [entry.client_id for entry in found.user_assigned_identities.values()])
    pulumi.export("clients", clients)
    pulumi.export("place", identity.location)


def engine_stack(served: Provider, folder: Path, program: Callable[[], None]) -> automation.Stack:
    """Make a stack of the real engine that deploys a program through the provider; its state is in the folder."""
    settings = automation.LocalWorkspaceOptions(
        work_dir=str(folder),
        pulumi_command=automation.PulumiCommand(root=str(toolchain.pulumi_command().parent.parent)),
        project_settings=automation.ProjectSettings("tiny", "python", backend=None),
        env_vars={
            "PULUMI_BACKEND_URL": folder.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "local",
            "PULUMI_DEBUG_PROVIDERS": f"azure-native:{served.port}",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
        },
    )
    return automation.create_or_select_stack("dev", project_name="tiny", program=program, opts=settings)


@pytest.mark.system
def test_the_real_engine_deploys_through_it(served: Provider, tmp_path: Path) -> None:
    """The engine previews, deploys, finds nothing to do the second time, updates one resource, destroys all."""
    stack = engine_stack(served, tmp_path, program)
    stack.set_config("size", automation.ConfigValue("Standard_D2s_v5"))
    assert stack.preview().change_summary == {"create": 5}
    assert served.arm.resources == {}
    outputs = stack.up().outputs
    assert {name: output.value for name, output in outputs.items()} == {"clients": ["c"], "place": "westeurope"}
    assert stack.up().summary.resource_changes == {"same": 5}
    served.arm.resources[SET_ID.lower()]["sku"]["capacity"] = 4
    stack.set_config("size", automation.ConfigValue("Standard_D4s_v5"))
    assert stack.up().summary.resource_changes == {"same": 4, "update": 1}
    # The state's capacity comes back with a PUT of the whole: why node groups are never updated in place.
    assert served.arm.resources[SET_ID.lower()]["sku"] == {"name": "Standard_D4s_v5", "tier": "Standard", "capacity": 0}
    stack.destroy()
    assert served.arm.resources == {}
