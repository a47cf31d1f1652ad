"""From a tree back to text: one statement a line, only the parentheses that are needed; `parse` gives the same tree."""

from decimal import Decimal

from scheduler.formula.parse import PRECEDENCE
from scheduler.formula.syntax import (
    Assignment,
    Binary,
    Call,
    Conditional,
    Expression,
    Formula,
    Member,
    MethodCall,
    Name,
    Number,
    Text,
    Unary,
)

_CONDITIONAL = 0
_UNARY = 6
_POSTFIX = 7


def print_formula(formula: Formula) -> str:
    """Write a formula."""
    lines = []
    for statement in formula.statements:
        value = print_expression(statement.value)
        lines.append(f"{statement.target.name} = {value};\n" if isinstance(statement, Assignment) else f"{value};\n")
    return "".join(lines)


def print_expression(expression: Expression) -> str:
    """Write an expression."""
    match expression:
        case Number() | Text() | Name():
            return _word(expression)
        case Unary():
            return f"{expression.operator.value}{_within(expression.operand, _UNARY)}"
        case Binary():
            return _binary(expression)
        case Conditional():
            test = _within(expression.test, _CONDITIONAL + 1)
            return f"{test} ? {print_expression(expression.then)} : {print_expression(expression.otherwise)}"
        case Call():
            return f"{expression.function}({_list(expression.arguments)})"
        case Member():
            return f"{_within(expression.owner, _POSTFIX)}.{expression.name}"
        case MethodCall():
            return f"{_within(expression.owner, _POSTFIX)}.{expression.method}({_list(expression.arguments)})"


def print_number(value: float) -> str:
    """Write a number without exponent and without a point where it is whole."""
    return f"{Decimal(int(value)) if value.is_integer() else Decimal(repr(value)):f}"


def _word(expression: Number | Text | Name) -> str:
    if isinstance(expression, Number):
        return print_number(expression.value)
    return f'"{expression.value}"' if isinstance(expression, Text) else expression.name


def _binary(expression: Binary) -> str:
    # Sums can be thousands of operands long, which lean to the left: they are followed without recursion.
    pieces: list[str] = []
    current: Expression = expression
    while isinstance(current, Binary):
        precedence = PRECEDENCE[current.operator]
        pieces.append(f" {current.operator.value} {_within(current.right, precedence + 1)}")
        if not isinstance(current.left, Binary) or PRECEDENCE[current.left.operator] < precedence:
            current = current.left
            break
        current = current.left
    pieces.append(_within(current, precedence))
    return "".join(reversed(pieces))


def _within(expression: Expression, lowest: int) -> str:
    written = print_expression(expression)
    return written if _precedence(expression) >= lowest else f"({written})"


def _precedence(expression: Expression) -> int:
    match expression:
        case Conditional():
            return _CONDITIONAL
        case Binary():
            return PRECEDENCE[expression.operator]
        case Unary():
            return _UNARY
        case _:
            return _POSTFIX


def _list(arguments: tuple[Expression, ...]) -> str:
    return ", ".join(print_expression(argument) for argument in arguments)
