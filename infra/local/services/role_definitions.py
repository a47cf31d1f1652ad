"""The built-in roles."""

import re
from typing import Any

from infra.local.arm.errors import not_found

# Built-in roles and their ids (docs: "Azure built-in roles"), those that compute pools meet.
BUILT_IN_ROLES = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "acdd72a7-3385-48ef-bd42-f606fba818ae": "Reader",
    "9980e02c-c2be-4d73-94e8-173b1dc7cf3c": "Virtual Machine Contributor",
    "4d97b98b-1d4f-4787-a291-c67834d212e7": "Network Contributor",
    "17d1049b-9a84-46fb-8f53-869881c3d3ab": "Storage Account Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "19e7f393-937e-4f77-808e-94535e297925": "Storage Queue Data Reader",
    "8a0f0c08-91a1-4084-bc3d-661d67233fed": "Storage Queue Data Message Processor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
    "f1a07417-d97a-45cb-824c-7a7467783830": "Managed Identity Operator",
}


def role_definitions(scope: str, query: str) -> dict[str, Any]:
    """List the built-in roles, or those that a `roleName eq '…'` filter names."""
    wanted = re.search(r"roleName eq '([^']*)'", query, re.IGNORECASE)
    names = BUILT_IN_ROLES.items()
    return {"value": [_definition(scope, key, name) for key, name in names if not wanted or wanted[1] == name]}


def role_definition(scope: str, role_id: str) -> dict[str, Any]:
    """Show one built-in role."""
    if role_id not in BUILT_IN_ROLES:
        raise not_found(
            f"The specified role definition with ID '{role_id}' does not exist.", "RoleDefinitionDoesNotExist"
        )
    return _definition(scope, role_id, BUILT_IN_ROLES[role_id])


def _definition(scope: str, role_id: str, name: str) -> dict[str, Any]:
    return {
        "id": f"{scope}/providers/Microsoft.Authorization/roleDefinitions/{role_id}",
        "type": "Microsoft.Authorization/roleDefinitions",
        "name": role_id,
        "properties": {"roleName": name, "type": "BuiltInRole", "assignableScopes": ["/"]},
    }
