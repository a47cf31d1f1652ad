"""Conditions of role assignments, version 2.0: read into an expression, and decided.

The grammar is that of the documentation ("Azure role assignment condition format and syntax"). Expressions are plain
lists, so that they can be written as JSON for the storage servers, which decide them in the same way (guard.js).

    ["and" | "or", left, right] · ["not", inner] · ["action", [pattern…]] · ["suboperation", [name…]]
    ["exists", attribute] · ["compare", quantifier, operator, left, right]
    a side of a comparison: ["attribute", source, name] · ["values", [value…]]

An attribute that a request does not have makes every comparison with it false.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

Expression = list[Any]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')"
    r"|(?P<attribute>@(?P<source>Resource|Request|Principal|Environment)\s*\[(?P<name>[^\]]+)\])"
    r"|(?P<guid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z]+(?::[A-Za-z]+)?)"
    r"|(?P<sign>&&|\|\||[!(){},]))",
    re.IGNORECASE,
)
_QUANTIFIERS = ("ForAnyOfAnyValues", "ForAllOfAnyValues", "ForAnyOfAllValues", "ForAllOfAllValues")
_QUANTIFIED = {name.lower(): name for name in _QUANTIFIERS}


# A depth that the reader can follow; the service's own limit is on the length, 8 KB.
_MOST_NESTED = 200


class ConditionError(ValueError):
    """A condition that cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a condition is decided on. Attributes are keyed by source and name in lower case, `resource:…name`."""

    action: str
    data: bool = False
    suboperation: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def _like(left: str, right: str) -> bool:
    # Only * and ? are wildcards here; fnmatch would also read brackets.
    return fnmatchcase(left, right.replace("[", "[[]"))


def _number(compare: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    def compared(left: str, right: str) -> bool:
        try:
            return compare(float(left), float(right))
        except ValueError:
            return False

    return compared


_POSITIVE: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda left, right: left == right,
    "StringEqualsIgnoreCase": lambda left, right: left.lower() == right.lower(),
    "StringStartsWith": lambda left, right: left.startswith(right),
    "StringStartsWithIgnoreCase": lambda left, right: left.lower().startswith(right.lower()),
    "StringLike": _like,
    "StringLikeIgnoreCase": lambda left, right: _like(left.lower(), right.lower()),
    "GuidEquals": lambda left, right: left.lower() == right.lower(),
    "BoolEquals": lambda left, right: left.lower() == right.lower(),
    "NumericEquals": _number(lambda left, right: left == right),
    "NumericLessThan": _number(lambda left, right: left < right),
    "NumericLessThanEquals": _number(lambda left, right: left <= right),
    "NumericGreaterThan": _number(lambda left, right: left > right),
    "NumericGreaterThanEquals": _number(lambda left, right: left >= right),
}
_NEGATIVE = {
    name.replace(kind, f"{kind}Not", 1): decide
    for kind in ("String", "Guid", "Bool", "Numeric")
    for name, decide in _POSITIVE.items()
    if name.startswith(kind) and not re.search("Less|Greater", name)
}
_OPERATORS: dict[str, tuple[str, Callable[[str, str], bool], bool]] = {
    **{name.lower(): (name, decide, True) for name, decide in _POSITIVE.items()},
    **{name.lower(): (name, decide, False) for name, decide in _NEGATIVE.items()},
}


def parse(text: str) -> Expression:
    """Read a condition; ConditionError when it is not one."""
    if text.count("(") + text.count("!") > _MOST_NESTED:
        raise ConditionError(f"more than {_MOST_NESTED} parentheses and negations")
    reader = _Reader(list(_tokens(text)))
    expression = reader.either()
    if reader.kind:
        raise ConditionError(f"unexpected '{reader.value}' after a complete expression")
    return expression


def holds(expression: Expression, request: Request) -> bool:
    """Decide an expression on a request."""
    match expression:
        case ["and", left, right]:
            return holds(left, request) and holds(right, request)
        case ["or", left, right]:
            return holds(left, request) or holds(right, request)
        case ["not", inner]:
            return not holds(inner, request)
        case ["action", patterns]:
            return any(_like(request.action.lower(), pattern.lower()) for pattern in patterns)
        case ["suboperation", names]:
            return request.suboperation.lower() in {name.lower() for name in names}
        case ["exists", attribute]:
            return bool(_values(attribute, request))
        case ["compare", quantifier, operator, left, right]:
            return _compare(quantifier, operator, _values(left, request), _values(right, request))
        case _:
            raise ConditionError(f"no expression: {expression}")


def _compare(quantifier: str, operator: str, left: list[str], right: list[str]) -> bool:
    _, decide, wanted = _OPERATORS[operator.lower()]
    if not left or not right:
        return False
    results = [[decide(one, other) is wanted for other in right] for one in left]
    # Without a quantifier one value is on each side; with a negative operator none of several may fit.
    over_left, over_right = {
        "ForAnyOfAnyValues": (any, any),
        "ForAllOfAnyValues": (all, any),
        "ForAnyOfAllValues": (any, all),
        "ForAllOfAllValues": (all, all),
    }.get(quantifier, (any, any if wanted else all))
    return over_left(over_right(row) for row in results)


def _values(side: Expression, request: Request) -> list[str]:
    match side:
        case ["attribute", source, name]:
            value = request.attributes.get(f"{source}:{name}".lower())
            return [] if value is None else [value]
        case ["values", values]:
            return list(values)
        case _:
            raise ConditionError(f"no side of a comparison: {side}")


def _tokens(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield kind, value, and for attributes the source."""
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ConditionError(f"cannot read '{text[place : place + 20].strip()}' at character {place + 1}")
        place = found.end()
        kind = next(name for name in ("text", "attribute", "guid", "number", "word", "sign") if found[name])
        match kind:
            case "text":
                yield kind, found[kind][1:-1].replace("''", "'"), ""
            case "attribute":
                yield kind, found["name"].strip(), found["source"].capitalize()
            case _:
                yield kind, found[kind], ""


