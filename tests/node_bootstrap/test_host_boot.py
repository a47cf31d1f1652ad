"""The scheduler's host boots for real by bash, against a server that plays metadata address and storage."""

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from node_bootstrap.bundle import Bundle, pack, runner_sources
from node_bootstrap.render import (
    MAX_HOST_STAGE_0_BYTES,
    MAX_STAGE_0_BYTES,
    TEMPLATES,
    HostProfile,
    render_host_stage_0,
)
from tests.node_bootstrap.boot_server import TOKEN, Azure, serve
from tests.node_bootstrap.profiles import HOST
from tests.node_bootstrap.test_render import HOSTILE, shellcheck

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# A program in the scheduler's place: says how it was called, and runs until it is told to stop.
PROGRAM = """\
import os, pathlib, signal, sys, time
import marker
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
called = pathlib.Path(os.environ["MILLPOND_HOME"]).parent / "called.txt"
with called.open("a") as file:
    file.write(repr([os.getpid(), marker.VERSION, os.environ["AZURE_CLIENT_ID"], *sys.argv[1:]]) + "\\n")
print("the scheduler speaks", flush=True)
time.sleep(600)
"""


def wheel(version: str) -> bytes:
    """A wheel with one module, and a script that nobody needs."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("marker.py", f"VERSION = {version!r}\n")
        archive.writestr("marker-1.data/scripts/marker", "#!python\n")
    return data.getvalue()


def bundle_of(version: str, python: str = PYTHON) -> Bundle:
    """The host's bundle with a small program in the scheduler's place."""
    scripts = {f"{name}.sh": (TEMPLATES / f"linux_host_{name}.sh").read_bytes() for name in ("install", "supervise")}
    return pack(
        {
            **runner_sources(),
            # Short pauses, so that a test need not wait.
            **{name: text.replace(b"restart_seconds=5", b"restart_seconds=0.2") for name, text in scripts.items()},
            "python-version": f"{python}\n".encode(),
            "scheduler/__init__.py": b"",
            "scheduler/__main__.py": PROGRAM.encode(),
            "wheels/marker-1-py3-none-any.whl": wheel(version),
        }
    )


@dataclass
class Machine:
    """A machine that boots in a folder."""

    azure: Azure
    folder: Path

    @property
    def disk(self) -> Path:
        """Its data disk."""
        return self.folder / "disk"

    @property
    def state(self) -> Path:
        """Where it keeps what it is told."""
        return self.folder / "root" / "var" / "lib" / "millpond"

    def boot(self, bundle: Bundle, profile: HostProfile = HOST) -> subprocess.CompletedProcess[str]:
        """Run stage 0 as the machine's extension does."""
        self.azure.blobs[f"/bundles/{bundle.sha256}.tar.gz"] = bundle.data
        url = f"{self.azure.url}/"
        given = replace(profile, blob_endpoint=url, queue_endpoint=url, bundle_sha256=bundle.sha256)
        (self.folder / "root").mkdir(exist_ok=True)
        return subprocess.run(
            ["bash", "-c", render_host_stage_0(given)],
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.azure.url,
                "MILLPOND_ROOT": str(self.folder / "root"),
                "MILLPOND_DATA_DISK_0": str(self.disk),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[list[object]]:
        """How the scheduler was called, each time; it says so beside its home, on the data disk or without one."""
        files = [folder / "called.txt" for folder in (self.disk, self.state / "data")]
        return [eval(line) for file in files if file.exists() for line in file.read_text().splitlines()]  # noqa: S307

    def processes(self) -> list[psutil.Process]:
        """What runs on it."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline()) + process.environ().get("MILLPOND_ROOT", "")
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if str(self.folder) in words and process.pid != os.getpid():
                found.append(process)
        return found


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine; its processes end with the test."""
    with serve() as azure:
        made = Machine(azure, tmp_path)
        yield made
        for _ in range(3):
            for process in made.processes():
                process.kill()


def test_the_host_boots_and_each_step_is_recorded(machine: Machine) -> None:
    """The scheduler runs from the bundle with its settings, store and identity; no token is seen."""
    machine.azure.refusals = 2
    done = machine.boot(bundle_of("1"))
    assert done.returncode == 0, done.stderr
    steps = [(record.step, record.exit_code) for record in machine.azure.records()]
    assert steps == [(name, 0) for name in ("stage-0", "fetch", "install", "disk", "service", "access")]
    eventually(machine.calls, "the scheduler was called")
    (_, version, client, *words) = machine.calls()[0]
    assert (version, client) == ("1", HOST.identity_client_id)
    assert words == [
        "scheduler", "run",
        "--settings-url", HOST.settings_url,
        "--interval", "1.0",
        "--port", "8471",
        "--store", f"sqlite:///{machine.disk}/scheduler.sqlite",
    ]  # fmt: skip
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in data for data in machine.azure.blobs.values())


