"""The messages that come before a session, read and written."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.postgres import wire

WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=30)


def packet(parameters: dict[str, str], version: int = 3 << 16) -> bytes:
    """Write a startup packet as a client does."""
    body = struct.pack("!I", version) + b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


@given(st.dictionaries(WORDS, WORDS, max_size=6), WORDS, st.sampled_from([3 << 16, (3 << 16) + 2]))
def test_startup_packets(parameters: dict[str, str], user: str, version: int) -> None:
    """What a client writes is read, whatever its words, and the packet is kept as it came."""
    sent = packet({**parameters, "user": user}, version)
    found = wire.read_startup(sent)
    assert (found.user, found.packet) == (user, sent)
    assert dict(found.parameters) == {**parameters, "user": user}
    assert wire.length_of(sent) == len(sent)


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    """Bytes that are no startup packet are an error of the protocol, and no other."""
    try:
        found = wire.read_startup(data)
    except wire.WireError:
        return
    assert found.user


@pytest.mark.parametrize("sent", [packet({"database": "x"}), packet({"user": ""}), packet({"user": "x"}, 2 << 16), b""])
def test_what_is_missing(sent: bytes) -> None:
    """No user, an empty one, another version, nothing at all."""
    with pytest.raises(wire.WireError):
        wire.read_startup(sent)


@given(WORDS)
def test_passwords(text: str) -> None:
    """A password is read without the zero at its end."""
    assert wire.read_password(text.encode() + b"\0") == text


@given(WORDS)
def test_refusals(text: str) -> None:
    """A refusal has the length that it says, its code, and the text."""
    sent = wire.refusal("28P01", text)
    assert sent[:1] == b"E"
    assert struct.unpack("!I", sent[1:5])[0] == len(sent) - 1
    fields = sent[5:].split(b"\0")
    assert b"C28P01" in fields
    assert f"M{text}".encode() in fields
