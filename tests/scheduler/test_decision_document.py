"""A decision with its inputs as a document: what is read is what was written, and what cannot be read says why."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.inputs import DecisionRecord, Inputs, decide_on, record_of
from scheduler.autoscale.levels import PoolHistory
from scheduler.decision_document import dump_record, indented, load_record
from scheduler.errors import InvalidRequestError
from scheduler.model import PoolDemand
from scheduler.policy import ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, POOL, fleet, group, node, work
from tests.scheduler.autoscale.situations import DEMANDS, FLEETS, LEARNED, POLICIES, Fleets
from tests.scheduler.autoscale.test_foresight import CLASSES, FORESEEN

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def record(
    policy: ScalingPolicy, demand: PoolDemand | None, situation: Fleets, learned: PoolHistory | None = None
) -> DecisionRecord:
    """Decide upon a situation of the pool, for which no change is proposed."""
    groups, history = situation
    known = {} if learned is None else {POOL: learned}
    inputs = Inputs({POOL: policy}, {POOL: demand}, groups, tuple(history.items()), NOW, {POOL: policy}, known)
    return record_of(inputs, decide_on(inputs), POOL)


def one() -> DecisionRecord:
    """Decide upon three waiting tasks and a node."""
    return record(ScalingPolicy(), work(active=3), ((fleet(group(), node(1)),), {}))


KNOWN_MORE = st.builds(
    lambda demand, classes, foreseen: replace(demand, classes=tuple(classes), foreseen=tuple(foreseen)),
    DEMANDS,
    st.lists(CLASSES, max_size=2),
    st.lists(FORESEEN, max_size=2),
)


@given(POLICIES, st.none() | KNOWN_MORE, FLEETS, st.none() | LEARNED, st.none() | TEXTS)
def test_what_was_written_is_read(
    policy: ScalingPolicy,
    demand: PoolDemand | None,
    situation: Fleets,
    learned: PoolHistory | None,
    unknown: str | None,
) -> None:
    """A record comes back equal, laid out for people or not, and decides as it did."""
    groups, history = situation
    written = record(policy, demand, ((replace(groups[0], unknown=unknown), *groups[1:]), history), learned)
    document = dump_record(written)
    read = load_record(document)
    assert read == written
    assert read.replay() == read.would_be() == written.decided
    assert load_record(indented(document)) == written


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "written in version 2 of millpond-decision, and this Millpond reads version 1 alone"),
        ({"format": "millpond-history"}, "this is a 'millpond-history', no 'millpond-decision'"),
        ({"version": None}, "this is no decision with its inputs"),
        ({"record": {"pool": "p"}}, "cannot be read by this Millpond; replay it with the one that wrote it"),
    ],
)
def test_what_cannot_be_read_says_why(change: dict[str, object], says: str) -> None:
    """Another version or form, and what is damaged, is told apart, with what to do."""
    document = json.loads(dump_record(one())) | change
    with pytest.raises(InvalidRequestError, match=says):
        load_record(json.dumps(document))


@given(st.binary())
def test_no_bytes_fail_otherwise(document: bytes) -> None:
    """Whatever a file holds, the error is ours."""
    with pytest.raises(InvalidRequestError):
        load_record(document)


def test_an_older_document_is_read_with_defaults() -> None:
    """A field with a default that was not there yet when a document was written is read as that default."""
    written = one()
    document = json.loads(dump_record(written))
    del document["record"]["inputs"]["fleet"][0]["error"]
    del document["record"]["inputs"]["policies"][POOL]["idle_timeout"]
    del document["record"]["inputs"]["learned"]
    assert load_record(json.dumps(document)) == written


def test_what_no_json_can_hold_is_refused() -> None:
    """Half a surrogate pair in an error that Azure sent is our error, so that nothing but the record is lost."""
    odd = record(ScalingPolicy(), None, ((fleet(group(), unknown="\ud800"),), {}))
    with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
        dump_record(odd)
