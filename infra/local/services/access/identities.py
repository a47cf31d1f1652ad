"""User-assigned identities, and the tokens of others that stand for them."""

import uuid
from typing import Any

from infra.local.arm.errors import conflict, invalid
from infra.local.arm.resource_types import ResourceType, Write
from infra.local.arm.store import Store

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
FEDERATED = f"{IDENTITY}/federatedIdentityCredentials"

_MOST_FEDERATED = 20  # docs: managed identities, considerations for federated credentials


def identity_types(store: Store, tenant_id: str) -> tuple[ResourceType, ...]:
    """Return the types of Microsoft.ManagedIdentity."""

    def prepare_identity(write: Write) -> None:
        known = write.before.properties if write.before else {}
        write.resource.properties.update(
            tenantId=tenant_id,
            principalId=known.get("principalId", str(uuid.uuid4())),
            clientId=known.get("clientId", str(uuid.uuid4())),
        )

    def prepare_credential(write: Write) -> None:
        properties = write.resource.properties
        issuer, subject, audiences = (properties.get(name) for name in ("issuer", "subject", "audiences"))
        if not isinstance(issuer, str) or not issuer.startswith("https://"):
            raise invalid(f"The issuer '{issuer}' is not an https URL.", "properties.issuer", "BadRequest")
        if not isinstance(subject, str) or not subject:
            raise invalid("The federated credential needs a 'subject'.", "properties.subject", "BadRequest")
        if not isinstance(audiences, list) or len(audiences) != 1:
            raise invalid("'audiences' must hold exactly one audience.", "properties.audiences", "BadRequest")
        others = [
            found for found in store.find(FEDERATED, write.address.parent or "") if found.key != write.resource.key
        ]
        if len(others) >= _MOST_FEDERATED:
            message = f"Too many federated identity credentials: an identity may have {_MOST_FEDERATED}."
            raise conflict("TooManyFederatedIdentityCredentials", message)
        if any((found.properties["issuer"], found.properties["subject"]) == (issuer, subject) for found in others):
            message = "Issuer and subject combination already exists for this Managed Identity."
            raise conflict("Conflict", message)

    return (
        ResourceType(IDENTITY, prepare=prepare_identity, has_state=False),
        ResourceType(FEDERATED, prepare=prepare_credential, tracked=False, has_state=False),
    )


def identities_of(store: Store, body: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Complete the user-assigned identities of a body with their ids; refuse those that do not exist."""
    completed = {}
    for identifier in (body.get("identity") or {}).get("userAssignedIdentities") or {}:
        identity = store.get(identifier)
        if identity is None:
            raise invalid(f"Resource '{identifier}' was not found.", code="FailedIdentityOperation")
        completed[identity.id] = {name: identity.properties[name] for name in ("clientId", "principalId")}
    return completed
