"""The commands, against a live scheduler on a loopback port."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from node_bootstrap.protocol import (
    NODES,
    BootRecord,
    FileRef,
    NodeState,
    NodeStatus,
    TaskDefinition,
    boot_blob,
    encode,
    file_blob,
    sha256_hex,
    status_blob,
)
from scheduler.adapters.memory import MemoryBlobs
from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.cli.applications import application
from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.cli.jobs import job
from scheduler.cli.nodes import node
from scheduler.cli.pools import pool
from scheduler.cli.process import scheduler
from scheduler.cli.tasks import task
from scheduler.cli.ui import commands as ui
from scheduler.cli.why import commands as why
from scheduler.model import Job, JobState, NewJob, Step
from scheduler.service import Service
from scheduler.views import FilePart
from tests.scheduler.cli.conftest import NODE

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


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


def _run(group: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(group, list(arguments))


def _job(*arguments: str) -> Result:
    return _run(job, *arguments)


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


def test_pools_are_listed(running: Service) -> None:
    """A line a pool; JSON has the keys of the records."""
    assert "no work [waits]" in _run(pool, "list").stdout
    (listed,) = json.loads(_run(pool, "list", "--json").stdout)
    assert (listed["name"], listed["min_nodes"], listed["last_decision"]["action"]) == ("demo", 0, "hold")


def test_nodes_are_drained_by_name(running: Service) -> None:
    """A drain is told a node a line; a wrong name drains none."""
    wrong = _run(pool, "drain", "demo", NODE.node_id, "nobody")
    assert (wrong.exit_code, "no node nobody; nothing was drained" in wrong.stderr) == (2, True)
    assert running.list_nodes("demo")[0].drain_asked_at is None
    done = _run(pool, "drain", "demo", NODE.node_id)
    assert done.stdout == f"node {NODE.node_id} is to go; it is working and holds no message\n"
    assert json.loads(_run(pool, "drain", "demo", NODE.node_id, "--json").stdout)[0]["drain_asked_at"]


def test_why_tells_a_paragraph_and_its_facts(armed: Job) -> None:
    """A job, a task, a node and a pool are explained; programs get paragraph and facts."""
    for subject, words in (
        (armed.job_id, "Of its 3 tasks, 0 ended"),
        (f"{armed.job_id}/1", "It is ready and not handed out yet"),
        (NODE.node_id, "nothing to do for 0.0 s"),
        ("demo", "because no work [waits]."),
    ):
        told = _run(why, "why", subject)
        assert told.exit_code == 0
        assert words in " ".join(told.stdout.split())
    found = json.loads(_run(why, "why", armed.job_id, "--json").stdout)
    assert sorted(found) == ["facts", "paragraph", "subject"]
    assert found["facts"][0] == {"name": "state", "value": "active"}
    assert _run(why, "why", "nobody").exit_code == 2


def test_a_nodes_log_is_printed_without_driving_the_terminal(running: Service, blobs: MemoryBlobs) -> None:
    """Boot steps with their output, escapes made visible, and what the runner last said."""
    record = BootRecord(NODE.node_id, "fetch", _NOW, _NOW + timedelta(seconds=3), 7, "one\ntwo \x1b[2J[red]")
    blobs.write(NODES, boot_blob(NODE.node_id, 1, "fetch"), encode(record).encode())
    status = NodeStatus(NODE.node_id, "i", NodeState.DRAINING, 1, 2, "v1", _NOW, note="a preemption notice")
    blobs.write(NODES, status_blob(NODE.node_id), encode(status).encode())
    told = _run(node, "logs", NODE.node_id).stdout
    assert "boot step fetch: took 3.0 s, exit code 7" in told
    assert "    two \\x1b[2J[red]" in told
    assert "its runner last said: draining, holds nothing, runner v1" in told
    assert "a preemption notice" in told
    found = json.loads(_run(node, "logs", NODE.node_id, "--json").stdout)
    assert (found["boot"][0]["exit_code"], found["status"]["state"]) == (7, "draining")
    assert _run(node, "logs", "nobody").exit_code == 2


def test_ui_prints_a_link_that_signs_in_once(running: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is printed and opened; without a browser, or when asked, it is only printed."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    printed = _run(ui, "ui")
    assert opened == [printed.stdout.strip()]
    assert "no browser could be started" in printed.stderr
    link = json.loads(_run(ui, "ui", "--json").stdout)["link"]
    assert len(opened) == 1
    assert httpx.get(link, trust_env=False).status_code == 303
    assert _run(ui, "ui", "--no-open").stdout.startswith("http://127.0.0.1:")
    assert len(opened) == 1


def test_a_hostile_name_is_shown_not_obeyed(running: Service) -> None:
    """A job's name can neither style the table nor drive the terminal."""
    running.create_job(NewJob("[bold]x\x1b]0;title\x07", "demo", "key"))
    listed = _job("list").stdout
    assert "[bold]x\\x1b]0;title\\x07" in listed
    assert "\x1b" not in listed


