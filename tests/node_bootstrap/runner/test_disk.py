"""A full disk is the node's fault, and what is kept for later tasks goes before tasks do."""

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import ApplicationPackage, FileRef, Outcome, sha256_hex
from node_bootstrap.runner.disk import DiskUsage, blamed_on_disk, is_full, read_disk, runs_low
from node_bootstrap.runner.packages import PackageCache
from node_bootstrap.runner.staging import Stager
from node_bootstrap.runner.storage import Storage
from node_bootstrap.runner.task_process import Ending
from tests.node_bootstrap.runner.fake_azure import FakeAzure
from tests.node_bootstrap.runner.test_packages import put, zipped

TASKS = Path("/tasks")
ROOMY, LOW = DiskUsage(1000, 0, 1000), DiskUsage(1000, 950, 50)


class Disk:
    """A disk whose usage a test sets."""

    def __init__(self) -> None:
        self.usage = ROOMY

    def __call__(self, path: Path) -> DiskUsage:
        """Read it."""
        return self.usage


@given(
    outcome=st.sampled_from(Outcome),
    code=st.none() | st.integers(0, 255),
    free=st.integers(0, 64 * 1024 * 1024),
)
def test_only_a_retryable_failure_is_blamed_on_a_full_disk(outcome: Outcome, code: int | None, free: int) -> None:
    """It keeps its exit code and what was said of it; all else is as it was, and so is it where there is room."""
    ending = Ending(outcome, code, "exit code 1")
    blamed = blamed_on_disk(ending, DiskUsage(10**9, 10**9 - free, free), TASKS)
    if outcome is not Outcome.RETRYABLE or free >= 16 * 1024 * 1024:
        assert blamed is None
        return
    assert blamed is not None
    assert (blamed.outcome, blamed.exit_code) == (Outcome.NODE_FAULT, code)
    assert blamed.reason == f"exit code 1; the node's disk is full: {free:,} of 1,000,000,000 bytes are free at /tasks"


def test_a_disk_is_read_and_runs_low_below_a_tenth(tmp_path: Path) -> None:
    """The system's own figures; exactly a tenth is enough."""
    usage = read_disk(tmp_path)
    assert 0 <= usage.free <= usage.total
    assert usage.total > 0
    assert not runs_low(DiskUsage(1000, 900, 100))
    assert runs_low(DiskUsage(1000, 901, 99))


def test_errors_of_a_full_disk_are_told_from_others() -> None:
    """No room, and no room left to this account."""
    assert is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not is_full(OSError(errno.EIO, "Input/output error"))
    assert not is_full(ValueError("no"))


def uses(cache: PackageCache, package: ApplicationPackage) -> None:
    """Run a task that uses a package."""
    with cache.use((package,)):
        pass


def test_packages_that_nobody_uses_go_when_the_disk_runs_low(
    azure: FakeAzure, storage: Storage, tmp_path: Path
) -> None:
    """Before another is fetched, and never one in use; what tasks use one after the other is not fetched again."""
    disk = Disk()
    folder = tmp_path / "packages"
    cache = PackageCache(Stager(storage, tmp_path / "cache"), folder, disk=disk)
    unused, held, new = (put(azure, zipped(("f", letter)), letter.decode()) for letter in (b"a", b"b", b"c"))
    uses(cache, unused)
    with cache.use((held,)):
        disk.usage = LOW
        uses(cache, new)
        assert {path.name for path in folder.iterdir()} == {held.file.sha256, new.file.sha256}
    asked = len(azure.requests)
    uses(cache, new)
    assert len(azure.requests) == asked
    with cache.use((held,)):
        cache.make_room()
        assert {path.name for path in folder.iterdir()} == {held.file.sha256}


@pytest.mark.parametrize(("usage", "kept"), [(ROOMY, 2), (LOW, 1)])
def test_kept_inputs_go_when_the_disk_runs_low(
    azure: FakeAzure, storage: Storage, tmp_path: Path, usage: DiskUsage, kept: int
) -> None:
    """A task gets its own all the same."""
    disk = Disk()
    stager = Stager(storage, tmp_path / "cache", disk)
    for name in ("one", "two"):
        data = name.encode()
        azure.blobs[f"inputs/files/{name}"] = data
        stager.stage([FileRef(name, "inputs", f"files/{name}", 0, len(data), sha256_hex(data))], [], tmp_path)
        assert (tmp_path / name).read_bytes() == data
        disk.usage = usage
    assert len(list((tmp_path / "cache").iterdir())) == kept
