"""Whatever is read and evaluated, nothing but the package's own errors comes out."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.formula.check import check, read
from scheduler.formula.dialect import Dialect, DivisionByZero, HalfRule, NegativeTarget, Percentile
from scheduler.formula.evaluate import evaluate
from scheduler.formula.language import METRICS
from scheduler.formula.lint import lint
from scheduler.formula.lint_rule import LintSettings
from scheduler.formula.outcome import AutoScaleRun
from scheduler.formula.problems import FormulaError, excerpt
from scheduler.formula.samples import MetricSamples, Pool
from scheduler.formula.syntax import Formula
from tests.scheduler.formula.trees import DAMAGED, FORMULAS, SOUP, TEXTS

NOW = datetime(2025, 6, 15, 10, tzinfo=UTC)


def pools(values: st.SearchStrategy[float]) -> st.SearchStrategy[Pool]:
    """Make pools with samples of such values."""
    samples = st.lists(values, max_size=12).map(
        lambda found: MetricSamples.of((NOW - timedelta(seconds=30 * age), each) for age, each in enumerate(found))
    )
    sizes = st.integers(0, 100)
    by_metric = st.dictionaries(st.sampled_from(sorted(METRICS)), samples, max_size=6)
    return st.builds(Pool, sizes, sizes, sizes, sizes, st.integers(1, 8), by_metric)


POOLS = pools(st.floats(0, 1e6))
WHOLE_POOLS = pools(st.integers(1, 1000).map(float))
DIALECTS = st.builds(
    Dialect,
    lag=st.integers(0, 4),
    default_sample_percent=st.sampled_from((1.0, 10.0)),
    negative_target=st.sampled_from(NegativeTarget),
    division_by_zero=st.sampled_from(DivisionByZero),
    lazy_logic=st.booleans(),
    case_sensitive=st.booleans(),
    subtract_interval=st.booleans(),
    percentile=st.sampled_from(Percentile),
    half_rule=st.sampled_from(HalfRule),
    exponents=st.booleans(),
    unary_plus=st.booleans(),
    zone_required=st.booleans(),
)


def is_whole(run: AutoScaleRun) -> None:
    """Hold what holds of every run."""
    assert 0 <= run.target_dedicated < 2**31
    assert 0 <= run.target_low_priority < 2**31
    assert run.deallocation in {"requeue", "terminate", "taskcompletion", "retaineddata"}
    assert run.results.startswith("$TargetDedicatedNodes=")


@given(FORMULAS, POOLS, DIALECTS)
def test_any_tree_evaluates_or_fails_by_its_own_error(formula: Formula, pool: Pool, dialect: Dialect) -> None:
    """Every tree of the grammar comes to a run; with an error the pool's targets stay."""
    run = evaluate(formula, pool, NOW, lambda: 0.5, dialect)
    is_whole(run)
    if run.error is not None:
        assert (run.target_dedicated, run.target_low_priority) == (pool.target_dedicated, pool.target_low_priority)
        assert run.error.values[0][1].startswith("Line ")


@given(SOUP | DAMAGED | TEXTS, POOLS, DIALECTS)
def test_any_text_is_read_or_refused(text: str, pool: Pool, dialect: Dialect) -> None:
    """Words in any order, damaged formulas, any characters and bytes are refused with a place, or evaluate."""
    try:
        formula = read(text, dialect)
    except FormulaError as error:
        for problem in error.problems:
            assert 0 <= problem.span.start <= len(text)
            assert problem.span.line == text.count("\n", 0, problem.span.start) + 1
            assert excerpt(text, problem.span)
        return
    is_whole(evaluate(formula, pool, NOW, lambda: 0.5, dialect))
    for finding in lint(formula, LintSettings(4)):
        assert 0 <= finding.span.start <= finding.span.end <= len(text)


@given(FORMULAS, POOLS, DIALECTS)
def test_what_passes_the_check_has_no_error_of_shape(formula: Formula, pool: Pool, dialect: Dialect) -> None:
    """A formula that was read fails afterwards by its values only, never by a name that does not exist."""
    if list(check(formula, dialect)):
        return
    run = evaluate(formula, pool, NOW, lambda: 0.5, dialect)
    assert run.error is None or "there is no" not in str(run.error.problem)


def test_a_long_sum_is_evaluated() -> None:
    """Thousands of operands in a row do not overflow the stack."""
    run = evaluate(read("$TargetDedicatedNodes=1" + "+1" * 4000), Pool(), NOW, lambda: 0.5)
    assert run.target_dedicated == 4001
