"""Wire records: what is written is read back, and what is not understood is refused by name."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap import protocol
from node_bootstrap.protocol import (
    MAX_MESSAGE_BYTES,
    BootRecord,
    Directive,
    Event,
    EventKind,
    ExitCodeRules,
    FileRef,
    HeldMessage,
    Manifest,
    NodeControl,
    NodeState,
    NodeStatus,
    Outcome,
    ProtocolError,
    ResolvedInputs,
    StopRef,
    TaskDefinition,
    TaskMessage,
    TaskRef,
    TaskReport,
    decode,
    encode,
)

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
COUNT = st.integers(0, 10**9)
INSTANT = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
REF = st.builds(TaskRef, COUNT, COUNT)
FILE = st.builds(FileRef, TEXT, TEXT, TEXT, COUNT, COUNT, TEXT)
REPORT = st.builds(
    TaskReport, COUNT, COUNT, st.sampled_from(Outcome), st.none() | COUNT, TEXT, INSTANT, INSTANT,
    st.lists(FILE, max_size=3).map(tuple),
)  # fmt: skip
REFS = st.lists(REF, max_size=3).map(tuple)
RECORDS = st.one_of(
    st.builds(
        TaskDefinition, TEXT, st.lists(TEXT, max_size=3).map(tuple), COUNT, COUNT,
        st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple), st.lists(FILE, max_size=2).map(tuple),
        st.lists(TEXT, max_size=2).map(tuple), st.none() | st.floats(0, 1e6),
        st.builds(ExitCodeRules, st.lists(COUNT, max_size=2).map(tuple), st.lists(COUNT, max_size=2).map(tuple)),
    ),
    st.builds(TaskMessage, TEXT, TEXT, TEXT, REFS, st.none() | TEXT),
    st.builds(Manifest, TEXT, TEXT, TEXT, TEXT, st.lists(REPORT, max_size=3).map(tuple)),
    st.builds(Event, st.sampled_from(EventKind), TEXT, TEXT, TEXT, INSTANT, st.none() | TEXT, REFS, REFS, TEXT),
    st.builds(
        NodeStatus, TEXT, TEXT, st.sampled_from(NodeState), COUNT, COUNT, TEXT, INSTANT,
        st.lists(st.builds(HeldMessage, TEXT, TEXT, REFS), max_size=2).map(tuple), TEXT,
    ),
    st.builds(
        NodeControl, COUNT, st.sampled_from(Directive),
        st.lists(st.builds(StopRef, TEXT, st.none() | COUNT, st.none() | COUNT), max_size=2).map(tuple),
    ),
    st.builds(ResolvedInputs, st.lists(FILE, max_size=2).map(tuple)),
    st.builds(BootRecord, TEXT, TEXT, INSTANT, st.none() | INSTANT, st.none() | COUNT, TEXT),
)  # fmt: skip


@given(RECORDS)
def test_every_record_is_read_back_as_it_was(record: object) -> None:
    """Decoding what was encoded gives an equal record, and encoding that gives the same text."""
    text = encode(record)
    again = decode(type(record), text)
    assert again == record
    assert encode(again) == text


@given(RECORDS)
def test_fields_of_a_newer_peer_are_ignored(record: object) -> None:
    """An unknown field does no harm."""
    plain = json.loads(encode(record))
    plain["from_the_future"] = [1, {"a": 2}]
    assert decode(type(record), json.dumps(plain)) == record


@given(RECORDS, st.data())
def test_a_missing_field_is_named(record: object, data: st.DataObject) -> None:
    """Without a field that has no default the record is refused, and the error says which."""
    plain = json.loads(encode(record))
    required = [
        name
        for name, field in type(record).__dataclass_fields__.items()
        if field.default.__class__.__name__ == "_MISSING_TYPE"
    ]
    gone = data.draw(st.sampled_from(required))
    del plain[gone]
    with pytest.raises(ProtocolError, match=gone):
        decode(type(record), json.dumps(plain))


@given(st.one_of(st.text(), st.binary()))
def test_noise_is_refused(noise: str | bytes) -> None:
    """Whatever comes in, decoding either gives a record or a ProtocolError."""
    with pytest.raises(ProtocolError):
        decode(TaskMessage, noise)


EARLIEST = json.loads((Path(__file__).parent / "golden" / "records.json").read_text(encoding="utf-8"))


def lacks(earlier: object, now: object) -> bool:
    """Whether something of an earlier document is not in a later one; a later one may have more fields."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        return any(name not in now or lacks(value, now[name]) for name, value in earlier.items())
    if isinstance(earlier, list) and isinstance(now, list):
        return len(earlier) != len(now) or any(map(lacks, earlier, now))
    return earlier != now


