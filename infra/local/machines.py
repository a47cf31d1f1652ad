"""The processes behind a machine: a folder of its own in which its scripts run.

A machine outlives the daemon: what was started and how it ended lies in its folder. Its processes are found by their
environment. Deleting one is hard, as in Azure: nothing is asked to end.
"""

import base64
import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.layout import FOLDER_MARK, Layout, append_line
from infra.local.processes import (
    INSTANCE_MARK,
    ROOT_MARK,
    TASK_MARK,
    Environment,
    disown,
    kill_all,
    marked,
    of_folder,
    of_instance,
)

# Where system commands are on Linux and macOS; the interpreter of this installation comes before them.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOG_TAIL_CHARACTERS = 1000
_GZIP_MAGIC = b"\x1f\x8b"
# One look at all processes serves everybody who asks within this time.
_LOOK_SECONDS = 0.5
_YOUNG_SECONDS = 1.0
_KILLED = 137  # 128 and the number of SIGKILL: what a shell says of a command that was killed

# The scripts of the model, as against those of one extension of a virtual machine.
BOOT = "boot"

# Runs the scripts one after the other and leaves the exit code behind, also when the daemon is gone by then.
_LAUNCHER = """\
run=$1; shift
code=0
for script in "$@"; do
  bash "$script" || { code=$?; break; }
done
echo "$code" > "$run.part" && mv "$run.part" "$run.exit"
"""


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """The paths of one machine."""

    folder: Path

    @property
    def root(self) -> Path:
        """What the machine takes for its file system's root."""
        return self.folder / "root"

    @property
    def console(self) -> Path:
        """What its scripts print."""
        return self.folder / "console.log"

    @property
    def lived(self) -> Path:
        """There once processes were seen to live on after the scripts."""
        return self.folder / "lived"

    def started(self, run: str) -> Path:
        """Be there once the scripts of a run were started; it holds where in the console their output begins."""
        return self.folder / f"{run}.started"

    def exit(self, run: str) -> Path:
        """Hold the exit code of the scripts of a run, once they have ended."""
        return self.folder / f"{run}.exit"


