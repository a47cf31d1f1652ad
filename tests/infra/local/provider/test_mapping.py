"""Inputs become ARM bodies and come back: every level of properties, renames, sets, own ids."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.runtime.rpc import UNKNOWN

from infra.local.provider.diff import Kind, changes
from infra.local.provider.mapping import ResourceType, load_types, to_arm, to_outputs
from infra.local.provider.values import OUTPUT, SECRET, SIGNATURE, read_struct, write_struct

TYPES = load_types()
SCALE_SET = TYPES["azure-native:compute:VirtualMachineScaleSet"]
ACCOUNT = TYPES["azure-native:storage:StorageAccount"]
ROLE = TYPES["azure-native:authorization:RoleAssignment"]
IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-render"

INPUTS: dict[str, Any] = {
    "resourceGroupName": "rg",
    "vmScaleSetName": "vmss-1",
    "location": "westeurope",
    "tags": {"properties": "a tag of that name", "type": "t"},
    "sku": {"name": "Standard_D4s_v5", "tier": "Standard", "capacity": 0},
    "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
    "orchestrationMode": "Uniform",
    "overprovision": False,
    "upgradePolicy": {"mode": "Manual", "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": False}},
    "virtualMachineProfile": {
        "osProfile": {"computerNamePrefix": "vm", "linuxConfiguration": {"disablePasswordAuthentication": True}},
        "storageProfile": {"osDisk": {"createOption": "FromImage", "diskSizeGB": 30}},
        "networkProfile": {
            "networkInterfaceConfigurations": [
                {
                    "name": "nic",
                    "primary": True,
                    "enableAcceleratedNetworking": True,
                    "ipConfigurations": [{"name": "ip", "primary": True, "subnet": {"id": "/subnets/nodes"}}],
                    "networkSecurityGroup": {"id": "/nsg"},
                }
            ]
        },
        "extensionProfile": {
            "extensions": [
                {
                    "name": "bootstrap",
                    "publisher": "Microsoft.Azure.Extensions",
                    "type": "CustomScript",
                    "typeHandlerVersion": "2.1",
                    "settings": {"script": "ZWNobw==", "properties": {"left": "as it is"}},
                }
            ]
        },
    },
}

BODY: dict[str, Any] = {
    "location": "westeurope",
    "tags": {"properties": "a tag of that name", "type": "t"},
    "sku": {"name": "Standard_D4s_v5", "tier": "Standard", "capacity": 0},
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
    "properties": {
        "orchestrationMode": "Uniform",
        "overprovision": False,
        "upgradePolicy": {"mode": "Manual", "automaticOSUpgradePolicy": {"enableAutomaticOSUpgrade": False}},
        "virtualMachineProfile": {
            "osProfile": {"computerNamePrefix": "vm", "linuxConfiguration": {"disablePasswordAuthentication": True}},
            "storageProfile": {"osDisk": {"createOption": "FromImage", "diskSizeGB": 30}},
            "networkProfile": {
                "networkInterfaceConfigurations": [
                    {
                        "name": "nic",
                        "properties": {
                            "primary": True,
                            "enableAcceleratedNetworking": True,
                            "ipConfigurations": [
                                {"name": "ip", "properties": {"primary": True, "subnet": {"id": "/subnets/nodes"}}}
                            ],
                            "networkSecurityGroup": {"id": "/nsg"},
                        },
                    }
                ]
            },
            "extensionProfile": {
                "extensions": [
                    {
                        "name": "bootstrap",
                        "properties": {
                            "publisher": "Microsoft.Azure.Extensions",
                            "type": "CustomScript",
                            "typeHandlerVersion": "2.1",
                            "settings": {"script": "ZWNobw==", "properties": {"left": "as it is"}},
                        },
                    }
                ]
            },
        },
    },
}


def test_a_scale_set_becomes_its_arm_body() -> None:
    """Properties are nested at every level ARM has them, path parameters are left out, tags are untouched."""
    assert SCALE_SET.request_body(INPUTS, "/id") == BODY


def test_an_arm_body_comes_back_as_outputs() -> None:
    """Outputs are the inputs' shape again, but with identities as ARM's object and what only ARM knows added."""
    answer = {**BODY, "id": "/x", "properties": {**BODY["properties"], "uniqueId": "u"}}
    expected = {key: value for key, value in INPUTS.items() if key not in SCALE_SET.path_parameters}
    expected |= {"id": "/x", "uniqueId": "u", "identity": BODY["identity"]}
    assert SCALE_SET.outputs(answer) == expected


def test_what_only_arm_knows_moves_up() -> None:
    """An identity has no inputs among its properties, and its outputs move up all the same."""
    identity = TYPES["azure-native:managedidentity:UserAssignedIdentity"]
    assert identity.outputs({"id": "/i", "properties": {"principalId": "p"}}) == {"id": "/i", "principalId": "p"}


def test_outputs_give_back_the_inputs_of_an_import() -> None:
    """What an import derives from a live resource makes the same request again."""
    assert SCALE_SET.request_body(SCALE_SET.inputs_of(SCALE_SET.outputs(BODY)), "/id") == BODY


def test_renamed_properties_go_and_come() -> None:
    """The storage account's networkRuleSet is networkAcls on the wire, its address ranges are values."""
    inputs = {"enableHttpsTrafficOnly": True, "networkRuleSet": {"ipRules": [{"iPAddressOrRange": "10.0.0.1"}]}}
    body = {"properties": {"supportsHttpsTrafficOnly": True, "networkAcls": {"ipRules": [{"value": "10.0.0.1"}]}}}
    assert ACCOUNT.request_body(inputs, "/id") == body
    assert ACCOUNT.outputs(body) == inputs


