"""Workloads from files: what is read, what is left out, and which lines are named as wrong."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.simulator.readers.history import read_history
from scheduler.simulator.readers.swf import read_swf
from scheduler.simulator.readers.table import read_table
from scheduler.simulator.readers.trace import read_trace
from scheduler.simulator.readers.wfformat import read_wfformat
from tests.scheduler.simulator.worlds import TRACES, needs_traces

SWF = """; Computer: example
; Note: a comment
2 50 -1 20 -1 -1 -1 3 60 -1 1 1 1 -1 -1 -1 -1 -1
1 40 5 10 2 -1 -1 2 -1 -1 1 1 1 -1 -1 -1 -1 -1
3 60 0 0 1 -1 -1 1 60 -1 0 1 1 -1 -1 -1 -1 -1

4 70 0 x 1 -1 -1 1 60 -1 0 1 1 -1 -1 -1 -1 -1
5 80 0
"""


def test_a_log_gives_its_jobs_and_names_its_bad_lines() -> None:
    """Jobs come in order of their numbers; processors asked for stand in for given ones; wrong lines are counted."""
    reading = read_swf("log", SWF)
    workload = reading.workload
    assert workload.submit == (0, 10)
    assert workload.run == (10, 20)
    assert workload.slots == (2, 3)
    assert workload.estimate == (None, 60)
    assert workload.recorded_wait == (5, None)
    assert reading.left_out == 1
    assert [str(problem) for problem in reading.problems] == [
        "line 7: 'x' is not a number",
        "line 8: 3 fields, a job has 18",
    ]


def test_a_workload_knows_when_it_was_where_the_file_says_so() -> None:
    """By a log's header, by dates in each row, and by a history's times: the instant of the first submission."""
    at = datetime(1996, 9, 23, 14, 0, 40, tzinfo=UTC)
    assert read_swf("log", SWF).workload.begins_at is None
    assert read_swf("log", SWF.replace("Note:", "UnixStartTime: 843487200\n;")).workload.begins_at == at
    assert read_swf("log", SWF.replace("Note:", "UnixStartTime: 0\n;")).workload.begins_at is None
    assert read_table("table", "submit_s,run_s\n40,1\n").workload.begins_at is None
    dated = "submit,run\n1996-09-23 16:00:50+02:00,1\n1996-09-23 14:00:40,1\n"
    assert read_table("table", dated).workload.begins_at == at
    assert read_table("table", dated + "5,1\n").workload.begins_at is None


def test_a_table_gives_its_jobs_and_names_its_bad_lines() -> None:
    """Columns stand in any order; ids link jobs; what is wrong is named with its line."""
    text = (
        "run_s,submit_s,slots,id,after,colour\n"
        "10,5,2,a,,red\n"
        "20,0,1,b,a,blue\n"
        "abc,0,1,c,,x\n"
        "1,2\n"
        "0,3,1,d,,x\n"
        "7,9,1.5,e,,x\n"
        "7,9,1,f,nobody,x\n"
    )
    reading = read_table("table", text)
    assert reading.workload.run == (20, 10, 7)
    assert reading.workload.after == ((1,), (), ())
    assert reading.left_out == 1
    assert [problem.line for problem in reading.problems] == [4, 5, 7, 8]
    assert "'abc' is not a number" in str(reading.problems[0])


def test_a_table_without_its_columns_is_refused_with_what_it_needs() -> None:
    """The message names the missing column and those that there may be."""
    with pytest.raises(InvalidRequestError, match=r"line 1: the column run_s is missing"):
        read_table("table", "submit_s,cores\n1,2\n")


def _workflow(*tasks: tuple[str, float | None, list[str]], version: str = "1.5") -> str:
    return json.dumps(
        {
            "schemaVersion": version,
            "workflow": {
                "specification": {"tasks": [{"id": name, "parents": parents} for name, _, parents in tasks]},
                "execution": {"tasks": [{"id": name, "runtimeInSeconds": run} for name, run, _ in tasks]},
            },
        },
        indent=1,
    )


def test_a_workflow_keeps_who_waits_for_whom() -> None:
    """Tasks without a run time are named with their line; one that waits for them no longer does."""
    reading = read_wfformat("flow", _workflow(("a", 3, []), ("b", None, []), ("c", 4, ["a", "b"])))
    assert reading.workload.run == (3, 4)
    assert reading.workload.after == ((), (0,))
    lines = _workflow(("a", 3, []), ("b", None, []), ("c", 4, ["a", "b"])).splitlines()
    assert [lines[problem.line - 1].strip() for problem in reading.problems] == ['"id": "b",', '"id": "c",']


def test_what_is_no_workflow_is_refused() -> None:
    """Other versions and broken JSON are told apart, the latter with its line."""
    with pytest.raises(InvalidRequestError, match=r"schemaVersion is '1\.3'"):
        read_wfformat("flow", _workflow(("a", 3, []), version="1.3"))
    with pytest.raises(InvalidRequestError, match="line 2"):
        read_wfformat("flow", '{\n"a" 1}')


def _task(step: str, begin: int, end: int, job: str = "j") -> str:
    stamps = [f"2026-01-01T00:{minute:02d}:00+00:00" for minute in (0, begin, end)]
    names = ("submitted_at", "started_at", "ended_at")
    return json.dumps({"job": job, "step": step, "index": 0, **dict(zip(names, stamps, strict=True))})


def test_a_history_gives_tasks_steps_and_boots() -> None:
    """A step that began after another had ended waits for it; boot times are kept; bad lines are named."""
    heading = json.dumps({"format": "millpond-history", "version": 1, "pool": "p"})
    lines = [
        heading,
        _task("map", 1, 3),
        _task("map", 1, 4),
        _task("reduce", 5, 6),
        '{"boot_seconds": 200.5}',
        "{",
        "{}",
    ]
    reading = read_history("pool", "\n".join(lines))
    assert reading.workload.run == (120, 180, 60)
    assert reading.workload.after == ((), (), (0, 1))
    assert reading.boots == (200.5,)
    assert [problem.line for problem in reading.problems] == [6, 7]
    with pytest.raises(InvalidRequestError, match="line 1"):
        read_history("pool", "{}\n")


@given(st.text(max_size=200), st.sampled_from([read_swf, read_table, read_wfformat, read_history]))
def test_no_text_breaks_a_reader(text: str, reader: object) -> None:
    """Whatever a file holds, a reader gives jobs or says what is wrong, in its own kind of error."""
    try:
        reading = reader("drawn", text)  # type: ignore[operator]
    except InvalidRequestError:
        return
    assert len(reading.workload) > 0


def test_files_are_told_apart_by_content(tmp_path: Path) -> None:
    """A compressed log without its ending is a log; a missing or cut file is told as such."""
    log = tmp_path / "log.gz"
    log.write_bytes(gzip.compress(SWF.encode()))
    assert len(read_trace(log).workload) == 2
    assert read_trace(log).workload.name == "log"
    log.write_bytes(gzip.compress(SWF.encode())[:-9])
    with pytest.raises(InvalidRequestError, match="gzip"):
        read_trace(log)
    with pytest.raises(NotFoundError, match=r"none\.csv cannot be read"):
        read_trace(tmp_path / "none.csv")


def test_a_file_without_jobs_is_refused_with_its_first_bad_line() -> None:
    """The message says that no job is left and why the first line was not one."""
    with pytest.raises(InvalidRequestError, match=r"no job that ran.*line 1: 2 fields"):
        read_swf("log", "1 2\n")


@needs_traces("kth-sp2-1996")
@pytest.mark.parametrize("name", ["kth-sp2-1996", "nasa-ipsc-1993"])
def test_a_real_log_equals_its_table(name: str) -> None:
    """The jobs of a log of the archive are those of the table that was made from it by another program."""
    (log,) = (TRACES / name).glob("*.swf.gz")
    from_log, from_table = read_trace(log).workload, read_trace(TRACES / name / "jobs.csv.gz").workload
    assert from_log.submit == from_table.submit
    assert from_log.run == from_table.run
    assert from_log.slots == from_table.slots


@pytest.mark.parametrize(
    "content",
    [
        "submit_s,run_s\n0,10\n5,20\n",
        "submit_s,run_s\r\n0,10\r\n5,20\r\n",
        "submit_s;run_s\r0;10\r5;20\r",
        "run_s\tSubmit_S\tnote\n20\t5\tb\n10\t0\ta\n",
        "submit_s,run_s\n2026-03-01T12:00:00Z,10\n2026-03-01 13:00:05+01:00,20\n",
        "1 0 -1 10 1 -1 -1 1 -1 -1 1 1 1 1 1 1 -1 -1\n2 5 -1 20 1 -1 -1 1 -1 -1 1 1 1 1 1 1 -1 -1\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_same_jobs_are_read_from_every_way_to_write_them(tmp_path: Path, content: str, encoding: str) -> None:
    """Byte order marks, line ends, separators, the order of columns and rows, dates and spaces change nothing."""
    file = tmp_path / "two jobs.csv"
    file.write_bytes(content.encode(encoding))
    reading = read_trace(file)
    assert (reading.workload.submit, reading.workload.run) == ((0, 5), (10, 20))
    assert (reading.workload.name, reading.problems) == ("two jobs", ())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "jobs.csv is empty; a workload is a table"),
        ("%PDF\0\0", "jobs.csv is no text"),
        ("0,10\n", "jobs.csv: line 1: the column submit_s is missing; .* this one has '0, 10'"),
        ("submit,submit_s,run_s\n", "jobs.csv: line 1: the column submit_s stands there twice"),
        ("submit_s,run_s\n0,1e300\n", "line 2: run: 1e.300 s are more than a hundred years"),
        ("submit_s,run_s\n0,1\n1e12,1\n", "jobs.csv: from the first to the last submission are 31,710 years"),
        ("submit_s,run_s\nsoon,1\n", "line 2: submit: 'soon' is neither a number of seconds nor a date"),
        ("submit_s,run_s,slots\n0,1,1e20\n", "line 2: slots: 1e.20 are more than 1,000,000"),
        ("submit_s,run_s\n0,-1\n", "no job that ran; 1 jobs have no run time or no slots"),
        ("submit_s,run_s,id,after\n0,1,a,b\n0,1,b,a\n", "jobs.csv: job 0 waits, through others, for itself"),
        ("[" * 9999, "jobs.csv: its brackets are nested too deep"),
        ('{"schemaVersion": "1.5",\n "workflow": }', "jobs.csv: line 2, column 14: Expecting value"),
        (
            '{"schemaVersion": "1.5", "workflow": {"specification": {"tasks": 5}, "execution": {"tasks": []}}}',
            "jobs.csv: it lacks workflow.specification.tasks",
        ),
        (
            '{"format": "millpond-history", "version": 1}\n[1]\n',
            "no job that ran; the first of 1 unreadable lines is line 2: it is no JSON object",
        ),
        (
            '{"format": "millpond-history", "version": 1}\n{"boot_seconds": -1}\n',
            "line 2: a value is wrong: boot_seconds",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_file_and_line(tmp_path: Path, content: str, says: str) -> None:
    """Every message names the file as it was given, and the line where there is one."""
    file = tmp_path / "jobs.csv"
    file.write_text(content)
    with pytest.raises(InvalidRequestError, match=says):
        read_trace(file)


def test_of_two_jobs_with_one_id_the_first_is_waited_for() -> None:
    """The second is told, and runs."""
    reading = read_table("table", "submit_s,run_s,id,after\n0,1,a,\n0,2,a,\n0,3,b,a\n")
    assert reading.workload.after == ((), (), (0,))
    assert [problem.line for problem in reading.problems] == [3]
