"""The language's values, operators, functions, samples and results."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.formula.check import read
from scheduler.formula.dialect import (
    DEFAULT,
    Dialect,
    DivisionByZero,
    HalfRule,
    NegativeTarget,
    Percentile,
)
from scheduler.formula.evaluate import evaluate
from scheduler.formula.outcome import AutoScaleRun
from scheduler.formula.problems import FormulaError
from scheduler.formula.samples import MetricSamples, Pool

NOW = datetime(2025, 6, 11, 10, 20, 30, 123456, tzinfo=UTC)
# One sample every 30 s, the newest now: 1 now, 2 before it, and so on for 20 minutes.
_TWENTY_MINUTES = MetricSamples.of((NOW - timedelta(seconds=30 * age), float(age + 1)) for age in range(40))
POOL = Pool(4, 3, 5, 6, 2, {"$PendingTasks": _TWENTY_MINUTES})


def run(text: str, dialect: Dialect = DEFAULT, pool: Pool = POOL, draw: float = 0.25) -> AutoScaleRun:
    """Evaluate a text."""
    return evaluate(read(text, dialect), pool, NOW, lambda: draw, dialect)


def value(expression: str, dialect: Dialect = DEFAULT) -> str:
    """Give what an expression is printed as."""
    found = run(f"x={expression};", dialect)
    assert found.error is None, found.error
    return found.results.partition(";x=")[2]


def failure(text: str, dialect: Dialect = DEFAULT, pool: Pool = POOL) -> str:
    """Give what is told of an evaluation that fails."""
    found = run(text, dialect, pool)
    assert found.error is not None
    return str(found.error.problem)


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("1 + 2 * 3 - 4 / 8", "6.5"),
        ("10 - 4 - 3", "3"),
        ("-2 - -3", "1"),
        ("!0 + !5 + !-1", "1"),
        ("1 == 1 == 1", "1"),
        ("2 < 1 || 2 > 1 && 0", "0"),
        ('"a" == "a"', "1"),
        ('"a" < "b"', "1"),
        ("1/3", "0.333333333333333"),
        ("1/0", "Infinity"),
        ("-1/0", "-Infinity"),
        ("0/0", "NaN"),
        ("1 ? 2 : 3 ? 4 : 5", "2"),
        ("0 ? 1 : 0 ? 2 : 3", "3"),
        ("0.4 ? 1 : 2", "1"),
        ("avg(1, 2, 6)", "3"),
        ("avg($PendingTasks.GetSample(2), 7)", "3.33333333333333"),
        ("len($PendingTasks.GetSample(3), 7)", "4"),
        ("sum(1, 2) + len($ActiveTasks.GetSample(9))", "3"),
        ("max(0, $ActiveTasks.GetSample(1))", "0"),
        ("min(10, $ActiveTasks.GetSample(1))", "10"),
        ("norm(3, 4)", "5"),
        ("range(3, 9, 4)", "6"),
        ("std(1, 2, 3, 4)", "1.29099444873581"),
        ("lg(8) + ln(1) + log(1000)", "6"),
        ("lg(0)", "-Infinity"),
        ("ln(-1)", "NaN"),
        ("ceil(1.2) + floor(1.8) + round(2.4)", "5"),
        ("round(2.5)", "2"),
        ("round(-3.5)", "-4"),
        ("rand()", "0.25"),
        ("percentile($PendingTasks.GetSample(4), 50)", "2.5"),
        ("percentile($PendingTasks.GetSample(4), 100)", "4"),
        ("val($PendingTasks.GetSample(3), 0)", "3"),
        ("val($PendingTasks.GetSample(3), 2)", "1"),
        ("$PendingTasks.GetSample(3)", "[3,2,1]"),
        ("$PendingTasks.GetSample(3) * 2 + 1", "[7,5,3]"),
        ("$PendingTasks.GetSample(2) / $PendingTasks.GetSample(2)", "[1,1]"),
        ("ceil($PendingTasks.GetSample(2) / 4)", "[1,1]"),
        ("$PendingTasks.GetSample(1) - 5", "-4"),
        ("10 - $PendingTasks", "9"),
        ("$PendingTasks", "[1]"),
        ("$CurrentDedicatedNodes + $CurrentLowPriorityNodes * $TaskSlotsPerNode", "10"),
        ("$TargetDedicatedNodes * 10 + $TargetLowPriority", "56"),
        ("$PendingTasks.Count() + $ActiveTasks.Count()", "40"),
        ("$PendingTasks.GetSamplePeriod()", "00:00:30"),
        ("$PendingTasks.HistoryBeginTime()", "2025-06-11T10:01:00.123Z"),
        ("time()", "2025-06-11T10:20:30.123Z"),
        ('time("2025-06-11T12:00:00.5+02:00")', "2025-06-11T10:00:00.500Z"),
        ('time("2025") - time("2024-12-31T23:59:00Z")', "00:01:00"),
        ("time() + TimeInterval_Day", "2025-06-12T10:20:30.123Z"),
        ("TimeInterval_Hour * 1.5 - 2 * TimeInterval_Minute", "01:28:00"),
        ("-TimeInterval_Week / 2", "-3.12:00:00"),
        ("TimeInterval_100ns * 5", "00:00:00.0000005"),
        ("TimeInterval_Year", "365.00:00:00"),
        ("(time() - TimeInterval_Hour).hour", "9"),
        ("time().year + time().month + time().day + time().hour + time().minute + time().second", "2102"),
        ("time().weekday", "3"),
        ('time("2025-06-15").weekday', "7"),
        ("TimeInterval_Second < TimeInterval_Minute", "1"),
        ('"text"', "text"),
    ],
)
def test_an_expression_has_its_value(expression: str, printed: str) -> None:
    """Operators, functions, samples and times give what the documents say, printed as the service prints."""
    assert value(expression) == printed


@pytest.mark.parametrize(
    ("expression", "dialect", "printed"),
    [
        ('time("2025-06-15").weekday', Dialect(sunday=0), "0"),
        ("round(2.5)", Dialect(half_rule=HalfRule.AWAY_FROM_ZERO), "3"),
        ("round(-2.5)", Dialect(half_rule=HalfRule.AWAY_FROM_ZERO), "-3"),
        ("percentile($PendingTasks.GetSample(4), 50)", Dialect(percentile=Percentile.NEAREST_RANK), "2"),
        ("$PendingTasks.GetSample(2)", Dialect(newest_first=True), "[1,2]"),
        ("$PendingTasks.GetSample(2)", Dialect(lag=2), "[4,3]"),
        ("TimeInterval_Year", Dialect(days_in_year=366), "366.00:00:00"),
        ("1/3", Dialect(fraction_digits=17), "0.33333333333333331"),
        ("MAX(1, $pendingtasks.getsample(1))", Dialect(case_sensitive=False), "1"),
        ("TIME().Hour", Dialect(case_sensitive=False), "10"),
    ],
)
def test_a_dialect_settles_what_is_open(expression: str, dialect: Dialect, printed: str) -> None:
    """Each setting changes what it names."""
    assert value(expression, dialect) == printed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x=1+undefined;", "Line 1, Col 5: undefined has no value here; assign it first"),
        ("x=$PendingTask;", "did you mean $PendingTasks?"),
        ("x=2*$PendingTasks.GetSample(2);", "Line 1, Col 4: double * doubleVec is not in the language; put the vector"),
        ("x=$PendingTasks.GetSample(2) > 1;", "Line 1, Col 30: doubleVec > double is not in the language; take max"),
        ("x=$PendingTasks.GetSample(2)+$PendingTasks.GetSample(3);", "vectors of 2 and 3 samples have no +"),
        ('x="a"+"b";', "string + string is not in the language"),
        ("x=time()+time();", "timestamp + timestamp is not in the language"),
        ("x=TimeInterval_Hour/0;", "a timeinterval cannot be divided by zero"),
        ("x=TimeInterval_Week*999999999999999999;", "the timeinterval would be longer than 29,000 years"),
        ("x=time()+TimeInterval_Week*520000;", "the timestamp would lie outside the years 1 to 9999"),
        ("x=max($ActiveTasks.GetSample(1));", "Line 1, Col 3: max has no sample; give it a number too"),
        ("x=std(1);", "std has one sample only"),
        ("x=avg(time());", "avg takes numbers and vectors, not a timestamp"),
        ('x=ceil("1");', "ceil takes a number or a vector, not a string"),
        ("x=val($PendingTasks.GetSample(2), 2);", "val has no element 2: the vector has 2, counted from 0"),
        ("x=percentile($PendingTasks.GetSample(2), 101);", "percentile takes 0 to 100, not 101"),
        ("x=TimeInterval_Hour ? 1 : 2;", "a condition must be a number: a timeinterval stands where a number must"),
        ("x=$PendingTasks.GetSample(2) ? 1 : 2;", "a vector of 2 samples stands where a number must"),
        ("x=$ActiveTasks.GetSample(1) && 1;", "a vector of 0 samples stands where a number must"),
        ("x=(1).hour;", "Line 1, Col 7: a double has no hour; only a timestamp such as time() has"),
        ("x=time(5);", "time takes a text in double quotes, not a double"),
        ('x=time("yesterday");', 'Line 1, Col 8: time: "yesterday" is no date and time; write one such as'),
        ("x=$PendingTasks.GetSample(-1);", "GetSample takes a count of 0 or more, not -1"),
        ("x=$PendingTasks.GetSample(1, 50);", "a window is bounded by a timeinterval or a timestamp, not a double"),
        (
            "x=$PendingTasks.GetSample(TimeInterval_Hour, time(), time());",
            "a sample percentage must be a number, not a timestamp",
        ),
        ("x=$ActiveTasks.HistoryBeginTime();", "Line 1, Col 32: Insufficient data from data set: $ActiveTasks"),
        ('$TargetDedicatedNodes="x";', "Line 1, Col 23: $TargetDedicatedNodes: a string stands where a number must"),
        ("$TargetDedicatedNodes=1/0;", "would be inf, which is no number of nodes; bound it with min(...)"),
        ("$TargetLowPriorityNodes=0/0;", "would be nan"),
        ("$TargetDedicatedNodes=3000000000;", "would be 3e+09"),
    ],
)
def test_a_failure_says_where_and_what_to_write(text: str, told: str) -> None:
    """Every failure of an evaluation has a place and advice."""
    assert told in failure(text)


@pytest.mark.parametrize(
    ("text", "dialect", "told"),
    [
        ("x=1/0;", Dialect(division_by_zero=DivisionByZero.ERROR), "division by zero; guard it"),
        ("$TargetDedicatedNodes=-1;", Dialect(negative_target=NegativeTarget.ERROR), "would be -1; bound it with max"),
        ("x=0 && undefined;", Dialect(lazy_logic=False), "undefined has no value here"),
        (
            "x=time()-TimeInterval_Hour;",
            Dialect(subtract_interval=False),
            "timestamp - timeinterval is not in the language; add the negative interval: t + (-1 * TimeInterval_Hour)",
        ),
        ('x=time("2025-01-01T00:00:00");', Dialect(zone_required=True), "has no time zone; end it with Z"),
    ],
)
def test_a_stricter_dialect_fails_where_the_default_does_not(text: str, dialect: Dialect, told: str) -> None:
    """What nobody knows of the service can be refused, to be safe."""
    assert run(text).error is None
    assert told in failure(text, dialect)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = random()", "Line 1, Col 5: there is no function random; did you mean rand?"),
        ("a = now()", "there is no function now; there are avg, ceil"),
        ("a = percentile(v, 1, 2)", "percentile does not take 3 arguments; it is percentile(doubleVec v, double p)"),
        ("a = max()", "max does not take 0 arguments"),
        ("a = $CPUPercent.GetStuff()", "Line 1, Col 17: there is no method GetStuff"),
        ("a = $TargetDedicated.GetSample(10)", "Line 1, Col 5: $TargetDedicated has no samples; GetSample works on"),
        ("a = time().weeks", "Line 1, Col 12: there is no property weeks; did you mean weekday?"),
        ("a = $PendingTasks.Count", "Count is a method; write Count(...)"),
        ("a = taskcompletion", "taskcompletion can stand only in $NodeDeallocationOption = taskcompletion;"),
        ("$NodeDeallocationOption = 2 + 3", "$NodeDeallocationOption takes one of the words requeue, "),
        ("$NodeDeallocationOption = x", "takes one of the words"),
        ("a = $NodeDeallocationOption", "can be assigned to, but not read"),
        ("$ActiveTasks = 3", "$ActiveTasks cannot be assigned to"),
        ("TimeInterval_Hour = 3", "TimeInterval_Hour cannot be assigned to"),
        ("requeue = 1", "requeue is a word of $NodeDeallocationOption and no variable"),
        ("a = 0 ? gone() : 1", "there is no function gone"),
    ],
)
def test_what_the_language_does_not_have_is_refused_before_it_runs(text: str, told: str) -> None:
    """Names and shapes are checked when a formula is read, in branches that are not taken too."""
    with pytest.raises(FormulaError) as caught:
        read(text)
    assert told in str(caught.value)


def test_only_the_branch_that_is_taken_is_evaluated() -> None:
    """`?:`, `&&` and `||` leave out what cannot matter."""
    assert value("1 ? 2 : undefined") == "2"
    assert value("0 && undefined") == "0"
    assert value("1 || undefined") == "1"
    guarded = (
        "x=$ActiveTasks.GetSamplePercent(TimeInterval_Hour) < 70 ? 1 : avg($ActiveTasks.GetSample(TimeInterval_Hour));"
    )
    assert run(guarded).results.endswith("x=1")


@pytest.mark.parametrize(
    ("window", "samples"),
    [
        ("TimeInterval_Minute", "[2,1]"),
        ("time() + -1 * TimeInterval_Minute", "[2,1]"),
        ("1 * TimeInterval_Minute, 3 * TimeInterval_Minute", "[6,5,4,3]"),
        ("3 * TimeInterval_Minute, 1 * TimeInterval_Minute", "[6,5,4,3]"),
        ("TimeInterval_Zero, TimeInterval_Minute, 100", "[2,1]"),
        ("10 * TimeInterval_Second, TimeInterval_Zero, 100", "[1]"),
    ],
)
def test_a_window_is_after_its_older_bound_and_until_its_newer(window: str, samples: str) -> None:
    """Either order of the bounds, instants and spans mean the same window."""
    assert value(f"$PendingTasks.GetSample({window})") == samples


@given(st.integers(0, 45), st.integers(1, 60), st.integers(0, 4))
def test_coverage_is_what_can_be_seen_of_what_there_should_be(newest: int, length: int, lag: int) -> None:
    """GetSamplePercent counts the samples of a window that are out, and GetSample fails below what it wants of them."""
    window = f"{newest * 30} * TimeInterval_Second, {(newest + length) * 30} * TimeInterval_Second"
    seen = len([age for age in range(newest, newest + length) if lag <= age < 40])
    dialect = Dialect(lag=lag)
    percent = float(value(f"$PendingTasks.GetSamplePercent({window})", dialect))
    assert percent == pytest.approx(100 * seen / length)
    for wanted in (1, 50, 100):
        found = run(f"x=len($PendingTasks.GetSample({window}, {wanted}));", dialect)
        if 100 * seen < wanted * length:
            assert found.error is not None
            assert found.error.code == "InsufficientSampleData"
            assert f"wanted {wanted}%, received {int(percent)}%" in found.error.values[0][1]
        else:
            assert found.results.endswith(f";x={seen}")


@given(st.floats(-1e6, 1e6, allow_nan=False))
def test_a_target_is_cut_off_at_the_point_and_at_zero(target: float) -> None:
    """2.9 nodes are 2 (Azure/Batch#151)."""
    found = run(f"$TargetDedicatedNodes={target:f};", Dialect())
    assert found.target_dedicated == max(0, int(float(f"{target:f}")))


def test_targets_are_read_as_they_were_written_and_kept_where_they_were_not() -> None:
    """A target reads as the formula's last value, unrounded; the other keeps the pool's."""
    found = run("$TargetDedicatedNodes=2.5;a=$TargetDedicatedNodes*2;$TargetDedicatedNodes=$TargetDedicated+1;")
    assert (found.target_dedicated, found.target_low_priority) == (3, 6)
    assert found.variables == {"a": 5.0}
    both = run("$TargetDedicatedNodes=2;$TargetDedicated=9;$TargetLowPriority=1;")
    assert (both.target_dedicated, both.target_low_priority) == (2, 1)
    vector = run("$TargetLowPriorityNodes=$PendingTasks.GetSample(1)+$PendingTasks.GetSample(1);")
    assert vector.target_low_priority == 2


def test_stop_ends_the_evaluation_with_what_there_is() -> None:
    """Statements after `stop()` are not evaluated, and the results until then count."""
    found = run("$TargetDedicatedNodes=1;a=2;b=stop();$TargetDedicatedNodes=undefined;")
    assert (found.error, found.target_dedicated, found.variables) == (None, 1, {"a": 2.0})


def test_a_failed_run_keeps_targets_and_says_so() -> None:
    """With an error nothing is set, not even what was assigned before it."""
    found = run("$TargetDedicatedNodes=1;$NodeDeallocationOption=terminate;a=b;")
    assert found.results == "$TargetDedicatedNodes=5;$TargetLowPriorityNodes=6;$NodeDeallocationOption=requeue"
    assert (found.target_dedicated, found.target_low_priority, found.deallocation) == (5, 6, "requeue")


def test_variables_are_printed_in_the_order_of_their_names() -> None:
    """The `$` does not count, and each name is as it was written."""
    found = run("$b=1;c=2;A=3;$NodeDeallocationOption=taskcompletion;")
    assert found.results.endswith("$NodeDeallocationOption=taskcompletion;A=3;$b=1;c=2")


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("2024-10-30T00:00:00.880011Z", "2024-10-30T00:00:00.880Z"),
        ("2024-10-30T10:30+05:30", "2024-10-30T05:00:00.000Z"),
        ("2024-10-30T10:30:05", "2024-10-30T10:30:05.000Z"),
        ("2024-10", "2024-10-01T00:00:00.000Z"),
        ("Thu, 13 Oct 2016 19:00:00 GMT", "2016-10-13T19:00:00.000Z"),
    ],
)
def test_times_are_read_in_two_formats(text: str, read_as: str) -> None:
    """W3C's, to the microsecond, and RFC 1123's."""
    assert value(f'time("{text}")') == read_as


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2024-10-30T00:00:00.880011123Z", "9 digits after the second, 6 are read"),
        ("Wed, 13 Oct 2016 19:00:00 GMT", "is a Thu, not a Wed"),
        ("Thu, 13 Okt 2016 19:00:00 GMT", "no month 'Okt'"),
        ("2024-02-30", "no date and time: day is out of range"),
        ("0001-01-01T00:00:00+01:00", "no date and time"),
        ("2024-10-30 00:00:00", "write one such as"),
    ],
)
def test_other_times_are_refused(text: str, told: str) -> None:
    """Nanoseconds (nextflow#3866), dates that do not exist, and other formats say what is wrong with them."""
    assert told in failure(f'x=time("{text}");')


def test_every_dialect_setting_is_documented() -> None:
    """The reasons stand beside the settings, and docs/formulas.md names each."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "formulas.md").read_text(encoding="utf-8")
    for field in fields(Dialect):
        assert f"    {field.name} " in (Dialect.__doc__ or "")
        assert f"`{field.name}`" in page
