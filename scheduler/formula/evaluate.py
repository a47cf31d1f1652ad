"""From a formula and samples to the targets of a pool, as the service evaluates it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from scheduler.formula import language
from scheduler.formula.check import canonical, expression_problems, meant
from scheduler.formula.dialect import DEFAULT, Dialect, NegativeTarget
from scheduler.formula.functions import FUNCTION_BODIES
from scheduler.formula.operators import OperationError, binary, number, unary
from scheduler.formula.outcome import AutoScaleRun, result_string, run_error
from scheduler.formula.problems import ErrorCode, FormulaError, Problem, Span
from scheduler.formula.samples import NO_SAMPLES, PERIOD_TICKS, MetricSamples, Pool
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
)
from scheduler.formula.timestamps import parse_time
from scheduler.formula.values import TimeInterval, Timestamp, Value, timestamp, type_name

_LARGEST_TARGET = 2**31 - 1
# GetSample's and GetSamplePercent's arguments: start, end, percentage.
_WINDOW_AND_PERCENT = 3


def evaluate(
    formula: Formula, pool: Pool, now: datetime, random: Callable[[], float], dialect: Dialect = DEFAULT
) -> AutoScaleRun:
    """Evaluate a formula; what fails is in the run's error, and nothing is raised.

    `now` has a time zone; `random` gives the values of `rand()`, each from 0 to 1.
    """
    run = _Run(pool, timestamp(now), random, dialect)
    variables: Mapping[str, Value] = MappingProxyType(run.variables)
    kept = (pool.target_dedicated, pool.target_low_priority)
    try:
        run.statements(formula)
        dedicated = run.target(language.DEDICATED, "$TargetDedicated", kept[0])
        low_priority = run.target(language.LOW_PRIORITY, "$TargetLowPriority", kept[1])
    except FormulaError as error:
        problem = error.problems[0]
        option = language.DEFAULT_DEALLOCATION
        results = result_string(*kept, option, {}, dialect)
        return AutoScaleRun(now, *kept, option, variables, run_error(problem), results)
    results = result_string(dedicated, low_priority, run.deallocation, variables, dialect)
    return AutoScaleRun(now, dedicated, low_priority, run.deallocation, variables, None, results)


class _StoppedError(Exception):
    """`stop()` was evaluated."""


class _Run:
    """One evaluation: variables as they are assigned, and a method for each kind of expression."""

    def __init__(self, pool: Pool, now: Timestamp, random: Callable[[], float], dialect: Dialect) -> None:
        self._pool = pool
        self._now = now
        self._seen_until = now.ticks - dialect.lag * PERIOD_TICKS
        self._random = random
        self._dialect = dialect
        self._targets: dict[str, tuple[Value, Span]] = {}
        self._spellings: dict[str, str] = {}
        self.variables: dict[str, Value] = {}
        self.deallocation = language.DEFAULT_DEALLOCATION
        self._by_kind: dict[type, Callable[[Any], Value]] = {
            Number: lambda expression: expression.value,
            Text: lambda expression: expression.value,
            Name: self._name,
            Unary: self._unary,
            Binary: self._binary,
            Conditional: self._conditional,
            Call: self._call,
            Member: self._member,
            MethodCall: self._method,
        }

    def statements(self, formula: Formula) -> None:
        """Evaluate the statements in order, until the end or `stop()`."""
        try:
            for statement in formula.statements:
                if isinstance(statement, Assignment):
                    self._assign(statement)
                else:
                    self._value(statement.value)
        except _StoppedError:
            pass

    def target(self, name: str, first_name: str, kept: int) -> int:
        """Give a target as the pool gets it: whole, by cutting off a fraction; where unset, the pool's own."""
        found = self._targets.get(name) or self._targets.get(first_name)
        if found is None:
            return kept
        value, span = found
        try:
            amount = number(value)
        except OperationError as error:
            raise _failed(f"{name}: {error}", span) from error
        if not abs(amount) <= _LARGEST_TARGET:
            raise _failed(f"{name} would be {amount:g}, which is no number of nodes; bound it with min(...)", span)
        if amount < 0 and self._dialect.negative_target is NegativeTarget.ERROR:
            raise _failed(f"{name} would be {amount:g}; bound it with max(0, ...)", span)
        return max(0, int(amount))

    def _assign(self, statement: Assignment) -> None:
        name = self._canonical(statement.target.name)
        if name == language.DEALLOCATION:
            option = statement.value
            word = self._canonical(option.name) if isinstance(option, Name) else ""
            if word not in language.DEALLOCATION_OPTIONS:
                raise _failed(f"{name} takes a word such as taskcompletion", option.span)
            self.deallocation = word
            return
        value = self._value(statement.value)
        if name in language.TARGETS:
            self._targets[name] = (value, statement.value.span)
        elif name in language.METRICS or name in language.CONSTANTS or name in language.DEALLOCATION_OPTIONS:
            raise _failed(f"{name} cannot be assigned to", statement.target.span)
        else:
            self.variables[name] = value

    def _canonical(self, name: str) -> str:
        if self._dialect.case_sensitive:
            return name
        return self._spellings.setdefault(name.lower(), canonical(name, self._dialect))

    def _value(self, expression: Expression) -> Value:
        return self._by_kind[type(expression)](expression)

    def _name(self, expression: Name) -> Value:
        name = self._canonical(expression.name)
        value = self.variables.get(name)
        if value is not None:
            return value
        if name in language.TARGETS:
            return self._current_target(name)
        if name in language.INTERVALS:
            return TimeInterval(language.INTERVALS[name])
        if name == language.YEAR:
            return TimeInterval(language.INTERVALS["TimeInterval_Day"] * self._dialect.days_in_year)
        if name in language.POOL_METRICS:
            return self._pool_metric(name)
        if name in language.METRICS:
            # Bare metrics are used as numbers in live formulas (Azure/Batch#151): the newest sample.
            return self._samples(name).latest(1, self._seen_until)
        for problem in expression_problems(expression, self._dialect):
            raise _failed(problem.message, problem.span)
        known = {*self.variables, *language.METRICS, *language.TARGETS, *language.CONSTANTS}
        raise _failed(f"{name} has no value here; assign it first{meant(name, known)}", expression.span)

    def _current_target(self, name: str) -> Value:
        full = language.FIRST_NAMES.get(name, name)
        for each in (full, *(first for first, of in language.FIRST_NAMES.items() if of == full)):
            if each in self._targets:
                return self._targets[each][0]
        return float(self._pool.target_dedicated if full == language.DEDICATED else self._pool.target_low_priority)

    def _pool_metric(self, name: str) -> Value:
        if name == "$TaskSlotsPerNode":
            return float(self._pool.task_slots_per_node)
        if name == "$CurrentLowPriorityNodes":
            return float(self._pool.current_low_priority)
        return float(self._pool.current_dedicated)

    def _unary(self, expression: Unary) -> Value:
        value = self._value(expression.operand)
        try:
            return unary(expression.operator, value)
        except OperationError as error:
            raise _failed(str(error), expression.span) from error

    def _binary(self, expression: Binary) -> Value:
        # A sum leans to the left and may have thousands of operands: its spine is followed without recursion.
        spine = [expression]
        while type(left := spine[-1].left) is Binary:
            spine.append(left)
        value = self._value(spine[-1].left)
        for node in reversed(spine):
            value = self._operation(node, value)
        return value

    def _operation(self, node: Binary, left: Value) -> Value:
        operator = node.operator
        try:
            if self._dialect.lazy_logic:
                if operator is BinaryOperator.AND and number(left) == 0:
                    return 0.0
                if operator is BinaryOperator.OR and number(left) != 0:
                    return 1.0
            return binary(operator, left, self._value(node.right), self._dialect)
        except OperationError as error:
            raise _failed(str(error), node.operator_span) from error

    def _conditional(self, expression: Conditional) -> Value:
        value = self._value(expression.test)
        try:
            chosen = expression.then if number(value) != 0 else expression.otherwise
        except OperationError as error:
            raise _failed(f"a condition must be a number: {error}", expression.test.span) from error
        return self._value(chosen)

    def _call(self, expression: Call) -> Value:
        name = self._canonical(expression.function)
        body = FUNCTION_BODIES.get(name)
        if body is None or not language.FUNCTIONS[name].takes(len(expression.arguments)):
            return self._special(name, expression)
        arguments = [self._value(argument) for argument in expression.arguments]
        try:
            return body(arguments, self._dialect)
        except OperationError as error:
            raise _failed(str(error), expression.span) from error

    def _special(self, name: str, expression: Call) -> Value:
        for problem in expression_problems(expression, self._dialect):
            raise _failed(problem.message, problem.span)
        if name == "stop":
            raise _StoppedError
        if name == "rand":
            return float(self._random())
        text = self._value(expression.arguments[0]) if expression.arguments else ""
        if not isinstance(text, str):
            raise _failed(f"time takes a text in double quotes, not a {type_name(text)}", expression.span)
        try:
            return parse_time(text, self._dialect) if text else self._now
        except ValueError as error:
            raise _failed(f"time: {error}", expression.arguments[0].span) from error

    def _member(self, expression: Member) -> Value:
        name = self._canonical(expression.name)
        for problem in expression_problems(expression, self._dialect):
            raise _failed(problem.message, problem.span)
        value = self._value(expression.owner)
        if not isinstance(value, Timestamp):
            message = f"a {type_name(value)} has no {name}; only a timestamp such as time() has"
            raise _failed(message, expression.name_span)
        moment = value.moment
        if name == "weekday":
            return float(self._dialect.sunday if moment.isoweekday() == 7 else moment.isoweekday())  # noqa: PLR2004  Sunday
        return float(getattr(moment, name))

    def _method(self, expression: MethodCall) -> Value:
        for problem in expression_problems(expression, self._dialect):
            raise _failed(problem.message, problem.span)
        owner = expression.owner
        metric = self._canonical(owner.name) if isinstance(owner, Name) else ""
        samples = self._samples(metric)
        method = self._canonical(expression.method)
        arguments = [self._value(argument) for argument in expression.arguments]
        if method == "GetSamplePeriod":
            return TimeInterval(PERIOD_TICKS)
        if method == "Count":
            return float(samples.count(self._seen_until))
        if method == "HistoryBeginTime":
            if not samples.count(self._seen_until):
                raise _insufficient(metric, self._dialect.default_sample_percent, 0.0, expression.parenthesis)
            return Timestamp(samples.ticks[0])
        if method == "GetSample" and len(arguments) == 1 and isinstance(arguments[0], float | tuple):
            return self._ordered(samples.latest(self._count(arguments[0], expression), self._seen_until))
        after, until, required = self._window(method, arguments, expression)
        received = samples.percent(after, until, self._seen_until)
        if method == "GetSamplePercent":
            return received
        if received < required:
            raise _insufficient(metric, required, received, expression.parenthesis)
        return self._ordered(samples.window(after, until, self._seen_until))

    def _ordered(self, values: tuple[float, ...]) -> tuple[float, ...]:
        return values[::-1] if self._dialect.newest_first else values

    def _samples(self, metric: str) -> MetricSamples:
        found = self._pool.samples.get(metric)
        return found or self._pool.samples.get(language.FIRST_NAMES.get(metric, metric), NO_SAMPLES)

    def _count(self, value: Value, expression: MethodCall) -> int:
        try:
            count = number(value)
        except OperationError as error:
            raise _failed(str(error), expression.arguments[0].span) from error
        if not 0 <= count < float("inf"):
            raise _failed(f"GetSample takes a count of 0 or more, not {count:g}", expression.arguments[0].span)
        return int(count)

    def _window(self, method: str, arguments: list[Value], expression: MethodCall) -> tuple[int, int, float]:
        """Read start, end and percentage; the window is after its older bound and until its newer one."""
        required, bounds = self._dialect.default_sample_percent, arguments
        if method == "GetSample" and len(arguments) > 1 and isinstance(arguments[-1], float | tuple):
            bounds = arguments[:-1]
            try:
                required = number(arguments[-1])
            except OperationError as error:
                raise _failed(str(error), expression.arguments[-1].span) from error
        elif len(arguments) == _WINDOW_AND_PERCENT:
            message = f"a sample percentage must be a number, not a {type_name(arguments[-1])}"
            raise _failed(message, expression.arguments[-1].span)
        moments = [self._now.ticks]
        for bound, argument in zip(bounds, expression.arguments, strict=False):
            if isinstance(bound, TimeInterval):
                moments.append(self._now.ticks - bound.ticks)
            elif isinstance(bound, Timestamp):
                moments.append(bound.ticks)
            else:
                message = f"a window is bounded by a timeinterval or a timestamp, not a {type_name(bound)}"
                raise _failed(message, argument.span)
        # With two bounds now is none; the documents give them in either order.
        given = moments if len(bounds) == 1 else moments[1:]
        return min(given), max(given), required


def _failed(message: str, span: Span) -> FormulaError:
    return FormulaError(Problem(ErrorCode.EVALUATION, message, span))


def _insufficient(metric: str, wanted: float, received: float, span: Span) -> FormulaError:
    message = f"Insufficient data from data set: {metric} wanted {wanted:g}%, received {int(received)}%"
    return FormulaError(Problem(ErrorCode.INSUFFICIENT_DATA, message, span))
