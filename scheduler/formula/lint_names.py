"""Rules about names, conditions and operations."""

from scheduler.formula import language
from scheduler.formula.check import meant
from scheduler.formula.dialect import DEFAULT
from scheduler.formula.facts import Analysis, Facts
from scheduler.formula.lint_rule import Found, LintSettings, Rule, Severity
from scheduler.formula.operators import COMPARISONS
from scheduler.formula.printing import print_expression
from scheduler.formula.syntax import (
    Assignment,
    Binary,
    BinaryOperator,
    Expression,
    Formula,
    Member,
    Name,
    Number,
    walk,
)

_SERVICE = {name.lower(): name for name in (*language.WRITABLE, *language.METRICS, *language.CONSTANTS)}
_NEAR = 0.9


def _undefined(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    known = {*(each.target.name for each, _ in analysis.assigned), *language.METRICS, *language.TARGETS}
    for name in analysis.undefined:
        hint = meant(name.name, known - {name.name})
        yield name.span, f"{name.name} has no value here, so the evaluation fails; assign it before{hint}"


def _unused(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, _ in analysis.assigned:
        name = assignment.target.name
        if name not in analysis.read and name not in language.TARGETS:
            yield (
                assignment.target.span,
                f"{name} is assigned and never read; remove it, unless you want to see it in results",
            )


def _first_names(formula: Formula, _analysis: Analysis, _settings: LintSettings) -> Found:
    for name in _all_names(formula):
        if name.name in language.FIRST_NAMES:
            yield name.span, f"{name.name} is the name of before 2017; write {language.FIRST_NAMES[name.name]}"


def _other_case(formula: Formula, _analysis: Analysis, _settings: LintSettings) -> Found:
    for name in _all_names(formula):
        service = _SERVICE.get(name.name.lower())
        if service is not None and service != name.name:
            yield name.span, f"{name.name} may be a variable of your own and not {service}; write {service}"


def _twins(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    names = {each.target.name for each, _ in analysis.assigned}
    for assignment, _ in analysis.assigned:
        name = assignment.target.name
        if name.startswith("$") and name.removeprefix("$") in names:
            yield assignment.target.span, f"{name} and {name.removeprefix('$')} may be one variable or two; rename one"


def _shadows(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    taken = {*language.FUNCTIONS, *language.METHODS}
    for assignment, _ in analysis.assigned:
        if assignment.target.name in taken:
            yield assignment.target.span, f"{assignment.target.name} is a function's name too; choose another"


def _impossible(formula: Formula, _analysis: Analysis, _settings: LintSettings) -> Found:
    for expression in _all(formula):
        if not isinstance(expression, Binary) or expression.operator not in {BinaryOperator.AND, BinaryOperator.OR}:
            continue
        one, other = _bounds(expression.left), _bounds(expression.right)
        if one is None or other is None or one[0] != other[0]:
            continue
        (what, low, high), (_, other_low, other_high) = one, other
        above, below = max(low, other_low), min(high, other_high)
        if expression.operator is BinaryOperator.AND and above > below:
            yield expression.span, f"{what} cannot be both, so this is never true; did you mean ||?"
        elif expression.operator is BinaryOperator.OR and above < below and {low, other_low, high, other_high} >= _ALL:
            yield expression.span, f"{what} is always one of these, so this is always true; did you mean &&?"


_ALL = frozenset({float("-inf"), float("inf")})


def _bounds(expression: Expression) -> tuple[str, float, float] | None:
    """Read `x < 5` as x from minus infinity to 5; whether a bound is within does not matter here."""
    if not isinstance(expression, Binary) or not isinstance(expression.right, Number):
        return None
    what, value = print_expression(expression.left), expression.right.value
    match expression.operator:
        case BinaryOperator.LESS | BinaryOperator.LESS_OR_EQUAL:
            return what, float("-inf"), value
        case BinaryOperator.GREATER | BinaryOperator.GREATER_OR_EQUAL:
            return what, value, float("inf")
        case BinaryOperator.EQUAL:
            return what, value, value
        case _:
            return None


def _sunday(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    weekdays = {each.target.name for each, _ in analysis.assigned if _is_weekday(each.value)}
    for expression in _all(formula):
        if not isinstance(expression, Binary) or not isinstance(expression.right, Number):
            continue
        left, value = expression.left, expression.right.value
        named = isinstance(left, Name) and left.name in weekdays
        if (named or _is_weekday(left)) and _needs_sunday(expression.operator, value):
            yield (
                expression.span,
                (
                    "Monday is 1, but whether Sunday is 0 or 7 is not documented; test the other way round, "
                    "x >= 1 && x <= 5"
                ),
            )


def _is_weekday(expression: Expression) -> bool:
    return isinstance(expression, Member) and expression.name == "weekday"


def _needs_sunday(operator: BinaryOperator, value: float) -> bool:
    """Whether a test comes out differently for 0 and 7, and is no half of Monday to Friday."""
    compare = COMPARISONS.get(operator)
    return compare is not None and compare(0, value) != compare(7, value) and (operator, value) not in _WORKDAYS


_WORKDAYS = {
    (BinaryOperator.GREATER_OR_EQUAL, 1.0),
    (BinaryOperator.GREATER, 0.0),
    (BinaryOperator.LESS_OR_EQUAL, 5.0),
    (BinaryOperator.LESS, 6.0),
}


def _undocumented(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for expression in _all(formula):
        if not isinstance(expression, Binary):
            continue
        left, right = (analysis.of.get(side.span, Facts()) for side in (expression.left, expression.right))
        if expression.operator is BinaryOperator.SUBTRACT and left.is_time and right.is_time:
            if left.low != left.high and right.low == right.high:
                yield (
                    expression.operator_span,
                    (
                        "timestamp - timeinterval is not in the documented operators; add the negative interval: "
                        "t + (-1 * TimeInterval_Hour)"
                    ),
                )
        elif right.is_vector and not left.is_vector and not left.is_time and expression.operator in _ARITHMETIC:
            yield (
                expression.operator_span,
                (
                    "a number on the left of a vector is not a documented operation; write the vector first, or take "
                    "max or avg of it"
                ),
            )


_ARITHMETIC = {BinaryOperator.ADD, BinaryOperator.SUBTRACT, BinaryOperator.MULTIPLY, BinaryOperator.DIVIDE}


def _near_limits(formula: Formula, _analysis: Analysis, _settings: LintSettings) -> Found:
    count = len(formula.statements)
    size = formula.statements[-1].span.end if formula.statements else 0
    for what, found, most in (("characters", size, DEFAULT.max_bytes), ("statements", count, DEFAULT.max_statements)):
        if found > most * _NEAR:
            yield (
                formula.statements[-1].span,
                f"{found} of at most {most} {what} are used; shorten it",
            )


def _all(formula: Formula) -> list[Expression]:
    return [expression for statement in formula.statements for expression in walk(statement.value)]


def _all_names(formula: Formula) -> list[Name]:
    targets = [each.target for each in formula.statements if isinstance(each, Assignment)]
    return [*targets, *(each for each in _all(formula) if isinstance(each, Name))]


RULES = (
    Rule("undefined-variable", Severity.ERROR, _undefined, "day = now2.weekday;", "now2 = time(); day = now2.weekday;"),
    Rule("unused-variable", Severity.INFO, _unused, "x = 1; y = 2 * x;", "x = 1; $TargetDedicatedNodes = x;"),
    Rule("first-name", Severity.INFO, _first_names, "$TargetDedicated = 1;", "$TargetDedicatedNodes = 1;"),
    Rule("other-case", Severity.WARNING, _other_case, "$targetDedicatedNodes = 1;", "$TargetDedicatedNodes = 1;"),
    Rule("dollar-twin", Severity.INFO, _twins, "x = 1; $x = 2;", "x = 1; $y = 2;"),
    Rule("name-of-function", Severity.INFO, _shadows, "max = 20;", "most = 20;"),
    Rule(
        "impossible-condition",
        Severity.WARNING,
        _impossible,
        "d = time().weekday; weekend = d < 1 && d > 5;",
        "d = time().weekday; weekday = d >= 1 && d <= 5;",
    ),
    Rule(
        "sunday", Severity.INFO, _sunday, "s = time().weekday == 7;", "s = time().weekday >= 1 && time().weekday <= 5;"
    ),
    Rule(
        "undocumented-operation",
        Severity.INFO,
        _undocumented,
        "t = time() - TimeInterval_Hour;",
        "t = time() + (-1 * TimeInterval_Hour);",
    ),
    Rule("near-limits", Severity.INFO, _near_limits, "a = 1;\n" * 95, "a = 1;\n" * 5),
)
