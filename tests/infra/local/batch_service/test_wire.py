"""The two spellings of a pool."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.batch_service import wire

_TEXT = st.text("abcXYZ019-_ ", min_size=1, max_size=8)
_NAME_VALUES = st.lists(st.fixed_dictionaries({"name": _TEXT, "value": _TEXT}), max_size=2)
_IMAGE = st.one_of(
    st.fixed_dictionaries({"publisher": _TEXT, "offer": _TEXT, "sku": _TEXT, "version": _TEXT}),
    st.fixed_dictionaries({"virtualMachineImageId": _TEXT}),
)
_USER = st.fixed_dictionaries(
    {
        "autoUser": st.fixed_dictionaries(
            {"scope": st.sampled_from(["task", "pool"]), "elevationLevel": st.sampled_from(["nonadmin", "admin"])}
        )
    }
)
_POOLS = st.fixed_dictionaries(
    {
        "vmSize": st.sampled_from(["standard_d2s_v5", "standard_f4s_v2"]),
        "virtualMachineConfiguration": st.fixed_dictionaries(
            {"imageReference": _IMAGE, "nodeAgentSKUId": _TEXT},
            optional={
                "osDisk": st.fixed_dictionaries({"caching": st.sampled_from(["none", "readonly", "readwrite"])}),
                "nodePlacementConfiguration": st.fixed_dictionaries({"policy": st.sampled_from(["regional", "zonal"])}),
                "diskEncryptionConfiguration": st.fixed_dictionaries(
                    {"targets": st.lists(st.sampled_from(["osdisk", "temporarydisk"]), max_size=2)}
                ),
                "containerConfiguration": st.fixed_dictionaries({"type": st.just("dockerCompatible")}),
            },
        ),
        "enableInterNodeCommunication": st.booleans(),
        "enableAutoScale": st.sampled_from([False]),
        "targetDedicatedNodes": st.integers(0, 5),
        "targetLowPriorityNodes": st.integers(0, 5),
        "resizeTimeout": st.just("PT15M"),
    },
    optional={
        "metadata": _NAME_VALUES,
        "startTask": st.fixed_dictionaries(
            {"commandLine": _TEXT, "userIdentity": _USER}, optional={"environmentSettings": _NAME_VALUES}
        ),
        "taskSchedulingPolicy": st.fixed_dictionaries({"nodeFillType": st.sampled_from(["spread", "pack"])}),
        "networkConfiguration": st.fixed_dictionaries(
            {"dynamicVNetAssignmentScope": st.sampled_from(["none", "job"]), "subnetId": _TEXT}
        ),
        "targetNodeCommunicationMode": st.sampled_from(["default", "classic", "simplified"]),
        "applicationPackageReferences": st.lists(
            st.fixed_dictionaries({"applicationId": _TEXT}, optional={"version": _TEXT}), max_size=2
        ),
        "resourceTags": st.dictionaries(_TEXT, _TEXT, max_size=2),
    },
)


@given(_POOLS)
def test_a_pool_keeps_everything_on_its_way_there_and_back(body: dict[str, Any]) -> None:
    """What a client of the service declares is what the service shows, through the resource manager's spelling."""
    assert wire.pool_to_wire(wire.pool_to_arm(body)) == body


@pytest.mark.parametrize("value", ["nonsense", "AUTO"])
def test_an_unknown_value_stays_for_the_checks_to_refuse(value: str) -> None:
    """A value that neither plane knows is not dropped, so that it can be refused."""
    arm = wire.pool_to_arm({"startTask": {"userIdentity": {"autoUser": {"scope": value}}}})
    assert arm["properties"]["startTask"]["userIdentity"]["autoUser"]["scope"] == value


def test_scale_is_a_formula_or_numbers() -> None:
    """A formula and fixed numbers each go to their own place, and come back from there."""
    auto = wire.pool_to_arm(
        {"enableAutoScale": True, "autoScaleFormula": "$T=1", "autoScaleEvaluationInterval": "PT5M"}
    )
    assert auto["properties"]["scaleSettings"] == {"autoScale": {"formula": "$T=1", "evaluationInterval": "PT5M"}}
    shown = wire.pool_to_wire({"properties": {**auto["properties"], "interNodeCommunication": "Disabled"}})
    assert (shown["enableAutoScale"], shown["autoScaleFormula"], shown["autoScaleEvaluationInterval"]) == (
        True,
        "$T=1",
        "PT5M",
    )
    assert "targetDedicatedNodes" not in shown
