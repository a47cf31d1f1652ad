"""Whatever part of the local Azure ends is named, and `up` brings it back; two of them do not meet."""

import contextlib
import datetime as dt
import errno
import json
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.identity import DefaultAzureCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from hypothesis import given
from hypothesis import strategies as st
from typer import BadParameter
from typer.testing import CliRunner, Result

from infra.local import certificates, supervisor
from infra.local.cli import app
from infra.local.cli_fault import seconds_of
from infra.local.environment import environment
from infra.local.health import left_behind, look
from infra.local.layout import Layout, LocalAzureError, read_state
from infra.local.processes import marked, of_folder
from infra.local.start_failures import explain
from scheduler.cli.place import HOME_VARIABLE
from tests.infra.local.conftest import GROUP, scale_set_body


@given(hours=st.integers(0, 99), minutes=st.integers(0, 99), seconds=st.integers(0, 999))
def test_spans_of_time_are_read_as_written(hours: int, minutes: int, seconds: int) -> None:
    """Hours, minutes and seconds add up, and a plain number is seconds."""
    assert seconds_of(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds
    assert seconds_of(str(seconds)) == seconds_of(f"{seconds}s") == seconds
    assert seconds_of(f"{minutes}m") == minutes * 60


@pytest.mark.parametrize("text", ["", "soon", "1d", "5 m", "-3s"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    """Other text is refused with an example."""
    with pytest.raises(BadParameter, match="2m"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/f"), "the disk is full, /d/f"),
        (OSError(errno.EROFS, "Read-only file system", "/d/f"), "/d/f cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied", "/d"), "set MILLPOND_HOME"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/d"), "/d is in the way"),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be written"),
        (sqlite3.OperationalError("database is locked"), "in use by another program"),
        (sqlite3.DatabaseError("file is not a database"), "is damaged"),
    ],
)
def test_errors_of_the_disk_say_what_to_do(error: OSError | sqlite3.Error, says: str) -> None:
    """A full, closed or damaged file is named with the way out."""
    assert says in explain(error, Layout(Path("/home")))


def test_a_damaged_or_old_certificate_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that cannot be read or has come near its end is replaced and told, a good one is kept."""
    first = certificates.ensure(tmp_path)
    assert not first.renewed
    assert not certificates.ensure(tmp_path).renewed
    first.certificate.write_text("damaged")
    assert certificates.ensure(tmp_path).renewed
    monkeypatch.setattr(certificates, "_RENEW_BEFORE", dt.timedelta(days=366))  # as if a year had passed
    assert certificates.ensure(tmp_path).renewed


class Home:
    """A home with the commands of `millpond local` for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.layout = Layout(folder)
        self._monkeypatch = monkeypatch

    def run(self, *words: str) -> Result:
        """Run a command."""
        with self._monkeypatch.context() as patched:
            patched.setenv(HOME_VARIABLE, str(self.folder))
            return CliRunner().invoke(app, list(words))

    def up(self) -> str:
        """Start, and return what was said."""
        done = self.run("up", "--boot-delay", "0")
        assert done.exit_code == 0, done.output
        return done.output

    def status(self) -> Any:
        """Return the status as data."""
        return json.loads(self.run("status", "--json").stdout)

    def daemon(self) -> psutil.Process:
        """Return the daemon's process."""
        state = read_state(self.layout)
        assert state is not None
        return psutil.Process(state.pid)

    def deploy(self, script: str) -> str:
        """Deploy a group and a pool of one machine; return its id."""
        with self._monkeypatch.context() as patched:
            for name, value in environment(self.folder).items():
                patched.setenv(name, value)
            url = f"https://{os.environ['ARM_METADATA_HOSTNAME']}"
            where: Any = {"base_url": url, "credential_scopes": [f"{url}/.default"]}
            subscription = os.environ["ARM_SUBSCRIPTION_ID"]
            body: Any = scale_set_body(1, script)
            with (
                DefaultAzureCredential() as credential,
                ResourceManagementClient(credential, subscription, **where) as resources,
                ComputeManagementClient(credential, subscription, **where) as compute,
            ):
                resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
                found = compute.virtual_machine_scale_sets.begin_create_or_update(GROUP, "pool", body).result(30)
        return str(found.id)

    def end(self) -> None:
        """Stop everything, also what was stopped by a signal, and see that nothing is left."""
        for process, _ in marked(of_folder(self.layout.local)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        supervisor.stop(self.folder)
        assert marked(of_folder(self.layout.local)) == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Make a home, and leave nothing of it running."""
    made = Home(tmp_path / "one", monkeypatch)
    yield made
    made.end()


SLEEPER = "nohup sleep 600 >/dev/null 2>&1 &"


@pytest.mark.system
def test_a_killed_daemon_is_told_and_taken_over(home: Home) -> None:
    """After SIGKILL `status` says so and how to recover; `up` takes the machine over, at the same addresses."""
    assert "Up at" in home.up()
    home.deploy(SLEEPER)
    before, state = home.status(), read_state(home.layout)
    assert before["healthy"]
    assert [machine["node_id"] for machine in before["machines"]] == ["pool_0"]
    assert home.run("fault", "slow-boot", "--times", "2", "--seconds", "1m").exit_code == 0
    supervisor.kill_daemon(home.folder)
    told = home.run("status")
    assert told.exit_code == 1
    assert "was killed or has crashed" in told.stderr
    assert "millpond local up" in told.stderr
    assert left_behind(home.layout) == (0, 1)
    assert "taking over 0 storage servers, 1 processes" in home.up()
    after = home.status()
    assert after["parts"] == before["parts"]
    assert after["machines"] == before["machines"]
    assert [(fault["kind"], fault["remaining"], fault["seconds"]) for fault in after["faults"]] == [
        ("slow-boot", 2, 60.0)
    ]
    again = read_state(home.layout)
    assert again is not None
    assert state is not None
    assert (again.arm_url, again.provider_port, again.language_port) == (
        state.arm_url,
        state.provider_port,
        state.language_port,
    )


@pytest.mark.system
def test_a_daemon_that_hangs_is_named_and_started_again(home: Home) -> None:
    """A daemon that no longer answers is told part by part, and `up` replaces it."""
    home.up()
    daemon = home.daemon()
    daemon.send_signal(signal.SIGSTOP)
    found = home.status()
    assert not found["healthy"]
    broken = {part["name"]: part for part in found["parts"] if not part["healthy"]}
    assert {"resource manager", "metadata", "provider", "language host"} <= broken.keys()
    assert all("millpond local up" in part["recovery"] for part in broken.values())
    assert "starting the daemon again" in home.up()
    assert not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE
    assert home.status()["healthy"]


@pytest.mark.system
def test_damaged_files_and_taken_ports_are_told(home: Home) -> None:
    """A damaged state file and a taken port are told and got over; a damaged store is told with what to do."""
    home.up()
    home.layout.state_file.write_text("{")
    assert "is damaged" in home.run("status").stderr
    assert "cannot be read" in home.up()
    state = read_state(home.layout)
    assert state is not None
    assert all(part.healthy for part in look(home.layout, state))
    home.run("down")
    with socket.create_server(("127.0.0.1", state.provider_port)):
        said = home.up()
    assert f"Port {state.provider_port} of the last run is taken" in said
    assert home.status()["healthy"]
    home.run("down")
    for path in home.layout.local.glob("arm.sqlite*"):
        path.write_bytes(b"no database at all" * 100)
    refused = home.run("up", "--boot-delay", "0")
    assert refused.exit_code == 1
    assert f"{home.layout.store} is damaged" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.system
def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the home should be is one clear message."""
    (tmp_path / "file").write_text("")
    refused = Home(tmp_path / "file", monkeypatch).run("up")
    assert refused.exit_code == 1
    assert "Error: " in refused.stderr
    assert "MILLPOND_HOME" in refused.stderr
    with pytest.raises(LocalAzureError, match="in the way"):
        supervisor.start(tmp_path / "file")


@pytest.mark.system
def test_two_homes_do_not_meet(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same names in both, each has its own resources, machines and ports, and one's end leaves the other."""
    other = Home(tmp_path / "two", monkeypatch)
    try:
        home.up()
        other.up()
        ids = {home.deploy(SLEEPER), other.deploy(SLEEPER)}
        assert len(ids) == 2  # their subscriptions differ
        mine, others = home.status(), other.status()
        assert not {part["detail"] for part in mine["parts"] if "127.0.0.1" in part["detail"]} & {
            part["detail"] for part in others["parts"]
        }
        assert home.run("fault", "quota").exit_code == 0
        assert other.status()["faults"] == []
        assert home.run("fault", "kill", "pool_0").stdout.startswith("Killed 1 processes")
        assert home.status()["machines"] == [{"node_id": "pool_0", "processes": 0}]
        assert other.status()["machines"] == [{"node_id": "pool_0", "processes": 1}]
        assert "Stopped" in home.run("down").stdout
        assert other.status()["healthy"]
        assert other.status()["machines"] == [{"node_id": "pool_0", "processes": 1}]
    finally:
        other.end()
    listening = {c.laddr[1] for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr}
    state = others["parts"][0]["detail"].rpartition(":")[2]
    assert int(state) not in listening


@pytest.mark.system
def test_logs_are_found_by_the_name_of_the_part(home: Home) -> None:
    """The daemon, the requests and a machine have a log; another name lists those there are."""
    home.up()
    home.deploy("echo hello")
    assert home.run("logs", "pool_0").stdout.strip() == "hello"
    assert "virtualMachineScaleSets/pool" in home.run("logs", "requests", "-n", "50").stdout
    refused = home.run("logs", "nothing")
    assert refused.exit_code == 1
    assert "pool_0, daemon" in refused.stderr
