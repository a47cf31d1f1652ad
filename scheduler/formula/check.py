"""What is wrong with a formula whatever the samples are: names and shapes that the language does not have.

The service refuses such a formula when it is set. A variable without a value is no such thing: it fails when evaluated.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from scheduler.formula.dialect import DEFAULT, Dialect
from scheduler.formula.language import (
    CONSTANTS,
    DEALLOCATION,
    DEALLOCATION_OPTIONS,
    FUNCTIONS,
    METHODS,
    METRICS,
    PROPERTIES,
    WRITABLE,
    Arity,
)
from scheduler.formula.parse import parse
from scheduler.formula.problems import ErrorCode, FormulaError, Problem, Span
from scheduler.formula.syntax import Assignment, Call, Expression, Formula, Member, MethodCall, Name, walk

_CANONICAL = {
    name.lower(): name
    for name in (*WRITABLE, *METRICS, *CONSTANTS, *FUNCTIONS, *METHODS, *PROPERTIES, *DEALLOCATION_OPTIONS)
}


def canonical(name: str, dialect: Dialect) -> str:
    """Give a name as the language spells it, where case does not matter; else as it is."""
    return name if dialect.case_sensitive else _CANONICAL.get(name.lower(), name)


def read(text: str, dialect: Dialect = DEFAULT) -> Formula:
    """Read a formula as the service does when it is set; `FormulaError` has everything that is wrong with it."""
    formula = parse(text, dialect)
    problems = tuple(check(formula, dialect))
    if problems:
        raise FormulaError(*problems)
    return formula


def check(formula: Formula, dialect: Dialect = DEFAULT) -> Iterator[Problem]:
    """Yield what is wrong with the names and shapes of a formula, in the order of the text."""
    for statement in formula.statements:
        if isinstance(statement, Assignment):
            yield from _assignment(statement, dialect)
            if canonical(statement.target.name, dialect) == DEALLOCATION:
                continue
        for expression in walk(statement.value):
            yield from expression_problems(expression, dialect)


def expression_problems(expression: Expression, dialect: Dialect) -> Iterator[Problem]:
    """Yield what is wrong with one expression, not with those inside it."""
    match expression:
        case Call():
            name = canonical(expression.function, dialect)
            yield from _callable("function", name, FUNCTIONS.get(name), len(expression.arguments), expression.span)
        case MethodCall():
            name = canonical(expression.method, dialect)
            owner = expression.owner
            if name not in METHODS:
                yield from _callable("method", name, None, 0, expression.name_span)
            elif not isinstance(owner, Name) or canonical(owner.name, dialect) not in METRICS:
                what = owner.name if isinstance(owner, Name) else "this value"
                yield _problem(f"{what} has no samples; {name} works on metrics such as $PendingTasks", owner.span)
            else:
                yield from _callable("method", name, METHODS[name], len(expression.arguments), expression.name_span)
        case Member():
            if canonical(expression.name, dialect) not in PROPERTIES:
                yield _problem(_unknown_member(expression.name), expression.name_span)
        case Name():
            name = canonical(expression.name, dialect)
            if name in DEALLOCATION_OPTIONS:
                yield _problem(f"{name} can stand only in {DEALLOCATION} = {name};", expression.span)
            elif name == DEALLOCATION:
                yield _problem(f"{DEALLOCATION} can be assigned to, but not read", expression.span)
        case _:
            pass


def meant(name: str, known: Iterable[str]) -> str:
    """Say what a name may have been meant to be."""
    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _assignment(statement: Assignment, dialect: Dialect) -> Iterator[Problem]:
    name, value = canonical(statement.target.name, dialect), statement.value
    if name in METRICS or name in CONSTANTS:
        yield _problem(f"{name} cannot be assigned to: it is what the service says it is", statement.target.span)
    elif name in DEALLOCATION_OPTIONS:
        yield _problem(
            f"{name} is a word of {DEALLOCATION} and no variable; choose another name", statement.target.span
        )
    elif name == DEALLOCATION and not (
        isinstance(value, Name) and canonical(value.name, dialect) in DEALLOCATION_OPTIONS
    ):
        options = ", ".join(sorted(DEALLOCATION_OPTIONS))
        yield _problem(f"{DEALLOCATION} takes one of the words {options}, and no expression", value.span)


def _callable(kind: str, name: str, arity: Arity | None, count: int, span: Span) -> Iterator[Problem]:
    known = FUNCTIONS if kind == "function" else METHODS
    if arity is None:
        yield _problem(f"there is no {kind} {name}{meant(name, known) or f'; there are {_names(known)}'}", span)
    elif not arity.takes(count):
        given = f"{count} argument{'' if count == 1 else 's'}"
        yield _problem(f"{name} does not take {given}; it is {arity.signature}", span)


def _unknown_member(name: str) -> str:
    if name in METHODS:
        return f"{name} is a method; write {name}(...)"
    return f"there is no property {name}{meant(name, PROPERTIES) or f'; a timestamp has {_names(PROPERTIES)}'}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _problem(message: str, span: Span) -> Problem:
    return Problem(ErrorCode.SYNTAX, message, span)
