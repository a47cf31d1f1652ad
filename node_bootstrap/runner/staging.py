"""Bringing a task's input files into its working directory, verified."""

import hashlib
import shutil
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from node_bootstrap.protocol import FileRef, TextFile
from node_bootstrap.runner.disk import ReadDisk, read_disk, runs_low
from node_bootstrap.runner.storage import Storage, StorageError

# Many small inputs lie beside each other in one pack: one request reads them together.
_GAP_BYTES = 64 * 1024
_REQUEST_BYTES = 8 * 1024 * 1024
# Roles spread and storage recovers within minutes; a task waits for its inputs rather than fail.
_PATIENCE_SECONDS = 120.0


class StagingError(Exception):
    """An input could not be brought. `permanent`: what was declared can never work."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Stager:
    """Brings files. Those that many tasks share are kept once a node; each task gets a copy of its own."""

    def __init__(self, storage: Storage, cache: Path, disk: ReadDisk = read_disk) -> None:
        self._storage = storage
        self._disk = disk
        self._cache = cache
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def stage(self, shared: Iterable[FileRef], own: Iterable[FileRef], directory: Path) -> None:
        """Bring `shared` files by way of the cache, `own` ones straight. Raises `StagingError` or `OSError`."""
        for ref in shared:
            target = _target(directory, ref.path)
            if runs_low(self._disk(self._cache)):
                self.make_room()
            try:
                _copy(self._cached(ref), target)
            except FileNotFoundError:  # another task made room meanwhile
                _copy(self._cached(ref), target)
        for group in _neighbours(own):
            self._bring(group, directory)

    def write(self, texts: Iterable[TextFile], directory: Path) -> None:
        """Write files whose content came with the record that names them."""
        for file in texts:
            _target(directory, file.path).write_text(file.text, encoding="utf-8", newline="")

    def download(self, ref: FileRef, path: Path) -> None:
        """Bring one file to a path, verified. Raises `StagingError` or `OSError`."""
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for start in range(0, ref.length, _REQUEST_BYTES):
                data = self._read(ref, ref.offset + start, min(_REQUEST_BYTES, ref.length - start))
                digest.update(data)
                file.write(data)
        _verify(ref, digest.hexdigest())

    def make_room(self) -> None:
        """Remove what is kept for later tasks."""
        for path in self._cache.iterdir():
            try:
                path.unlink()
            except OSError:  # Windows: being copied right now
                continue

    def _cached(self, ref: FileRef) -> Path:
        kept = self._cache / ref.sha256
        with self._locks[ref.sha256]:
            if not kept.exists():
                part = self._cache / f"{uuid.uuid4().hex}.part"
                try:
                    self.download(ref, part)
                    part.replace(kept)
                finally:
                    part.unlink(missing_ok=True)
        return kept

    def _bring(self, group: list[FileRef], directory: Path) -> None:
        first, last = group[0], group[-1]
        if len(group) == 1:
            self.download(first, _target(directory, first.path))
            return
        data = memoryview(self._read(first, first.offset, last.offset + last.length - first.offset))
        for ref in group:
            part = data[ref.offset - first.offset :][: ref.length]
            _verify(ref, hashlib.sha256(part).hexdigest())
            _target(directory, ref.path).write_bytes(part)

    def _read(self, ref: FileRef, offset: int, length: int) -> bytes:
        try:
            return self._storage.get_range(ref.container, ref.blob, offset, length, _PATIENCE_SECONDS)
        except StorageError as error:
            raise StagingError(f"the input {ref.path} could not be read: {error}") from error


def within(directory: Path, path: str) -> Path | None:
    """Give the place of a relative path in a directory; None when the path would leave it."""
    parts = PurePosixPath(path).parts
    windows = PureWindowsPath(path)
    if not parts or ".." in (*parts, *windows.parts) or path.startswith("/") or windows.drive or windows.root:
        return None
    return directory.joinpath(*parts)


def _target(directory: Path, path: str) -> Path:
    target = within(directory, path)
    if target is None:
        raise StagingError(f"the input {path!r} would lie outside of the working directory", permanent=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)  # resource files are often programs


def _verify(ref: FileRef, sha256: str) -> None:
    if sha256 != ref.sha256:
        raise StagingError(f"the input {ref.path} has the SHA-256 {sha256}, not {ref.sha256} as committed")


def _neighbours(refs: Iterable[FileRef]) -> list[list[FileRef]]:
    """Group files that lie close together in one blob, so that each group is one read."""
    groups: list[list[FileRef]] = []
    for ref in sorted(refs, key=lambda ref: (ref.container, ref.blob, ref.offset, ref.length)):
        if groups:
            first, last = groups[-1][0], groups[-1][-1]
            end = last.offset + last.length
            same = (first.container, first.blob) == (ref.container, ref.blob)
            if (
                same
                and end <= ref.offset <= end + _GAP_BYTES
                and ref.offset + ref.length - first.offset <= _REQUEST_BYTES
            ):
                groups[-1].append(ref)
                continue
        groups.append([ref])
    return groups
