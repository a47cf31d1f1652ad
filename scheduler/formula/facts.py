"""What can be said of a formula without samples: range and origin of its values, and how its windows are read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from scheduler.formula import language
from scheduler.formula.problems import Span
from scheduler.formula.syntax import (
    Assignment,
    Binary,
    BinaryOperator,
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
    UnaryOperator,
)

_INFINITY = math.inf
_LOGIC = frozenset(BinaryOperator) - {
    BinaryOperator.ADD,
    BinaryOperator.SUBTRACT,
    BinaryOperator.MULTIPLY,
    BinaryOperator.DIVIDE,
}
_PROPERTY_RANGES: Mapping[str, tuple[float, float]] = {
    "year": (1, 9999), "month": (1, 12), "day": (1, 31), "weekday": (0, 7), "hour": (0, 23), "minute": (0, 59),
    "second": (0, 59),
}  # fmt: skip
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Coverage:
    """A GetSamplePercent that a value comes from: its metric, and its seconds where it reaches until now."""

    metric: str
    seconds_until_now: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds of a value: from `low` to `high` (intervals in seconds), whether whole, and where it comes from."""

    low: float = -_INFINITY
    high: float = _INFINITY
    whole: bool = False
    is_time: bool = False
    is_vector: bool = False
    averaged: bool = False
    divided: bool = False
    sources: frozenset[str] = frozenset()
    coverages: frozenset[Coverage] = frozenset()


@dataclass(frozen=True, slots=True)
class Window:
    """A GetSample or GetSamplePercent of a span of time; seconds are None where they depend on samples or the clock."""

    call: MethodCall
    metric: str
    length: float | None
    until_now: bool
    guarded: bool
    required: float | None


@dataclass(slots=True)
class Analysis:
    """A formula's facts: of each assignment, of every expression, its windows, and names without a value."""

    assigned: list[tuple[Assignment, Facts]] = field(default_factory=list)
    of: dict[Span, Facts] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    undefined: list[Name] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def last(self, *names: str) -> tuple[Assignment, Facts] | None:
        """Give the last assignment to one of the names, the first name that has any."""
        for name in names:
            for assignment, facts in reversed(self.assigned):
                if assignment.target.name == name:
                    return assignment, facts
        return None


def analyse(formula: Formula) -> Analysis:
    """Follow a formula from its first statement to its last."""
    walk = _Walk()
    for statement in formula.statements:
        if isinstance(statement, Assignment):
            if statement.target.name == language.DEALLOCATION:
                continue
            facts = walk.facts(statement.value, frozenset())
            walk.variables[statement.target.name] = facts
            walk.analysis.assigned.append((statement, facts))
        else:
            walk.facts(statement.value, frozenset())
    return walk.analysis


