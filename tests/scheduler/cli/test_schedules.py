"""The commands for job schedules, against a live scheduler on a loopback port."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node_bootstrap.protocol import INPUTS
from scheduler.adapters.memory import MemoryBlobs
from scheduler.cli import schedules as commands
from scheduler.cli.job_file import load_job
from scheduler.errors import InvalidRequestError
from scheduler.service import Service
from tests.scheduler.cli.conftest import served

JOB = """
name: prices
pool: demo
parameters: {day: "${{ schedule.date }}"}
files: [price.py]
steps:
  - name: price
    array: 2
    command: python3 price.py --day ${{ parameters.day }}
    environment: {AT: "${{ schedule.time }}"}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Write a job file that names the time of its schedule."""
    (tmp_path / "price.py").write_text("print(1)")
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path / "job.yaml"


@pytest.fixture(autouse=True)
def running(service: Service, blobs: MemoryBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Serve the service where commands look for it."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(commands, "storage_of", lambda _service: blobs)
    with served(service, tmp_path / "home", monkeypatch):
        yield service


def run(*arguments: str) -> Result:
    """Run a command that must not fail."""
    done = CliRunner().invoke(commands.schedule, list(arguments))
    assert done.exit_code == 0, done.output
    return done


def refused(*arguments: str) -> str:
    """Run a command that is wrong, and give what it says."""
    done = CliRunner().invoke(commands.schedule, list(arguments))
    assert done.exit_code == 2
    return " ".join(done.output.split())


def test_a_schedule_by_commands(job: Path, running: Service, blobs: MemoryBlobs) -> None:
    """Made of a job file, it is listed and shown with its next times; a run by hand makes its job; then it goes."""
    made = run("create", "nightly", str(job), "--cron", "0 6 * * *", "--time-zone", "Asia/Tokyo", "--overlap", "allow")
    assert "schedule nightly: 2 tasks to pool demo, next at 20" in made.stdout
    assert "1 files sent" in made.stdout
    assert len(blobs.list(INPUTS, "files/")) == 1
    listed, shown = run("list").stdout, run("show", "nightly").stdout
    assert "0 6 * * *, Asia/Tokyo" in listed
    assert "jobs may run side by side" in shown
    told = run("run", "nightly", "--time", "2025-12-24T06:00", "--key", "k").stdout
    (made_job,) = running.list_jobs()
    assert f"job {made_job.job_id} is made" in told
    # By the clock of the schedule's own zone.
    assert made_job.job_id.startswith("nightly-20251223t2100-")
    run("run", "nightly", "--time", "2025-12-24T06:00", "--key", "k")
    assert len(running.list_jobs()) == 1
    assert "by hand" in run("show", "nightly").stdout
    found = json.loads(run("show", "nightly", "--json").stdout)
    assert (found["schedule"]["state"], found["runs"][0]["job_id"]) == ("active", made_job.job_id)
    assert "nightly is disabled; next at -" in run("disable", "nightly").stdout
    assert "nightly is active; next at 20" in run("enable", "nightly").stdout
    assert json.loads(run("terminate", "nightly", "--yes", "--json").stdout)["state"] == "terminating"
    assert "is being deleted" in run("delete", "nightly", "--keep-jobs", "--yes").stdout


def test_times_that_cannot_be_read(job: Path) -> None:
    """Each option says what it expects; what the scheduler refuses comes out in its words."""
    where = ("create", "x", str(job))
    assert "--start-window: '5' is not a duration" in refused(*where, "--cron", "@daily", "--start-window", "5")
    assert "--do-not-run-until soon: expected a time such as" in refused(*where, "--do-not-run-until", "soon")
    assert "has 2 fields, expected 5" in refused(*where, "--cron", "daily please")
    assert "there is no schedule x" in refused("show", "x")


def test_the_time_of_a_schedule_in_a_job_file(job: Path) -> None:
    """It may stand in commands and environments of a scheduled job; a job without a schedule needs a value for it."""
    step = load_job(job, scheduled=True).job.steps[0]
    assert step.command[-1] == "${{ schedule.date }}"
    with pytest.raises(InvalidRequestError, match="1 thing is wrong") as by_hand:
        load_job(job, ["day=2026-11-29"])
    assert "environment.AT: '${{ schedule.time }}' is known on a schedule only" in str(by_hand.value)
    job.write_text(JOB.replace("schedule.time", "parameters.day"))
    assert load_job(job, ["day=2026-11-29"]).job.steps[0].command[-1] == "2026-11-29"
    job.write_text(JOB.replace("schedule.time", "schedule.week").replace("name: prices", "name: ${{ schedule.date }}"))
    with pytest.raises(InvalidRequestError, match="no schedule has week") as wrong:
        load_job(job, scheduled=True)
    assert "name: the time of a schedule may stand in a step's command and environment only" in str(wrong.value)
