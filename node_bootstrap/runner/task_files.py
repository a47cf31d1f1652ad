"""The folder in which a task runs, and what of it is kept when the run has ended.

<tasks>/<run>/<number>/   wd/ (working directory) · tmp/ · stdout.txt · stderr.txt

The tasks of a message run one after the other. One that leaves little is read at once, and its folder, empty again,
serves the next: making and removing one costs as much as starting a process.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from node_bootstrap.protocol import FileRef
from node_bootstrap.runner.account import Account, hand_over
from node_bootstrap.runner.staging import within

STDOUT = "stdout.txt"
STDERR = "stderr.txt"
# Bytes of a name that are no UTF-8, as Python stands them for in text (PEP 383).
_NO_TEXT_BASE = 0xDC00
_NO_TEXT = re.compile("[\udc80-\udcff]")
# What a task leaves up to this size is read when it ends; packs are sent long before many of these fill the memory.
_READ_AT_ONCE_BYTES = 64 * 1024
_OPEN = 0o755


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
        """Make it, empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        for directory in (self.working_directory, self.temporary):
            directory.mkdir(_OPEN)

    def empty(self) -> None:
        """Make it as new: what a task has made, changed or put in the place of something else is gone."""
        for log in (self.stdout, self.stderr):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(log)  # noqa: PTH108  half the time of a Path's
        for directory in (self.working_directory, self.temporary):
            if not _is_new(directory):
                self.make()
                return

    def hand_to(self, account: Account | None) -> None:
        """Let an account own what is in it; the logs stay the runner's."""
        if account is None:
            return
        for top in (self.working_directory, self.temporary):
            hand_over(top, account)

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
    """A file to be uploaded, under its name in the report.

    `blob`: where it is already, for a log that was followed; `data`: what is in it, where it was read already.
    """

    name: str
    path: Path
    size: int
    blob: FileRef | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """What a run leaves: its files, in order of name; the folder, while it is needed for them.

    `unmatched` are the output patterns that no file matches.
    """

    folder: TaskFolder | None
    files: tuple[KeptFile, ...]
    unmatched: tuple[str, ...] = ()


class TaskFolders:
    """The folders of runs. Each run has one task at a time."""

    def __init__(self, tasks: Path) -> None:
        self._tasks = tasks
        self._made: dict[str, int] = {}
        self._spare: dict[str, TaskFolder] = {}

    def take(self, run_id: str) -> TaskFolder:
        """Give a run an empty folder."""
        spare = self._spare.pop(run_id, None)
        if spare is not None:
            return spare
        number = self._made[run_id] = self._made.get(run_id, 0) + 1
        folder = TaskFolder(self._tasks / run_id / str(number))
        folder.make()
        return folder

    def give_back(self, run_id: str, kept: KeptFiles) -> KeptFiles:
        """Read what a task has left, where it is little, and have its folder serve the next one."""
        open_files = [file for file in kept.files if file.blob is None]
        if kept.folder is None or sum(file.size for file in open_files) > _READ_AT_ONCE_BYTES:
            return kept
        files = tuple(file if file.blob is not None else replace(file, data=_bytes(file)) for file in kept.files)
        kept.folder.empty()
        self._spare[run_id] = kept.folder
        return KeptFiles(None, files)

    def discard(self, run_id: str) -> None:
        """Remove all folders of a run."""
        self._spare.pop(run_id, None)
        self._made.pop(run_id, None)
        TaskFolder(self._tasks / run_id).remove()


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
    matches = {pattern: list(_matches(directory, pattern)) for pattern in patterns}
    outputs = {_name(path.relative_to(directory)): path for found in matches.values() for path in found}
    files += [KeptFile(name, path, path.stat().st_size) for name, path in sorted(outputs.items())]
    return KeptFiles(folder, tuple(files), tuple(pattern for pattern, found in matches.items() if not found))


def _name(path: Path) -> str:
    """Name an output. A byte that is no UTF-8, which no manifest could hold, is written as `%FF`."""
    return _NO_TEXT.sub(lambda found: f"%{ord(found[0]) - _NO_TEXT_BASE:02X}", path.as_posix())


def _is_new(directory: Path) -> bool:
    """Say whether a directory is empty and as it was made."""
    try:
        mode = os.lstat(directory).st_mode
        with os.scandir(directory) as entries:
            return stat.S_ISDIR(mode) and stat.S_IMODE(mode) == _OPEN and next(entries, None) is None
    except OSError:
        return False


def _bytes(file: KeptFile) -> bytes:
    return file.path.read_bytes() if file.size else b""


def _matches(directory: Path, pattern: str) -> Iterator[Path]:
    if within(directory, pattern) is None:
        return
    inside = directory.resolve()
    for path in directory.glob(pattern):
        if path.is_file() and path.resolve().is_relative_to(inside):
            yield path