class _Walk:
    """Facts of expressions in the order of evaluation; `guards` are metrics whose coverage an outer condition tests."""

    def __init__(self) -> None:
        self.analysis = Analysis()
        self.variables: dict[str, Facts] = {}

    def facts(self, expression: Expression, guards: frozenset[str]) -> Facts:
        """Find the facts of an expression and note them under its span."""
        found = self._facts(expression, guards)
        self.analysis.of[expression.span] = found
        return found

    def _facts(self, expression: Expression, guards: frozenset[str]) -> Facts:
        match expression:
            case Number():
                return Facts(expression.value, expression.value, expression.value.is_integer())
            case Text():
                return Facts()
            case Name():
                return self._name(expression)
            case Unary():
                return _unary(expression.operator, self.facts(expression.operand, guards))
            case Binary():
                return self._binary(expression, guards)
            case Conditional():
                return self._conditional(expression, guards)
            case Member():
                low, high = _PROPERTY_RANGES.get(expression.name, (-_INFINITY, _INFINITY))
                return Facts(low, high, whole=True, sources=self.facts(expression.owner, guards).sources)
            case _:
                return self._call(expression, guards)

    def _name(self, expression: Name) -> Facts:
        name = expression.name
        self.analysis.read.add(name)
        if name in self.variables:
            return self.variables[name]
        if name in language.INTERVALS:
            seconds = language.INTERVALS[name] / language.TICKS_PER_SECOND
            return Facts(seconds, seconds, is_time=True)
        if name == language.YEAR:
            return Facts(is_time=True)
        if name in language.TARGETS:
            return Facts(0, whole=True, sources=frozenset({language.FIRST_NAMES.get(name, name)}))
        if name in language.METRICS:
            full = language.FIRST_NAMES.get(name, name)
            return Facts(1 if name == "$TaskSlotsPerNode" else 0, whole=_counts(name), sources=frozenset({full}))
        self.analysis.undefined.append(expression)
        return Facts()

    def _binary(self, expression: Binary, guards: frozenset[str]) -> Facts:
        spine = [expression]
        while isinstance(left := spine[-1].left, Binary):
            spine.append(left)
        found = self.facts(spine[-1].left, guards)
        for node in reversed(spine):
            # What stands on the left of a lazy operator guards what stands on its right.
            inner = guards | _covered(found) if node.operator in {BinaryOperator.AND, BinaryOperator.OR} else guards
            found = _operation(node.operator, found, self.facts(node.right, inner))
            self.analysis.of[node.span] = found
        return found

    def _conditional(self, expression: Conditional, guards: frozenset[str]) -> Facts:
        test = self.facts(expression.test, guards)
        inner = guards | _covered(test)
        then, otherwise = self.facts(expression.then, inner), self.facts(expression.otherwise, inner)
        return replace(
            _joined(then, otherwise),
            low=min(then.low, otherwise.low),
            high=max(then.high, otherwise.high),
            whole=then.whole and otherwise.whole,
            sources=test.sources | then.sources | otherwise.sources,
        )

    def _call(self, expression: Call | MethodCall, guards: frozenset[str]) -> Facts:
        arguments = [self.facts(argument, guards) for argument in expression.arguments]
        if isinstance(expression, Call):
            return _function(expression.function, arguments)
        owner = self.facts(expression.owner, guards)
        metric = expression.owner.name if isinstance(expression.owner, Name) else ""
        window = _window(expression, metric, arguments, guards)
        if window is not None:
            self.analysis.windows.append(window)
        match expression.method:
            case "GetSample":
                return replace(owner, is_vector=True)
            case "GetSamplePercent":
                seconds = window.length if window is not None and window.until_now else None
                return Facts(0, 100, coverages=frozenset({Coverage(metric, seconds)}))
            case "Count":
                return Facts(0, whole=True)
            case _:
                return Facts(is_time=True)


def _counts(name: str) -> bool:
    return name in language.TASK_METRICS or name in language.POOL_METRICS or name.endswith("NodeCount")


def _covered(facts: Facts) -> frozenset[str]:
    return frozenset(coverage.metric for coverage in facts.coverages)


def _joined(left: Facts, right: Facts) -> Facts:
    return Facts(
        is_time=left.is_time or right.is_time,
        is_vector=left.is_vector or right.is_vector,
        averaged=left.averaged or right.averaged,
        divided=left.divided or right.divided,
        sources=left.sources | right.sources,
        coverages=left.coverages | right.coverages,
    )


def _unary(operator: UnaryOperator, operand: Facts) -> Facts:
    if operator is UnaryOperator.MINUS:
        return replace(operand, low=-operand.high, high=-operand.low)
    return replace(operand, low=0, high=1, whole=True) if operator is UnaryOperator.NOT else operand


