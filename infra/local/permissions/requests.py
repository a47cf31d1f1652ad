"""Which actions a request to the resource manager needs, by Azure's own names.

A request needs the action of what it is about, and for each other resource that its body puts to use an action there:
the linked checks, such as to join a subnet or to assign an identity (docs: "Azure permissions", column of actions
ending in join/action and assign/action).
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from infra.local.arm.addresses import RESOURCE_GROUP, Target, parse
from infra.local.arm.errors import ArmError
from infra.local.permissions.rules import within
from infra.local.tokens import Principal

Needs = tuple[tuple[str, str], ...]

_GROUP_ACTION = "Microsoft.Resources/subscriptions/resourceGroups"
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}

# What a reference by `{"id": …}` (or a property of that value) needs on the resource that it names.
_NETWORK = "Microsoft.Network"
_LINKED = {
    f"{_NETWORK}/{kind}".lower(): f"{_NETWORK}/{kind}/{action}"
    for kind, action in (
        ("virtualNetworks/subnets", "join/action"),
        ("networkSecurityGroups", "join/action"),
        ("publicIPAddresses", "join/action"),
        ("publicIPPrefixes", "join/action"),
        ("natGateways", "join/action"),
        ("routeTables", "join/action"),
        ("networkInterfaces", "join/action"),
        ("applicationSecurityGroups", "joinIpConfiguration/action"),
        ("privateDnsZones", "join/action"),
        ("virtualNetworks", "join/action"),
        ("loadBalancers/backendAddressPools", "join/action"),
        ("loadBalancers/inboundNatPools", "join/action"),
        ("loadBalancers/inboundNatRules", "join/action"),
        ("loadBalancers/probes", "join/action"),
        ("serviceEndpointPolicies", "join/action"),
    )
} | {
    "microsoft.compute/images": "Microsoft.Compute/images/read",
    "microsoft.compute/galleries/images/versions": "Microsoft.Compute/galleries/images/versions/read",
    "microsoft.compute/disks": "Microsoft.Compute/disks/write",
}
_ASSIGN_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
_JOIN_BY_ENDPOINT = "Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action"
_STORAGE = "microsoft.storage/storageaccounts"
_ROLE_DEFINITION = "microsoft.authorization/roledefinitions"


def action_of(method: str, target: Target) -> str:
    """Name the action of a request; its scope is the resource, or where the collection lies."""
    kind = _kind(target, trailing=False)
    if method == "POST":
        return f"{kind}/{target.trailing}/action" if target.trailing else f"{kind}/action"
    return f"{_kind(target, trailing=True)}/{_VERBS[method]}"


def scope_of(target: Target) -> str:
    """Return the scope on which a request needs its action."""
    return target.address.id if target.address else target.scope or "/"


def required(method: str, target: Target, body: dict[str, Any]) -> Needs:
    """Return every action that a request needs, each with its scope: its own first, then the linked ones."""
    own = (action_of(method, target), scope_of(target))
    if method not in {"PUT", "PATCH"} or target.address is None:
        return (own,)
    linked = (need for need in _linked(target.address.type.lower(), body) if not within(need[1], own[1]))
    return tuple(dict.fromkeys((own, *linked)))


def refusal(principal: Principal, needs: Needs, missing: tuple[str, str]) -> ArmError:
    """Return Azure's answer to a client that lacks one of the needed actions."""
    action, scope = missing
    who = f"client '{principal.client_id}' with object id '{principal.object_id}'"
    if missing == needs[0]:
        message = (
            f"The {who} does not have authorization to perform action '{action}' over scope '{scope}' or the scope is"
            " invalid. If access was recently granted, please refresh your credentials."
        )
        return ArmError(HTTPStatus.FORBIDDEN, "AuthorizationFailed", message)
    message = (
        f"The {who} has permission to perform action '{needs[0][0]}' on scope '{needs[0][1]}'; however, it does not"
        f" have permission to perform action(s) '{action}' on the linked scope(s) '{scope}' (respectively) or the"
        " linked scope(s) are invalid."
    )
    return ArmError(HTTPStatus.FORBIDDEN, "LinkedAuthorizationFailed", message)


def _kind(target: Target, *, trailing: bool) -> str:
    """Return the type in an action's name; the group's own actions are named after the subscription."""
    address = target.address
    if address is None:
        if str(target.trailing).lower() == "resourcegroups":
            return _GROUP_ACTION
        return f"{target.namespace}/{target.trailing}" if trailing else str(target.namespace)
    kind = _GROUP_ACTION if address.type == RESOURCE_GROUP else address.type
    return f"{kind}/{target.trailing}" if trailing and target.trailing else kind


def _linked(resource_type: str, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    identity = body.get("identity")
    assigned = identity.get("userAssignedIdentities") if isinstance(identity, dict) else None
    for identifier in assigned if isinstance(assigned, dict) else ():
        yield _ASSIGN_IDENTITY, identifier
    properties = body.get("properties")
    if not isinstance(properties, dict):
        return
    if resource_type == _ROLE_DEFINITION:
        # To define a role one must be allowed to on all that it may be assigned on.
        for scope in properties.get("assignableScopes") or ():
            yield "Microsoft.Authorization/roleDefinitions/write", str(scope)
        return
    for reference in _references(properties):
        named = _type_of(reference)
        if resource_type == _STORAGE and named == "microsoft.network/virtualnetworks/subnets":
            yield _JOIN_BY_ENDPOINT, reference
        elif named in _LINKED:
            yield _LINKED[named], reference
        elif resource_type == "microsoft.network/privateendpoints" and named:
            spelled = parse(reference).address
            kind = spelled.type if spelled else named
            yield f"{kind}/privateEndpointConnectionsApproval/action", reference


def _references(value: Any) -> Iterator[str]:
    """Yield every resource id that stands anywhere in a body as a value."""
    if isinstance(value, dict):
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)
    elif isinstance(value, str) and value.lower().startswith("/subscriptions/") and "/providers/" in value.lower():
        yield value


def _type_of(identifier: str) -> str:
    try:
        target = parse(identifier)
    except ArmError:
        return ""
    return target.address.type.lower() if target.address and target.trailing is None else ""
