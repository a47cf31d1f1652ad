"""Every task finds an empty folder, whatever the one before did to its own, and what it leaves is kept."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from node_bootstrap.runner.task_files import KeptFiles, TaskFolder, TaskFolders, kept_files


def is_fresh(folder: TaskFolder) -> bool:
    """Whether a folder is as the first one of a run."""
    modes = {os.lstat(path).st_mode & 0o777 for path in (folder.working_directory, folder.temporary)}
    return sorted(path.name for path in folder.path.rglob("*")) == ["tmp", "wd"] and modes == {0o755}


def write_logs(folder: TaskFolder, size: int = 3) -> None:
    """What a process leaves in any case."""
    folder.stdout.write_bytes(b"o" * size)
    folder.stderr.write_bytes(b"")


@pytest.fixture
def folders(tmp_path: Path) -> TaskFolders:
    """Folders of a runner."""
    return TaskFolders(tmp_path / "tasks")


def test_a_folder_serves_the_tasks_of_its_run_one_after_the_other(folders: TaskFolders) -> None:
    """What was printed is kept in memory, and the next task finds nothing of it."""
    first = folders.take("run")
    assert is_fresh(first)
    write_logs(first)
    (first.working_directory / "n").write_text("42")
    kept = folders.give_back("run", kept_files(first, ["n"], {}))
    assert {file.name: file.data for file in kept.files} == {"stdout.txt": b"ooo", "stderr.txt": b"", "n": b"42"}
    assert kept.folder is None
    second = folders.take("run")
    assert second == first
    assert is_fresh(second)


def test_runs_share_nothing(folders: TaskFolders) -> None:
    """A folder that was given back serves its own run only, and goes with it."""
    first = folders.take("one")
    folders.give_back("one", KeptFiles(first, ()))
    other = folders.take("two")
    assert other != first
    folders.discard("one")
    assert not first.path.exists()
    assert is_fresh(other)


def test_large_results_stay_in_their_folder_until_they_are_uploaded(folders: TaskFolders) -> None:
    """The next task gets another folder."""
    first = folders.take("run")
    write_logs(first, size=200_000)
    kept = folders.give_back("run", kept_files(first, [], {}))
    assert kept.folder == first
    assert all(file.data is None for file in kept.files)
    second = folders.take("run")
    assert second != first
    assert is_fresh(second)
    assert first.stdout.stat().st_size == 200_000


def link_elsewhere(folder: TaskFolder) -> None:
    """Put a link in the place of the working directory."""
    folder.working_directory.rmdir()
    folder.working_directory.symlink_to(folder.path.parent)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: folder.working_directory.chmod(0o700),
        lambda folder: (folder.working_directory / ".hidden").touch(),
        lambda folder: (folder.temporary / "cache").mkdir(),
        lambda folder: shutil.rmtree(folder.temporary),
        lambda folder: shutil.rmtree(folder.path),
        link_elsewhere,
    ],
    ids=["mode", "hidden file", "temporary", "no temporary", "nothing left", "link"],
)
def test_whatever_a_task_did_to_its_folder_the_next_one_is_new(
    folders: TaskFolders, harm: Callable[[TaskFolder], object]
) -> None:
    """It is empty, of the usual mode, and no link."""
    first = folders.take("run")
    (first.path.parent / "precious").touch()
    harm(first)
    folders.give_back("run", kept_files(first, [], {}))
    assert is_fresh(folders.take("run"))
    assert (first.path.parent / "precious").exists()


def test_patterns_that_match_nothing_are_told(folders: TaskFolders) -> None:
    """A folder, or a link that leads out, is no output; what matches is kept all the same."""
    folder = folders.take("run")
    write_logs(folder)
    (folder.working_directory / "n").write_text("42")
    (folder.working_directory / "empty").mkdir()
    (folder.working_directory / "out.txt").symlink_to("/etc/hostname")
    kept = kept_files(folder, ["n", "empty", "*.txt", "../*"], {})
    assert [file.name for file in kept.files] == ["stdout.txt", "stderr.txt", "n"]
    assert kept.unmatched == ("empty", "*.txt", "../*")