class Machines:
    """Starts, watches and kills machines. Each has a name that no other has, its `key`."""

    def __init__(self, layout: Layout, metadata_url: Callable[[], str]) -> None:
        self._layout = layout
        self._metadata_url = metadata_url
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._alive: frozenset[str] = frozenset()
        self._looked = -_LOOK_SECONDS

    def files(self, key: str) -> MachineFiles:
        """Return the paths of a machine."""
        return MachineFiles(self._layout.instances / key)

    def disk(self, name: str) -> Path:
        """Return the folder that stands for a data disk; it outlives the machines that it is attached to."""
        return self._layout.local / "disks" / name

    def start(
        self, key: str, nonce: str, scripts: list[str], extra: Mapping[str, str] | None = None, run: str = BOOT
    ) -> None:
        """Run scripts on a machine, each run once until it is forgotten."""
        files = self.files(key)
        with self._lock:
            if files.started(run).exists():
                return
            for folder in ("root", "tmp", "home"):
                (files.root / folder if folder != "root" else files.root).mkdir(parents=True, exist_ok=True)
            paths = []
            for number, script in enumerate(scripts):
                path = files.folder / f"{run}-{number}.sh"
                path.write_text(script)
                paths.append(path.name)
            with files.console.open("ab") as console:
                files.started(run).write_text(str(console.tell()))
                self._children[f"{key}/{run}"] = subprocess.Popen(
                    ["bash", "-c", _LAUNCHER, "launcher", run, *paths],
                    cwd=files.folder,
                    env=self._environment(key, nonce) | dict(extra or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    start_new_session=True,
                )

    def exit_code(self, key: str, run: str = BOOT) -> int | None:
        """Return how the scripts of a run ended; None while they run."""
        child = self._children.get(f"{key}/{run}")
        if child is not None:
            child.poll()
        try:
            return int(self.files(key).exit(run).read_text())
        except FileNotFoundError:
            return None

    def ending(self, key: str, run: str) -> int | None:
        """Return how a run ended, also one whose processes were all killed; None while it runs."""
        code = self.exit_code(key, run)
        if code is not None or self._is_young(key, run) or key in self.alive(fresh=True):
            return code
        # If the scripts ended in this moment, their exit code is there now.
        code = self.exit_code(key, run)
        return _KILLED if code is None else code

    def _is_young(self, key: str, run: str) -> bool:
        """Say whether a run's own process lives, or was started so lately that it may not be found yet."""
        child = self._children.get(f"{key}/{run}")
        if child is not None and child.poll() is None:
            return True
        try:
            started_at = self.files(key).started(run).stat().st_mtime
        except FileNotFoundError:
            return False
        return time.time() - started_at < _YOUNG_SECONDS

    def output(self, key: str, run: str = BOOT) -> str:
        """Return the end of what the scripts of a run printed."""
        files = self.files(key)
        try:
            begin = int(files.started(run).read_text() or 0)
            with files.console.open("rb") as console:
                console.seek(begin)
                return console.read().decode(errors="replace")[-_LOG_TAIL_CHARACTERS:]
        except FileNotFoundError:
            return ""

    def alive(self, *, fresh: bool = False) -> frozenset[str]:
        """Return the machines that have a process, as of now or of half a second ago."""
        with self._lock:
            if fresh or time.monotonic() - self._looked >= _LOOK_SECONDS:
                found = marked(of_folder(self._layout.local))
                self._alive = frozenset(environment.get(INSTANCE_MARK, "") for _, environment in found)
                self._looked = time.monotonic()
            return self._alive

    def note_life(self, key: str) -> None:
        """Write down whether a machine has processes after its scripts, so that their end is noticed."""
        if key in self.alive(fresh=True):
            self.files(key).lived.touch()

    def is_lost(self, key: str) -> bool:
        """Say whether a machine had processes after its scripts and has none now."""
        return self.files(key).lived.exists() and key not in self.alive()

    def forget(self, key: str, run: str) -> None:
        """Forget that a run was started, so that it can be started again."""
        files = self.files(key)
        for path in (files.started(run), files.exit(run)):
            path.unlink(missing_ok=True)

    def switch_off(self, key: str) -> None:
        """Forget that a machine was started, so that it starts again with the host."""
        self.forget(key, BOOT)
        self.files(key).lived.unlink(missing_ok=True)

    def wipe(self, key: str) -> None:
        """Empty a machine's disk, as a new image does."""
        files = self.files(key)
        shutil.rmtree(files.root, ignore_errors=True)
        self.switch_off(key)

    def kill(self, key: str) -> list[Environment]:
        """SIGKILL every process of a machine; return their environments. Its folder stays."""
        killed = kill_all(of_instance(key, self.files(key).root))
        with self._lock:
            own = [name for name in self._children if name.rpartition("/")[0] == key]
            children = [self._children.pop(name) for name in own]
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5.0)
        return killed

    def leave_running(self) -> None:
        """Give the machines up to the system, as this process is about to end."""
        disown(self._children)

    def stop(self, key: str) -> None:
        """Kill a machine, and write down which tasks that ended. Its disk stays."""
        killed = self.kill(key)
        tasks = [environment for environment in killed if TASK_MARK in environment]
        append_line(
            self._layout.deletes_log,
            {
                "time": time.time(),
                "node_id": key,
                "processes": len(killed),
                "task_processes": len(tasks),
                "tasks": sorted({task[TASK_MARK] for task in tasks}),
            },
        )

    def delete(self, key: str) -> None:
        """Kill a machine and remove it, and write down which tasks that ended."""
        self.stop(key)
        shutil.rmtree(self.files(key).folder, ignore_errors=True)

    def _environment(self, key: str, nonce: str) -> dict[str, str]:
        root = self.files(key).root
        return {
            "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "SSL_CERT_FILE": str(self._layout.ca_bundle),
            "REQUESTS_CA_BUNDLE": str(self._layout.ca_bundle),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{self._metadata_url()}/vm/{nonce}",
            ROOT_MARK: str(root),
            INSTANCE_MARK: key,
            FOLDER_MARK: str(self._layout.local),
        }


def extension_scripts(profile: dict[str, Any], protected: dict[str, dict[str, Any]]) -> list[str]:
    """Return the scripts that the extensions of a Linux model run, in order; `ValueError` when one cannot be read."""
    extensions = (profile.get("extensionProfile") or {}).get("extensions") or []
    scripts = [
        extension_script(extension.get("properties") or {}, protected.get(extension.get("name", ""), {}))
        for extension in extensions
    ]
    return [script for script in scripts if script is not None]


def extension_script(properties: dict[str, Any], secret: dict[str, Any]) -> str | None:
    """Return the script that one extension runs, or None."""
    settings = (properties.get("settings") or {}) | secret
    if "script" in settings:
        data = base64.b64decode(settings["script"], validate=True)
        data = gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data
        return data.decode()
    if "commandToExecute" in settings:
        return str(settings["commandToExecute"]) + "\n"
    return None


def host_runs(*, windows: bool) -> bool:
    """Say whether this host can stand for a machine of that system."""
    return (os.name == "nt") == windows
