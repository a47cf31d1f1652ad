"""The linter finds what it names, and what it believes of values is true."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given

from scheduler.formula.check import check, read
from scheduler.formula.compiler import CompileSettings, compile_policy
from scheduler.formula.evaluate import evaluate
from scheduler.formula.facts import analyse
from scheduler.formula.lint import RULES, lint
from scheduler.formula.lint_rule import LintSettings, Rule, Severity
from scheduler.formula.parse import parse
from scheduler.formula.printing import print_formula
from scheduler.formula.problems import FormulaError
from scheduler.formula.samples import Pool
from scheduler.formula.syntax import Formula
from scheduler.policy import ScalingPolicy
from tests.scheduler.formula.published import WHY_SKIPPED, formula, names, there
from tests.scheduler.formula.test_fuzz import NOW, WHOLE_POOLS
from tests.scheduler.formula.trees import FORMULAS, SOUP

_FOUR_SLOTS = LintSettings(slots=4)


def codes(text: str, settings: LintSettings = _FOUR_SLOTS) -> list[str]:
    """Name what is found in a text."""
    return [finding.code for finding in lint(read(text), settings)]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_a_rule_finds_its_mistake_and_not_its_remedy(rule: Rule) -> None:
    """Each rule's bad example has it once, at a place in the text; the good one does not, and breaks no graver rule."""
    found = [finding for finding in lint(read(rule.bad), _FOUR_SLOTS) if finding.code == rule.code]
    assert len(found) == 1
    assert found[0].severity is rule.severity
    assert 0 <= found[0].span.start < found[0].span.end <= len(rule.bad)
    assert len(found[0].message) > 30
    assert rule.code not in codes(rule.good)


@pytest.mark.parametrize(
    ("code", "text", "count"),
    [
        ("fraction-cut-off", "t = max(0, $PendingTasks); $TargetDedicatedNodes = min(9, t / 4 + 0.999);", 0),
        ("fraction-cut-off", "$TargetDedicatedNodes = $CurrentDedicatedNodes * 1.1;", 1),
        ("fraction-cut-off", "$TargetDedicatedNodes = 2.5; $TargetDedicatedNodes = 2;", 0),
        ("unguarded-window", "t = $RunningTasks.GetSamplePercent(w) < 70 ? 1 : avg($PendingTasks.GetSample(w));", 1),
        ("unguarded-window", "t = $PendingTasks.GetSamplePercent(w) > 70 && avg($PendingTasks.GetSample(w)) > 3;", 0),
        ("unguarded-window", "w = 5 * TimeInterval_Minute; t = len($PendingTasks.GetSample(w));", 1),
        ("unguarded-window", "w = 5; t = len($PendingTasks.GetSample(w));", 0),
        ("may-never-pass", "x = $PendingTasks.GetSample(1 * TimeInterval_Minute, 6 * TimeInterval_Minute, 100);", 0),
        ("may-never-pass", "x = $PendingTasks.GetSample(5 * TimeInterval_Minute, 85);", 1),
        ("may-never-pass", "x = $PendingTasks.GetSample(5 * TimeInterval_Minute, 80);", 0),
        ("undefined-variable", "x = y; y = 1;", 1),
        ("undefined-variable", "x = 0 ? y : 1;", 1),
        ("impossible-condition", "h = time().hour; x = h < 8 || h > 18;", 0),
        ("impossible-condition", "h = time().hour; x = h > 8 || h < 18;", 1),
        ("impossible-condition", "x = time().hour == 3 && time().hour == 4;", 1),
        ("impossible-condition", "x = time().hour < 8 && time().minute > 9;", 0),
        ("sunday", "d = time().weekday; w = d > 5;", 1),
        ("sunday", "d = time().weekday; w = d < 6 && d > 0;", 0),
        ("sunday", "d = time().weekday == 1;", 0),
        ("slots-ignored", "$TargetDedicatedNodes = 3;", 0),
        ("never-zero", "$TargetDedicatedNodes = 3;", 0),
        ("counted-twice", "x = 1 + max(0, $ActiveTasks.GetSample(1)) + $PendingTasks.GetSample(1);", 1),
        ("undocumented-operation", "x = 2 * $PendingTasks.GetSample(3);", 1),
        ("undocumented-operation", "x = $PendingTasks.GetSample(3) * 2;", 0),
        ("undocumented-operation", "x = TimeInterval_Hour - TimeInterval_Minute;", 0),
        ("spot-from-dedicated", "$TargetDedicatedNodes = 3; $TargetLowPriorityNodes = 9 - $TargetDedicatedNodes;", 0),
        ("average-hides-burst", "n = $PendingTasks; a = avg(n); $TargetDedicatedNodes = min(9, max(n, a));", 0),
    ],
)  # fmt: skip
def test_a_rule_sees_through_variables_and_knows_its_limits(code: str, text: str, count: int) -> None:
    """Beyond the examples: what a rule must find, and what it must leave alone."""
    assert Counter(codes(f"w = TimeInterval_Hour; {text}"))[code] == count


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.code)
def test_a_rule_is_documented(rule: Rule) -> None:
    """docs/formulas.md has its code, its severity, what it says, and both examples."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "formulas.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"### `{rule.code}` ({rule.severity.value})\n")
    section = section.partition("\n### ")[0]
    if rule.code == "near-limits":
        assert "91 statements" in section
        return
    (message,) = [found.message for found in lint(read(rule.bad), _FOUR_SLOTS) if found.code == rule.code]
    assert f"> {message}" in section
    for line in (*rule.bad.splitlines(), *rule.good.splitlines()):
        assert f"    {line}\n" in section


def test_slots_are_looked_at_where_they_are_known() -> None:
    """Without the pool's slots, or with one, a task a node is right."""
    text = "$TargetDedicatedNodes = min(20, max(0, $PendingTasks.GetSample(1)));"
    assert [("slots-ignored" in codes(text, LintSettings(slots))) for slots in (None, 1, 2)] == [False, False, True]


