"""A pool's own part of the boot, for real: packages, start commands, what fails and what a second try does."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from node_bootstrap.boot_plan import BootPackage, BootPlan, StartCommand
from node_bootstrap.bundle import Bundle, build_bundle
from node_bootstrap.protocol import BootRecord
from node_bootstrap.render import NodeProfile, OperatingSystem, render_stage_0
from tests.node_bootstrap.boot_server import NODE, TOKEN, Azure, serve
from tests.node_bootstrap.profiles import SAMPLE
from tests.node_bootstrap.test_quoting import HOSTILE


def tar_of(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A tar.gz of files with their modes."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip file of files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


@dataclass
class Machine:
    """A machine that boots in a folder, with what Azure has for it."""

    azure: Azure
    root: Path

    @property
    def state(self) -> Path:
        """Where the node keeps what it is told."""
        return self.root / "var" / "lib" / "millpond"

    @property
    def packages(self) -> Path:
        """Where its packages lie."""
        return self.state / "packages"

    def package(self, name: str, data: bytes, ending: str = "") -> BootPackage:
        """Publish a package."""
        digest = hashlib.sha256(data).hexdigest()
        self.azure.blobs[f"/bundles/{digest}{ending}"] = data
        return BootPackage(name, f"{digest}{ending}", digest, len(data))

    def publish(self, plan: BootPlan) -> Bundle:
        """Publish the bundle with a plan."""
        bundle = build_bundle(OperatingSystem.LINUX, plan)
        self.azure.blobs[f"/bundles/{bundle.sha256}.tar.gz"] = bundle.data
        return bundle

    def boot(self, bundle: Bundle, **changes: object) -> subprocess.CompletedProcess[str]:
        """Run stage 0 as the machine's extension does."""
        url = f"{self.azure.url}/"
        here = {"blob_endpoint": url, "queue_endpoint": url, "bundle_sha256": bundle.sha256, "python_sha256": None}
        profile: NodeProfile = replace(SAMPLE, **{**here, **changes})
        return subprocess.run(
            ["bash", "-c", render_stage_0(OperatingSystem.LINUX, profile)],
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.azure.url,
                "MILLPOND_ROOT": str(self.root),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def records(self) -> dict[str, BootRecord]:
        """The boot records, by step."""
        return {record.step: record for record in self.azure.records()}

    def stop(self) -> None:
        """End the runner, where there is one."""
        pid_file = self.state / "runner.pid"
        if pid_file.is_file() and (text := pid_file.read_text().strip()):
            os.kill(int(text), 9)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine; its runner ends with the test."""
    with serve() as azure:
        made = Machine(azure, tmp_path)
        yield made
        made.stop()


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for whoever adopted it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command(script: str, name: str = "setup", timeout_seconds: float = 20.0, retries: int = 0) -> StartCommand:
    """A start command."""
    return StartCommand(name, script, timeout_seconds, retries)


def test_packages_and_start_commands_come_before_the_first_task(machine: Machine) -> None:
    """Archives are unpacked, programs run, the pool's environment is the script's and later each task's."""
    plan = BootPlan(
        time_zone="Europe/Berlin",
        environment=(("LICENCE", 'it\'s $(reboot) `id` "x"'),),
        packages=(
            machine.package("tool", tar_of({"bin/tool": (b"#!/bin/sh\necho from the tool\n", 0o755)}), ".tar.gz"),
            machine.package("data", zip_of({"a/b.txt": b"hello"}), ".zip"),
            machine.package("program", b"#!/bin/sh\necho from the program\n"),
        ),
        start_commands=(
            command('cd "$MILLPOND_PACKAGES"\n./tool/bin/tool\n./program\ncat data/a/b.txt'),
            command(
                'echo "$LICENCE $AZ_BATCH_POOL_ID $AZ_BATCH_NODE_ID $TZ" >"$MILLPOND_ROOT/seen.txt"', name="second"
            ),
        ),
    )
    done = machine.boot(machine.publish(plan))
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [record.step for record in machine.azure.records()]
    assert steps == ["stage-0", "fetch", "install", "packages", "start-01-setup", "start-02-second", "service"]
    assert all(record.exit_code == 0 for record in machine.azure.records())
    said = machine.records()["start-01-setup"].output
    assert "from the tool\nfrom the program\nhello" in said
    seen = (machine.root / "seen.txt").read_text()
    assert seen == f'it\'s $(reboot) `id` "x" {SAMPLE.pool} {NODE} Europe/Berlin\n'
    runner = json.loads((machine.state / "runner.json").read_text())
    assert runner["environment"] == {"LICENCE": 'it\'s $(reboot) `id` "x"', "MILLPOND_PACKAGES": str(machine.packages)}
    assert (machine.state / "runner.json").stat().st_mode & 0o777 == 0o600
    # Stage 0 lets nobody read what it makes, and tasks run as another account.
    for path in (machine.packages, *machine.packages.rglob("[!.]*")):
        assert path.stat().st_mode & 0o044 == 0o044, path
    assert (machine.state / "start").stat().st_mode & 0o777 == 0o700
    everything = done.stdout + done.stderr + "".join(map(str, machine.azure.records()))
    assert TOKEN not in everything


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_of_a_plan_stay_values(machine: Machine, text: str) -> None:
    """Whatever the environment says, a start command reads the same text, and the boot runs none of it."""
    script = 'printf %s "$VALUE" >"$MILLPOND_ROOT/value"'
    plan = BootPlan(environment=(("VALUE", text),), start_commands=(command(script),))
    done = machine.boot(machine.publish(plan))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (machine.root / "value").read_text(encoding="utf-8") == text


def test_a_start_command_is_tried_again(machine: Machine) -> None:
    """One that fails once and has a retry succeeds; its record tells both tries."""
    script = 'echo try; [ -e "$MILLPOND_ROOT/once" ] || { touch "$MILLPOND_ROOT/once"; exit 7; }'
    assert machine.boot(machine.publish(BootPlan(start_commands=(command(script, retries=1),)))).returncode == 0
    said = machine.records()["start-01-setup"].output
    assert "== try 1 of 2: exit code 7" in said
    assert "== try 2 of 2: exit code 0" in said


def test_a_start_command_that_hangs_is_ended_with_all_it_started(machine: Machine) -> None:
    """After its time-out nothing of it is left, the record says so, and no runner is started."""
    script = 'sleep 600 & echo "$!" >"$MILLPOND_ROOT/pid"\nwait'
    done = machine.boot(machine.publish(BootPlan(start_commands=(command(script, timeout_seconds=1.0),))))
    assert done.returncode != 0
    last = machine.azure.records()[-1]
    assert (last.step, last.exit_code) == ("start-01-setup", 124)
    assert "time-out of 1 s" in last.output
    assert not runs(int((machine.root / "pid").read_text()))
    assert not (machine.state / "runner.pid").exists()


@pytest.mark.parametrize(
    ("ending", "data"),
    [(".zip", zip_of({"../out.txt": b"x"})), (".tar.gz", tar_of({"../out.txt": (b"x", 0o644)})), (".zip", b"not one")],
    # An archive has the time of its making in it, and parallel workers must collect the same names.
    ids=["zip", "tar", "none"],
)
def test_an_archive_that_climbs_out_or_is_none_is_refused(machine: Machine, ending: str, data: bytes) -> None:
    """The boot ends at the packages, with a record that names the package, and nothing lies outside of it."""
    done = machine.boot(machine.publish(BootPlan(packages=(machine.package("bad", data, ending),))))
    assert done.returncode != 0
    last = machine.azure.records()[-1]
    assert (last.step, last.exit_code) == ("packages", 1)
    assert "the package bad" in last.output
    assert not list(machine.root.rglob("out.txt"))


@dataclass(frozen=True)
class Fault:
    """Something that breaks one step of a boot, and how it is mended."""

    step: str
    do: Callable[[Machine, Bundle], object]
    mend: Callable[[Machine, Bundle], object]


PYTHON = tar_of({"python/bin/python3": (f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'.encode(), 0o755)})
PYTHON_SHA256 = hashlib.sha256(PYTHON).hexdigest()
PACKAGE = b"a package"
PACKAGE_SHA256 = hashlib.sha256(PACKAGE).hexdigest()
FAILING = 'echo before\ncat "$MILLPOND_ROOT/needed"\necho after'


def put(name: str, data: bytes) -> Callable[[Machine, Bundle], object]:
    """Have a blob in `bundles`; {} stands for the bundle's hash."""
    return lambda machine, bundle: machine.azure.blobs.update({f"/bundles/{name.format(bundle.sha256)}": data})


def in_the_way(path: str) -> Fault:
    """A folder where a file or link is to be."""

    def make(machine: Machine, _: Bundle) -> None:
        (machine.root / path / "x").mkdir(parents=True)

    def remove(machine: Machine, _: Bundle) -> None:
        (machine.root / path / "x").rmdir()
        (machine.root / path).rmdir()

    return Fault("", make, remove)


CURRENT, RECORDED = in_the_way("var/lib/millpond/new"), in_the_way("var/lib/millpond/runner.pid")
FAULTS = [
    Fault(
        "fetch",
        put("{}.tar.gz", b"other bytes"),
        lambda machine, bundle: machine.azure.blobs.update({f"/bundles/{bundle.sha256}.tar.gz": bundle.data}),
    ),
    Fault("fetch", CURRENT.do, CURRENT.mend),
    Fault("python", put(f"{PYTHON_SHA256}.tar.gz", b"other bytes"), put(f"{PYTHON_SHA256}.tar.gz", PYTHON)),
    Fault(
        "install",
        lambda machine, bundle: (machine.root / f"opt/millpond/current/{bundle.sha256[:12]}/x").mkdir(parents=True),
        lambda machine, _: (machine.root / "opt/millpond/current").rename(machine.root / "away"),
    ),
    Fault("packages", put(PACKAGE_SHA256, b"otherbyte"), put(PACKAGE_SHA256, PACKAGE)),
    Fault(
        "start-01-needs",
        lambda *_: None,
        lambda machine, _: (machine.root / "needed").write_text("here"),
    ),
    Fault("service", RECORDED.do, RECORDED.mend),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.step)
def test_a_step_that_fails_is_recorded_and_the_next_boot_succeeds(machine: Machine, fault: Fault) -> None:
    """Whatever breaks a step, its record says where; once that is mended, running it all again brings the node up."""
    plan = BootPlan(
        packages=(BootPackage("file", PACKAGE_SHA256, PACKAGE_SHA256, len(PACKAGE)),),
        start_commands=(command(FAILING, name="needs"),),
    )
    bundle = machine.publish(plan)
    for other in FAULTS:
        if other.step in {"python", "packages", "start-01-needs"}:
            other.mend(machine, bundle)
    if fault.step == "start-01-needs":
        (machine.root / "needed").unlink()
    fault.do(machine, bundle)
    failed = machine.boot(bundle, python_sha256=PYTHON_SHA256)
    assert failed.returncode != 0
    last = machine.azure.records()[-1]
    assert (last.step, last.exit_code != 0) == (fault.step, True)
    if fault.step == "packages":
        assert "the package file has the SHA-256" in last.output
    elif fault.step == "start-01-needs":
        assert "failed at line 2, exit code 1" in last.output
    else:
        assert f"step {fault.step} failed at line" in last.output
    assert not (machine.state / "runner.pid").is_file()

    fault.mend(machine, bundle)
    mended = machine.boot(bundle, python_sha256=PYTHON_SHA256)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    steps = ["stage-0", "fetch", "python", "install", "packages", "start-01-needs", "service"]
    assert [(record.step, record.exit_code) for record in machine.azure.records()] == [(step, 0) for step in steps]
