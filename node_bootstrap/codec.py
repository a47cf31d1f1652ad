"""Frozen records to canonical JSON and back; what is not understood is refused by name. Standard library only."""

import dataclasses
import functools
import hashlib
import json
import types
import typing
from datetime import UTC, datetime
from enum import StrEnum

SCHEMA_VERSION = 1

_Record = typing.TypeVar("_Record")


class ProtocolError(ValueError):
    """A record that cannot be understood: malformed, incomplete, or of another schema version."""


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def encode(record: object) -> str:
    """Write a record as canonical JSON: sorted keys, no spaces, so that equal records have equal hashes."""
    return json.dumps(_plain(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decode(kind: type[_Record], text: str | bytes) -> _Record:
    """Read a record of the given kind.

    Raises `ProtocolError` for what is not JSON, lacks a field, has one of a wrong type, or is of another schema.
    Unknown fields are ignored, so that a newer peer may add some.
    """
    try:
        value = json.loads(text)
    except (ValueError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{kind.__name__}: not JSON: {error}") from error
    if isinstance(value, dict) and value.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise ProtocolError(
            f"{kind.__name__}: schema version {value['schema_version']!r}, understood is {SCHEMA_VERSION}"
        )
    record = _record(kind, value, kind.__name__)
    return typing.cast("_Record", record)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value


def _record(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise ProtocolError(f"{where}: expected an object, got {type(value).__name__}")
    hints = _hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            arguments[field.name] = _typed(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING:
            raise ProtocolError(f"{where}: the field {field.name!r} is missing")
    return kind(**arguments)


@functools.cache
def _hints(kind: type) -> dict[str, typing.Any]:
    return typing.get_type_hints(kind)


def _typed(hint: typing.Any, value: object, where: str) -> object:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        present = next(option for option in typing.get_args(hint) if option is not types.NoneType)
        return None if value is None else _typed(present, value, where)
    if origin is tuple:
        return _sequence(typing.get_args(hint), value, where)
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast("type", hint), value, where)
    if hint is datetime and isinstance(value, str):
        return _instant(value, where)
    if isinstance(hint, type) and issubclass(hint, StrEnum) and isinstance(value, str):
        try:
            return hint(value)
        except ValueError as error:
            raise ProtocolError(f"{where}: {error}") from error
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ProtocolError(f"{where}: expected {getattr(hint, '__name__', hint)}, got {type(value).__name__}")


def _sequence(hints: tuple[typing.Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ProtocolError(f"{where}: expected a list, got {type(value).__name__}")
    if len(hints) == 2 and hints[1] is Ellipsis:  # noqa: PLR2004  tuple[X, ...]
        return tuple(_typed(hints[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(hints) != len(value):
        raise ProtocolError(f"{where}: expected {len(hints)} items, got {len(value)}")
    return tuple(
        _typed(hint, item, f"{where}[{index}]") for index, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _instant(value: str, where: str) -> datetime:
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise ProtocolError(f"{where}: {error}") from error
    if instant.tzinfo is None:
        raise ProtocolError(f"{where}: an instant needs a time zone: {value!r}")
    return instant
