"""The operator table: what each pair of types gives; anything else is an `OperationError` that says what to write."""

import operator as python
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from scheduler.formula.dialect import Dialect, DivisionByZero
from scheduler.formula.syntax import BinaryOperator, UnaryOperator
from scheduler.formula.values import LAST_TICK, LONGEST_TICKS, TimeInterval, Timestamp, Value, type_name


class OperationError(Exception):
    """An operation that its operands do not allow; the evaluator knows where it stands."""


COMPARISONS: Mapping[BinaryOperator, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        BinaryOperator.EQUAL: python.eq,
        BinaryOperator.NOT_EQUAL: python.ne,
        BinaryOperator.LESS: python.lt,
        BinaryOperator.LESS_OR_EQUAL: python.le,
        BinaryOperator.GREATER: python.gt,
        BinaryOperator.GREATER_OR_EQUAL: python.ge,
    }
)
_ARITHMETIC: Mapping[BinaryOperator, Callable[[float, float], float]] = MappingProxyType(
    {BinaryOperator.ADD: python.add, BinaryOperator.SUBTRACT: python.sub, BinaryOperator.MULTIPLY: python.mul}
)


def number(value: Value) -> float:
    """Take a value as a double; a vector of one element is one (public formulas count on it)."""
    if isinstance(value, float):
        return value
    if isinstance(value, tuple):
        if len(value) == 1:
            return value[0]
        raise OperationError(
            f"a vector of {len(value)} samples stands where a number must; take one with max, avg, sum or val"
        )
    raise OperationError(f"a {type_name(value)} stands where a number must")


def unary(operator: UnaryOperator, value: Value) -> Value:
    """Apply an operator before a value."""
    if isinstance(value, TimeInterval) and operator is UnaryOperator.MINUS:
        return _interval(-value.ticks)
    operand = number(value)
    if operator is UnaryOperator.NOT:
        return 1.0 if operand == 0 else 0.0
    return -operand if operator is UnaryOperator.MINUS else operand


def binary(operator: BinaryOperator, left: Value, right: Value, dialect: Dialect) -> Value:
    """Apply an operator between two values that have both been evaluated."""
    if isinstance(left, tuple) and len(left) == 1:
        left = left[0]
    if isinstance(right, tuple) and len(right) == 1:
        right = right[0]
    compare = COMPARISONS.get(operator)
    if compare is not None:
        if type(left) is not type(right) or isinstance(left, tuple):
            raise _mismatch(operator, left, right)
        return 1.0 if compare(left, right) else 0.0
    if operator is BinaryOperator.AND:
        return 1.0 if number(left) != 0 and number(right) != 0 else 0.0
    if operator is BinaryOperator.OR:
        return 1.0 if number(left) != 0 or number(right) != 0 else 0.0
    if isinstance(left, float) and isinstance(right, float):
        return _number(operator, left, right, dialect)
    if isinstance(left, tuple):
        return _vector(operator, left, right, dialect)
    return _time(operator, left, right, dialect)


def _number(operator: BinaryOperator, left: float, right: float, dialect: Dialect) -> float:
    if operator is not BinaryOperator.DIVIDE:
        return _ARITHMETIC[operator](left, right)
    if right != 0:
        return left / right
    if dialect.division_by_zero is DivisionByZero.ERROR:
        raise OperationError("division by zero; guard it with x == 0 ? ... : ...")
    if left == 0 or left != left:  # noqa: PLR0124  only not-a-number differs from itself
        return float("nan")
    negative = (left < 0) != (str(right)[0] == "-")
    return float("-inf") if negative else float("inf")


def _vector(operator: BinaryOperator, left: tuple[float, ...], right: Value, dialect: Dialect) -> Value:
    if isinstance(right, float):
        return tuple(_number(operator, each, right, dialect) for each in left)
    if not isinstance(right, tuple):
        raise _mismatch(operator, left, right)
    if len(left) != len(right):
        raise OperationError(
            f"vectors of {len(left)} and {len(right)} samples have no {operator.value}; take max or avg of each first"
        )
    return tuple(_number(operator, one, other, dialect) for one, other in zip(left, right, strict=True))


def _time(operator: BinaryOperator, left: Value, right: Value, dialect: Dialect) -> Value:
    key = (operator, type(left), type(right))
    compute = _TIME_TABLE.get(key)
    if compute is None or (key == _INTERVAL_FROM_TIMESTAMP and not dialect.subtract_interval):
        raise _mismatch(operator, left, right)
    return compute(left, right)


def scaled(span: TimeInterval, factor: float, divisor: float = 1.0) -> TimeInterval:
    """Multiply and divide an interval, to the nearest tick."""
    ticks = span.ticks * factor / divisor
    if not -LONGEST_TICKS <= ticks <= LONGEST_TICKS:
        raise OperationError("the timeinterval would be longer than 29,000 years")
    return TimeInterval(round(ticks))


def _interval(ticks: int) -> TimeInterval:
    if not -LONGEST_TICKS <= ticks <= LONGEST_TICKS:
        raise OperationError("the timeinterval would be longer than 29,000 years")
    return TimeInterval(ticks)


def _timestamp(ticks: int) -> Timestamp:
    if not 0 <= ticks <= LAST_TICK:
        raise OperationError("the timestamp would lie outside the years 1 to 9999")
    return Timestamp(ticks)


def _interval_divided(span: TimeInterval, divisor: float) -> TimeInterval:
    if divisor == 0:
        raise OperationError("a timeinterval cannot be divided by zero")
    return scaled(span, 1, divisor)


_INTERVAL_FROM_TIMESTAMP = (BinaryOperator.SUBTRACT, Timestamp, TimeInterval)
_TIME_TABLE: Mapping[tuple[BinaryOperator, type, type], Callable[[Any, Any], Value]] = MappingProxyType(
    {
        (BinaryOperator.MULTIPLY, float, TimeInterval): lambda left, right: scaled(right, left),
        (BinaryOperator.MULTIPLY, TimeInterval, float): scaled,
        (BinaryOperator.DIVIDE, TimeInterval, float): _interval_divided,
        (BinaryOperator.ADD, TimeInterval, TimeInterval): lambda left, right: _interval(left.ticks + right.ticks),
        (BinaryOperator.SUBTRACT, TimeInterval, TimeInterval): lambda left, right: _interval(left.ticks - right.ticks),
        (BinaryOperator.ADD, TimeInterval, Timestamp): lambda left, right: _timestamp(left.ticks + right.ticks),
        (BinaryOperator.ADD, Timestamp, TimeInterval): lambda left, right: _timestamp(left.ticks + right.ticks),
        (BinaryOperator.SUBTRACT, Timestamp, Timestamp): lambda left, right: _interval(left.ticks - right.ticks),
        _INTERVAL_FROM_TIMESTAMP: lambda left, right: _timestamp(left.ticks - right.ticks),
    }
)


def _mismatch(operator: BinaryOperator, left: Value, right: Value) -> OperationError:
    advice = ""
    if isinstance(right, tuple) and isinstance(left, float):
        advice = "; put the vector on the left, or take max, avg or sum of it first"
    elif isinstance(left, Timestamp) and isinstance(right, TimeInterval):
        advice = "; add the negative interval: t + (-1 * TimeInterval_Hour)"
    elif isinstance(left, tuple) or isinstance(right, tuple):
        advice = "; take max, avg or sum of the vector first"
    return OperationError(f"{type_name(left)} {operator.value} {type_name(right)} is not in the language{advice}")
