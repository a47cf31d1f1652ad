"""Lays the packages of a boot plan onto the machine: fetched by their hashes, archives unpacked, each whole or not."""

import hashlib
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from node_bootstrap.boot_plan import BootPackage
from node_bootstrap.protocol import BUNDLES
from node_bootstrap.runner.storage import Storage, StorageError

# As in stage 0: whatever is refused may be allowed in a minute.
_PATIENCE_SECONDS = 1200.0
_REQUEST_BYTES = 8 * 1024 * 1024
_PROGRAM = 0o100  # its owner may run it
_TAR_ENDINGS = (".tar.gz", ".tgz")


class PackageError(Exception):
    """A package cannot be laid onto the machine; the message says which and why."""


def lay_package(storage: Storage, package: BootPackage, folder: Path) -> str:
    """Put a package at `folder/name`, unless this very one is there; say what was done. Raises `PackageError`."""
    target, mark = folder / package.name, folder / f".{package.name}.sha256"
    if target.exists() and mark.exists() and mark.read_text(encoding="ascii") == package.sha256:
        return f"{package.name} is there already"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    fetched, unpacked = folder / f".{package.name}.part", folder / f".{package.name}.new"
    try:
        _fetch(storage, package, fetched)
        _unpack(package, fetched, unpacked)
    except StorageError as error:
        raise PackageError(f"the package {package.name} could not be fetched: {error}") from error
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise PackageError(f"the package {package.name} is not the archive that its blob says: {error}") from error
    mark.unlink(missing_ok=True)
    _remove(target)
    unpacked.rename(target)
    fetched.unlink(missing_ok=True)
    mark.write_text(package.sha256, encoding="ascii")
    return f"{package.name}: {package.size} bytes"


def _fetch(storage: Storage, package: BootPackage, path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, package.size, _REQUEST_BYTES):
            length = min(_REQUEST_BYTES, package.size - start)
            data = storage.get_range(BUNDLES, package.blob, start, length, _PATIENCE_SECONDS)
            digest.update(data)
            file.write(data)
    if digest.hexdigest() != package.sha256:
        path.unlink()
        raise PackageError(f"the package {package.name} has the SHA-256 {digest.hexdigest()}, not {package.sha256}")


def _unpack(package: BootPackage, fetched: Path, target: Path) -> None:
    _remove(target)
    if package.blob.endswith(_TAR_ENDINGS):
        target.mkdir(mode=0o755)
        with tarfile.open(fetched) as archive:
            archive.extractall(target, filter="data")
    elif package.blob.endswith(".zip"):
        target.mkdir(mode=0o755)
        with zipfile.ZipFile(fetched) as archive:
            for name in archive.namelist():
                # zipfile itself would drop the leading dots and go on; what climbs out is not what was meant.
                if ".." in (*PurePosixPath(name).parts, *PureWindowsPath(name).parts) or name.startswith(("/", "\\")):
                    raise PackageError(f"the package {package.name} has an entry outside of itself: {name!r}")
            archive.extractall(target)  # noqa: S202  every name was looked at
            _keep_programs(archive, target)
    else:
        fetched.rename(target)
        target.chmod(0o755)  # packages are often programs
    _let_tasks_read(target)


def _keep_programs(archive: zipfile.ZipFile, target: Path) -> None:
    """Give back what `extractall` leaves out, so that programs are programs."""
    for entry in archive.infolist():
        if entry.external_attr >> 16 & _PROGRAM and not entry.is_dir():
            (target / entry.filename).chmod(0o755)


def _let_tasks_read(top: Path) -> None:
    """Tasks run as another account than the one that unpacks; whoever packed may have kept files to himself."""
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            program = path.is_dir() or path.stat().st_mode & _PROGRAM
            path.chmod(0o755 if program else 0o644)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
