"""Rules about what becomes of the pool: targets, their bounds, and the tasks that they count."""

from scheduler.formula.facts import Analysis, Facts
from scheduler.formula.language import DEALLOCATION, DEDICATED, LOW_PRIORITY, TASK_METRICS
from scheduler.formula.lint_rule import Found, LintSettings, Rule, Severity
from scheduler.formula.syntax import Assignment, Binary, BinaryOperator, Formula, walk

_KINDS = ((DEDICATED, "$TargetDedicated"), (LOW_PRIORITY, "$TargetLowPriority"))
_DEDICATED_NAMES = frozenset({DEDICATED, "$CurrentDedicatedNodes"})


def _targets(analysis: Analysis) -> list[tuple[Assignment, Facts]]:
    """Give the assignments that decide."""
    return [found for names in _KINDS if (found := analysis.last(*names)) is not None]


def _by_tasks(analysis: Analysis) -> list[tuple[Assignment, Facts]]:
    return [(each, facts) for each, facts in _targets(analysis) if facts.sources & TASK_METRICS]


def _no_target(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    if formula.statements and not _targets(analysis):
        yield formula.statements[-1].span, f"no target is set, so the pool keeps its size; assign {DEDICATED}"


def _no_option(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    assigned = {each.target.name for each in formula.statements if isinstance(each, Assignment)}
    targets = _targets(analysis)
    if targets and DEALLOCATION not in assigned:
        yield (
            targets[0][0].target.span,
            (
                f"{DEALLOCATION} is not set: by default (requeue) removed nodes' tasks are killed and run again; "
                f"write {DEALLOCATION} = taskcompletion; to let them end"
            ),
        )


def _fraction(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, facts in _targets(analysis):
        if not facts.whole:
            yield (
                assignment.value.span,
                (
                    f"{assignment.target.name} may be a fraction, which is cut off: 0.9 are 0 nodes, 2.9 are 2; "
                    "write ceil(...) around it"
                ),
            )


def _negative(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, facts in _targets(analysis):
        if facts.low < 0 and facts.sources:
            yield (
                assignment.value.span,
                f"{assignment.target.name} may be below 0; what Azure does then is not documented; write max(0, ...)",
            )


def _unbounded(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, facts in _by_tasks(analysis):
        if facts.high == float("inf"):
            yield (
                assignment.value.span,
                (
                    f"{assignment.target.name} has no upper bound: one slip in a job takes the whole quota; "
                    "write min(20, ...)"
                ),
            )


def _never_zero(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, facts in _by_tasks(analysis):
        if facts.low >= 1:
            yield (
                assignment.value.span,
                (
                    f"{assignment.target.name} never falls below {facts.low:g}, without any task too; "
                    "if the pool may be empty, write max(0, ...)"
                ),
            )


def _active_only(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, facts in _by_tasks(analysis):
        if facts.sources & TASK_METRICS == {"$ActiveTasks"}:
            yield (
                assignment.value.span,
                (
                    "only waiting tasks are counted: once they run the target falls under them; use $PendingTasks, "
                    "which counts both"
                ),
            )


def _twice(formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for statement in formula.statements:
        for expression in walk(statement.value):
            if not isinstance(expression, Binary) or expression.operator is not BinaryOperator.ADD:
                continue
            left, right = (
                analysis.of.get(side.span, Facts()).sources & TASK_METRICS
                for side in (expression.left, expression.right)
            )
            for one, other in ((left, right), (right, left)):
                if "$PendingTasks" in one and other & {"$RunningTasks", "$ActiveTasks"}:
                    counted = min(other & {"$RunningTasks", "$ActiveTasks"})
                    yield (
                        expression.operator_span,
                        f"$PendingTasks counts {counted} already, so these are counted twice; leave {counted} out",
                    )
                    break


def _slots(_formula: Formula, analysis: Analysis, settings: LintSettings) -> Found:
    for assignment, facts in _by_tasks(analysis):
        if (settings.slots or 1) > 1 and not facts.divided and "$TaskSlotsPerNode" not in facts.sources:
            yield (
                assignment.value.span,
                (
                    f"every task gets a node, though a node has {settings.slots} slots; "
                    "divide by $TaskSlotsPerNode and round up"
                ),
            )


def _burst(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for assignment, facts in _by_tasks(analysis):
        if facts.averaged:
            yield (
                assignment.value.span,
                (
                    "the average over a window hides a burst: 40 tasks of the last 90 s are 4 in an average of 15 min; "
                    "write max($PendingTasks.GetSample(1), avg(...))"
                ),
            )


def _spot(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    dedicated, low_priority = analysis.last(*_KINDS[0]), analysis.last(*_KINDS[1])
    if low_priority is None or (dedicated is not None and dedicated[1].high > 0):
        return
    names = low_priority[1].sources & _DEDICATED_NAMES
    if names:
        yield (
            low_priority[0].value.span,
            (
                f"the Spot target is made from {min(names)}, but this formula buys no dedicated nodes; "
                f"use {LOW_PRIORITY} or $CurrentLowPriorityNodes"
            ),
        )


def _both_names(_formula: Formula, analysis: Analysis, _settings: LintSettings) -> Found:
    for full, first in _KINDS:
        wins, loses = analysis.last(full), analysis.last(first)
        if wins is not None and loses is not None:
            yield loses[0].target.span, f"{first} has no effect where {full} is set too; remove it"


_CLOSE = "$NodeDeallocationOption = taskcompletion;"
_PENDING = "$TargetDedicatedNodes = min(20, max(0, $PendingTasks.GetSample(1)));"
_NO_BURST = "t = max(0, $PendingTasks.GetSample(1));"
RULES = (
    Rule("no-target", Severity.WARNING, _no_target, "x = 1;", _PENDING),
    Rule("no-deallocation-option", Severity.WARNING, _no_option, "$TargetDedicatedNodes = 3;", f"{_PENDING} {_CLOSE}"),
    Rule(
        "fraction-cut-off",
        Severity.WARNING,
        _fraction,
        f"{_NO_BURST} $TargetDedicatedNodes = min(9, t / $TaskSlotsPerNode);",
        f"{_NO_BURST} $TargetDedicatedNodes = min(9, ceil(t / $TaskSlotsPerNode));",
    ),
    Rule(
        "may-be-negative",
        Severity.WARNING,
        _negative,
        "$TargetDedicatedNodes = 5 - $CurrentLowPriorityNodes;",
        "$TargetDedicatedNodes = max(0, 5 - $CurrentLowPriorityNodes);",
    ),
    Rule("no-upper-bound", Severity.WARNING, _unbounded, f"{_NO_BURST} $TargetDedicatedNodes = t;", _PENDING),
    Rule(
        "never-zero",
        Severity.INFO,
        _never_zero,
        f"{_NO_BURST} $TargetDedicatedNodes = max(1, min(20, t));",
        _PENDING,
    ),
    Rule(
        "active-tasks-only",
        Severity.WARNING,
        _active_only,
        "$TargetDedicatedNodes = min(20, max(0, $ActiveTasks.GetSample(1)));",
        _PENDING,
    ),
    Rule(
        "counted-twice",
        Severity.WARNING,
        _twice,
        "t = $PendingTasks.GetSample(1) + $RunningTasks.GetSample(1);",
        "t = $ActiveTasks.GetSample(1) + $RunningTasks.GetSample(1);",
    ),
    Rule("slots-ignored", Severity.WARNING, _slots, _PENDING, f"{_NO_BURST} $TargetDedicatedNodes = ceil(t / 4);"),
    Rule(
        "average-hides-burst",
        Severity.INFO,
        _burst,
        "s = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 15);\n"
        "$TargetDedicatedNodes = s < 70 ? 1 : min(9, avg($PendingTasks.GetSample(TimeInterval_Minute * 15)));",
        "s = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 15); n = $PendingTasks.GetSample(1);\n"
        "$TargetDedicatedNodes = s < 70 ? 1 : min(9, max(n, avg($PendingTasks.GetSample(TimeInterval_Minute * 15))));",
    ),
    Rule(
        "spot-from-dedicated",
        Severity.WARNING,
        _spot,
        "$TargetLowPriorityNodes = ceil($TargetDedicatedNodes / 2);",
        "$TargetLowPriorityNodes = ceil($TargetLowPriorityNodes / 2);",
    ),
    Rule(
        "both-names",
        Severity.WARNING,
        _both_names,
        "$TargetDedicatedNodes = 1; $TargetDedicated = 2;",
        "$TargetDedicatedNodes = 1; $TargetLowPriority = 2;",
    ),
)
