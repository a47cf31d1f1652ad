"""Lists of the Batch service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.batch_service.errors import BatchError
from infra.local.batch_service.listing import filtered, page, selected

MEMBERS = [
    {"id": "a1", "state": "idle", "size": {"name": "x"}, "dedicated": True},
    {"id": "a2", "state": "creating", "size": {"name": "y"}, "dedicated": False},
    {"id": "b1", "state": "idle", "size": {"name": "y"}, "dedicated": False},
]


@given(st.integers(0, 40), st.integers(1, 15))
def test_pages_hold_every_member_once(count: int, size: int) -> None:
    """Following the next page's number from the first page gives every member in order, no page larger than asked."""
    members = [{"id": str(number)} for number in range(count)]
    found, query = [], {"maxresults": str(size)}
    while True:
        part = page(members, query, "next=")
        assert len(part["value"]) <= size
        found += part["value"]
        if "odata.nextLink" not in part:
            break
        query = {**query, "$skiptoken": part["odata.nextLink"].removeprefix("next=")}
    assert found == members


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, ["a1", "a2", "b1"]),
        ("state eq 'idle'", ["a1", "b1"]),
        ("state ne 'idle'", ["a2"]),
        ("startswith(id,'a') and state eq 'idle'", ["a1"]),
        ("id eq 'a2' or id eq 'b1'", ["a2", "b1"]),
        ("size/name eq 'y' and dedicated eq false", ["a2", "b1"]),
        ("id ge 'a2'", ["a2", "b1"]),
    ],
)
def test_filters(text: str | None, names: list[str]) -> None:
    """Comparisons, prefixes, `and` and `or` let the right members through."""
    assert [member["id"] for member in filtered(MEMBERS, text)] == names


@pytest.mark.parametrize("text", ["length(id) eq 2", "state", "state like 'x'"])
def test_a_filter_that_is_not_understood_is_refused(text: str) -> None:
    """What cannot be evaluated is refused, not ignored."""
    with pytest.raises(BatchError, match="query parameters is invalid"):
        filtered(MEMBERS, text)


def test_selected_properties_alone_are_shown() -> None:
    """`$select` leaves the named properties; without it all stay."""
    assert selected(MEMBERS[0], "id, state") == {"id": "a1", "state": "idle"}
    assert selected(MEMBERS[0], None) == MEMBERS[0]
