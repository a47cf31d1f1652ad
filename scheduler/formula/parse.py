"""From tokens to a tree; every syntax error of a formula is told, each with its place and what to write instead.

Precedence, lowest first: `?:` (to the right), `||`, `&&`, comparisons, `+ -`, `* /` (to the left), unary `- !`, `.`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from scheduler.formula.dialect import DEFAULT, Dialect
from scheduler.formula.problems import ErrorCode, FormulaError, Problem, Span
from scheduler.formula.syntax import (
    Assignment,
    Binary,
    BinaryOperator,
    Call,
    Conditional,
    Evaluation,
    Expression,
    Formula,
    Member,
    MethodCall,
    Name,
    Number,
    Statement,
    Text,
    Unary,
    UnaryOperator,
)
from scheduler.formula.tokens import Token, TokenKind, tokens

PRECEDENCE: Mapping[BinaryOperator, int] = MappingProxyType(
    {
        BinaryOperator.OR: 1,
        BinaryOperator.AND: 2,
        BinaryOperator.EQUAL: 3,
        BinaryOperator.NOT_EQUAL: 3,
        BinaryOperator.LESS: 3,
        BinaryOperator.LESS_OR_EQUAL: 3,
        BinaryOperator.GREATER: 3,
        BinaryOperator.GREATER_OR_EQUAL: 3,
        BinaryOperator.ADD: 4,
        BinaryOperator.SUBTRACT: 4,
        BinaryOperator.MULTIPLY: 5,
        BinaryOperator.DIVIDE: 5,
    }
)
# Ours, so that no formula overflows a stack; 8 KB of real formulas nest less than ten deep.
MAX_DEPTH = 64

_BINARY: Mapping[str, BinaryOperator] = MappingProxyType({operator.value: operator for operator in BinaryOperator})
_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "%": "there is no remainder; a - b * floor(a / b) gives it",
        "'": "texts stand in double quotes",
        "&": "the operator is &&",
        "|": "the operator is ||",
        "^": "there is no power",
        "=": "one = assigns and cannot stand here; == compares",
        "{": "there are no blocks; use test ? a : b",
        "[": "there are no arrays; val(vector, index) takes an element",
        "#": "a comment begins with //",
        "+": "a number needs no plus sign; leave it out",
        ".": "a number begins with a digit; write 0.5, not .5",
        "$": "a name follows the $, of letters, digits and _",
    }
)


def parse(text: str, dialect: Dialect = DEFAULT) -> Formula:
    """Read a formula; `FormulaError` has every syntax error of it."""
    length = len(text.encode("utf-8", "surrogatepass"))
    if length > dialect.max_bytes:
        # What is this long is not read: it may be anything.
        message = f"the formula has {length} bytes, {dialect.max_bytes} are allowed: shorten names, remove comments"
        raise FormulaError(Problem(ErrorCode.TOO_LONG, message, Span(0, 0, 1, 1)))
    parser = _Parser(list(tokens(text, dialect)), dialect)
    statements = parser.statements()
    if parser.problems:
        raise FormulaError(*parser.problems)
    if len(statements) > dialect.max_statements:
        message = f"{len(statements)} statements, {dialect.max_statements} are allowed: join some of them"
        raise FormulaError(Problem(ErrorCode.SYNTAX, message, statements[dialect.max_statements].span))
    return Formula(tuple(statements))


class _UnexpectedError(Exception):
    """A statement cannot be read on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Parser:
    """Reads tokens from left to right; after an error it goes on behind the next semicolon."""

    def __init__(self, found: list[Token], dialect: Dialect) -> None:
        self._tokens = found
        self._next = 0
        self._depth = 0
        self._dialect = dialect
        self.problems: list[Problem] = []

    def statements(self) -> list[Statement]:
        """Read all statements."""
        read: list[Statement] = []
        while self._peek().kind is not TokenKind.END:
            if self._peek().text == ";" and self._dialect.empty_statements:
                self._next += 1
                continue
            try:
                read.append(self._statement())
                if self._peek().kind is not TokenKind.END:
                    self._expect(";", "between two statements")
            except _UnexpectedError as error:
                self.problems.append(error.problem)
                self._skip_statement()
        return read

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        if token.kind is not TokenKind.END:
            self._next += 1
        return token

    def _statement(self) -> Statement:
        self._depth = 0
        first = self._peek()
        if first.kind is TokenKind.NAME and self._tokens[self._next + 1].text == "=":
            self._next += 2
            value = self._expression()
            return Assignment(Name(first.text, first.span), value, first.span.to(value.span))
        value = self._expression()
        if self._peek().text == "=":
            raise self._unexpected("only a variable can be assigned to, as in name = value;", hint=False)
        return Evaluation(value, value.span)

    def _expression(self) -> Expression:
        """Read a conditional, or what stands above it."""
        self._enter()
        value = self._operation(1)
        if self._peek().text == "?":
            self._take()
            then = self._expression()
            self._expect(":", "between the two values of a condition ? a : b")
            otherwise = self._expression()
            value = Conditional(value, then, otherwise, value.span.to(otherwise.span))
        self._depth -= 1
        return value

    def _operation(self, lowest: int) -> Expression:
        """Read operands joined by operators of at least this precedence."""
        left = self._operand()
        while (operator := _BINARY.get(self._peek().text)) is not None and PRECEDENCE[operator] >= lowest:
            where = self._take().span
            self._enter()
            right = self._operation(PRECEDENCE[operator] + 1)
            self._depth -= 1
            left = Binary(operator, left, right, left.span.to(right.span), where)
        return left

    def _operand(self) -> Expression:
        """Read a value with what stands before it and after it."""
        before: list[tuple[UnaryOperator, Span]] = []
        while self._peek().text in {"-", "!"} or (self._peek().text == "+" and self._dialect.unary_plus):
            token = self._take()
            self._enter()
            before.append((UnaryOperator(token.text), token.span))
        value, points = self._primary(), 0
        while self._peek().text == ".":
            self._take()
            self._enter()
            value, points = self._member(value), points + 1
        for operator, span in reversed(before):
            value = Unary(operator, value, span.to(value.span))
        self._depth -= len(before) + points
        return value

    def _member(self, owner: Expression) -> Expression:
        name = self._peek()
        if name.kind is not TokenKind.NAME or name.text.startswith("$"):
            raise self._unexpected("expected the name of a property or method after the point")
        self._take()
        if self._peek().text != "(":
            return Member(owner, name.text, owner.span.to(name.span), name.span)
        parenthesis = self._peek().span
        arguments, end = self._arguments()
        return MethodCall(owner, name.text, arguments, owner.span.to(end), name.span, parenthesis)

    def _primary(self) -> Expression:
        token = self._peek()
        if token.kind is TokenKind.NUMBER:
            self._take()
            return self._number(token)
        if token.kind is TokenKind.TEXT:
            self._take()
            return Text(token.text[1:-1], token.span)
        if token.kind is TokenKind.NAME:
            self._take()
            if self._peek().text != "(":
                return Name(token.text, token.span)
            arguments, end = self._arguments()
            return Call(token.text, arguments, token.span.to(end))
        if token.text == "(":
            self._take()
            value = self._expression()
            self._expect(")", "for the parenthesis opened at " + str(token.span))
            return value
        raise self._unexpected("expected a value: a number, a text, a variable, a function call or a parenthesis")

    def _arguments(self) -> tuple[tuple[Expression, ...], Span]:
        opening = self._take()
        read: list[Expression] = []
        if self._peek().text == ")":
            return (), self._take().span
        while True:
            read.append(self._expression())
            if self._peek().text == ",":
                self._take()
                continue
            end = self._expect(")", f"or a comma in the arguments begun at {opening.span}")
            return tuple(read), end

    def _number(self, token: Token) -> Expression:
        after = self._peek()
        if after.kind is TokenKind.NAME and after.span.start == token.span.end:
            hint = "write numbers without exponent, hex prefix or unit, such as 1000"
            raise _UnexpectedError(
                Problem(ErrorCode.SYNTAX, f"{token.text}{after.text} is no number; {hint}", after.span)
            )
        value = float(token.text)
        if value == float("inf"):
            raise _UnexpectedError(Problem(ErrorCode.SYNTAX, "the number is too large for a double", token.span))
        return Number(value, token.span)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            message = f"nested more than {MAX_DEPTH} deep; put parts into variables of their own"
            raise _UnexpectedError(Problem(ErrorCode.SYNTAX, message, self._peek().span))

    def _expect(self, sign: str, purpose: str) -> Span:
        if self._peek().text != sign:
            raise self._unexpected(f"expected {sign!r} {purpose}")
        return self._take().span

    def _unexpected(self, expected: str, *, hint: bool = True) -> _UnexpectedError:
        token = self._peek()
        if token.kind is TokenKind.END:
            got = "the formula ends here"
        elif token.kind is TokenKind.UNKNOWN and token.text.startswith('"'):
            return _UnexpectedError(
                Problem(ErrorCode.SYNTAX, 'a text begins here and has no closing " on its line', token.span)
            )
        else:
            got = f"got {token.text!r}"
        known = _HINTS.get(token.text) if hint else None
        message = f"{expected}; {got}" + (f" ({known})" if known else "")
        return _UnexpectedError(Problem(ErrorCode.SYNTAX, message, token.span))

    def _skip_statement(self) -> None:
        while self._peek().kind is not TokenKind.END:
            if self._take().text == ";":
                return