class _Reader:
    """Reads tokens from left to right; OR binds least, then AND, then NOT."""

    def __init__(self, tokens: list[tuple[str, str, str]]) -> None:
        self._tokens = tokens
        self._place = 0

    @property
    def kind(self) -> str:
        """The kind of the next token, or nothing."""
        return self._tokens[self._place][0] if self._place < len(self._tokens) else ""

    @property
    def value(self) -> str:
        """The next token."""
        return self._tokens[self._place][1] if self._place < len(self._tokens) else "the end"

    def either(self) -> Expression:
        """Read operands of OR."""
        left = self._both()
        while self._skip("||", "or"):
            left = ["or", left, self._both()]
        return left

    def _both(self) -> Expression:
        left = self._negated()
        while self._skip("&&", "and"):
            left = ["and", left, self._negated()]
        return left

    def _negated(self) -> Expression:
        if self._skip("!", "not"):
            return ["not", self._negated()]
        if self._skip("("):
            inner = self.either()
            self._want(")")
            return inner
        return self._single()

    def _single(self) -> Expression:
        word = self.value.lower() if self.kind == "word" else ""
        if word in {"actionmatches", "suboperationmatches"}:
            self._place += 1
            return ["action" if word == "actionmatches" else "suboperation", self._set()]
        if self._skip("exists"):
            return ["exists", self._attribute()]
        left = self._side()
        quantifier, _, operator = self._take("word", "an operator").rpartition(":")
        if operator.lower() not in _OPERATORS or (quantifier and quantifier.lower() not in _QUANTIFIED):
            raise ConditionError(f"'{quantifier}{':' if quantifier else ''}{operator}' is no operator")
        known = _QUANTIFIED.get(quantifier.lower(), "")
        return ["compare", known, _OPERATORS[operator.lower()][0], left, self._side()]

    def _side(self) -> Expression:
        if self.kind == "attribute":
            return self._attribute()
        if self.value == "{":
            return ["values", self._set()]
        return ["values", [self._literal()]]

    def _attribute(self) -> Expression:
        source = self._tokens[self._place][2] if self.kind == "attribute" else ""
        return ["attribute", source, self._take("attribute", "an attribute")]

    def _set(self) -> list[str]:
        self._want("{")
        values = [self._literal()]
        while self._skip(","):
            values.append(self._literal())
        self._want("}")
        return values

    def _literal(self) -> str:
        if self.kind == "word" and self.value.lower() in {"true", "false"}:
            return self._take("word", "a value").lower()
        bare = self.kind in {"number", "guid"}
        return self._take(self.kind if bare else "text", "a value in single quotes")

    def _take(self, kind: str, what: str) -> str:
        if self.kind != kind:
            raise ConditionError(f"expected {what}, found '{self.value}'")
        value = self.value
        self._place += 1
        return value

    def _skip(self, *wanted: str) -> bool:
        if self.kind in {"sign", "word"} and self.value.lower() in wanted:
            self._place += 1
            return True
        return False

    def _want(self, sign: str) -> None:
        if not self._skip(sign):
            raise ConditionError(f"expected '{sign}', found '{self.value}'")
