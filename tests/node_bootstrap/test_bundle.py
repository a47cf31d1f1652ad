"""The bundle: the same bytes for the same sources, all that a node runs, nothing else."""

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from node_bootstrap.bundle import build_bundle
from node_bootstrap.render import OperatingSystem


@pytest.mark.parametrize("system", OperatingSystem)
def test_the_same_sources_give_the_same_bytes(system: OperatingSystem) -> None:
    """Two builds are equal, and the name is the hash of the bytes."""
    first, second = build_bundle(system), build_bundle(system)
    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()


@pytest.mark.parametrize("system", OperatingSystem)
def test_entries_are_plain_and_ordered(system: OperatingSystem) -> None:
    """No owner, time or special mode of the building machine gets in; names are sorted and stay inside."""
    with tarfile.open(fileobj=io.BytesIO(build_bundle(system).data)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.mtime, member.mode) for member in members} == {(0, 0, 0, 0o644)}
    assert not any(member.name.startswith("/") or ".." in member.name for member in members)


def test_the_runner_starts_from_the_bundle_alone(tmp_path: Path) -> None:
    """Unpacked into an empty folder, the runner's modules import with nothing but the standard library."""
    with tarfile.open(fileobj=io.BytesIO(build_bundle(OperatingSystem.LINUX).data)) as archive:
        archive.extractall(tmp_path, filter="data")
    script = (
        "import node_bootstrap.runner.shell, node_bootstrap.runner.boot_record, sys; print(node_bootstrap.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(tmp_path))


def test_systems_differ_by_their_install_script() -> None:
    """Linux gets bash, Windows PowerShell and the source of its service."""
    names = {}
    for system in OperatingSystem:
        with tarfile.open(fileobj=io.BytesIO(build_bundle(system).data)) as archive:
            names[system] = set(archive.getnames())
    assert names[OperatingSystem.LINUX] ^ names[OperatingSystem.WINDOWS] == {
        "install.sh",
        "close-metadata.sh",
        "data-disk.sh",
        "install.ps1",
        "service.cs",
    }
