"""Application packages: zip files, fetched and unpacked once a node for all tasks that name the same content."""

import contextlib
import os
import re
import shutil
import stat
import threading
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from node_bootstrap.protocol import ApplicationPackage
from node_bootstrap.runner.disk import ReadDisk, read_disk, runs_low
from node_bootstrap.runner.staging import Stager, StagingError, within

_WINDOWS = os.name == "nt"
_READ_BYTES = 1024 * 1024
# What Windows takes for a device in any folder and with any ending (docs: naming files); refused on every system, so
# that a package means the same everywhere.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *([.:].*)?", re.IGNORECASE)
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """What a package may become when it is unpacked, and how much unused ones may fill of a node's disk."""

    unpacked_bytes: int = 32 * 1024**3
    entries: int = 200_000
    cache_bytes: int = 64 * 1024**3


class PackageCache:
    """Keeps packages by the SHA-256 of their zip file. Tasks may read them, and write only where they are the runner.

    The folder is emptied first: what an earlier runner had unpacked is not vouched for.
    """

    def __init__(
        self, stager: Stager, folder: Path, limits: PackageLimits | None = None, disk: ReadDisk = read_disk
    ) -> None:
        self._stager = stager
        self._folder = folder
        self._limits = limits or PackageLimits()
        self._disk = disk
        _remove(folder)
        folder.mkdir(mode=0o711, parents=True)
        self._lock = threading.Lock()
        self._one_at_a_time: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._users: dict[str, int] = defaultdict(int)
        # Their sizes, those used last at the end.
        self._sizes: OrderedDict[str, int] = OrderedDict()

    @contextlib.contextmanager
    def use(self, packages: Iterable[ApplicationPackage]) -> Iterator[dict[str, str]]:
        """Have packages in place for a `with` block; give the variables that say where.

        Raises `StagingError`, permanent for a package that no node could unpack, or `OSError`.
        """
        with contextlib.ExitStack() as held:
            yield {
                variable_name(package.name, package.version): str(held.enter_context(self._held(package)))
                for package in packages
            }

    @contextlib.contextmanager
    def _held(self, package: ApplicationPackage) -> Iterator[Path]:
        sha256 = package.file.sha256
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise StagingError(f"{_named(package)} has no SHA-256 but {sha256!r}", permanent=True)
        with self._lock:
            self._users[sha256] += 1
        try:
            with self._one_at_a_time[sha256]:
                if sha256 not in self._sizes:
                    self._fetch(package)
            yield self._folder / sha256
        finally:
            with self._lock:
                self._users[sha256] -= 1
                if sha256 in self._sizes:
                    self._sizes.move_to_end(sha256)
                self._make_room(self._is_too_much)

    def make_room(self) -> None:
        """Remove all that nobody uses."""
        with self._lock:
            self._make_room(lambda: True)

    def _fetch(self, package: ApplicationPackage) -> None:
        # Here and not when a task ends: what it used would else be fetched again by the next one.
        with self._lock:
            self._make_room(lambda: runs_low(self._disk(self._folder)))
        sha256 = package.file.sha256
        archive, part = self._folder / f"{sha256}.zip", self._folder / f"{sha256}.part"
        try:
            self._stager.download(package.file, archive)
            _remove(part)
            size = unpack(archive, part, self._limits)
            part.replace(self._folder / sha256)
            (self._folder / sha256).chmod(0o555)
        except PackageError as error:
            raise StagingError(f"{_named(package)} cannot be unpacked: {error}", permanent=True) from error
        finally:
            archive.unlink(missing_ok=True)
            _remove(part)
        with self._lock:
            self._sizes[sha256] = size

    def _is_too_much(self) -> bool:
        return sum(self._sizes.values()) > self._limits.cache_bytes

    def _make_room(self, is_needed: Callable[[], bool]) -> None:
        """Remove what nobody uses, those used longest ago first, for as long as room is needed."""
        for sha256 in list(self._sizes):
            if not is_needed():
                return
            if self._users[sha256] == 0:
                del self._sizes[sha256]
                _remove(self._folder / sha256)


class PackageError(Exception):
    """A zip file that is not to be unpacked, whatever node tries."""


def variable_name(name: str, version: str, *, windows: bool = _WINDOWS) -> str:
    """Name the variable that says where a package is, as Azure Batch does (docs: application packages).

    `AZ_BATCH_APP_PACKAGE_BLENDER#2.7` on Windows, `AZ_BATCH_APP_PACKAGE_blender_2_7` on Linux, where periods, hyphens
    and number signs become underscores.
    """
    if windows:
        return f"AZ_BATCH_APP_PACKAGE_{name.upper()}" + (f"#{version}" if version else "")
    return "AZ_BATCH_APP_PACKAGE_" + re.sub(r"[.#-]", "_", f"{name}_{version}" if version else name)


def unpack(archive: Path, target: Path, limits: PackageLimits) -> int:
    """Unpack a zip file into a new folder, readable to all and writable to none; give its size.

    Raises `PackageError` before anything is written where an entry's name or kind, or the declared size, is refused.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened.infolist(), target, limits)
            target.mkdir()
            for entry, path in entries:
                if entry.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entry) as source, path.open("xb") as file:
                    _copy(source, file, entry)  # type: ignore[arg-type]  # a reader of bytes
                path.chmod(0o555 if (entry.external_attr >> 16) & 0o111 or _WINDOWS else 0o444)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise PackageError(f"it is no whole zip file: {error}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise PackageError(f"an entry stands in another's place: {error.filename}") from error
    for directory, _, _ in os.walk(target, topdown=False):
        if Path(directory) != target:  # it is renamed yet
            Path(directory).chmod(0o555)
    return sum(entry.file_size for entry, _ in entries)


def _checked(entries: list[zipfile.ZipInfo], target: Path, limits: PackageLimits) -> list[tuple[zipfile.ZipInfo, Path]]:
    if len(entries) > limits.entries:
        raise PackageError(f"it has {len(entries):,} entries, more than {limits.entries:,}")
    size = sum(entry.file_size for entry in entries)
    if size > limits.unpacked_bytes:
        raise PackageError(f"it would take {size:,} bytes unpacked, more than {limits.unpacked_bytes:,}")
    found = []
    for entry in entries:
        path = within(target, entry.filename)
        if path is None or "\0" in entry.filename:
            raise PackageError(f"the entry {entry.filename!r} would lie outside of its folder")
        if any(_DEVICE.fullmatch(part) for part in PurePosixPath(entry.filename).parts):
            raise PackageError(f"the entry {entry.filename!r} has the name of a device on Windows")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
            raise PackageError(f"the entry {entry.filename!r} is {what}; only files and folders are unpacked")
        if entry.flag_bits & _ENCRYPTED:
            raise PackageError(f"the entry {entry.filename!r} is encrypted")
        found.append((entry, path))
    return found


def _copy(source: BinaryIO, file: BinaryIO, entry: zipfile.ZipInfo) -> None:
    left = entry.file_size
    while data := source.read(_READ_BYTES):
        left -= len(data)
        if left < 0:
            raise PackageError(f"the entry {entry.filename!r} is larger than it declares")
        file.write(data)


def _named(package: ApplicationPackage) -> str:
    return f"the application package {package.name!r} {package.version}"


def _remove(folder: Path) -> None:
    for directory, _, files in os.walk(folder):
        Path(directory).chmod(0o700)
        for name in files if _WINDOWS else ():  # there a file that is read-only cannot be removed
            Path(directory, name).chmod(0o600)
    shutil.rmtree(folder, ignore_errors=True)
