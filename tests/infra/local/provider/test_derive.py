"""The provider's table is what the installed packages say."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.provider import derive
from infra.local.provider.derive_sources import SOURCES

PROPERTY_MAP = Path(__file__).resolve().parents[5] / "shared" / "azure" / "property-map.json"


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    """Return the table as the packages give it now."""
    return derive.derive()


def test_committed_table_is_current(table: dict[str, Any]) -> None:
    """The committed table equals what the script derives (else run python -m infra.local.provider.derive)."""
    assert derive.TABLE.read_text(encoding="utf-8") == derive.render(table)


def test_renames_of_the_storage_account_are_found(table: dict[str, Any]) -> None:
    """Names that differ between Pulumi and ARM come out of the SDK's Python names."""
    body = table["azure-native:storage:StorageAccount"]["body"]
    assert body["rename"] == {
        "enableHttpsTrafficOnly": "supportsHttpsTrafficOnly",
        "enableNfsV3": "isNfsV3Enabled",
        "networkRuleSet": "networkAcls",
    }
    assert body["children"]["networkRuleSet"]["children"]["ipRules"]["rename"] == {"iPAddressOrRange": "value"}


def test_an_extension_keeps_its_type_among_its_properties(table: dict[str, Any]) -> None:
    """Of two fields with one name the writable one is the input: properties.type, not the read-only type."""
    profile = table["azure-native:compute:VirtualMachineScaleSet"]["body"]["children"]["virtualMachineProfile"]
    extension = profile["children"]["extensionProfile"]["children"]["extensions"]
    assert {"type", "settings", "publisher"} <= set(extension["properties"])


def test_what_a_package_has_given_up_still_goes_among_the_properties(table: dict[str, Any]) -> None:
    """Inputs of the provider's API version that the newer SDK lacks are sent where that version wants them."""
    pool = table["azure-native:batch:Pool"]["body"]
    assert {"targetNodeCommunicationMode", "resourceTags", "scaleSettings"} <= set(pool["properties"])


def test_the_only_name_is_a_parameter_all_the_same(table: dict[str, Any]) -> None:
    """Where newer packages write "default" into the address, the provider's input still stands for it."""
    entry = table["azure-native:storage:BlobServiceProperties"]
    assert entry["path"].endswith("/blobServices/{blobServicesName}")
    assert entry["naming"] == "=default"


def test_what_cannot_change_makes_a_new_resource(table: dict[str, Any]) -> None:
    """The models' own word and the provider's hand list say which changes replace."""
    address = table["azure-native:network:PublicIPAddress"]["body"]["create_only"]
    assert address == ["location", "publicIPAddressVersion", "publicIPPrefix", "sku"]
    account = table["azure-native:storage:StorageAccount"]["body"]
    services = account["children"]["encryption"]["children"]["services"]["children"]
    assert services["queue"]["create_only"] == ["keyType"]


@pytest.mark.skipif(not PROPERTY_MAP.exists(), reason="the reference data is not beside the checkout")
@pytest.mark.parametrize("token", sorted(SOURCES))
def test_table_agrees_with_the_reference_map(table: dict[str, Any], token: str) -> None:
    """Every input stands where the independently made property map has it."""
    reference = json.loads(PROPERTY_MAP.read_text(encoding="utf-8"))
    described = reference.get(token.removeprefix("azure-native:").replace(":", "."))
    if described is None:
        pytest.skip("the reference map does not have this type")
    rows = described["rows"]
    entry = table[token]
    for row in rows:
        # Two levels of moving are not done (see UNPLACED); the map itself leaves serviceGateway open.
        if "DEEP-FLATTENED" in row["note"] or "UNMAPPED" in row["note"]:
            continue
        names = [name.replace("_", "") for name in row["input"].split(".")]
        if row["arm"] is None:
            assert names[0] in _lower(entry["path_parameters"]), row
        else:
            assert _arm_path(entry["body"], names) == row["arm"].lower(), row


def _arm_path(rule: dict[str, Any], names: list[str]) -> str:
    path = []
    for name in names:
        base = name.rstrip("[]")
        renamed = {key.lower(): value.lower() for key, value in rule.get("rename", {}).items()}
        if base in _lower(rule.get("properties", [])):
            path.append("properties")
        path.append(renamed.get(base, base) + name[len(base) :])
        rule = {key.lower(): value for key, value in rule.get("children", {}).items()}.get(base, {})
    return ".".join(path)


def _lower(names: list[str]) -> list[str]:
    return [name.lower() for name in names]
