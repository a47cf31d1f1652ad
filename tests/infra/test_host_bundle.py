"""The host's bundle: the lock's own packages for another Python, checked by hash, the same bytes each time."""

import ast
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

import scheduler
from infra import host_wheels
from infra.cache import cache_folder
from infra.host_bundle import TOOLS, build_host_bundle
from infra.host_wheels import (
    LOCK,
    SCHEDULER_PACKAGES,
    HostBundleError,
    Pin,
    closure,
    fetch_wheels,
    pins_for,
    read_lock,
    target_environment,
)

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NEVER = {"pulumi", "pulumi-azure-native", "matplotlib", "pytest", "mypy", "ruff", "psutil"}


def wheel(folder: Path, name: str, needs: str = "") -> tuple[Path, str]:
    """Make a wheel, and give its hash."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{name}.py", "VALUE = 1\n")
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            "Version: 1.0",
            *([f"Requires-Dist: {needs}"] if needs else []),
        ]
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    path = folder / f"{name}-1.0-py3-none-any.whl"
    path.write_bytes(data.getvalue())
    return path, hashlib.sha256(data.getvalue()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_named_packages_are_those_that_the_scheduler_imports() -> None:
    """Each third-party import of the scheduler is of a named package, and each named package is imported."""
    names = {"yaml": "pyyaml"}
    imported = set()
    sources = Path(scheduler.__file__).parent
    for path in sources.rglob("*.py"):
        if path.relative_to(sources).as_posix().startswith(TOOLS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            imported |= {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names}
    packages = set()
    for name in imported:
        parts = name.split(".")
        if parts[0] in {"scheduler", "node_bootstrap"}:
            continue
        nested = {"azure": 2, "azure.mgmt": 3, "azure.storage": 3}
        length = nested.get(".".join(parts[:2]), nested.get(parts[0], 1))
        packages.add(names.get(parts[0], canonicalize_name("-".join(parts[:length]))))
    # SQLAlchemy loads the driver that a store's address names.
    assert packages | {"psycopg", "psycopg-binary"} == set(SCHEDULER_PACKAGES)
    assert all(find_spec(name.split(".")[0]) for name in imported)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_has_all_that_the_host_needs_and_the_host_gets_no_more(python: str) -> None:
    """Every pin has its hashes; what only deployers and developers need is not among them."""
    pins = pins_for(python)
    names = {pin.name for pin in pins}
    assert set(SCHEDULER_PACKAGES) <= names
    assert not names & NEVER
    assert "colorama" not in names, "a package of another platform"
    assert all(pin.hashes for pin in pins)


@given(st.sampled_from(["3.11", "3.12", "3.13"]))
def test_the_lock_gives_one_version_a_package(python: str) -> None:
    """Of a package that the lock has twice, the version for that Python is taken."""
    pins = read_lock(LOCK.read_text(encoding="utf-8"), target_environment(python))
    numpy = re.findall(r"^numpy==(\S+) ; python_full_version (<|>=) '3\.12'", LOCK.read_text(), re.MULTILINE)
    wanted = {sign: version for version, sign in numpy}
    assert pins["numpy"].version == wanted["<" if python == "3.11" else ">="]


def test_extras_are_followed() -> None:
    """What a package needs for an extra that another asks for is in: msal asks for pyjwt[crypto]."""
    assert "cryptography" in closure(["msal"], target_environment("3.12"))
    assert closure(["no-such-package-anywhere"], target_environment("3.12")) == ("no-such-package-anywhere",)


def test_wheels_are_fetched_once_and_checked_each_time(index: Path, tmp_path: Path) -> None:
    """A second build fetches nothing; a wheel that was changed in the cache is fetched again."""
    made, digest = wheel(index, "first")
    pins = [Pin("first", "1.0", (digest,))]
    (found,) = fetch_wheels("3.12", pins, tmp_path / "cache")
    made.unlink()
    assert fetch_wheels("3.12", pins, tmp_path / "cache") == (found,)
    found.write_bytes(b"something else")
    with pytest.raises(HostBundleError, match="first"):
        fetch_wheels("3.12", pins, tmp_path / "cache")
    wheel(index, "first")
    pins = [Pin("first", "1.0", (hashlib.sha256((index / made.name).read_bytes()).hexdigest(),))]
    assert fetch_wheels("3.12", pins, tmp_path / "cache")[0].read_bytes() == (index / made.name).read_bytes()


def test_another_file_than_the_lock_names_is_refused(index: Path, tmp_path: Path) -> None:
    """A package index that gives other bytes changes nothing in the cache."""
    wheel(index, "first")
    with pytest.raises(HostBundleError, match=r"(?i)do not match"):
        fetch_wheels("3.12", [Pin("first", "1.0", ("0" * 64,))], tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_a_package_that_is_missing_on_the_host_is_found_here(index: Path, tmp_path: Path) -> None:
    """A wheel whose own metadata names a package that was not fetched is an error that names both."""
    _, digest = wheel(index, "first", needs="second>=1; sys_platform == 'linux'")
    with pytest.raises(HostBundleError, match=r"first-1\.0.* needs second"):
        fetch_wheels("3.12", [Pin("first", "1.0", (digest,))], tmp_path / "cache")


def test_without_a_network_one_error_says_what_could_not_be_built(index: Path, tmp_path: Path) -> None:
    """The error names the Python, the setting and pip's own reason."""
    assert not list(index.iterdir())
    with pytest.raises(HostBundleError, match=r"for Python 3\.12 on Linux.*scheduler\.python.*No matching"):
        build_host_bundle("3.12", tmp_path / "cache")


def test_a_lock_that_lacks_a_package_is_told(tmp_path: Path) -> None:
    """The message names the package and the command that mends it."""
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK.read_text(encoding="utf-8").replace("fastapi==", "slowapi=="))
    with pytest.raises(HostBundleError, match=r"does not have fastapi.*make lock"):
        pins_for("3.12", lock)
    with pytest.raises(HostBundleError, match="cannot be read"):
        pins_for("3.12", tmp_path / "nothing")


@pytest.fixture(scope="module")
def cache() -> Path:
    """The user's cache, where the real packages are or go."""
    return cache_folder()


def test_the_same_sources_make_the_same_bundle_and_it_runs(cache: Path, tmp_path: Path) -> None:
    """Built twice it is the same; unpacked, this machine's Python runs the scheduler from it and nothing else."""
    bundle = build_host_bundle(PYTHON, cache)
    assert build_host_bundle(PYTHON, cache) == bundle
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle.data))) as archive:
        archive.extractall(tmp_path, filter="data")
    assert (tmp_path / "python-version").read_text() == f"{PYTHON}\n"
    for packed in (tmp_path / "wheels").glob("*.whl"):
        with zipfile.ZipFile(packed) as content:
            content.extractall(tmp_path / "site")  # noqa: S202 - checked by the lock's hashes
    shutil.rmtree(tmp_path / "wheels")
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-m", "scheduler", "scheduler", "run", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{tmp_path / 'site'}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--settings-url" in done.stdout


def test_no_registry_is_named() -> None:
    """Where packages come from is pip's own configuration."""
    for module in (host_wheels,):
        assert not re.search(r"https?://", Path(str(module.__file__)).read_text(encoding="utf-8"))
