"""`millpond formula`: exit codes, carets, files and JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from scheduler.cli.formula import formula
from scheduler.formula.compiler import compile_policy
from scheduler.policy import ScalingPolicy

GOOD = (
    "$TargetDedicatedNodes = min(9, max(0, $PendingTasks.GetSample(1)));\n$NodeDeallocationOption = taskcompletion;\n"
)


def run(*arguments: str, text: str = "") -> Result:
    """Run a command with a text on its standard input."""
    return CliRunner().invoke(formula, list(arguments), input=text)


def test_a_good_formula_passes_the_check(tmp_path: Path) -> None:
    """From a file or standard input, with what is used of the limits."""
    path = tmp_path / "pool.txt"
    path.write_text(GOOD, encoding="utf-8")
    for found in (run("check", str(path)), run("check", text=GOOD), run("check", "-", text=GOOD)):
        assert found.exit_code == 0
        assert found.stdout == f"good: 2 of at most 100 statements, {len(GOOD)} of 8192 bytes\n"
    assert json.loads(run("check", "--json", text=GOOD).stdout) == {"problems": [], "statements": 2}


def test_a_refused_formula_is_shown_with_carets() -> None:
    """Every error with the service's code, its place, and a caret under it; exit code 1."""
    found = run("check", text="a = 7 % 3;\n\tb = foo(2);\nc = ;")
    assert found.exit_code == 1
    assert found.stderr.splitlines() == [
        "AutoScalingFormulaSyntaxError",
        (
            "Line 1, Col 7: expected ';' between two statements; got '%' "
            "(there is no remainder; a - b * floor(a / b) gives it)"
        ),
        "a = 7 % 3;",
        "      ^",
        "AutoScalingFormulaSyntaxError",
        "Line 3, Col 5: expected a value: a number, a text, a variable, a function call or a parenthesis; got ';'",
        "c = ;",
        "    ^",
    ]
    (problem,) = json.loads(run("check", "--json", text="b = foo(2);").stdout)["problems"]
    assert problem["code"] == "AutoScalingFormulaSyntaxError"
    assert problem["span"] == {"start": 4, "end": 10, "line": 1, "column": 5}


def test_findings_are_told_and_fail_from_warnings_on() -> None:
    """An error or a warning ends with 1, what is good to know with 0."""
    bad = run("lint", text="$TargetDedicatedNodes = 1.5;")
    assert bad.exit_code == 1
    assert "Line 1, Col 25: warning: $TargetDedicatedNodes may be a fraction" in bad.stdout
    assert "[fraction-cut-off]\n$TargetDedicatedNodes = 1.5;\n                        ^^^\n" in bad.stdout
    assert bad.stdout.endswith("errors: 0, warnings: 2, good to know: 0\n")
    good = run("lint", "--json", text=GOOD)
    assert good.exit_code == 0
    assert [each["code"] for each in json.loads(good.stdout)["findings"]] == ["age-unknown"]
    assert run("lint", "--slots", "4", text=GOOD).exit_code == 1


