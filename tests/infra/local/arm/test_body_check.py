"""Request bodies are checked against the models of their types, and refused in the words of their services."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.arm.body_check import Problem, RequestSchemas
from infra.local.arm.body_errors import refusal
from tests.infra.local.published_examples import FOLDER, load

SCHEMAS = RequestSchemas.load()
SCALE_SET = "Microsoft.Compute/virtualMachineScaleSets"
ACCOUNT = "Microsoft.Storage/storageAccounts"
GROUP = "Microsoft.Network/networkSecurityGroups"
BATCH = "Microsoft.Batch/batchAccounts"

Json = dict[str, Any]


def _small_schema(field: Json) -> RequestSchemas:
    models: Json = {"x.Thing": {"properties": {"properties": {"type": "object", "model": "x.Inner"}}}}
    models["x.Inner"] = {"properties": {"value": field, "shown": {"readOnly": True}}}
    return RequestSchemas({"requests": {"N/things": {"PUT": "x.Thing"}}, "models": models})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(body=st.dictionaries(st.sampled_from(["properties", "sku", "tags", "zones", "location", "x"]), _JSON))
@settings(max_examples=200, deadline=None)
def test_no_body_breaks_the_check(body: Json) -> None:
    """Whatever JSON object comes, the check ends, and what it refuses is a 400 with a code and a message."""
    for resource_type in (SCALE_SET, ACCOUNT, GROUP, BATCH, "Microsoft.Authorization/roleAssignments"):
        error = refusal(resource_type, SCHEMAS.write(resource_type, body, None).findings)
        assert error is None or (error.status == 400 and error.code and json.dumps(error.envelope()))


@given(number=st.integers(-(10**15), 10**15), truth=st.booleans(), enum=st.sampled_from(["Alpha", "Beta"]))
def test_values_are_brought_into_the_spelling_of_the_model(number: int, *, truth: bool, enum: str) -> None:
    """A number or truth value in a string becomes one, an enum value and a name get the model's case."""
    cases: list[tuple[Json, Any, Any]] = [
        ({"type": "integer"}, str(number), number),
        ({"type": "integer"}, float(number), number),
        ({"type": "boolean"}, str(truth), truth),
        ({"type": "string", "enum": ["Alpha", "Beta"]}, enum.swapcase(), enum),
    ]
    for field, sent, kept in cases:
        checked = _small_schema(field).write("N/things", {"PROPERTIES": {"VALUE": sent}}, None)
        assert (checked.body, checked.findings) == ({"properties": {"value": kept}}, ())


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ({"type": "integer"}, ["1.5", "abc", True, 1.5, [], {}]),
        ({"type": "number"}, ["abc", True, []]),
        ({"type": "boolean"}, ["maybe", 1, []]),
        ({"type": "string"}, [1, True, [], {}]),
        ({"type": "array", "items": {"type": "string"}}, ["x", {}, 1]),
        ({"type": "map", "items": {"type": "string"}}, ["x", [], 1]),
        ({"type": "object", "model": "x.Inner"}, ["x", [], 1]),
    ],
)
def test_wrong_types_are_found_where_they_are(field: Json, wrong: list[Any]) -> None:
    """Each value of another type is one finding, with its path."""
    for value in wrong:
        (found,) = _small_schema(field).write("N/things", {"properties": {"value": value}}, None).findings
        assert (found.problem, found.path, found.value) == (Problem.WRONG_TYPE, "properties.value", value)


def test_read_only_properties_may_come_back_as_they_are() -> None:
    """What a GET showed passes and is left out, in any case; another value is found; unseen ones are not compared."""
    schemas = _small_schema({"type": "string"})
    present = {"properties": {"value": "a", "shown": {"Id": "/X"}}}
    assert schemas.write("N/things", {"properties": {"shown": {"id": "/x"}}}, present).findings == ()
    assert schemas.write("N/things", {"properties": {"shown": {"id": "/x"}}}, present).body == {"properties": {}}
    (found,) = schemas.write("N/things", {"properties": {"shown": "new"}}, present).findings
    assert (found.problem, found.path) == (Problem.READ_ONLY, "properties.shown")
    assert schemas.write("N/things", {"properties": {"shown": "x"}}, {"properties": {}}).findings == ()
    assert schemas.write("N/things", {"properties": {"shown": "x"}}, None).findings != ()