@pytest.mark.parametrize("spot", [False, True])
def test_compiled_formulas_have_no_finding(spot: bool) -> None:
    """What the compiler writes follows every rule."""
    policy = ScalingPolicy(min_nodes=0, max_nodes=40)
    assert codes(compile_policy(policy, CompileSettings(spot=spot)).text) == []


# What is found in Microsoft's own formulas, each with its reason: they fail on new pools (unguarded), let go of running
# tasks (no option, active tasks only), or lose the last fraction of a node.
FOUND_IN_PUBLISHED = {
    "msdocs-01-pending-tasks": {"may-never-pass", "average-hides-burst", "fraction-cut-off"},
    "msdocs-02-preempted": {"unguarded-window"},
    "msdocs-03-cpu-advanced": {"unguarded-window", "no-deallocation-option", "fraction-cut-off"},
    "msdocs-05-workhours": set(),
    "msdocs-06-task-based": {"fraction-cut-off"},
    "msdocs-06b-task-based-active": {"active-tasks-only", "fraction-cut-off"},
    "msdocs-07-parallel-tasks": {"active-tasks-only", "fraction-cut-off"},
    "msdocs-08-initial-size": {"unguarded-window", "no-deallocation-option"},
    "msdocs-12-avg-active": {
        "unguarded-window", "first-name", "no-deallocation-option", "active-tasks-only", "average-hides-burst",
        "fraction-cut-off",
    },
    "msdocs-13-pending-15min": {"average-hides-burst", "fraction-cut-off"},
    "msdocs-14-getsample-range": {"no-target", "unused-variable", "unguarded-window"},
    "msdocs-15-getsample-percent": {"no-target", "unguarded-window"},
    "neg-12-nanoseconds": {"unused-variable", "no-deallocation-option"},
    "psdocs-01-evaluate-cpu": {
        "first-name", "no-deallocation-option", "fraction-cut-off", "percent-as-fraction",
    },
    "restdocs-01-evaluate": {"first-name", "no-deallocation-option"},
    "restdocs-02-evaluate-cpu": {"first-name", "no-target", "other-case", "unused-variable", "percent-as-fraction"},
    "msdocs-09-alias-targetdedicated": {"first-name", "no-deallocation-option"},
    "sdk-01-net-insufficient": {"no-target", "unguarded-window", "window-too-short"},
    "sdk-02-net-getsample5": {"no-target", "unused-variable", "age-unknown"},
    "sdk-03-net-zero": set(),
    "sdk-03b-net-zero-terminate": set(),
    "sdk-05-js-useless": {"no-target", "undefined-variable"},
}  # fmt: skip


@pytest.mark.skipif(not there(), reason=WHY_SKIPPED)
@pytest.mark.parametrize("name", names())
def test_published_formulas_have_these_findings_only(name: str) -> None:
    """No rule fires on a published formula but those with a reason; the rest merely set no deallocation option."""
    try:
        tree = read(formula(name))
    except FormulaError:
        assert name.startswith("neg-")
        return
    found = {finding.code for finding in lint(tree)}
    assert found == FOUND_IN_PUBLISHED.get(name, {"no-deallocation-option"})


@given(FORMULAS, WHOLE_POOLS)
def test_what_is_believed_of_values_is_true(tree: Formula, pool: Pool) -> None:
    """Every variable's value lies in the range that was found without samples, and is whole where that was said."""
    tree = parse(print_formula(tree))
    if list(check(tree)):
        return
    run = evaluate(tree, pool, NOW, lambda: 0.5)
    believed = {assignment.target.name: facts for assignment, facts in analyse(tree).assigned}
    if run.error is not None:
        return
    for name, value in run.variables.items():
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            if not isinstance(each, float) or each != each:  # noqa: PLR0124  not-a-number is in no range
                continue
            facts = believed[name]
            slack = 1e-9 * max(1.0, abs(each))
            assert facts.low - slack <= each <= facts.high + slack
            assert not facts.whole or abs(each) > 2**52 or each.is_integer()


@given(FORMULAS | SOUP)
def test_any_formula_is_linted(tree: Formula | str) -> None:
    """Whatever can be read can be linted, and every finding has a place."""
    text = tree if isinstance(tree, str) else print_formula(tree)
    try:
        formula_read = read(text)
    except FormulaError:
        return
    for finding in lint(formula_read, _FOUR_SLOTS):
        assert 0 <= finding.span.start < finding.span.end <= len(text)
        assert finding.severity in Severity


def test_a_long_sum_is_linted() -> None:
    """Thousands of operands in a row do not overflow the stack."""
    assert codes("$TargetDedicatedNodes=1" + "+1" * 4000) == ["near-limits", "no-deallocation-option"]


def test_a_bound_that_is_no_number_is_none() -> None:
    """Infinity less infinity bounds nothing: the formula is linted like any other."""
    large = "1" + "0" * 308
    assert codes(f"$TargetDedicatedNodes = ceil({large} * {large} - {large} * {large});") == ["no-deallocation-option"]
