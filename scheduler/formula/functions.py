"""The functions of numbers and vectors."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from scheduler.formula.dialect import Dialect, HalfRule, Percentile
from scheduler.formula.operators import OperationError, number
from scheduler.formula.values import Value, type_name

Function = Callable[[Sequence[Value], Dialect], Value]
_WHOLE = 2.0**52
_ALL = 100.0


def _list(function: str, arguments: Sequence[Value], least: int) -> list[float]:
    """Flatten a doubleVecList; empty vectors give nothing."""
    found: list[float] = []
    for argument in arguments:
        if isinstance(argument, float):
            found.append(argument)
        elif isinstance(argument, tuple):
            found.extend(argument)
        else:
            raise OperationError(f"{function} takes numbers and vectors, not a {type_name(argument)}")
    if len(found) < least:
        have = "no sample" if not found else "one sample only"
        raise OperationError(
            f"{function} has {have}; give it a number too, as in max(0, ...), or guard it with GetSamplePercent"
        )
    return found


def _of_list(function: str, least: int, compute: Callable[[list[float]], float]) -> Function:
    def apply(arguments: Sequence[Value], _dialect: Dialect) -> Value:
        return float(compute(_list(function, arguments, least)))

    return apply


def _elementwise(function: str, compute: Callable[[float, Dialect], float]) -> Function:
    def apply(arguments: Sequence[Value], dialect: Dialect) -> Value:
        value = arguments[0]
        if isinstance(value, float):
            return compute(value, dialect)
        if isinstance(value, tuple):
            return tuple(compute(each, dialect) for each in value)
        raise OperationError(f"{function} takes a number or a vector, not a {type_name(value)}")

    return apply


def _std(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) * (value - mean) for value in values) / (len(values) - 1))


def _logarithm(compute: Callable[[float], float]) -> Callable[[float, Dialect], float]:
    def apply(value: float, _dialect: Dialect) -> float:
        if value > 0:
            return compute(value)
        return float("-inf") if value == 0 else float("nan")

    return apply


def _whole(compute: Callable[[float], float]) -> Callable[[float, Dialect], float]:
    # Beyond 2^52 every double is whole, and neither infinity nor not-a-number can be made an integer.
    return lambda value, _dialect: float(compute(value)) if abs(value) < _WHOLE else value


def _round(value: float, dialect: Dialect) -> float:
    if not abs(value) < _WHOLE:
        return value
    if dialect.half_rule is HalfRule.EVEN:
        return float(round(value))
    below = math.floor(abs(value))
    return math.copysign(below + (1 if abs(value) - below >= 0.5 else 0), value)  # noqa: PLR2004  a half


def _percentile(arguments: Sequence[Value], dialect: Dialect) -> Value:
    values = sorted(_list("percentile", arguments[:1], 1))
    percent = number(arguments[1])
    if not 0 <= percent <= _ALL:
        raise OperationError(f"percentile takes 0 to 100, not {percent:g}")
    if dialect.percentile is Percentile.NEAREST_RANK:
        return values[max(0, math.ceil(percent / _ALL * len(values)) - 1)]
    place = percent / _ALL * (len(values) - 1)
    below = math.floor(place)
    share = place - below
    return values[below] if share == 0 else values[below] * (1 - share) + values[below + 1] * share


def _val(arguments: Sequence[Value], _dialect: Dialect) -> Value:
    values, index = _list("val", arguments[:1], 0), number(arguments[1])
    if not 0 <= index < len(values):
        raise OperationError(f"val has no element {index:g}: the vector has {len(values)}, counted from 0")
    return values[int(index)]


FUNCTION_BODIES: Mapping[str, Function] = MappingProxyType(
    {
        "avg": _of_list("avg", 1, lambda values: sum(values) / len(values)),
        "len": _of_list("len", 0, len),
        "max": _of_list("max", 1, max),
        "min": _of_list("min", 1, min),
        "norm": _of_list("norm", 0, lambda values: math.sqrt(sum(value * value for value in values))),
        "range": _of_list("range", 1, lambda values: max(values) - min(values)),
        "std": _of_list("std", 2, _std),
        "sum": _of_list("sum", 0, sum),
        "ceil": _elementwise("ceil", _whole(math.ceil)),
        "floor": _elementwise("floor", _whole(math.floor)),
        "round": _elementwise("round", _round),
        "lg": _elementwise("lg", _logarithm(math.log2)),
        "ln": _elementwise("ln", _logarithm(math.log)),
        "log": _elementwise("log", _logarithm(math.log10)),
        "percentile": _percentile,
        "val": _val,
    }
)
