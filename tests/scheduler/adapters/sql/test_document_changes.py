"""What has changed from one document to the next."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from scheduler.adapters.sql.document_changes import change, changed, tabled, untabled

_VALUES = st.none() | st.integers(0, 3) | st.text("ab[]", max_size=2) | st.lists(st.integers(0, 1), max_size=2)
_RECORDS = st.lists(
    st.fixed_dictionaries({"node_id": st.text("abcdef", min_size=1, max_size=1), "phase": _VALUES, "held": _VALUES}),
    unique_by=lambda each: each["node_id"],
    max_size=6,
)
_DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    _VALUES | _RECORDS,
    lambda inner: st.dictionaries(st.sampled_from(["pool", "table", "fields"]), inner) | st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(_DOCUMENTS)
def test_tables_turn_back(document: Any) -> None:
    """A document is the same once its tables are records again."""
    assert untabled(tabled(document)) == document


@given(_DOCUMENTS | _RECORDS, _DOCUMENTS | _RECORDS)
def test_a_change_makes_the_one_document_the_other(before: Any, after: Any) -> None:
    """Written and read as JSON too; the documents are left as they were, and no change is written for none."""
    first, second = tabled(before), tabled(after)
    kept = deepcopy((first, second))
    found = from_json(to_json(change(first, second)))
    assert untabled(changed(first, found)) == after
    assert (first, second) == kept
    assert (found == {}) == (first == second)


def test_nodes_that_stay_are_not_written_again() -> None:
    """Of nodes of which one goes, one comes and one changes, the change has these alone, and runs of the others."""
    nodes = [{"node_id": f"n{number}", "phase": "working", "held": []} for number in range(1000)]
    later = [*nodes[:10], *nodes[11:500], {**nodes[500], "phase": "draining"}, *nodes[501:]]
    later.append({"node_id": "new", "phase": "booting", "held": []})
    found = change(tabled({"fleet": nodes}), tabled({"fleet": later}))
    assert from_json(to_json(found)) == {
        "fields": {
            "fleet": {
                "rows": [[0, 10], [11, 989], [None, 1]],
                "places": {
                    "node_id": [[999], ["new"]],
                    "phase": [[499, 999], ["draining", "booting"]],
                    "held": [[999], [[]]],
                },
            }
        }
    }
