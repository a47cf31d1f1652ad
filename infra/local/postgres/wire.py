"""The few messages of PostgreSQL's protocol that come before a session (docs: frontend/backend protocol, version 3)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

# What a first packet asks for, instead of a version.
CANCEL, TLS, ENCRYPTION = 80877102, 80877103, 80877104
# Longer first packets and passwords are nobody's; a token has about 2 KB.
LONGEST_STARTUP, LONGEST_PASSWORD = 10_000, 32_768

_MAJOR = 3
_INTEGER = struct.Struct("!I")
_CLEARTEXT = 3


class WireError(Exception):
    """What came is no message of the protocol."""


@dataclass(frozen=True, slots=True)
class Startup:
    """A client's first words: the packet as it came, and its parameters."""

    packet: bytes
    parameters: Mapping[str, str]

    @property
    def user(self) -> str:
        """The role that the client wants to be."""
        return self.parameters["user"]


def read_startup(packet: bytes) -> Startup:
    """Read a startup packet, its length included; `WireError` when it is none."""
    if len(packet) < 9 or code_of(packet) >> 16 != _MAJOR or packet[-1:] != b"\0":  # noqa: PLR2004  length, version, end
        raise WireError("no startup packet of version 3")
    try:
        words = packet[8:-1].decode().split("\0")
    except UnicodeDecodeError as error:
        raise WireError("a startup packet that is no text") from error
    pairs = dict(zip(words[:-1:2], words[1::2], strict=False))
    if not pairs.get("user"):
        raise WireError("a startup packet without a user")
    return Startup(packet, pairs)


def length_of(start: bytes) -> int:
    """Read the length that a packet begins with, itself included."""
    return int(_INTEGER.unpack_from(start)[0])


def code_of(packet: bytes) -> int:
    """Read the version or request that follows the length of a first packet."""
    return int(_INTEGER.unpack_from(packet, 4)[0])


def ask_for_password() -> bytes:
    """Ask for the password in clear; it travels within TLS."""
    return _message(b"R", _INTEGER.pack(_CLEARTEXT))


def read_password(body: bytes) -> str:
    """Read the body of a password message."""
    try:
        return body.removesuffix(b"\0").decode()
    except UnicodeDecodeError as error:
        raise WireError("a password that is no text") from error


def refusal(state: str, text: str) -> bytes:
    """Make the error that ends a connection; `state` is its SQLSTATE."""
    fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": text}
    return _message(b"E", b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0")


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + _INTEGER.pack(len(body) + 4) + body
