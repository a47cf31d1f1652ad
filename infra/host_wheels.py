"""The scheduler's third-party packages for another machine's Python: from the project's own lock, checked by hash.

What is fetched is the run-time part alone, by `pip` as its user has set it up. Wheels are kept in the user's cache.
"""

import contextlib
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.cache import cache_folder

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"

# What the scheduler imports itself; a test compares it with the imports.
SCHEDULER_PACKAGES = (
    "alembic",
    "azure-batch",
    "azure-core",
    "azure-identity",
    "azure-mgmt-compute",
    "azure-storage-blob",
    "azure-storage-queue",
    "certifi",
    "fastapi",
    "httpx",
    "jinja2",
    "psycopg",
    "psycopg-binary",
    "pydantic",
    "pydantic-core",
    "pyyaml",
    "rich",
    "sqlalchemy",
    "starlette",
    "typer",
    "uvicorn",
)

# Wheels name the oldest C library that they run with (PEP 600); Ubuntu 22.04 has 2.35, 24.04 has 2.39.
_OLDEST_GLIBC, _NEWEST_GLIBC = 17, 35
_PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)),
    "manylinux2014_x86_64",
)
_ENTRY = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_FETCH_SECONDS = 600.0


class HostBundleError(Exception):
    """The scheduler cannot be packed for its host; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A package as the lock has it: one version, and the hashes of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """The line that pip reads."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])


def target_environment(python: str) -> dict[str, str]:
    """Give what environment markers see on the host (PEP 508): Linux on x86-64 with that Python."""
    return {
        **{name: str(value) for name, value in default_environment().items()},
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def read_lock(text: str, environment: Mapping[str, str]) -> dict[str, Pin]:
    """Read the pins that apply in an environment, by name."""
    pins: dict[str, Pin] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        entry = _ENTRY.match(block)
        if entry and (entry["marker"] is None or Marker(entry["marker"]).evaluate(dict(environment))):
            name = canonicalize_name(entry["name"])
            pins[name] = Pin(name, entry["version"], tuple(_HASH.findall(block)))
    return pins


def closure(roots: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name all packages that some need, by the metadata of those that are installed here.

    A package that is not installed here (another platform's) counts as needing nothing; `fetch_wheels` checks that.
    """
    seen: set[tuple[str, tuple[str, ...]]] = set()
    ahead: list[tuple[str, tuple[str, ...]]] = [(canonicalize_name(root), ()) for root in roots]
    while ahead:
        name, extras = package = ahead.pop()
        if package in seen:
            continue
        seen.add(package)
        with contextlib.suppress(PackageNotFoundError):
            ahead.extend(_needed(distribution(name).requires or [], extras, environment))
    return tuple(sorted({name for name, _ in seen}))


def _needed(
    needs: Iterable[str], extras: Sequence[str], environment: Mapping[str, str]
) -> Iterable[tuple[str, tuple[str, ...]]]:
    for text in needs:
        need = Requirement(text)
        wanted = (
            [need.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)] if need.marker else []
        )
        if need.marker is None or any(wanted):
            yield canonicalize_name(need.name), tuple(sorted(need.extras))


def pins_for(python: str, lock: Path = LOCK) -> tuple[Pin, ...]:
    """Give the pins of what the scheduler needs on a host with that Python. Raises `HostBundleError`."""
    environment = target_environment(python)
    try:
        locked = read_lock(lock.read_text(encoding="utf-8"), environment)
    except OSError as error:
        raise HostBundleError(
            f"{lock} cannot be read ({error.strerror}); run from a checkout of the project"
        ) from error
    names = closure(SCHEDULER_PACKAGES, environment)
    missing = [name for name in names if name not in locked]
    if missing:
        raise HostBundleError(f"{lock.name} does not have {', '.join(missing)}; run `make lock`, then `make setup`")
    return tuple(locked[name] for name in names)


def fetch_wheels(python: str, pins: Sequence[Pin], cache: Path | None = None) -> tuple[Path, ...]:
    """Give the wheels of these pins for the host, out of the cache or fetched into it. Raises `HostBundleError`."""
    requirements = "".join(f"{pin.requirement}\n" for pin in pins)
    key = hashlib.sha256("\n".join([python, *_PLATFORMS, requirements]).encode()).hexdigest()[:16]
    folder = (cache or cache_folder()) / f"host-wheels-{key}"
    if not _intact(folder, pins):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as made:
            fetched = Path(made) / "wheels"
            fetched.mkdir()
            _download(python, requirements, fetched)
            _check_complete(python, fetched, {pin.name for pin in pins})
            shutil.rmtree(folder, ignore_errors=True)
            fetched.rename(folder)
    return tuple(sorted(folder.glob("*.whl")))


def _intact(folder: Path, pins: Sequence[Pin]) -> bool:
    hashes = {digest for pin in pins for digest in pin.hashes}
    wheels = list(folder.glob("*.whl"))
    return len(wheels) == len(pins) and all(
        hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes for wheel in wheels
    )


def _download(python: str, requirements: str, into: Path) -> None:
    listed = into / "requirements.txt"
    listed.write_text(requirements, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={python}", *(f"--platform={platform}" for platform in _PLATFORMS)]
    try:
        done = subprocess.run(
            [*command, f"--dest={into}", f"--requirement={listed}"],
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostBundleError(f"pip did not fetch the scheduler's packages for Python {python}: {error}") from error
    listed.unlink()
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        last = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()
        raise HostBundleError(
            f"the scheduler's packages for Python {python} on Linux cannot be fetched; see that this machine reaches "
            f"its package index and that scheduler.python is the host's version. pip says: {' '.join(last)[:1000]}"
        )


def _check_complete(python: str, folder: Path, names: set[str]) -> None:
    """See that no wheel needs a package that is not there: what is installed here may need less than on the host."""
    environment = target_environment(python)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            headers = HeaderParser().parsestr(archive.read(metadata).decode())
        for name, _ in _needed(headers.get_all("Requires-Dist") or [], (), environment):
            if name not in names:
                raise HostBundleError(
                    f"{wheel.name} needs {name} on the host, which is not installed here; add it to SCHEDULER_PACKAGES"
                )