def test_a_store_in_a_database_is_signed_in_to(machine: Machine) -> None:
    """With a database the scheduler is given its address and told to show a token; the data disk is not used."""
    address = "postgresql+psycopg://id-scheduler@psql.postgres.database.azure.com/millpond?sslmode=verify-full"
    done = machine.boot(bundle_of("1"), replace(HOST, store_url=address))
    assert done.returncode == 0, done.stderr
    eventually(machine.calls, "the scheduler was called")
    (_, _, _, *words) = machine.calls()[0]
    assert words[-4:] == ["--store", address, "--store-sign-in", "entra"]
    assert not machine.disk.exists()


def test_a_killed_scheduler_is_started_again_and_its_log_is_in_storage(machine: Machine) -> None:
    """After SIGKILL the next one runs with the same words, and the end of the log is a record."""
    assert machine.boot(bundle_of("1")).returncode == 0
    eventually(machine.calls, "the scheduler was called")
    os.kill(int(str(machine.calls()[0][0])), signal.SIGKILL)
    eventually(lambda: len(machine.calls()) == 2, "it was started again")
    first, second = machine.calls()
    assert first[1:] == second[1:]
    last = machine.azure.records()[-1]
    assert last.step == "log"
    assert last.exit_code == 128 + signal.SIGKILL
    assert "the scheduler speaks" in last.output


def test_another_bundle_takes_the_place_of_the_running_one(machine: Machine) -> None:
    """The old scheduler ends before the new one begins, and one supervisor is left."""
    assert machine.boot(bundle_of("1")).returncode == 0
    eventually(machine.calls, "the scheduler was called")
    assert machine.boot(bundle_of("2")).returncode == 0
    eventually(lambda: len(machine.calls()) == 2, "the new one was called")
    assert [call[1] for call in machine.calls()] == ["1", "2"]
    assert not psutil.pid_exists(int(str(machine.calls()[0][0])))
    assert len([process for process in machine.processes() if "keep" in process.cmdline()]) == 1


def test_after_a_restart_of_the_machine_it_runs_again(machine: Machine) -> None:
    """With every process gone and the disk as it was, booting again starts the scheduler once."""
    assert machine.boot(bundle_of("1")).returncode == 0
    eventually(machine.calls, "the scheduler was called")
    for process in machine.processes():
        process.kill()
    (machine.disk / "scheduler.sqlite").write_text("the store")
    assert machine.boot(bundle_of("1")).returncode == 0
    eventually(lambda: len(machine.calls()) == 2, "it was started again")
    assert (machine.disk / "scheduler.sqlite").read_text() == "the store"


def test_another_python_than_the_bundle_is_for_is_an_error_that_says_so(machine: Machine) -> None:
    """The record names both versions and the setting to change; nothing is started."""
    done = machine.boot(bundle_of("1", python="3.99"))
    assert done.returncode != 0
    last = machine.azure.records()[-1]
    assert (last.step, last.exit_code) == ("install", done.returncode)
    assert "for Python 3.99" in last.output
    assert f'set scheduler.python to "{PYTHON}"' in last.output
    assert machine.calls() == []


def test_hostile_settings_stay_values(machine: Machine) -> None:
    """Whatever a setting says, the scheduler is called with the same text, and none of it is run."""
    assert machine.boot(bundle_of("1"), replace(HOST, settings_url=HOSTILE)).returncode == 0
    eventually(machine.calls, "the scheduler was called")
    assert HOSTILE in machine.calls()[0]
    assert not list(machine.folder.rglob("owned"))


@pytest.mark.parametrize("name", ["install", "supervise"])
def test_the_scripts_pass_shellcheck_and_keep_the_contract(name: str) -> None:
    """No finding of shellcheck, strict mode, and a trap that names the line."""
    path = TEMPLATES / f"linux_host_{name}.sh"
    done = subprocess.run([shellcheck(), "--shell=bash", str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
    text = path.read_text()
    assert "set -Eeuo pipefail" in text
    assert re.search(r"trap 'failed \$\? \$LINENO' ERR", text)


def test_the_hosts_stage_0_is_the_nodes_with_another_profile() -> None:
    """It differs from the nodes' in one line, and fits the extension also with the longest key."""
    longest = replace(HOST, ssh_public_key=f"ssh-rsa {'A' * 1400} somebody@somewhere")
    assert MAX_STAGE_0_BYTES < len(render_host_stage_0(longest).encode()) < MAX_HOST_STAGE_0_BYTES
    golden = (Path(__file__).parent / "golden" / "stage0.sh").read_text().splitlines()
    differing = [new for new, old in zip(render_host_stage_0(HOST).splitlines(), golden, strict=True) if new != old]
    assert len(differing) == 1
    assert differing[0].startswith("export MILLPOND_PROFILE=")


def test_the_same_files_make_the_same_bundle() -> None:
    """A bundle is named by its content, whatever the order of its files."""
    files = {"b": b"2", "a": b"1"}
    assert pack(files) == pack(dict(reversed(files.items())))
    assert hashlib.sha256(pack(files).data).hexdigest() == pack(files).sha256
