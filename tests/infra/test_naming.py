"""Names keep Azure's rules whatever is declared."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import naming

names = st.from_regex(r"[a-z][a-z0-9]{1,9}(-[a-z0-9]{1,11})?", fullmatch=True)
generations = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)

QUEUE = re.compile(r"[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]")


@given(names, names, generations)
def test_a_node_group_is_named_within_the_rules_of_queues_and_scale_sets(
    pool: str, group: str, generation: str
) -> None:
    """One name serves a queue (the stricter rule) and a scale set."""
    assert naming.is_name(pool)
    name = naming.node_group(pool, group, generation)
    assert QUEUE.fullmatch(name)
    assert len(name) <= 63
    assert naming.generation(name, pool, group) == generation


@given(names, st.uuids(), st.from_regex(r"[a-z]{4,20}[0-9]?", fullmatch=True))
def test_a_made_account_name_is_allowed_and_stable(environment: str, subscription: uuid.UUID, location: str) -> None:
    """An account's made name keeps the rule, and the spelling of the subscription's id changes nothing."""
    name = naming.account(environment, str(subscription), location)
    assert naming.is_account(name)
    assert name == naming.account(environment, str(subscription).upper(), location)


@given(names, st.uuids(), st.uuids())
def test_accounts_of_two_subscriptions_differ(environment: str, one: uuid.UUID, other: uuid.UUID) -> None:
    """The same environment in two subscriptions does not ask for the same world-wide name."""
    same = naming.account(environment, str(one), "westeurope") == naming.account(environment, str(other), "westeurope")
    assert same == (one == other)


@given(names, st.booleans())
def test_a_made_computer_name_prefix_is_allowed(pool: str, windows: bool) -> None:
    """Every pool's name gives a prefix that its system takes."""
    assert naming.is_computer_name_prefix(naming.computer_name_prefix(pool, windows=windows), windows=windows)


@pytest.mark.parametrize(
    ("prefix", "windows", "allowed"),
    [("ninechars", True, True), ("tencharact", True, False), ("tencharact", False, True), ("1st", True, False)],
)
def test_windows_takes_nine_characters(prefix: str, windows: bool, allowed: bool) -> None:
    """The bound of computer names is the system's own."""
    assert naming.is_computer_name_prefix(prefix, windows=windows) is allowed


@given(st.text(min_size=1), st.uuids(), st.uuids())
def test_role_assignments_are_named_by_what_they_are(scope: str, principal: uuid.UUID, role: uuid.UUID) -> None:
    """A role assignment's name is a GUID that differs with scope, principal and role."""
    name = naming.role_assignment(scope, str(principal), str(role))
    assert str(uuid.UUID(name)) == name
    assert name == naming.role_assignment(scope, str(principal).upper(), str(role))
    assert (name == naming.role_assignment(scope, str(role), str(principal))) == (principal == role)


@pytest.mark.parametrize("text", ["", "a", "A1", "1a", "a-", "-a", "a--b", "a_b", "x" * 25, "ä1"])
def test_names_outside_the_rule_are_refused(text: str) -> None:
    """Only what every Azure name rule takes is a name."""
    assert not naming.is_name(text)