@pytest.mark.parametrize(
    ("resource_type", "body", "code", "target", "words"),
    [
        (
            SCALE_SET,
            {"properties": {"virtualMachineProfile": {"storageProfile": {"osDisk": {}}}}},
            "InvalidParameter",
            "createOption",
            "Required parameter 'createOption' is missing (null).",
        ),
        (
            SCALE_SET,
            {"properties": {"orchestrationMood": "Uniform"}},
            "BadRequest",
            "vmss.properties.orchestrationMood",
            (
                "Could not find member 'orchestrationMood' on object of type 'VirtualMachineScaleSetProperties'."
                " Path 'properties.orchestrationMood'."
            ),
        ),
        (
            SCALE_SET,
            {"properties": {"overprovision": "maybe"}},
            "BadRequest",
            "vmss.properties.overprovision",
            "Could not convert string to boolean: maybe. Path 'properties.overprovision'.",
        ),
        (
            SCALE_SET,
            {"sku": {"capacity": "many"}},
            "InvalidRequestContent",
            "sku.capacity",
            (
                "The request content was invalid and could not be deserialized: 'Could not convert string to integer:"
                " many. Path 'sku.capacity'.'."
            ),
        ),
        (
            ACCOUNT,
            {},
            "InvalidValuesForRequestParameters",
            "kind, sku",
            "Values for request parameters are invalid: kind, sku.",
        ),
        (
            ACCOUNT,
            {"kind": "StorageV2", "sku": {"name": "Standard_LRS"}, "properties": {"accessTier": "Lukewarm"}},
            "InvalidRequestPropertyValue",
            "accessTier",
            "The value 'Lukewarm' is not allowed for property accessTier: allowed are Hot, Cool, Premium, Cold, Smart.",
        ),
        (
            GROUP,
            {"properties": {"securityRules": "all"}},
            "InvalidRequestFormat",
            "properties.securityRules",
            "Cannot parse the request.",
        ),
        (
            "Microsoft.Authorization/roleAssignments",
            {"properties": {"roleDefinitionId": "x"}},
            "InvalidRequestContent",
            "properties.principalId",
            (
                "The request content was invalid and could not be deserialized: 'Required property 'principalId' not"
                " found in JSON. Path 'properties'.'."
            ),
        ),
    ],
)
def test_services_refuse_in_their_own_words(resource_type: str, body: Json, code: str, target: str, words: str) -> None:
    """Code, target and message are those of the service that the type belongs to."""
    error = refusal(resource_type, SCHEMAS.write(resource_type, body, None).findings)
    assert error is not None
    assert (error.status, error.code, error.target, error.message) == (400, code, target, words)


def test_batch_and_network_tell_in_details() -> None:
    """Batch names reason and path in the details, Network one parse error a finding."""
    error = refusal(BATCH, SCHEMAS.write(BATCH, {"properties": {"poolAllocation": "x"}}, None).findings)
    assert error is not None
    assert (error.code, error.target) == ("InvalidRequestBody", "BatchAccount")
    assert {one["code"]: one["message"] for one in error.details}["PropertyPath"] == "properties.poolAllocation"
    body = {"properties": {"securityRules": [{"name": "a", "properties": {"priority": "x", "access": "Maybe"}}]}}
    error = refusal(GROUP, SCHEMAS.write(GROUP, body, None).findings)
    assert error is not None
    # A wrong priority, an unknown access, and neither protocol nor direction.
    assert [one["code"] for one in error.details] == ["InvalidJson"] * 4


def test_a_patch_may_name_what_a_put_may() -> None:
    """A PATCH needs nothing, takes what only the model of the PUT has, and refuses what neither has."""
    assert SCHEMAS.write(SCALE_SET, {"zones": ["1"], "location": "x"}, {}, patch=True).findings == ()
    (found,) = SCHEMAS.write(SCALE_SET, {"zone": ["1"]}, {}, patch=True).findings
    assert found.problem is Problem.UNKNOWN_PROPERTY


def test_actions_with_a_model_are_checked() -> None:
    """The ids of instances to delete are required, and a list of strings."""
    for body, problem in (({}, Problem.MISSING), ({"instanceIds": "0"}, Problem.WRONG_TYPE)):
        (found,) = SCHEMAS.action(SCALE_SET, "delete", body).findings
        assert (found.problem, found.path) == (problem, "instanceIds")
    assert SCHEMAS.action(SCALE_SET, "DELETE", {"instanceIds": ["0"]}).findings == ()


def test_the_compute_service_fills_in_what_is_left_out() -> None:
    """A new machine gets the settings of its image's system; members of lists are completed, also in an update."""
    image = {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "x", "version": "latest"}
    interface = {"name": "nic", "properties": {"ipConfigurations": [{"name": "ip", "properties": {}}]}}
    profile = {
        "storageProfile": {"imageReference": image},
        "osProfile": {"adminUsername": "someone"},
        "networkProfile": {"networkInterfaceConfigurations": [interface]},
    }
    body = {"location": "x", "properties": {"virtualMachineProfile": profile}}
    made = SCHEMAS.write(SCALE_SET, body, None).body["properties"]["virtualMachineProfile"]
    assert made["osProfile"]["windowsConfiguration"] == {"provisionVMAgent": True, "enableAutomaticUpdates": True}
    assert made["osProfile"]["secrets"] == []
    for whole in (True, False):
        changed = SCHEMAS.write(SCALE_SET, body, {"location": "x"}, whole=whole).body
        network = changed["properties"]["virtualMachineProfile"]["networkProfile"]
        (filled,) = network["networkInterfaceConfigurations"]
        assert filled["properties"]["enableAcceleratedNetworking"] is False
        assert filled["properties"]["ipConfigurations"][0]["properties"]["privateIPAddressVersion"] == "IPv4"
    assert "secrets" not in changed["properties"]["virtualMachineProfile"]["osProfile"]


def _published() -> Iterator[Any]:
    if FOLDER.exists():
        yield from load("/subscriptions/00000000-0000-0000-0000-000000000001")


@pytest.mark.skipif(not FOLDER.exists(), reason="the reference data is not beside the checkout")
def test_published_requests_pass() -> None:
    """No body that Azure published as an example is refused, but one that repeats a made-up instance view."""
    refused = []
    for example in _published():
        if example.body is None or example.method == "GET":
            continue
        target = example.target
        if target.address is None:
            continue
        if example.method == "POST":
            checked = SCHEMAS.action(target.address.type, str(target.trailing), example.body)
        else:
            patch = example.method == "PATCH"
            checked = SCHEMAS.write(target.address.type, example.body, None, patch=patch)
        if checked.findings:
            refused.append(example.name.rpartition("/")[2])
    assert refused == ["VirtualMachineScaleSetVM_Update_MaximumSet_Gen"]
