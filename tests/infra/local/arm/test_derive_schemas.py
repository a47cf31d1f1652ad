"""The schemas of request bodies are what the installed packages say."""

from typing import Any

import pytest

from infra.local.arm import derive_schemas


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """Return the schemas as the packages give them now."""
    return derive_schemas.derive()


def test_committed_schemas_are_current(schemas: dict[str, Any]) -> None:
    """The committed file equals what the script derives (else run python -m infra.local.arm.derive_schemas)."""
    assert derive_schemas.SCHEMAS.read_text(encoding="utf-8") == derive_schemas.render(schemas)


def test_every_type_has_a_body_to_put(schemas: dict[str, Any]) -> None:
    """No type of the list is without a model of its PUT, and every model that is named is there."""
    assert [name for name, requests in schemas["requests"].items() if "PUT" not in requests] == []
    named = {model for requests in schemas["requests"].values() for model in requests.values()}
    for model in schemas["models"].values():
        for field in model["properties"].values():
            while "items" in field:
                field = field["items"]  # noqa: PLW2901 -- down to the innermost
            named |= {field["model"]} if "model" in field else set()
    assert named <= set(schemas["models"])


def test_both_styles_of_packages_are_read(schemas: dict[str, Any]) -> None:
    """Required, read-only, enum, list and nested properties come out of typed fields and of attribute maps alike."""
    models = schemas["models"]
    disk = models["compute.VirtualMachineScaleSetDataDisk"]["properties"]
    assert disk["lun"] == {"type": "integer", "required": True}
    assert disk["caching"]["enum"] == ["None", "ReadOnly", "ReadWrite"]
    assert models["compute.VirtualMachineScaleSetProperties"]["properties"]["uniqueId"] == {"readOnly": True}
    role = models["authorization.RoleAssignmentCreateParametersProperties"]["properties"]
    assert role["principalId"] == {"type": "string", "required": True}
    assert "ServicePrincipal" in role["principalType"]["enum"]
    permissions = models["authorization.RoleDefinitionProperties"]["properties"]["permissions"]
    assert permissions == {"type": "array", "items": {"type": "object", "model": "authorization.Permission"}}


def test_what_only_the_answer_has_is_read_only_in_the_request(schemas: dict[str, Any]) -> None:
    """A storage account's endpoints are in no model of its PUT, and a PUT may bring them back all the same."""
    properties = schemas["models"]["storage.StorageAccountPropertiesCreateParameters"]["properties"]
    assert properties["primaryEndpoints"] == {"readOnly": True}
    assert "readOnly" not in properties["accessTier"]
