"""Engine and Azurite are found where they are, got where they are not, whole or not at all."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from infra.local import toolchain

FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.99.0; exit; fi
{build}
while [ "$1" != -o ]; do shift; done
mkdir -p "$(dirname "$2")" && echo engine > "$2"
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH besides the system's, with an empty cache and no way to the network."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname", "mkdir", "sleep"):
        found = next(path for path in ("/bin", "/usr/bin") if Path(path, name).exists())
        (folder / name).symlink_to(Path(found, name))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    return folder


def write(folder: Path, name: str, script: str) -> Path:
    """Write an executable script."""
    path = folder / name
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_versions_are_the_same_everywhere() -> None:
    """The versions at the top of the module are those of the module, package and lock files beside it."""
    module = (toolchain.ENGINE_SOURCES / "go.mod").read_text()
    assert module.count(f"github.com/pulumi/pulumi/pkg/v3 v{toolchain.ENGINE_VERSION}\n") == 1
    assert module.count(f"github.com/pulumi/pulumi/sdk/v3 v{toolchain.ENGINE_VERSION}\n") == 1
    assert f"\ngo {'.'.join(map(str, toolchain.OLDEST_GO))}\n" in module
    package = json.loads((toolchain.AZURITE_SOURCES / "package.json").read_text())
    assert package["dependencies"] == {"azurite": toolchain.AZURITE_VERSION}
    assert (toolchain.ENGINE_SOURCES / "go.lock").read_text().startswith(f"{toolchain.GO_PACKAGE} ")
    assert (toolchain.AZURITE_SOURCES / "node.lock").read_text().startswith(f"{toolchain.NODE_PACKAGE} ")


def test_lock_pins_by_hash_and_names_no_host() -> None:
    """Every npm package has an integrity hash, and none says where it comes from: that is the user's setting."""
    lock = json.loads((toolchain.AZURITE_SOURCES / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/azurite"]["version"] == toolchain.AZURITE_VERSION
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())


@pytest.mark.parametrize(
    ("version", "taken"), [("v3.300.1", True), ("v3.199.0", False), ("v4.0.0", False), ("", False)]
)
def test_an_engine_on_path_is_taken_if_it_fits(programs: Path, version: str, taken: bool) -> None:
    """A new enough engine on PATH is used as it is; an old, too new or broken one is passed over."""
    mine = write(programs, "pulumi", f"#!/bin/sh\necho {version}\n")
    cached = toolchain.cache_folder() / f"engine-{toolchain.ENGINE_VERSION}" / "bin" / "pulumi"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert toolchain.pulumi_command() == (mine if taken else cached)


def test_without_a_network_the_engine_is_built_once(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The failed download is told, Go builds into the cache, and the second call finds it."""
    write(programs, "go", FAKE_GO.format(build=""))
    engine = toolchain.pulumi_command()
    assert engine == toolchain.cache_folder() / f"engine-{toolchain.ENGINE_VERSION}" / "bin" / "pulumi"
    assert engine.read_text() == "engine\n"
    assert "the download failed" in capsys.readouterr().err
    assert toolchain.pulumi_command() == engine
    assert capsys.readouterr().err == ""


def test_a_failed_build_leaves_nothing_and_says_what_to_do(programs: Path) -> None:
    """Nothing half done stays, and the error has Go's own words and a way out."""
    write(programs, "go", FAKE_GO.format(build="echo no module for you; exit 3"))
    with pytest.raises(toolchain.ToolchainError, match=r"(?s)no module for you.*Install Pulumi .* put it on PATH"):
        toolchain.pulumi_command()
    assert [path.suffix for path in toolchain.cache_folder().iterdir()] == [".lock"]


@pytest.mark.usefixtures("programs")
def test_two_at_once_do_not_fight() -> None:
    """Of several that want the same folder one makes it and the others wait for that."""
    final = toolchain.cache_folder() / "thing-1"
    made = []

    def get(number: int) -> None:
        with toolchain._folder(final) as folder:
            if folder is not None:
                made.append(number)
                time.sleep(0.05)
                (folder / "whole").touch()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(get, range(4)))
    assert len(made) == 1
    assert (final / "whole").exists()


@pytest.mark.usefixtures("programs")
def test_what_a_killed_run_left_is_cleared() -> None:
    """A folder that was never finished is begun anew, and one that fails is removed."""
    final = toolchain.cache_folder() / "thing-1"
    partial = final.with_name("thing-1.partial")
    partial.mkdir(parents=True)
    (partial / "half").touch()

    def fail() -> None:
        with toolchain._folder(final) as folder:
            assert folder is not None
            assert list(folder.iterdir()) == []
            raise toolchain.ToolchainError("no")

    with pytest.raises(toolchain.ToolchainError):
        fail()
    assert not final.exists()
    assert not partial.exists()


@pytest.mark.usefixtures("programs")
def test_what_takes_too_long_is_ended_with_all_it_started() -> None:
    """A time limit ends the program and its children."""
    with pytest.raises(toolchain.ToolchainError, match="did not end within"):
        toolchain._run(["sh", "-c", "sleep 4711 & sleep 4711"], 0.2)
    started = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4711"]]
    _, living = psutil.wait_procs(started, timeout=60)
    assert living == []


def test_an_absolute_cache_folder_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME counts when it is an absolute path, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert toolchain.cache_folder() == Path("/somewhere/millpond")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert toolchain.cache_folder() == Path.home() / ".cache" / "millpond"


@pytest.mark.system
def test_what_is_prepared_runs() -> None:
    """The engine says a version that the Automation API accepts, Azurite its own; the second time is quick."""
    toolchain.prepare()
    engine = subprocess.run([toolchain.pulumi_command(), "version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"v3\.\d+\.\d+\S*\n", engine.stdout)
    azurite = subprocess.run([*toolchain.azurite_command(), "--version"], capture_output=True, text=True, check=True)
    assert azurite.stdout.strip() == toolchain.AZURITE_VERSION
    started = time.monotonic()
    command = [sys.executable, "-m", "infra.local.toolchain"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert re.fullmatch(r"engine: found .* \d+ s\nazurite: found .* \d+ s\n", again.stdout)
    assert time.monotonic() - started < 60
