"""What the shell completes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.api.app import create_app
from scheduler.api.server import ApiServer
from scheduler.cli.home import ApiAddress, StackFolder
from scheduler.cli.place import HOME_VARIABLE
from scheduler.model import NewJob
from scheduler.service import Service
from tests.scheduler.cli.conftest import NODE

MILLPOND = Path(sys.executable).with_name("millpond")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def running(service: Service, home: Path) -> Iterator[Service]:
    """Serve the service where commands look for it."""
    with ApiServer(create_app(service, "token")) as server:
        StackFolder("local", home).publish_api(ApiAddress(server.url, "token", 1))
        yield service


def _complete(line: str) -> tuple[list[str], str]:
    """Ask as bash does for what may follow; give the words and what went to standard error."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_MILLPOND_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([MILLPOND], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split(), done.stderr


def test_commands_are_completed_without_loading_them() -> None:
    """The names of commands come from the table, options from the program."""
    words, _ = _complete("millpond p")
    assert words == ["preview", "pool"]
    assert _complete("millpond --vers")[0] == ["--version"]
    assert _complete("millpond job subm")[0] == ["submit"]
    assert "dev" in _complete("millpond job list --stack ")[0]


def test_names_come_from_the_scheduler(running: Service) -> None:
    """Jobs, pools and nodes are completed by what the scheduler knows."""
    job = running.create_job(NewJob("var", "demo", "key"))
    assert _complete("millpond job show v")[0] == [job.job_id]
    assert _complete("millpond task logs ")[0] == [job.job_id]
    assert _complete("millpond pool show ")[0] == ["demo"]
    assert _complete("millpond pool drain demo ")[0] == [NODE.node_id]
    assert _complete("millpond node logs demo-")[0] == [NODE.node_id]
    assert _complete("millpond why ")[0] == [job.job_id, "demo", NODE.node_id]


def test_without_a_scheduler_nothing_is_said(home: Path) -> None:
    """Nobody there, or nobody any more: no names, no message."""
    assert _complete("millpond job show ") == ([], "")
    StackFolder("local", home).publish_api(ApiAddress("http://127.0.0.1:9", "token", 1))
    assert _complete("millpond why ") == ([], "")
