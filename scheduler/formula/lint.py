"""Known mistakes in formulas: each rule has a code, a severity, and says what happens and what to write instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scheduler.formula import lint_names, lint_samples, lint_targets
from scheduler.formula.facts import analyse
from scheduler.formula.lint_rule import LintSettings, Rule, Severity
from scheduler.formula.problems import Span
from scheduler.formula.syntax import Formula

RULES: Mapping[str, Rule] = MappingProxyType(
    {rule.code: rule for rule in (*lint_targets.RULES, *lint_samples.RULES, *lint_names.RULES)}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake, where it stands, and what to write instead."""

    code: str
    severity: Severity
    message: str
    span: Span


def lint(formula: Formula, settings: LintSettings = LintSettings()) -> tuple[Finding, ...]:  # noqa: B008  frozen
    """Find known mistakes in a formula that was read, in the order of the text."""
    analysis = analyse(formula)
    found = [
        Finding(rule.code, rule.severity, message, span)
        for rule in RULES.values()
        for span, message in rule.find(formula, analysis, settings)
    ]
    return tuple(sorted(found, key=lambda finding: (finding.span.start, finding.code)))
