"""Azure's built-in roles that we give, and how one is given."""

from dataclasses import dataclass
from enum import StrEnum

import pulumi
from pulumi_azure_native import authorization

from infra import naming


class Role(StrEnum):
    """Built-in role definitions by their GUIDs, the same in every tenant (docs: Azure built-in roles for storage)."""

    STORAGE_BLOB_DATA_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
    STORAGE_BLOB_DATA_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
    STORAGE_QUEUE_DATA_CONTRIBUTOR = "974c5e8b-45b9-4653-ba55-5f855dd0fb88"
    STORAGE_QUEUE_DATA_MESSAGE_SENDER = "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a"


@dataclass(frozen=True)
class Principal:
    """Who is given a role. Azure refuses an assignment whose type is not the principal's own."""

    principal_id: pulumi.Input[str]
    principal_type: pulumi.Input[str]


def assign(
    name: str,
    principal: Principal,
    role: Role,
    scope: pulumi.Input[str],
    subscription_id: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
    condition: str | None = None,
) -> authorization.RoleAssignment:
    """Give a role on a scope, where a condition is met.

    The assignment's GUID follows from role, principal and scope, so the same one is never made twice.
    """
    definition = pulumi.Output.concat(
        "/subscriptions/", subscription_id, "/providers/Microsoft.Authorization/roleDefinitions/", role.value
    )
    return authorization.RoleAssignment(
        name,
        role_assignment_name=pulumi.Output.all(scope, principal.principal_id, definition).apply(
            lambda parts: naming.role_assignment(*parts)
        ),
        scope=scope,
        principal_id=principal.principal_id,
        principal_type=principal.principal_type,
        role_definition_id=definition,
        condition=condition,
        condition_version="2.0" if condition else None,
        opts=opts,
    )
