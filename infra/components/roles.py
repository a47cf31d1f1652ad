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
    AZURE_BATCH_DATA_CONTRIBUTOR = "6aaa78f1-f7de-44ca-8722-c64a23943cae"


# Attributes of what is asked for (docs: "Actions and attributes for Azure role assignment conditions").
_CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
_QUEUE = "Microsoft.Storage/storageAccounts/queueServices/queues"
BLOB_READ = f"{_CONTAINER}/blobs/read"
BLOB_DELETE = f"{_CONTAINER}/blobs/delete"
MESSAGE_READ = f"{_QUEUE}/messages/read"
MESSAGE_DELETE = f"{_QUEUE}/messages/delete"


@dataclass(frozen=True)
class Principal:
    """Who is given a role. Azure refuses an assignment whose type is not the principal's own."""

    principal_id: pulumi.Input[str]
    principal_type: pulumi.Input[str]


def without(container: str, *actions: str) -> str:
    """Write a condition that takes actions on blobs out of a role that is given on a container.

    The service wants an attribute in it; the container's own name excludes every blob in it.
    """
    elsewhere = f"@Resource[{_CONTAINER}:name] StringNotEquals '{container}'"
    return " AND ".join(f"(!(ActionMatches{{'{action}'}}) OR ({elsewhere}))" for action in actions)


def on_queues(pattern: str, *excluded: str) -> str:
    """Write a condition that narrows a role to queues of such names, without some actions on their messages."""
    actions = (f"!(ActionMatches{{'{action}'}})" for action in excluded)
    return " AND ".join((f"(@Resource[{_QUEUE}:name] StringLike '{pattern}')", *actions))


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
