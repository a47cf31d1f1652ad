"""The functions of templates that need nothing but their arguments."""

import base64
import hashlib
import ipaddress
import json
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from infra.local.templates.expressions import TemplateError

Function = Callable[..., Any]

# The alphabet of `uniqueString`: 13 characters, as the service's are; its hash itself is not published.
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_UNIQUE_LENGTH = 13
_GUID_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # docs: "template functions", guid


def text_of(value: Any) -> str:
    """Write a value as `string` does."""
    if isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _concat(*values: Any) -> Any:
    if values and all(isinstance(value, list) for value in values):
        return [member for value in values for member in value]
    if any(isinstance(value, (list, dict)) for value in values):
        raise TypeError("its arguments are all texts or all arrays")
    return "".join(map(text_of, values))


def _format(pattern: str, *values: Any) -> str:
    return pattern.format(*map(text_of, values))


def _unique_string(*values: str) -> str:
    number = int.from_bytes(hashlib.sha256("-".join(values).encode()).digest()[:9])
    return "".join(_LETTERS[(number >> (5 * place)) % len(_LETTERS)] for place in range(_UNIQUE_LENGTH))


def _contains(container: Any, wanted: Any) -> bool:
    if isinstance(container, dict):
        return str(wanted).lower() in map(str.lower, container)
    return bool(wanted in container)


def _union(*values: Any) -> Any:
    if all(isinstance(value, dict) for value in values):
        merged: dict[str, Any] = {}
        for value in values:
            for key, content in value.items():
                both = isinstance(content, dict) and isinstance(merged.get(key), dict)
                merged[key] = _union(merged[key], content) if both else content
        return merged
    found: list[Any] = []
    for value in values:
        found.extend(member for member in value if member not in found)
    return found


def _intersection(first: Any, *others: Any) -> Any:
    if isinstance(first, dict):
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return [member for member in first if all(member in other for other in others)]


def _numbers(values: tuple[Any, ...]) -> Iterable[Any]:
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _substring(text: str, start: int, length: int | None = None) -> str:
    if start < 0 or start > len(text) or (length is not None and start + length > len(text)):
        raise TypeError(f"position {start} and length {length} do not lie in the text of {len(text)} characters")
    return text[start:] if length is None else text[start : start + length]


def _split(text: str, separators: Any) -> list[str]:
    parts = [text]
    for separator in [separators] if isinstance(separators, str) else separators:
        parts = [piece for part in parts for piece in part.split(separator)]
    return parts


def _divide(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _equal(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


def _create_object(*pairs: Any) -> dict[str, Any]:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def _to_object(text: Any) -> Any:
    return json.loads(text)


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
    return bool(value)


def _cidr_subnet(prefix: str, length: int, place: int) -> str:
    block = ipaddress.ip_network(prefix)
    return str(list(block.subnets(new_prefix=length))[place])


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FUNCTIONS: dict[str, Function] = {
    "add": lambda left, right: left + right,
    "and": lambda *values: all(values),
    "array": lambda value: value if isinstance(value, list) else [value],
    "base64": _base64,
    "base64tostring": lambda text: base64.b64decode(text).decode(),
    "bool": _boolean,
    "cidrsubnet": _cidr_subnet,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "concat": _concat,
    "contains": _contains,
    "createarray": lambda *values: list(values),
    "createobject": _create_object,
    "div": _divide,
    "empty": lambda value: not value,
    "endswith": lambda text, end: text.lower().endswith(end.lower()),
    "equals": _equal,
    "false": lambda: False,
    "first": lambda value: value[0] if value else "" if isinstance(value, str) else None,
    "flatten": lambda value: [member for part in value for member in part],
    "float": float,
    "format": _format,
    "greater": lambda left, right: left > right,
    "greaterorequals": lambda left, right: left >= right,
    "guid": lambda *values: str(uuid.uuid5(_GUID_NAMESPACE, "-".join(values))),
    "indexof": lambda text, part: text.lower().find(part.lower()) if isinstance(text, str) else text.index(part),
    "int": int,
    "intersection": _intersection,
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": lambda values, separator: separator.join(map(text_of, values)),
    "json": _to_object,
    "last": lambda value: value[-1] if value else "" if isinstance(value, str) else None,
    "length": len,
    "less": lambda left, right: left < right,
    "lessorequals": lambda left, right: left <= right,
    "max": lambda *values: max(_numbers(values)),
    "min": lambda *values: min(_numbers(values)),
    "mod": lambda left, right: left - right * _divide(left, right),
    "mul": lambda left, right: left * right,
    "not": lambda value: not value,
    "null": lambda: None,
    "objectkeys": sorted,
    "or": lambda *values: any(values),
    "padleft": lambda value, width, fill=" ": text_of(value).rjust(width, fill),
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "shallowmerge": lambda values: {key: value for part in values for key, value in part.items()},
    "skip": lambda value, count: value[count:],
    "split": _split,
    "startswith": lambda text, start: text.lower().startswith(start.lower()),
    "string": text_of,
    "sub": lambda left, right: left - right,
    "substring": _substring,
    "take": lambda value, count: value[:count],
    "tolower": lambda text: text.lower(),
    "toupper": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "true": lambda: True,
    "union": _union,
    "uniquestring": _unique_string,
    "uri": urllib.parse.urljoin,
    "uricomponent": lambda text: urllib.parse.quote(text, safe=""),
    "uricomponenttostring": urllib.parse.unquote,
}


def call(name: str, arguments: list[Any]) -> Any:
    """Call a function by its name, which has no case."""
    try:
        return FUNCTIONS[name.lower()](*arguments)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise TemplateError(f"The function '{name}' cannot take its arguments {arguments}: {error}.") from error