@pytest.mark.parametrize("name", sorted(EARLIEST))
def test_peers_of_different_versions_understand_each_other(name: str) -> None:
    """What the first version wrote is read, and what is written now has all that the first version reads.

    Nodes live on while the scheduler is upgraded, and what they wrote stays in storage. A change that fails here needs
    another `SCHEMA_VERSION`, and a scheduler that reads both: see docs/upgrades.md.
    """
    record = decode(getattr(protocol, name), json.dumps(EARLIEST[name]))
    assert not lacks(EARLIEST[name], json.loads(encode(record)))


def test_words_on_the_wire_are_those_of_every_version() -> None:
    """A word that an older peer does not know has its whole record refused: read it a release before it is written."""
    assert [sorted(words) for words in (Outcome, EventKind, NodeState, Directive)] == [
        [
            "cancelled", "ignorable", "node_fault", "output_lost", "permanent", "preempted", "retryable", "success",
        ],
        ["finished", "returned", "started"],
        ["drained", "draining", "waiting", "working"],
        ["drain", "retire", "work"],
    ]  # fmt: skip


def test_another_schema_version_is_refused() -> None:
    """A record of a later schema is not guessed at."""
    text = encode(TaskMessage("m", "j", "d", (TaskRef(0, 1),))).replace('"schema_version":1', '"schema_version":2')
    with pytest.raises(ProtocolError, match="schema version 2"):
        decode(TaskMessage, text)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"tasks": [{"task_id": "0", "attempt": 1}]}, r"tasks\[0\]\.task_id"),
        ({"tasks": {}}, "tasks"),
        ({"job_id": 3}, "job_id"),
        ({"inputs": 3}, "inputs"),
        ({"tasks": [{"task_id": True, "attempt": 1}]}, "task_id"),
    ],
)
def test_a_wrong_type_is_located(change: dict[str, object], where: str) -> None:
    """The error names the path of the field that is wrong."""
    plain = json.loads(encode(TaskMessage("m", "j", "d", (TaskRef(0, 1),))))
    with pytest.raises(ProtocolError, match=where):
        decode(TaskMessage, json.dumps(plain | change))


def test_instants_are_in_utc_and_need_a_zone() -> None:
    """An instant of another zone is written in UTC; one without a zone is refused."""
    east = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=5)))
    text = encode(Event(EventKind.STARTED, "m", "j", "n", east))
    assert "2026-11-22T07:00:00+00:00" in text
    with pytest.raises(ProtocolError, match="time zone"):
        decode(Event, text.replace("+00:00", ""))


def test_equal_definitions_have_equal_text() -> None:
    """The text is canonical, so that its hash names the content."""
    one = TaskDefinition("a", ("x",), 0, 2)
    assert encode(one) == encode(decode(TaskDefinition, json.dumps(json.loads(encode(one)), indent=3)))


def test_a_message_of_many_tasks_fits() -> None:
    """A thousand short tasks travel in one message."""
    tasks = tuple(TaskRef(task_id, 1) for task_id in range(99_000, 100_000))
    assert len(encode(TaskMessage("m" * 36, "j" * 36, "d" * 64, tasks)).encode()) <= MAX_MESSAGE_BYTES