SAMPLES = {
    "wide.csv": "at,$PendingTasks,RunningTasks\n2026-03-01T11:59:30Z,5,1\n2026-03-01T12:00:00Z,7,\n",
    "untimed.csv": "PendingTasks, RunningTasks\n5, 1\n7, 1\n",
    "timed.json": '{"$PendingTasks": [["2026-03-01T11:59:30Z", 5], ["2026-03-01T12:00:00", 7]]}',
    "untimed.json": '{"PendingTasks": [5, 7], "$RunningTasks": [1, 1]}',
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_come_from_csv_or_json(name: str, tmp_path: Path) -> None:
    """With or without times and dollars; the lag hides the newest."""
    path = tmp_path / name
    path.write_text(SAMPLES[name], encoding="utf-8")
    for lag, nodes in (("0", 7), ("1", 5), ("2", 0)):
        found = run("eval", "--samples", str(path), "--now", "2026-03-01T12:00:00Z", "--lag", lag, "--json", text=GOOD)
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["targetDedicatedNodes"] == nodes


def test_now_is_the_newest_sample(tmp_path: Path) -> None:
    """Without --now a recorded history is evaluated at its end."""
    path = tmp_path / "samples.csv"
    path.write_text(SAMPLES["wide.csv"], encoding="utf-8")
    found = run("eval", "--samples", str(path), text="t = time(); r = rand();")
    again = run("eval", "--samples", str(path), text="t = time(); r = rand();")
    assert "t=2026-03-01T12:00:00.000Z" in found.stdout
    assert found.stdout == again.stdout


def test_a_failed_evaluation_has_the_services_form() -> None:
    """Code, message and place; the targets stay; exit code 1."""
    text = "$RunningTasks.GetSample(10 * TimeInterval_Second, 0 * TimeInterval_Second, 100);"
    found = run("eval", "--dedicated", "3", "--target-dedicated", "4", text=text)
    assert found.exit_code == 1
    assert found.stdout.startswith("$TargetDedicatedNodes=4\n$TargetLowPriorityNodes=0\n")
    assert found.stderr.splitlines() == [
        "InsufficientSampleData: Autoscale evaluation failed due to insufficient sample data",
        "Line 1, Col 24: Insufficient data from data set: $RunningTasks wanted 100%, received 0%",
        text,
        "                       ^",
    ]
    record = json.loads(run("eval", "--json", text=text).stdout)
    assert record["error"]["values"] == [{"name": "Message", "value": found.stderr.splitlines()[1]}]


def test_a_dialect_is_chosen_by_name() -> None:
    """An open point may be settled otherwise, and a wrong name is told."""
    text = 'd = time("2026-03-01").weekday;'
    assert "d=7" in run("eval", text=text).stdout
    assert "d=0" in run("eval", "--dialect", "sunday=0", text=text).stdout
    wrong = run("eval", "--dialect", "sundays=0", text=text)
    assert wrong.exit_code == 2
    assert "error: --dialect: there is no setting sundays; did you mean sunday?" in wrong.stderr
    assert "negative_target: Input should be 'zero' or 'error'" in run("eval", "--dialect", "negative_target=1").stderr


def test_a_policy_is_compiled_from_settings(tmp_path: Path) -> None:
    """The formula on standard output, the report on standard error; YAML as in a stack's settings, and --set."""
    path = tmp_path / "scaling.yaml"
    path.write_text("scaling: {acceptable_wait: 10m, max_nodes: 40}\n", encoding="utf-8")
    found = run("compile", str(path), "--set", "min_nodes=2", "--slots", "4")
    assert found.exit_code == 0, found.stderr
    assert "$TargetDedicatedNodes = max(2, min(40, nodes));" in found.stdout
    assert "backlog = ceil((waiting * 2 + running * 1) / 20);" in found.stdout
    assert "exact:         max_nodes: min(40, ...)" in found.stderr
    assert "not expressed: boot_deadline: " in found.stderr
    assert run("check", text=found.stdout).exit_code == 0
    assert run("lint", "--slots", "4", text=found.stdout).exit_code == 0
    assert run("compile").stdout == compile_policy(ScalingPolicy()).text
    record = json.loads(run("compile", "--json", "--spot").stdout)
    assert "$CurrentLowPriorityNodes" in record["text"]
    assert {each["standing"] for each in record["elements"]} == {"exact", "approximated", "not expressed"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("check", "missing.txt"), "missing.txt cannot be read: No such file or directory"),
        (("compile", "--set", "max_nodes"), "'max_nodes': expected name=value"),
        (("compile", "--set", "max_node=3"), "there is no setting max_node; did you mean max_nodes?"),
        (("compile", "--set", "acceptable_wait=5"), "--set: acceptable_wait: '5' is not a duration with its unit"),
        (("compile", "--set", "min_nodes=11"), "need 0 <= min_nodes <= max_nodes"),
        (("compile", "--interval", "1m"), "Azure evaluates a formula every 5 minutes to 168 hours"),
        (("eval", "--now", "noon"), "--now: 'noon' is no time; write 2026-03-01T12:00:00Z"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: tuple[str, ...], told: str) -> None:
    """What is wrong, where, and what to write; exit code 2."""
    found = run(*arguments, text="a = 1;")
    assert found.exit_code == 2
    assert told in found.stderr
    assert found.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no samples; expected a line of names"),
        ("at,Pending\n,1\n", "line 2: Pending is no metric; there are $ActiveTasks"),
        ("at,$PendingTasks\nnoon,1\n", "line 2: 'noon' is no time"),
        ("$PendingTasks\n1,2\n", "line 2 has more cells than the first line has names"),
        ("$PendingTasks\nmany\n", "line 2: 'many' is no number"),
        ("$PendingTasks\n-1\n", "line 2: '-1' is no sample: metrics are 0 or more"),
        ('{"$PendingTasks": 3}', "$PendingTasks: expected a list of numbers"),
        ('{"$PendingTasks": [nul]}', "Expecting value"),
    ],
)
def test_a_wrong_samples_file_is_told_with_its_line(content: str, told: str, tmp_path: Path) -> None:
    """Each mistake in a file has its place."""
    path = tmp_path / "samples"
    path.write_text(content, encoding="utf-8")
    found = run("eval", "--samples", str(path), text=GOOD)
    assert found.exit_code == 2
    assert f"{path}: " in found.stderr
    assert told in found.stderr


def test_compile_tells_what_the_formula_costs(tmp_path: Path) -> None:
    """With a workload, policy and formula are replayed, and the difference stands beside them; JSON has all numbers."""
    path = tmp_path / "burst.csv"
    path.write_text("submit_s,run_s\n0,60\n3610,60\noops,1\n", encoding="utf-8")
    arguments = ("compile", "--set", "default_task_time=1m", "--regret", str(path), "--boot", "2min")
    told = run(*arguments)
    assert told.exit_code == 0
    assert told.stdout == compile_policy(ScalingPolicy()).text
    assert "burst.csv: line 4" in told.stderr
    assert "replayed burst: 2 tasks in 6" in told.stderr
    rows = {line.split("  ")[0].strip(): line.split() for line in told.stderr.splitlines()}
    assert rows["its formula"][-2:] == ["min", "2"]
    assert rows["regret"][2].startswith("(")
    record = json.loads(run(*arguments, "--json").stdout)
    assert record["text"] == told.stdout
    assert record["regret"]["policy"]["waits"]["max"] == 120.0
    assert record["regret"]["formula"]["waits"]["max"] == 410.0
    assert list(record["regret"]["without"]) == ["default_task_time", "how often it is decided", "both"]
    assert rows["without: both"][-2:] == ["min", "2"]


def test_compile_refuses_a_workload_that_is_not_there(tmp_path: Path) -> None:
    """The formula is not written as if it had been replayed."""
    found = run("compile", "--regret", str(tmp_path / "none.csv"))
    assert found.exit_code != 0
    assert not found.stdout
