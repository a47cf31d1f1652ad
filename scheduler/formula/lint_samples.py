"""Rules about samples: windows that fail, that see too little, or that wait for more than there is."""

from collections.abc import Iterator

from scheduler.formula.facts import Analysis, Coverage, Facts
from scheduler.formula.language import RETIRED_METRICS
from scheduler.formula.lint_rule import Found, LintSettings, Rule, Severity
from scheduler.formula.samples import SAMPLE_PERIOD
from scheduler.formula.syntax import Binary, BinaryOperator, Formula, MethodCall, Name, walk

# A sample takes about a minute, by the article: the newest two may be missing.
_LATE = 2


def _unguarded(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for window in analysis.windows:
        if window.call.method == "GetSample" and not window.guarded:
            yield (
                window.call.span,
                (
                    f"this fails on a new pool (InsufficientSampleData), and its size stays; write "
                    f"{window.metric}.GetSamplePercent(...) < 70 ? 1 : ... around it, or use GetSample(1)"
                ),
            )


def _short(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for window in analysis.windows:
        if window.length is not None and window.length < SAMPLE_PERIOD:
            yield (
                window.call.span,
                (
                    f"a window of {window.length:g} s may hold no sample: they come every {SAMPLE_PERIOD} s; "
                    "make it a few minutes long"
                ),
            )


def _never_passes(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for window in analysis.windows:
        seconds = window.length if window.until_now else None
        if window.required is not None and _too_much(seconds, window.required):
            yield window.call.span, _told(seconds, window.required)
    for comparison, coverage, percent in _comparisons(formula, analysis):
        if _too_much(coverage.seconds_until_now, percent):
            yield comparison.span, _told(coverage.seconds_until_now, percent)


def _as_fraction(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for comparison, coverage, percent in _comparisons(formula, analysis):
        if 0 < percent < 1:
            yield (
                comparison.span,
                (
                    f"{coverage.metric}.GetSamplePercent gives 0 to 100, so one sample passes {percent:g}; "
                    f"write {percent * 100:g}"
                ),
            )


def _comparisons(formula: Formula, analysis: Analysis) -> Iterator[tuple[Binary, Coverage, float]]:
    """Yield where a coverage is compared with a constant."""
    for statement in formula.statements:
        for expression in walk(statement.value):
            if not isinstance(expression, Binary) or expression.operator not in _ORDER:
                continue
            left, right = (analysis.of.get(side.span, Facts()) for side in (expression.left, expression.right))
            if right.low == right.high:
                yield from ((expression, coverage, right.low) for coverage in left.coverages)


_ORDER = {BinaryOperator.LESS, BinaryOperator.LESS_OR_EQUAL, BinaryOperator.GREATER_OR_EQUAL, BinaryOperator.GREATER}


def _too_much(seconds: float | None, percent: float) -> bool:
    return seconds is not None and seconds >= SAMPLE_PERIOD and _reachable(seconds) < percent


def _reachable(seconds: float) -> float:
    expected = seconds / SAMPLE_PERIOD
    return 100 * max(0.0, expected - _LATE) / expected


def _told(seconds: float | None, percent: float) -> str:
    reached = _reachable(seconds or SAMPLE_PERIOD)
    return (
        f"{percent:g} % may never be there: samples take up to a minute, so a window of {seconds:g} s until "
        f"now may have {reached:.0f} %; ask for less, make it longer, or end it a minute ago"
    )


def _retired(formula: Formula, _analysis: Analysis, _settings: LintSettings) -> Found:
    for statement in formula.statements:
        for expression in walk(statement.value):
            if isinstance(expression, Name) and expression.name in RETIRED_METRICS:
                yield (
                    expression.span,
                    f"{expression.name} was retired in March 2024 and has no samples; use task metrics or $CPUPercent",
                )


def _old(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    asked = {window.metric for window in analysis.windows}
    for statement in formula.statements:
        for expression in walk(statement.value):
            if (
                isinstance(expression, MethodCall)
                and expression.method == "GetSample"
                and isinstance(expression.owner, Name)
                and expression.owner.name not in asked
                and all(window.call is not expression for window in analysis.windows)
            ):
                yield (
                    expression.span,
                    (
                        f"the newest samples may be old, and nothing here asks how old; look at "
                        f"{expression.owner.name}.GetSamplePercent(TimeInterval_Minute * 5) too"
                    ),
                )


_WINDOW = "$PendingTasks.GetSample(TimeInterval_Minute * 15)"
_PERCENT = "$PendingTasks.GetSamplePercent(TimeInterval_Minute * 15)"
RULES = (
    Rule(
        "unguarded-window",
        Severity.WARNING,
        _unguarded,
        f"t = max({_WINDOW});",
        f"t = {_PERCENT} < 70 ? 1 : max({_WINDOW});",
    ),
    Rule(
        "window-too-short",
        Severity.WARNING,
        _short,
        "p = $PendingTasks.GetSamplePercent(TimeInterval_Second * 20);",
        f"p = {_PERCENT};",
    ),
    Rule(
        "may-never-pass",
        Severity.INFO,
        _never_passes,
        "t = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 3) < 70 ? 1 : 2;",
        f"t = {_PERCENT} < 70 ? 1 : 2;",
    ),
    Rule(
        "percent-as-fraction",
        Severity.WARNING,
        _as_fraction,
        f"t = {_PERCENT} < 0.7 ? 1 : 2;",
        f"t = {_PERCENT} < 70 ? 1 : 2;",
    ),
    Rule(
        "retired-metric",
        Severity.WARNING,
        _retired,
        "x = max(0, $DiskBytes.GetSample(1));",
        "x = max(0, $CPUPercent.GetSample(1));",
    ),
    Rule(
        "age-unknown",
        Severity.INFO,
        _old,
        "t = max(0, $PendingTasks.GetSample(1));",
        f"t = {_PERCENT} > 0 ? max(0, $PendingTasks.GetSample(1)) : 1;",
    ),
)
