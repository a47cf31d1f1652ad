"""Inputs after a refresh."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.local.provider.inputs import refreshed

NAMES = st.sampled_from(["a", "b", "c", "d"])
PLAIN = st.one_of(st.integers(0, 3), st.booleans(), st.sampled_from(["x", "y"]))
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_nothing_changes_while_the_service_says_the_same(inputs: dict[str, Any], live: dict[str, Any]) -> None:
    """Whatever the service adds of its own, an unchanged reading leaves the inputs as they are."""
    assert refreshed(inputs, live, live) == inputs


@given(OBJECTS, OBJECTS)
def test_inputs_that_say_all_follow_the_service(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Where the inputs are all that the service tells, they become what it tells now."""
    assert refreshed(before, before, now) == now


@given(OBJECTS, OBJECTS, NAMES, PLAIN)
def test_a_change_touches_its_own_property_alone(
    inputs: dict[str, Any], before: dict[str, Any], name: str, value: Any
) -> None:
    """A property that changed in the service is in the inputs afterwards, all others are as before."""
    now = {**before, name: value}
    after = refreshed(inputs, before, now)
    untouched = {key: kept for key, kept in inputs.items() if key != name}
    assert {key: kept for key, kept in after.items() if key != name} == untouched
    if before.get(name) != value:
        assert after[name] == value
