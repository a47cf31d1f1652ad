"""The folder of one task's run, and what of it is kept when the run has ended.

<tasks>/<run>/<task>.<attempt>/   wd/ (working directory) · tmp/ · stdout.txt · stderr.txt
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_bootstrap.protocol import FileRef, TaskRef
from node_bootstrap.runner.account import Account
from node_bootstrap.runner.staging import within

STDOUT = "stdout.txt"
STDERR = "stderr.txt"


@dataclass(frozen=True, slots=True)
class TaskFolder:
    """Where one run of a task lives."""

    path: Path

    @property
    def working_directory(self) -> Path:
        """Where it runs."""
        return self.path / "wd"

    @property
    def temporary(self) -> Path:
        """Where it may put what nobody keeps."""
        return self.path / "tmp"

    @property
    def stdout(self) -> Path:
        """What it prints."""
        return self.path / STDOUT

    @property
    def stderr(self) -> Path:
        """What it complains of."""
        return self.path / STDERR

    def make(self) -> None:
        """Make it, empty. The folder of the run may be there already."""
        self.path.parent.mkdir(exist_ok=True)
        try:
            self.path.mkdir()
        except FileExistsError:
            shutil.rmtree(self.path)
            self.path.mkdir()
        self.working_directory.mkdir()
        self.temporary.mkdir()

    def hand_to(self, account: Account | None) -> None:
        """Let an account own what is in it; the logs stay the runner's."""
        if account is None:
            return
        for top in (self.working_directory, self.temporary):
            for path in (top, *top.rglob("*")):
                shutil.chown(path, account.name, account.group)

    def remove(self) -> None:
        """Remove it, as far as the system lets us."""
        try:
            # Most tasks leave nothing but their logs; looking for more takes longer than removing them.
            for log in (self.stdout, self.stderr):
                log.unlink()
            for directory in (self.working_directory, self.temporary, self.path):
                directory.rmdir()
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file to be uploaded, under its name in the report. `blob`: where it is already, for a log that was followed."""

    name: str
    path: Path
    size: int
    blob: FileRef | None = None


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """What a run leaves: its files, in order of name."""

    folder: TaskFolder
    files: tuple[KeptFile, ...]


def folder_of(tasks: Path, run_id: str, ref: TaskRef) -> TaskFolder:
    """Give the folder of a task in a run."""
    return TaskFolder(tasks / run_id / f"{ref.task_id}.{ref.attempt}")


def kept_files(folder: TaskFolder, patterns: Sequence[str], followed: Mapping[str, FileRef]) -> KeptFiles:
    """Find the logs and the outputs of a run that has ended. `followed`: logs that are in storage already.

    Links are not followed out of the working directory: the runner may read what the task may not.
    """
    files = [
        KeptFile(path.name, path, path.stat().st_size, followed.get(path.name))
        for path in (folder.stdout, folder.stderr)
        if path.exists()
    ]
    directory = folder.working_directory
    outputs = {path.relative_to(directory).as_posix(): path for path in _matches(directory, patterns)}
    files += [KeptFile(name, path, path.stat().st_size) for name, path in sorted(outputs.items())]
    return KeptFiles(folder, tuple(files))


def _matches(directory: Path, patterns: Sequence[str]) -> Iterator[Path]:
    inside = directory.resolve()
    for pattern in patterns:
        if within(directory, pattern) is None:
            continue
        for path in directory.glob(pattern):
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield path
