"""From text to tokens; what is no token of the language becomes an unknown one and is told by the parser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from scheduler.formula.dialect import Dialect
from scheduler.formula.problems import Span


class TokenKind(StrEnum):
    """What a token is."""

    NAME = "name"
    NUMBER = "number"
    TEXT = "text"
    SIGN = "sign"
    UNKNOWN = "unknown"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text and where it stands."""

    kind: TokenKind
    text: str
    span: Span


_SIGNS = r"==|!=|<=|>=|&&|\|\||[-+*/!<>=?:.,;()]"
_NAME = r"\$?[A-Za-z_][A-Za-z0-9_]*"
_SKIPPED = re.compile(r"(?:[ \t\r\n\f\v\u00a0\ufeff]+|//[^\n]*)+")
_END_OF_LINE = re.compile(r"[\r\n]")


def tokens(text: str, dialect: Dialect) -> Iterator[Token]:
    """Yield the tokens of a formula, the end as the last one."""
    pattern = _pattern(dialect)
    position, line, line_start = 0, 1, 0
    while True:
        skipped = _SKIPPED.match(text, position)
        if skipped is not None:
            position = skipped.end()
            line += skipped[0].count("\n")
            line_start = max(line_start, text.rfind("\n", 0, position) + 1)
        if position >= len(text):
            yield Token(TokenKind.END, "", Span(position, position, line, position - line_start + 1))
            return
        found = pattern.match(text, position)
        if found is not None and found.lastgroup is not None:
            kind, end = TokenKind(found.lastgroup), found.end()
        else:
            kind, end = TokenKind.UNKNOWN, _unknown_end(text, position)
        yield Token(kind, text[position:end], Span(position, end, line, position - line_start + 1))
        position = end


def _pattern(dialect: Dialect) -> re.Pattern[str]:
    number = r"\d+(?:\.\d+)?"
    if dialect.leading_point:
        number = rf"(?:{number}|\.\d+)"
    if dialect.exponents:
        number += r"(?:[eE][-+]?\d+)?"
    # A text ends on its line: one that does not is unknown, and so is not a reason to misread the lines after it.
    return re.compile(rf"(?P<number>{number})|(?P<name>{_NAME})|(?P<text>\"[^\"\r\n]*\")|(?P<sign>{_SIGNS})", re.ASCII)


def _unknown_end(text: str, position: int) -> int:
    if text[position] != '"':
        return position + 1
    found = _END_OF_LINE.search(text, position)
    return len(text) if found is None else found.start()
