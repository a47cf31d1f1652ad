"""The language of template expressions: `[concat('a', parameters('b').c[0])]`, read into a tree."""

import re
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_$][\w$]*)|(?P<sign>[()\[\].,?]))"
)
_LONGEST = 24_576  # docs: "template limits", characters of an expression


class TemplateError(Exception):
    """A template that cannot be right: what is wrong, and where in the template if known."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or a number."""

    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments, which may not be needed all."""

    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A property or an element of a value; `safe` ones may be missing."""

    value: "Node"
    key: "Node"
    safe: bool = False


Node = Literal | Call | Member


def is_expression(text: str) -> bool:
    """Say whether a text is an expression: in brackets, of which the first is not doubled."""
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def unescaped(text: str) -> str:
    """Return a text that is no expression as it is meant."""
    return text[1:] if text.startswith("[[") else text


def parse(text: str) -> Node:
    """Read an expression in its brackets."""
    if len(text) > _LONGEST:
        raise TemplateError(f"The expression is {len(text)} characters long; {_LONGEST} is the limit.")
    return _Parser(text[1:-1]).whole()


class _Parser:
    """Reads from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._kind, self._token = "", ""
        self._next()

    def whole(self) -> Node:
        """Read one expression and nothing after it."""
        node = self._expression()
        if self._kind:
            raise self._wrong()
        return node

    def _next(self) -> None:
        if not self._text[self._place :].strip():
            self._kind, self._token = "", ""
            return
        found = _TOKEN.match(self._text, self._place)
        if found is None or found.lastgroup is None:
            raise TemplateError(
                f"The expression '{self._text}' cannot be read at '{self._text[self._place :].strip()[:20]}'."
            )
        self._kind, self._token = found.lastgroup, found[found.lastgroup]
        self._place = found.end()

    def _wrong(self) -> TemplateError:
        what = f"'{self._token}' is not expected" if self._kind else "it ends too early"
        return TemplateError(f"The expression '{self._text}' is not valid: {what} at position {self._place}.")

    def _take(self, sign: str) -> None:
        if (self._kind, self._token) != ("sign", sign):
            raise self._wrong()
        self._next()

    def _is(self, sign: str) -> bool:
        return (self._kind, self._token) == ("sign", sign)

    def _expression(self) -> Node:
        node = self._primary()
        while True:
            safe = self._is(".") and self._text[self._place : self._place + 1] == "?"
            if self._is("."):
                self._next()
                if safe:
                    self._next()
                if self._kind == "name":
                    node = Member(node, Literal(self._token), safe)
                    self._next()
                    continue
                if not (safe and self._is("[")):
                    raise self._wrong()
            if self._is("["):
                self._next()
                if self._is("?"):
                    safe = True
                    self._next()
                node = Member(node, self._expression(), safe)
                self._take("]")
                continue
            return node

    def _primary(self) -> Node:
        kind, token = self._kind, self._token
        if kind == "text":
            self._next()
            return Literal(token[1:-1].replace("''", "'"))
        if kind == "number":
            self._next()
            return Literal(float(token) if "." in token else int(token))
        if kind != "name":
            raise self._wrong()
        self._next()
        self._take("(")
        arguments: list[Node] = []
        while not self._is(")"):
            if arguments:
                self._take(",")
            arguments.append(self._expression())
        self._take(")")
        return Call(token, tuple(arguments))
