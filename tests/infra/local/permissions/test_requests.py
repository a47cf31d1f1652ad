"""Which actions a request needs, which patterns grant them, and how the refusal names them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.arm.addresses import parse
from infra.local.permissions.requests import action_of, refusal, required, scope_of
from infra.local.permissions.rules import Permission, matches, within
from infra.local.tokens import Principal

GROUP = "/subscriptions/s/resourceGroups/rg"
SETS = "Microsoft.Compute/virtualMachineScaleSets"
SET = f"{GROUP}/providers/{SETS}/pool"
VM = f"{SET}/virtualMachines/0"
ASSIGNMENT = f"{SET}/providers/Microsoft.Authorization/roleAssignments/g"
GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
SUBNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/acct"

words = st.text(st.sampled_from("abcXYZ."), min_size=1, max_size=4)
actions = st.lists(words, min_size=2, max_size=5).map("/".join)


@given(actions, st.data())
def test_a_star_stands_for_any_text(action: str, data: st.DataObject) -> None:
    """Any part of an action may be replaced by a star, and case does not matter."""
    start = data.draw(st.integers(0, len(action)))
    end = data.draw(st.integers(start, len(action)))
    assert matches(action.upper(), [f"{action[:start]}*{action[end:]}"])


@given(actions, actions)
def test_without_a_star_only_the_same_action_matches(action: str, other: str) -> None:
    """A dot in a pattern is a dot."""
    assert matches(action, [other]) is (action.lower() == other.lower())


@given(st.lists(words, max_size=4), st.lists(words, max_size=4))
def test_a_scope_is_within_itself_and_what_leads_to_it(outer: list[str], more: list[str]) -> None:
    """Names are compared whole: `/a/b` is not within `/a/bc`."""
    above = "".join(f"/{name}" for name in outer)
    below = above + "".join(f"/{name}" for name in more)
    assert within(below, above or "/")
    assert not above or not within(f"{above}x", above)


@given(actions)
def test_what_is_excluded_is_not_granted(action: str) -> None:
    """NotActions take out of actions, and neither speaks of data."""
    assert Permission(("*",)).permits(action, data=False)
    assert not Permission(("*",)).permits(action, data=True)
    assert not Permission(("*",), (action,)).permits(action, data=False)
    assert Permission((), (), ("*",), ("x/none",)).permits(action, data=True)


@pytest.mark.parametrize(
    ("method", "path", "action", "scope"),
    [
        ("GET", GROUP, f"{GROUPS}/read", GROUP),
        ("HEAD", GROUP, f"{GROUPS}/read", GROUP),
        ("GET", "/subscriptions/s/resourcegroups", f"{GROUPS}/read", "/subscriptions/s"),
        ("PUT", GROUP, f"{GROUPS}/write", GROUP),
        ("PATCH", SET, f"{SETS}/write", SET),
        ("DELETE", SET, f"{SETS}/delete", SET),
        ("POST", f"{SET}/delete", f"{SETS}/delete/action", SET),
        ("GET", f"{SET}/instanceView", f"{SETS}/instanceView/read", SET),
        ("GET", f"{SET}/virtualMachines", f"{SETS}/virtualMachines/read", SET),
        ("POST", f"{VM}/simulateEviction", f"{SETS}/virtualMachines/simulateEviction/action", VM),
        ("GET", f"{GROUP}/providers/{SETS}", f"{SETS}/read", GROUP),
        ("POST", f"{ACCOUNT}/listKeys", "Microsoft.Storage/storageAccounts/listKeys/action", ACCOUNT),
        ("PUT", ASSIGNMENT, "Microsoft.Authorization/roleAssignments/write", ASSIGNMENT),
    ],
)  # fmt: skip
def test_requests_and_their_actions(method: str, path: str, action: str, scope: str) -> None:
    """Every request has one action of its own, named as Azure names it, on one scope."""
    target = parse(path)
    assert (action_of(method, target), scope_of(target)) == (action, scope)


def needs(method: str, path: str, body: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the linked needs alone."""
    return set(required(method, parse(path), body)[1:])


def test_a_write_needs_what_it_links_to() -> None:
    """A set joins its subnet and is assigned its identity; an account's rule joins by endpoint; reads link nothing."""
    body = {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
        "properties": {"networkProfile": [{"ipConfigurations": [{"properties": {"subnet": {"id": SUBNET}}}]}]},
    }
    assert needs("PUT", SET, body) == {
        ("Microsoft.Network/virtualNetworks/subnets/join/action", SUBNET),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", IDENTITY),
    }
    assert needs("GET", SET, body) == set()
    assert needs("PATCH", SET, {"sku": {"capacity": 3}}) == set()
    rules = {"properties": {"networkAcls": {"virtualNetworkRules": [{"id": SUBNET}]}}}
    assert needs("PUT", ACCOUNT, rules) == {
        ("Microsoft.Network/virtualNetworks/subnets/joinViaServiceEndpoint/action", SUBNET)
    }
    endpoint = {"properties": {"privateLinkServiceConnections": [{"properties": {"privateLinkServiceId": ACCOUNT}}]}}
    assert needs("PUT", f"{GROUP}/providers/Microsoft.Network/privateEndpoints/pe", endpoint) == {
        ("Microsoft.Storage/storageAccounts/privateEndpointConnectionsApproval/action", ACCOUNT)
    }
    network = SUBNET.split("/subnets/", maxsplit=1)[0]
    own = {"properties": {"subnets": [{"id": SUBNET, "name": "nodes"}]}}
    assert needs("PUT", network, own) == set()


def test_the_refusal_names_action_and_scope() -> None:
    """One's own missing action is AuthorizationFailed, a linked one LinkedAuthorizationFailed."""
    principal = Principal("object", "client")
    own, linked = (f"{SETS}/write", SET), ("Microsoft.Network/virtualNetworks/subnets/join/action", SUBNET)
    first = refusal(principal, (own, linked), own)
    assert (first.status, first.code) == (403, "AuthorizationFailed")
    assert "'client' with object id 'object'" in first.message
    assert f"action '{own[0]}' over scope '{SET}'" in first.message
    second = refusal(principal, (own, linked), linked)
    assert (second.status, second.code) == (403, "LinkedAuthorizationFailed")
    assert all(part in second.message for part in (*own, *linked))
