"""JSON as the deployment service reads it: with comments, bare names, single quotes and trailing commas.

Command lines send a template as its author wrote it, and join it to the rest of the request by a bare name.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(
    r"""(?P<gap>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<quoted>'(?:[^'\\]|\\.)*')
      | (?P<sign>[{}\[\]:,])
      | (?P<word>[^\s{}\[\]:,"'/]+)""",
    re.VERBOSE | re.DOTALL,
)
_VALUES = frozenset({"true", "false", "null"})
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


def loads(text: str) -> Any:
    """Read such a text; what is wrong with it is a `ValueError`."""
    return json.loads(" ".join(_strict(text)))


def _strict(text: str) -> Iterator[str]:
    """Yield the parts as strict JSON has them; a comma waits until it is known that something follows."""
    place, comma = 0, False
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise ValueError(f"'{text[place : place + 20]}' is not expected (char {place})")
        place = found.end()
        written = _written(found.lastgroup, found[0])
        if not written:
            continue
        if comma and written not in {"}", "]"}:
            yield ","
        comma = written == ","
        if not comma:
            yield written


def _written(kind: str, token: str) -> str:
    if kind == "gap":
        return ""
    if kind == "quoted":
        return json.dumps(token[1:-1].replace("\\'", "'"))
    if kind == "text":
        # A text of several lines is one that templates may have; strict JSON writes its ends.
        return token.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    if kind == "word" and token not in _VALUES and not _NUMBER.fullmatch(token):
        return json.dumps(token)
    return token