def test_an_unknown_identity_makes_the_whole_set_unknown() -> None:
    """A preview cannot say which keys an object will have, so it says that it does not know the object."""
    body = SCALE_SET.request_body({"identity": {"userAssignedIdentities": [UNKNOWN]}}, "/id")
    assert body["identity"]["userAssignedIdentities"] == UNKNOWN


def test_own_id_is_filled_in() -> None:
    """A sub-resource may be named by $self, since its resource's id is not known to the program."""
    inputs = {"virtualMachineProfile": {"securityPostureReference": {"id": "$self/posture"}}}
    profile = SCALE_SET.request_body(inputs, "/vmss/1")["properties"]["virtualMachineProfile"]
    assert profile["securityPostureReference"]["id"] == "/vmss/1/posture"


def test_ids_are_made_and_read() -> None:
    """A path filled with parameters gives them back, a scope with all its slashes."""
    scope = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/a"
    role = ROLE.resource_id("s", {"scope": scope, "roleAssignmentName": "r"})
    assert role == f"{scope}/providers/Microsoft.Authorization/roleAssignments/r"
    assert ROLE.parameters_of(role) == {"scope": scope.strip("/"), "roleAssignmentName": "r"}
    with pytest.raises(ValueError, match="is not the id of"):
        ACCOUNT.parameters_of(role)


@pytest.mark.parametrize("name", [None, "", UNKNOWN])
def test_a_missing_path_parameter_is_named(name: str | None) -> None:
    """An id is never made of a parameter that is absent or unknown."""
    with pytest.raises(KeyError, match="accountName"):
        ACCOUNT.resource_id("s", {"resourceGroupName": "rg", "accountName": name})


NAMES = st.sampled_from(
    [*sorted(set(SCALE_SET.body["properties"]) - set(SCALE_SET.body["children"])), "sku", "plan", "tags"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(NAMES, VALUES))
def test_every_object_comes_back(inputs: dict[str, Any]) -> None:
    """Whatever values inputs have, ARM's form turned back is the inputs."""
    assert to_outputs(SCALE_SET.body, to_arm(SCALE_SET.body, inputs)) == inputs


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_values_survive_the_wire(values: dict[str, Any]) -> None:
    """Plain values come out of a struct as they went in, whole numbers as int."""
    assert read_struct(write_struct(values)) == values


def test_marked_values_are_unwrapped() -> None:
    """Secrets and outputs are read as their values, an output without one as unknown."""
    secret = {SIGNATURE: SECRET, "value": {"key": [1.0, 1.5]}}
    struct = write_struct({"s": secret, "o": {SIGNATURE: OUTPUT, "value": "v"}, "u": {SIGNATURE: OUTPUT}})
    assert read_struct(struct) == {"s": {"key": [1, 1.5]}, "o": "v", "u": UNKNOWN}


@pytest.mark.parametrize(
    ("resource_type", "old", "new", "expected"),
    [
        (SCALE_SET, {"sku": {"capacity": 1}}, {"sku": {"capacity": 2}}, [("sku.capacity", Kind.UPDATE, False)]),
        (SCALE_SET, {"vmScaleSetName": "a"}, {"vmScaleSetName": "b"}, [("vmScaleSetName", Kind.UPDATE, True)]),
        (SCALE_SET, {"location": "West Europe"}, {"location": "westeurope"}, []),
        (SCALE_SET, {"location": "westeurope"}, {"location": "northeurope"}, [("location", Kind.UPDATE, True)]),
        (SCALE_SET, {"tags": {"a.b": "1"}}, {"tags": {}}, [('tags["a.b"]', Kind.DELETE, False)]),
        (SCALE_SET, {"zones": ["1"]}, {"zones": ["1", "2"]}, [("zones[1]", Kind.ADD, False)]),
        (ROLE, {"principalId": "a"}, {"principalId": UNKNOWN}, [("principalId", Kind.UPDATE, True)]),
        (ROLE, INPUTS, INPUTS, []),
    ],
)
def test_changes_are_told(
    resource_type: ResourceType, old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, Kind, bool]]
) -> None:
    """A change is named by its path, and makes a new resource only where the service cannot update."""
    found = [(change.path, change.kind, change.replaces) for change in changes(resource_type, old, new)]
    assert found == expected
