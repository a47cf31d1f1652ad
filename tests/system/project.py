"""A copy of the project, deployed on a local Azure of its own and driven as a user drives it.

What may not happen is read from the local Azure's own records: its request log, and at each instance it deletes,
whether a task's process was alive.
"""

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@dataclass
class Project:
    """A copy of the project that a test may edit, with a home of its own, driven as a user drives it."""

    folder: Path
    home: Path
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user's shell in the copy."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "MILLPOND_HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def millpond(self, *arguments: str, expect: int = 0) -> str:
        """Run the command line to its end and give what it printed."""
        return self.run([sys.executable, "-m", "infra.cli", *arguments], expect=expect)

    def run(self, command: list[str], expect: int = 0, environment: dict[str, str] | None = None) -> str:
        """Run a command to its end in the project folder."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler in the background and wait until it answers."""
        log = (self.home / "scheduler.log").open("ab")
        (self.home / "local" / "api.json").unlink(missing_ok=True)
        started = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "scheduler", "run", "--stack", "local", "--interval", "0.5"],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self.background.append(started)
        eventually(self.answers, "the scheduler answers")
        return started

    def answers(self) -> bool:
        """Whether the scheduler's interface can be used."""
        command = [sys.executable, "-m", "infra.cli", "job", "list"]
        return (
            subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=False).returncode
            == 0
        )

    def json(self, *arguments: str) -> object:
        """Run a command and read its JSON."""
        command = [sys.executable, "-m", "infra.cli", *arguments, "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=True)
        return json.loads(done.stdout)

    def submit(self, job_file: Path, **parameters: object) -> str:
        """Submit a job with parameters and give its id."""
        settings = [word for name, value in parameters.items() for word in ("--set", f"{name}={value}")]
        return str(self.json("job", "submit", str(job_file), *settings)["job_id"])

    def job(self, job_id: str) -> dict:
        """One job, now."""
        return self.json("job", "show", job_id)

    def nodes(self, pool: str = "risk") -> list[dict]:
        """The nodes of a pool, now."""
        return self.json("pool", "nodes", pool)

    def settings(self) -> dict:
        """The local stack's settings file as a document to change and hand to `declare`."""
        return yaml.safe_load((self.folder / "Pulumi.local.yaml").read_text())

    def declare(self, settings: dict) -> None:
        """Write the local stack's settings file."""
        (self.folder / "Pulumi.local.yaml").write_text(yaml.safe_dump(settings))

    def local_environment(self) -> dict[str, str]:
        """What `eval "$(millpond local env)"` adds to a shell."""
        script = f'eval "$({sys.executable} -m infra.cli local env)" && env -0'
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, check=True
        )
        return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if "=" in line)

    def requests(self) -> list[dict]:
        """The resource manager's request log."""
        lines = (self.home / "local" / "requests.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def deletes(self) -> list[dict]:
        """One record an instance that was deleted."""
        log = self.home / "local" / "deletes.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def close(self) -> None:
        """Stop everything, whatever the state."""
        for process in self.background:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=30)
        self.run([sys.executable, "-m", "infra.cli", "local", "down"], expect=0)


class Azure:
    """The resource manager, read by a client of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._url = f"https://{environment['ARM_METADATA_HOSTNAME']}"

    def get(self, path: str) -> httpx.Response:
        """GET a path below the subscription."""
        token = httpx.get(
            self._environment["IDENTITY_ENDPOINT"],
            params={"resource": self._url, "api-version": "2019-08-01"},
            headers={"X-IDENTITY-HEADER": self._environment["IDENTITY_HEADER"]},
        ).json()["access_token"]
        return httpx.get(
            f"{self._url}/subscriptions/{self._environment['ARM_SUBSCRIPTION_ID']}{path}",
            params={"api-version": "2024-11-01"},
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=self._environment["SSL_CERT_FILE"]),
        )

    def scale_sets(self) -> set[str]:
        """Names of the scale sets that are there."""
        found = self.get("/providers/Microsoft.Compute/virtualMachineScaleSets").json()["value"]
        return {entry["name"] for entry in found}


def eventually(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


def processes_of(home: Path) -> list[psutil.Process]:
    """Every living process whose environment or command line names a home."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(home) in word for word in words):
            found.append(process)
    return found


@contextmanager
def copy_of_the_project(factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy with a home of its own; at the end everything is stopped, and no process is left."""
    folder = factory.mktemp("project")
    for name in ("infra", "node_bootstrap", "scheduler", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("Pulumi*.yaml"), ROOT / "pyproject.toml", ROOT / "requirements.lock"):
        shutil.copy(path, folder / path.name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    made = Project(folder=folder, home=factory.mktemp("home"))
    try:
        yield made
    finally:
        made.close()
    assert processes_of(made.home) == []


def lowered_capacities(project: Project) -> list[dict]:
    """Replay the request log and list the writes that asked a set for less than it was asked for before."""
    lowered, asked = _replayed(project)
    assert asked, "the log names no scale set"
    return lowered


def capacities_left(project: Project) -> dict[str, int]:
    """The capacity that each set has by the request log, where it is not zero."""
    return {name: capacity for name, capacity in _replayed(project)[1].items() if capacity}


def _replayed(project: Project) -> tuple[list[dict], dict[str, int]]:
    asked: dict[str, int] = {}
    lowered = []
    for entry in project.requests():
        path = entry["path"].lower().rstrip("/")
        if "virtualmachinescalesets/" not in path or entry["status"] >= 400:
            continue
        name = path.split("virtualmachinescalesets/")[1].split("/")[0]
        if entry["method"] in {"PUT", "PATCH"} and "capacity" in entry:
            if entry["capacity"] < asked.get(name, 0):
                lowered.append(entry)
            asked[name] = entry["capacity"]
        elif entry["method"] == "POST" and path.endswith("/delete"):
            asked[name] -= len(entry["instanceIds"])
    return lowered, asked


def puts(project: Project, kind: str = "/") -> list[str]:
    """The resources whose path has a word in it that were written whole, in order of time."""
    paths = [entry["path"].lower() for entry in project.requests() if entry["method"] == "PUT"]
    return [path for path in paths if kind in path]