@pytest.mark.parametrize("group", [job, task])
def test_logs_of_a_task_are_printed(group: typer.Typer, armed: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream goes to its own place; where there is nothing, the message says how to learn why."""
    silent = _run(group, "logs", armed.job_id, "1")
    assert (silent.exit_code, silent.stdout) == (0, "")
    assert f"task 1 is active: it has written nothing so far; `millpond why {armed.job_id}/1`" in silent.stderr
    assert _run(group, "logs", armed.job_id, "9").exit_code == 2
    written = {"stdout.txt": b"to out\n", "stderr.txt": b"to err\n"}

    def read_file(self: Service, job_id: str, task_id: int, path: str, offset: int, limit: int) -> FilePart:
        data = written[path]
        return FilePart(path, 1, offset, len(data), data[offset:], complete=True, found=True, sha256=sha256_hex(data))

    monkeypatch.setattr(Service, "read_file", read_file)
    both = _run(group, "logs", armed.job_id, "1", "--follow")
    assert (both.stdout, both.stderr) == ("to out\n", "to err\n")


def test_standard_error_alone_goes_to_standard_output(armed: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it can be piped."""

    def read_file(self: Service, job_id: str, task_id: int, path: str, offset: int, limit: int) -> FilePart:
        assert path == "stderr.txt"
        return FilePart(path, 1, offset, 4, b"oops"[offset:], complete=False, found=True)

    monkeypatch.setattr(Service, "read_file", read_file)
    assert _run(task, "logs", armed.job_id, "1", "--stderr").stdout == "oops"


@pytest.mark.parametrize("width", ["20", "40", "300"])
def test_narrow_terminals_and_no_color_are_respected(armed: Job, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table comes whole whatever the width, and without colour where none is wanted."""
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", "1")
    for group, arguments in ((job, ["list"]), (job, ["show", armed.job_id, "--tasks"]), (pool, ["show", "demo"])):
        shown = _run(group, *arguments)
        assert shown.exit_code == 0
        assert "\x1b[3" not in shown.stdout


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


@pytest.mark.parametrize("group", [job, task, application, pool, node, scheduler])
def test_help_tells_the_exit_codes(group: object) -> None:
    """The exit codes stand in the help of every group."""
    assert "Exit codes: 0 done, 1 the job failed" in CliRunner().invoke(group, ["--help"]).stdout  # type: ignore[arg-type]


@pytest.mark.parametrize("group", [job, task, application, pool, node, scheduler, why, ui])
def test_every_command_has_an_example(group: typer.Typer) -> None:
    """The help of each command ends with how it is used, in a line that begins as a user would."""
    for command in typer.main.get_command(group).commands:  # type: ignore[attr-defined]
        told = _run(group, command, "--help").stdout
        assert "Examples:" in told, command
        assert "  millpond " in told.partition("Examples:")[2], command
