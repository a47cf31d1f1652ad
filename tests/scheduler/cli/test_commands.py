"""The commands, against a live scheduler on a loopback port."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node_bootstrap.protocol import FileRef, TaskDefinition, file_blob
from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.cli.applications import application
from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.cli.jobs import job
from scheduler.cli.pools import pool
from scheduler.cli.process import scheduler
from scheduler.cli.tasks import task
from scheduler.model import Job, JobState, NewJob, Step
from scheduler.service import Service


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty home, so that no test finds a scheduler of the machine's user."""
    monkeypatch.setenv("MILLPOND_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def running(service: Service, home: Path) -> Iterator[Service]:
    """Serve the service where commands look for it."""
    with ApiServer(create_app(service, "token")) as server:
        StackFolder("local", home).publish_api(ApiAddress(server.url, "token", 1))
        yield service


@pytest.fixture
def armed(running: Service) -> Job:
    """Give an armed job of three tasks."""
    draft = running.create_job(NewJob("var", "demo", "key"))
    definition = TaskDefinition("simulate", ("run",), 0, 3)
    running.add_steps(draft.job_id, 0, (Step(definition),))
    return running.arm_job(draft.job_id, 3)


def _job(*arguments: str) -> Result:
    return CliRunner().invoke(job, list(arguments))


def test_jobs_are_listed_and_shown(armed: Job) -> None:
    """People get tables, programs JSON."""
    listed, shown = _job("list"), _job("show", armed.job_id, "--tasks")
    assert (listed.exit_code, shown.exit_code) == (0, 0)
    assert armed.job_id in listed.stdout
    assert "3: 3 active" in shown.stdout
    assert shown.stdout.count("simulate") == 4
    for command in (("list",), ("show", armed.job_id)):
        found = json.loads(_job(*command, "--json").stdout)
        assert (found[0] if isinstance(found, list) else found)["counts"]["active"] == 3
    assert len(json.loads(_job("show", armed.job_id, "--tasks", "--json").stdout)["tasks"]) == 3
    assert json.loads(_job("outputs", armed.job_id, "--json").stdout) == []


def test_tasks_are_listed_by_state_and_shown(armed: Job) -> None:
    """Tasks can be chosen by where they stand, and one is shown with all that is known of it."""
    listed = CliRunner().invoke(task, ["list", armed.job_id, "--state", "active", "--limit", "2", "--json"])
    assert [found["task_id"] for found in json.loads(listed.stdout)] == [0, 1]
    nothing = CliRunner().invoke(task, ["list", armed.job_id, "--state", "failure", "--json"])
    assert json.loads(nothing.stdout) == []
    shown = CliRunner().invoke(task, ["show", armed.job_id, "1"])
    assert "simulate" in shown.stdout
    assert "0 retries" in shown.stdout
    assert json.loads(CliRunner().invoke(task, ["show", armed.job_id, "1", "--json"]).stdout)["index"] == 1
    missing = CliRunner().invoke(task, ["show", armed.job_id, "7"])
    assert (missing.exit_code, "millpond task list" in missing.stderr) == (2, True)


def test_a_job_is_requeued_and_deleted(armed: Job, running: Service) -> None:
    """What ended is run again by number or all that failed; a deletion asks first."""
    assert _job("requeue", armed.job_id).exit_code == 2
    _job("cancel", armed.job_id)
    assert _job("requeue", armed.job_id, "--failed", "--task", "1").exit_code == 2
    again = json.loads(_job("requeue", armed.job_id, "--task", "0", "--task", "2", "--json").stdout)
    assert (again["state"], again["counts"]["active"]) == ("active", 2)
    assert "3 active" in _job("requeue", armed.job_id).stdout
    assert json.loads(_job("set-priority", armed.job_id, "--json", "--", "-7").stdout)["priority"] == -7
    assert _job("delete", armed.job_id, "--yes").exit_code == 2
    _job("cancel", armed.job_id)
    assert CliRunner().invoke(job, ["delete", armed.job_id], input="n\n").exit_code == 1
    assert running.get_job(armed.job_id).state is JobState.COMPLETED
    assert _job("delete", armed.job_id, "--yes").exit_code == 0
    assert running.get_job(armed.job_id).state is JobState.DELETING


def test_applications_are_listed_and_removed(running: Service) -> None:
    """Versions are shown with their default; what is not there is told."""
    running.put_application("tool", "1.0", FileRef("", "inputs", file_blob("a" * 64), 0, 7, "a" * 64))
    assert "tool" in CliRunner().invoke(application, ["list"]).stdout
    (listed,) = json.loads(CliRunner().invoke(application, ["list", "--json"]).stdout)
    assert (listed["version"], listed["default"]) == ("1.0", True)
    assert CliRunner().invoke(application, ["delete", "tool", "1.0"]).exit_code == 0
    assert CliRunner().invoke(application, ["delete", "tool", "1.0"]).exit_code == 2


def test_jobs_are_listed_in_pages(running: Service) -> None:
    """A list can be cut, and begun after a job."""
    made = [running.create_job(NewJob(f"j{number}", "demo", str(number))).job_id for number in range(4)]
    first = json.loads(_job("list", "--limit", "3", "--json").stdout)
    rest = json.loads(_job("list", "--before", first[-1]["job_id"], "--json").stdout)
    assert [found["job_id"] for found in (*first, *rest)] == made[::-1]


def test_watching_a_job_that_failed_is_exit_code_1(armed: Job) -> None:
    """A job that did not succeed makes the watching command fail, with plain lines without a terminal."""
    assert _job("cancel", armed.job_id).exit_code == 0
    watched = _job("watch", armed.job_id)
    assert watched.exit_code == 1
    assert "3/3 done (3 cancelled)" in watched.stdout
    assert json.loads(_job("watch", armed.job_id, "--json").stdout)["result"] == "cancelled"


def test_pools_are_shown_with_reasons(running: Service) -> None:
    """The last decision and its reason stand beside the pool, as they were written."""
    for arguments in (["show"], ["show", "demo"]):
        shown = CliRunner().invoke(pool, arguments)
        assert shown.exit_code == 0
        assert "no work [waits]" in shown.stdout
    details = json.loads(CliRunner().invoke(pool, ["show", "demo", "--json"]).stdout)
    assert details["decisions"][0]["reason"] == "no work [waits]"
    assert CliRunner().invoke(pool, ["nodes", "demo"]).exit_code == 0


def test_what_is_not_there_is_exit_code_2(running: Service) -> None:
    """A wrong name is answered by one line that names the right ones."""
    wrong = CliRunner().invoke(pool, ["show", "demi"])
    assert (wrong.exit_code, wrong.stderr) == (2, "error: there is no pool 'demi'; the deployment's pools are: demo\n")
    assert _job("show", "none").exit_code == 2


def test_wrong_use_is_exit_code_2(tmp_path: Path) -> None:
    """Unknown commands and options, and job files with findings, are the caller's to mend."""
    for arguments in (("sumbit",), ("list", "--fast"), ("submit", str(tmp_path / "none.yaml"))):
        assert _job(*arguments).exit_code == 2
    (tmp_path / "job.yaml").write_text("name: j\npool: p\nsteps: []\n")
    wrong = _job("submit", str(tmp_path / "job.yaml"))
    assert "job.yaml:3: steps: expected at least one" in wrong.stderr


def test_no_scheduler_is_exit_code_3(home: Path) -> None:
    """Without a scheduler, or with one that is dead, the message says how to start it."""
    missing = _job("list")
    assert missing.exit_code == 3
    assert "millpond scheduler run --stack local" in missing.stderr
    StackFolder("local", home).publish_api(ApiAddress("http://127.0.0.1:9", "token", 1))
    assert _job("list").exit_code == 3


def test_a_scheduler_without_a_deployment_does_not_start() -> None:
    """Before the stack is deployed, `scheduler run` says to deploy it."""
    started = CliRunner().invoke(scheduler, ["run", "--stack", "dev"])
    assert started.exit_code == 2
    assert "millpond up --stack dev" in started.stderr


@pytest.mark.parametrize("group", [job, task, application, pool, scheduler])
def test_help_tells_the_exit_codes(group: object) -> None:
    """The exit codes stand in the help of every group."""
    assert "Exit codes: 0 done, 1 the job failed" in CliRunner().invoke(group, ["--help"]).stdout  # type: ignore[arg-type]
