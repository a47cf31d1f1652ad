"""Values on the wire between engine and provider: protobuf structs in, plain JSON values out, and back."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from pulumi.runtime.rpc import UNKNOWN

# The engine's marks for values that are more than JSON (pulumi/sdk/go/common/resource/sig).
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark, not a secret
OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"


def read_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return a struct's plain values: secrets unwrapped, whole numbers as int, unknown values as their sentinel.

    The engine keeps track of what is secret by itself, since this provider answers that it does not.
    """
    plain: dict[str, Any] = _plain(json_format.MessageToDict(struct))
    return plain


def write_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return a struct of plain values."""
    struct = struct_pb2.Struct()
    json_format.ParseDict(dict(values), struct)
    return struct


def has_unknown(value: Any) -> bool:
    """Say whether something in the value is not known before the deployment."""
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return isinstance(value, str) and UNKNOWN in value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        mark = value.get(SIGNATURE)
        if mark in (SECRET, OUTPUT):
            return _plain(value.get("value", UNKNOWN))
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a struct knows only floats, ARM refuses 1.0 where it wants 1
    return value
