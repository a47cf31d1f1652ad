"""The example of a schedule: its file is right both ways, and its programs do what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.cli.job_file import load_job
from scheduler.errors import InvalidRequestError

HERE = Path(__file__).parents[2] / "examples" / "nightly"


def run(program: str, folder: Path, **environment: str) -> str:
    """Run a program of the example as a task would."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE / program), "2026-11-27"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_file_serves_a_schedule_and_a_person() -> None:
    """On a schedule the day is left for it; by hand it is given, or asked for."""
    scheduled = load_job(HERE / "job.yaml", scheduled=True)
    assert [step.command[-1] for step in scheduled.job.steps] == ["${{ schedule.date }}"] * 2
    by_hand = load_job(HERE / "job.yaml", ["day=2026-11-27"])
    assert [step.command[-1] for step in by_hand.job.steps] == ["2026-11-27"] * 2
    with pytest.raises(InvalidRequestError, match="known on a schedule only"):
        load_job(HERE / "job.yaml")


def test_the_report_is_of_the_parts_of_its_day(tmp_path: Path) -> None:
    """A part depends on the day and its index alone; the report adds them up and counts what is missing."""
    for index in range(2):
        run("part.py", tmp_path / "part" / str(index), MILLPOND_TASK_INDEX=str(index))
    again = tmp_path / "again"
    run("part.py", again, MILLPOND_TASK_INDEX="1")
    parts = [json.loads((tmp_path / "part" / str(index) / "part.json").read_text()) for index in range(2)]
    assert json.loads((again / "part.json").read_text()) == parts[1]
    (tmp_path / "part" / "missing.txt").write_text("2\n")
    total = sum(part["total"] for part in parts)
    told = run("report.py", tmp_path, MILLPOND_SCHEDULE_TIME="2026-11-27T05:00:00Z")
    assert told == f"2026-11-27: {total} of 2 parts, 1 missing (2026-11-27T05:00:00Z)\n"
    assert (tmp_path / "report.txt").read_text() == told
