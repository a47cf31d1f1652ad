"""The tree of a formula: frozen records with spans; spans do not count when two trees are compared."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.formula.problems import NOWHERE, Span


class UnaryOperator(StrEnum):
    """Operators before an operand."""

    MINUS = "-"
    NOT = "!"
    PLUS = "+"


class BinaryOperator(StrEnum):
    """Operators between two operands."""

    OR = "||"
    AND = "&&"
    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"


@dataclass(frozen=True, slots=True)
class Number:
    """A literal such as 400 or 0.2."""

    value: float
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Text:
    """A literal in double quotes, without them."""

    value: str
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, constant or deallocation keyword, with the `$` that it was written with."""

    name: str
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """An operator before an operand."""

    operator: UnaryOperator
    operand: "Expression"
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two operands; `operator_span` is where it stands."""

    operator: BinaryOperator
    left: "Expression"
    right: "Expression"
    span: Span = field(default=NOWHERE, compare=False)
    operator_span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Conditional:
    """`test ? then : otherwise`."""

    test: "Expression"
    then: "Expression"
    otherwise: "Expression"
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments."""

    function: str
    arguments: tuple["Expression", ...]
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Member:
    """A property of a value, such as `time().weekday`."""

    owner: "Expression"
    name: str
    span: Span = field(default=NOWHERE, compare=False)
    name_span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A method of a metric; the service reports failures at the opening parenthesis, `parenthesis`."""

    owner: "Expression"
    method: str
    arguments: tuple["Expression", ...]
    span: Span = field(default=NOWHERE, compare=False)
    name_span: Span = field(default=NOWHERE, compare=False)
    parenthesis: Span = field(default=NOWHERE, compare=False)


Expression = Number | Text | Name | Unary | Binary | Conditional | Call | Member | MethodCall


@dataclass(frozen=True, slots=True)
class Assignment:
    """`target = value`."""

    target: Name
    value: Expression
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An expression that stands alone; the service evaluates it, and it can fail."""

    value: Expression
    span: Span = field(default=NOWHERE, compare=False)


Statement = Assignment | Evaluation


@dataclass(frozen=True, slots=True)
class Formula:
    """A whole formula."""

    statements: tuple[Statement, ...]


def parts(expression: Expression) -> tuple[Expression, ...]:
    """Give the expressions directly inside one, in the order of the text."""
    match expression:
        case Unary():
            return (expression.operand,)
        case Binary():
            return (expression.left, expression.right)
        case Conditional():
            return (expression.test, expression.then, expression.otherwise)
        case Call():
            return expression.arguments
        case Member():
            return (expression.owner,)
        case MethodCall():
            return (expression.owner, *expression.arguments)
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and all inside it, in the order of the text, however deep it is."""
    stack = [expression]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(parts(current)))
