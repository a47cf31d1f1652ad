"""A hash by which a request that is sent again is known, also by a scheduler of another version than the first time."""

import json
from dataclasses import MISSING, fields, is_dataclass

from node_bootstrap.protocol import sha256_hex


def fingerprint(record: object) -> str:
    """Hash what a record says, leaving out what stands at its default: a field that is added later changes nothing."""
    return sha256_hex(json.dumps(_said(record), sort_keys=True, separators=(",", ":")).encode())


def _said(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        said = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        defaults = {field.name: field.default for field in fields(value) if field.default is not MISSING}
        return {name: _said(each) for name, each in said.items() if name not in defaults or each != defaults[name]}
    return [_said(each) for each in value] if isinstance(value, tuple) else value
