"""What the provider's functions return, and what it makes of an engine's configuration and of others' writes."""

from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from infra.local.provider.mapping import load_types
from infra.local.provider.values import read_struct, write_struct
from tests.infra.local.arm_stub import SUBSCRIPTION
from tests.infra.local.provider.test_server import (
    ACCOUNT,
    GROUP,
    GROUP_ID,
    NETWORK,
    SCALE_SET,
    SET_INPUTS,
    Provider,
    served,
    token,
    urn,
)

__all__ = ["served"]

ADDRESS = "azure-native:network:PublicIPAddress"
BLOBS = "azure-native:storage:BlobServiceProperties"


def invoke(provider: Provider, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a function."""
    request = provider_pb2.InvokeRequest(tok=f"azure-native:{name}", args=write_struct(arguments))
    return read_struct(getattr(provider.client.Invoke(request), "return"))


def configure(provider: Provider, **settings: str) -> None:
    """Configure the provider as an engine does."""
    provider.client.Configure(provider_pb2.ConfigureRequest(args=write_struct(settings)))


def test_a_token_is_for_the_audience_asked_for(served: Provider) -> None:
    """GetClientToken gives a token for the resource manager, or for the endpoint that is named."""
    assert invoke(served, "authorization:getClientToken") == {"token": token()}
    named = invoke(served, "authorization:getClientToken", endpoint="https://storage.azure.com")
    assert named == {"token": token("https://storage.azure.com")}


def test_keys_are_listed(served: Provider) -> None:
    """The key functions of storage and Batch are the action of their account."""
    served.create(ACCOUNT, {"resourceGroupName": "rg", "accountName": "acct", "location": "westeurope"})
    keys = invoke(served, "storage:listStorageAccountKeys", resourceGroupName="rg", accountName="acct")
    assert keys["keys"] == [{"keyName": "key1", "value": "a2V5"}]
    with pytest.raises(grpc.RpcError, match="ResourceNotFound"):
        invoke(served, "batch:listBatchAccountKeys", resourceGroupName="rg", accountName="acct")


def test_every_type_can_be_read_by_a_function(served: Provider) -> None:
    """`get` and the type's name reads a resource in the shape of its outputs; what is missing is Azure's error."""
    served.create(SCALE_SET, {**SET_INPUTS, "overprovision": False})
    found = invoke(served, "compute:getVirtualMachineScaleSet", resourceGroupName="rg", vmScaleSetName="vmss")
    assert (found["name"], found["overprovision"], found["sku"]) == ("vmss", False, {"capacity": 0})
    for kind, row in load_types().items():
        arguments = dict.fromkeys(row.path_parameters, "x")
        function = kind.removeprefix("azure-native:").replace(":", ":get")
        with pytest.raises(grpc.RpcError, match="ResourceNotFound"):
            invoke(served, function, **arguments)


def test_a_function_that_there_is_not_names_those_there_are(served: Provider) -> None:
    """An unknown function and a missing argument are told by name."""
    with pytest.raises(grpc.RpcError, match=r"no function azure-native:web:listSecrets; it has .*getVirtualNetwork"):
        invoke(served, "web:listSecrets")
    with pytest.raises(grpc.RpcError, match="getStorageAccount needs accountName"):
        invoke(served, "storage:getStorageAccount", resourceGroupName="rg")


def test_the_configured_location_is_the_default(served: Provider) -> None:
    """azure-native:location is taken for a group and for what is in it, where the program names none."""
    configure(served, location="swedencentral")
    for kind, inputs in ((GROUP, {}), (SCALE_SET, {"resourceGroupName": "rg"})):
        request = provider_pb2.CheckRequest(urn=urn(kind), news=write_struct(inputs))
        assert read_struct(served.client.Check(request).inputs)["location"] == "swedencentral"


def test_the_configured_subscription_is_used(served: Provider) -> None:
    """azure-native:subscriptionId is where the provider deploys, as long as the engine is connected."""
    other = "99999999-2222-3333-4444-555555555555"
    configure(served, subscriptionId=other)
    assert served.create(SCALE_SET, SET_INPUTS).id.startswith(f"/subscriptions/{other}/")
    assert invoke(served, "authorization:getClientConfig")["subscriptionId"] == other


def test_a_missing_parameter_is_a_finding(served: Provider) -> None:
    """A resource without its group's name is told by the property, before anything is asked."""
    [failure] = served.client.Check(provider_pb2.CheckRequest(urn=urn(SCALE_SET), news=write_struct({}))).failures
    assert (failure.property, failure.reason) == (
        "resourceGroupName",
        "missing required property 'resourceGroupName'",
    )
    assert served.arm.requests == []


def test_names_below_a_parent_are_the_programs(served: Provider) -> None:
    """A child is named as in the program, a role gets a GUID, and the engine's own naming goes before both."""

    def named(kind: str, **more: Any) -> Any:
        request = provider_pb2.CheckRequest(urn=urn(kind, "web"), randomSeed=b"seed", **more)
        return read_struct(served.client.Check(request).inputs)

    assert named("azure-native:network:Subnet")["subnetName"] == "web"
    assert len(named("azure-native:authorization:RoleDefinition")["roleDefinitionId"]) == 36
    mode = provider_pb2.CheckRequest.AutonamingOptions.Mode
    options = provider_pb2.CheckRequest.AutonamingOptions
    proposed = options(proposed_name="web-prod", mode=mode.ENFORCE)
    assert named("azure-native:network:Subnet", autonaming=proposed)["subnetName"] == "web-prod"
    assert "subnetName" not in named("azure-native:network:Subnet", autonaming=options(mode=mode.DISABLE))


def test_subnets_of_their_own_survive_an_update_of_the_network(served: Provider) -> None:
    """An update without subnets sends those that are there, and a refresh does not make them the program's."""
    inputs = {"resourceGroupName": "rg", "virtualNetworkName": "net", "location": "westeurope"}
    created = served.create(NETWORK, inputs)
    key = created.id.lower()
    subnets = [{"name": "nodes", "properties": {"addressPrefix": "10.0.0.0/24"}}]
    served.arm.resources[key]["properties"]["subnets"] = subnets
    live = provider_pb2.ReadRequest(
        id=created.id, urn=urn(NETWORK), inputs=write_struct(inputs), properties=created.properties
    )
    assert read_struct(served.client.Read(live).inputs) == inputs
    news = write_struct({**inputs, "tags": {"a": "b"}})
    served.client.Update(provider_pb2.UpdateRequest(id=created.id, urn=urn(NETWORK), news=news))
    assert served.arm.resources[key]["properties"]["subnets"] == subnets
    assert served.arm.resources[key]["tags"] == {"a": "b"}


def test_a_refresh_takes_over_what_others_changed_and_nothing_else(served: Provider) -> None:
    """The service's own values stay out of the inputs; a value changed, added or removed by hand goes into them."""
    inputs = {"resourceGroupName": "rg", "publicIpAddressName": "ip", "location": "westeurope", "tags": {"a": "1"}}
    created = served.create(ADDRESS, inputs)
    live = served.arm.resources[created.id.lower()]
    live["properties"]["natGateway"] = {"id": "/gateway"}
    request = provider_pb2.ReadRequest(
        id=created.id, urn=urn(ADDRESS), inputs=write_struct(inputs), properties=created.properties
    )
    assert read_struct(served.client.Read(request).inputs) == inputs
    live["tags"] = {"a": "2", "b": "3"}
    live["properties"]["idleTimeoutInMinutes"] = 10
    assert read_struct(served.client.Read(request).inputs) == {
        **inputs,
        "tags": {"a": "2", "b": "3"},
        "idleTimeoutInMinutes": 10,
    }


def test_a_part_that_is_always_there_is_set_and_left(served: Provider) -> None:
    """The blob service of an account is taken over as it is, and its removal from the program asks for nothing."""
    inputs = {"resourceGroupName": "rg", "accountName": "acct", "blobServicesName": "default"}
    service_id = f"{GROUP_ID}/providers/Microsoft.Storage/storageAccounts/acct/blobServices/default"
    served.arm.resources[service_id.lower()] = {"id": service_id, "properties": {}}
    assert served.create(BLOBS, {**inputs, "isVersioningEnabled": True}).id == service_id
    served.client.Delete(provider_pb2.DeleteRequest(id=service_id, urn=urn(BLOBS)))
    assert served.arm.resources[service_id.lower()]["properties"]["isVersioningEnabled"] is True
    assert SUBSCRIPTION in service_id


def test_the_order_of_identities_is_no_change(served: Provider) -> None:
    """A set of ids in another order is the same set, with another id it is not."""

    def differs(*ids: str) -> bool:
        old, new = (
            {**SET_INPUTS, "identity": {"userAssignedIdentities": list(found)}} for found in (("/a", "/b"), ids)
        )
        request = provider_pb2.DiffRequest(
            id="/set", urn=urn(SCALE_SET), old_inputs=write_struct(old), news=write_struct(new)
        )
        return bool(served.client.Diff(request).changes == provider_pb2.DiffResponse.DIFF_SOME)

    assert not differs("/b", "/a")
    assert differs("/b", "/c")
