"""Job files: what is understood and what is told."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cli.job_file import load_job
from scheduler.errors import InvalidRequestError

_SMALL = "name: j\npool: p\nsteps:\n  - {name: s, command: run}\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _findings(folder: Path, text: str, *settings: str) -> list[str]:
    with pytest.raises(InvalidRequestError) as raised:
        load_job(_write(folder, text), settings)
    return [line.strip().replace(f"{folder}/", "") for line in str(raised.value).splitlines()[1:]]


def test_a_whole_job_is_read(tmp_path: Path) -> None:
    """Parameters, files, durations, exit codes and both forms of a command are understood."""
    (tmp_path / "run.py").write_text("1")
    (tmp_path / "model.json").write_text("2")
    text = """
name: var
pool: demo
priority: 5
parameters: {tasks: 24, model: model.json, title: two words}
files: [run.py]
steps:
  - name: simulate
    array: ${{ parameters.tasks }}
    command: python3 run.py --title ${{ parameters.title }} 'a b'
    files: {data/model.json: "${{ parameters.model }}"}
    environment: {N: "${{ parameters.tasks }}", DEBUG: true}
    outputs: ["*.bin"]
    wall_clock_limit: 1.5h
    exit_codes: {permanent: [2], ignorable: [3]}
    expected_time: 2s
  - name: merge
    command: [python3, run.py]
    inputs_from: [simulate]
"""
    loaded = load_job(_write(tmp_path, text), ["tasks=48"])
    simulate, merge = loaded.job.steps
    assert simulate.array == 48
    assert simulate.command == ("python3", "run.py", "--title", "two words", "a b")
    assert simulate.environment == {"N": "48", "DEBUG": "true"}
    assert simulate.wall_clock_limit == timedelta(minutes=90)
    assert loaded.files_of(simulate) == {"run.py": tmp_path / "run.py", "data/model.json": tmp_path / "model.json"}
    assert merge.inputs_from == ("simulate",)
    assert loaded.files_of(merge) == {"run.py": tmp_path / "run.py"}


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """Unknown keys, wrong values, missing files and unknown steps come together, each with line and place."""
    text = """name: var
pool: demo
prioriti: 5
steps:
  - name: simulate
    array: 0
    command: run ${{ parameters.nothing }}
    wall_clock_limit: 10
    files: [gone.py]
"""
    found = _findings(tmp_path, text)
    assert [finding.split(": ")[0:2] for finding in found] == [
        ["job.yaml:3", "prioriti"],
        ["job.yaml:6", "steps[0].array"],
        ["job.yaml:7", "steps[0].command[1]"],
        ["job.yaml:8", "steps[0].wall_clock_limit"],
        ["job.yaml:9", "steps[0].files.gone.py"],
    ]


def test_missing_files_are_named_with_their_path(tmp_path: Path) -> None:
    """A missing input file is named with the path that was looked at, and a folder is no file."""
    (tmp_path / "folder").mkdir()
    found = _findings(tmp_path, _SMALL + "files: {a.txt: gone.txt, b.txt: folder}\n")
    assert found == [
        "job.yaml:5: files.a.txt: the input file gone.txt does not exist",
        "job.yaml:5: files.b.txt: the input file folder is no file",
    ]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ".", "", "a\\\\b"])
def test_input_files_stay_in_the_working_directory(tmp_path: Path, name: str) -> None:
    """A file cannot be put outside a task's working directory."""
    (tmp_path / "x").write_text("1")
    found = _findings(tmp_path, _SMALL + f'files: {{"{name}": x}}\n')
    assert "below the task's working directory" in found[0]


@pytest.mark.parametrize("pattern", ["../x", "/etc/*", "a/../../b", ""])
def test_outputs_stay_in_the_working_directory(tmp_path: Path, pattern: str) -> None:
    """A pattern that could only match outside of a task's working directory is told before anything is sent."""
    text = f'name: j\npool: p\nsteps:\n  - {{name: a, command: run, outputs: ["{pattern}"]}}\n'
    assert "below the task's working directory" in _findings(tmp_path, text)[0]


def test_a_name_that_cannot_be_is_told_with_the_rule(tmp_path: Path) -> None:
    """The finding says which characters a name may have, not which expression it did not match."""
    found = _findings(tmp_path, "name: x y!\npool: p\nsteps: [{name: a, command: run}]\n")
    assert found == ["job.yaml:1: name: 'x y!' should have letters, digits and inner - _ . only, at most 64"]


def test_steps_follow_steps_before_them(tmp_path: Path) -> None:
    """A step can only wait for one that stands before it, so that there is no circle; names are unique."""
    text = """
name: j
pool: p
steps:
  - {name: a, command: run, depends_on: [b]}
  - {name: b, command: run, inputs_from: [c, b]}
  - {name: b, command: run}
"""
    assert [finding.split(": ", 2)[2] for finding in _findings(tmp_path, text)] == [
        "the step 'b' must stand before 'a'",
        "there is no step 'c'",
        "the step 'b' must stand before 'b'",
        "there are two steps 'b'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: [", "is not YAML"), ("- a", "expected a mapping"), ("", "expected a mapping"), ("name: j", "pool")],
)
def test_what_is_no_job_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Anything that is not a job is told as such, without a traceback."""
    with pytest.raises(InvalidRequestError, match=message):
        load_job(_write(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The job file itself may be missing."""
    with pytest.raises(InvalidRequestError, match=r"none\.yaml cannot be read: No such file"):
        load_job(tmp_path / "none.yaml")


@given(word=st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1))
def test_a_parameter_is_one_word_of_a_command(word: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A value with blanks, quotes or dollar signs is one argument of a command and starts nothing."""
    text = _SMALL.replace("run", '"run ${{ parameters.x }} end"') + "parameters: {x: null}\n"
    loaded = load_job(_write(tmp_path_factory.mktemp("job"), text), [f"x={word}"])
    assert loaded.job.steps[0].command == ("run", word, "end")