def _operation(operator: BinaryOperator, left: Facts, right: Facts) -> Facts:
    joined = _joined(left, right)
    whole = left.whole and right.whole
    if operator in _LOGIC:
        return replace(joined, low=0, high=1, whole=True, is_time=False, is_vector=False)
    if operator is BinaryOperator.ADD:
        # x + 0.999 is how formulas of before `ceil` round up; x + 0.5 rounds.
        rounds = any(side.low == side.high and _HALF <= side.low < 1 for side in (left, right))
        low, high = _known(left.low + right.low, left.high + right.high)
        return replace(joined, low=low, high=high, whole=whole or rounds)
    if operator is BinaryOperator.SUBTRACT:
        low, high = _known(left.low - right.high, left.high - right.low)
        return replace(joined, low=low, high=high, whole=whole)
    if operator is BinaryOperator.MULTIPLY:
        low, high = _extremes(left, right)
        return replace(joined, low=low, high=high, whole=whole)
    if right.low <= 0:
        return replace(joined, divided=True)
    low, high = _extremes(left, Facts(1 / right.high, 1 / right.low))
    return replace(joined, low=low, high=high, divided=True, whole=whole and right.low == right.high == 1)


def _known(low: float, high: float) -> tuple[float, float]:
    """Take a bound that is no number, as infinity less infinity is, for none."""
    return (-_INFINITY if math.isnan(low) else low, _INFINITY if math.isnan(high) else high)


def _extremes(left: Facts, right: Facts) -> tuple[float, float]:
    products = [
        0.0 if 0 in {one, other} else one * other for one in (left.low, left.high) for other in (right.low, right.high)
    ]
    return min(products), max(products)


_FIXED: Mapping[str, Facts] = {"len": Facts(0, whole=True), "rand": Facts(0, 1), "time": Facts(is_time=True)}
_ROUNDED: Mapping[str, Callable[[float], int]] = {"ceil": math.ceil, "floor": math.floor, "round": round}


def _function(name: str, arguments: list[Facts]) -> Facts:
    if name in _FIXED or not arguments:
        return _FIXED.get(name, Facts())
    joined = Facts()
    for argument in arguments:
        joined = _joined(joined, argument)
    joined = replace(joined, is_vector=False)
    lows, highs = [each.low for each in arguments], [each.high for each in arguments]
    whole = all(each.whole for each in arguments)
    match name:
        case "max":
            # Where the newest sample or another value stands beside an average, a burst shows.
            hidden = all(each.averaged for each in arguments if each.sources)
            return replace(joined, low=max(lows), high=max(highs), whole=whole, averaged=joined.averaged and hidden)
        case "min":
            return replace(joined, low=min(lows), high=min(highs), whole=whole)
        case "avg":
            return replace(joined, low=min(lows), high=max(highs), averaged=True)
        case "percentile" | "val":
            return replace(joined, low=lows[0], high=highs[0], whole=name == "val" and arguments[0].whole)
        case "sum":
            return replace(joined, low=0 if min(lows) >= 0 else -_INFINITY, whole=whole)
        case "ceil" | "floor" | "round":
            # Rounding keeps what is infinite, and moves a bound to the whole number beyond it at most.
            low, high = (bound if math.isinf(bound) else _ROUNDED[name](bound) for bound in (lows[0], highs[0]))
            return replace(joined, low=low, high=high, whole=True)
        case _:
            return joined


def _window(call: MethodCall, metric: str, arguments: list[Facts], guards: frozenset[str]) -> Window | None:
    bounds = [argument for argument in arguments if argument.is_time]
    if call.method not in {"GetSample", "GetSamplePercent"} or not bounds:
        return None
    required = arguments[-1] if call.method == "GetSample" and not arguments[-1].is_time else None
    ages = [bound.low if bound.low == bound.high else None for bound in bounds]
    newest, oldest = (ages[0], ages[-1]) if len(ages) > 1 else (0.0, ages[0])
    known = newest is not None and oldest is not None
    return Window(
        call,
        metric,
        abs(oldest - newest) if newest is not None and oldest is not None else None,
        known and min(newest or 0.0, oldest or 0.0) <= 0,
        metric in guards,
        required.low if required is not None and required.low == required.high else None,
    )
