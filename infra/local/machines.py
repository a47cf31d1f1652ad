"""The processes behind an instance of a scale set: a folder of its own in which its extension script runs.

A machine outlives the daemon: whether it was started and how its script ended lies in its folder. Its processes are
found by their environment. Deleting one is hard, as in Azure: nothing is asked to end.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.layout import FOLDER_MARK, Layout, append_line
from infra.local.processes import INSTANCE_MARK, ROOT_MARK, TASK_MARK, Environment, disown, kill_all, of_instance

# Where system commands are on Linux and macOS; the interpreter of this installation comes before them.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOG_TAIL_CHARACTERS = 1000
_GZIP_MAGIC = b"\x1f\x8b"

# Runs the scripts one after the other and leaves the exit code behind, also when the daemon is gone by then.
_LAUNCHER = """\
code=0
for script in "$@"; do
  bash "$script" || { code=$?; break; }
done
echo "$code" > exit.part && mv exit.part exit
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
        """What its extension scripts print."""
        return self.folder / "console.log"

    @property
    def started(self) -> Path:
        """There once the scripts were started."""
        return self.folder / "started"

    @property
    def exit(self) -> Path:
        """The exit code of the scripts, once they have ended."""
        return self.folder / "exit"


class Machines:
    """Starts, watches and kills machines."""

    def __init__(self, layout: Layout, metadata_url: Callable[[], str]) -> None:
        self._layout = layout
        self._metadata_url = metadata_url
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def files(self, node_id: str) -> MachineFiles:
        """Return the paths of a machine."""
        return MachineFiles(self._layout.instances / node_id)

    def start(self, node_id: str, nonce: str, scripts: list[str]) -> None:
        """Run the extension scripts of a machine, once."""
        files = self.files(node_id)
        with self._lock:
            if files.started.exists():
                return
            for folder in ("root", "tmp", "home"):
                (files.root / folder if folder != "root" else files.root).mkdir(parents=True, exist_ok=True)
            paths = []
            for number, script in enumerate(scripts):
                path = files.folder / f"extension-{number}.sh"
                path.write_text(script)
                paths.append(path.name)
            files.started.write_text(f"{time.time()}\n")
            with files.console.open("ab") as console:
                self._children[node_id] = subprocess.Popen(
                    ["bash", "-c", _LAUNCHER, "launcher", *paths],
                    cwd=files.folder,
                    env=self._environment(node_id, nonce),
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    start_new_session=True,
                )

    def exit_code(self, node_id: str) -> int | None:
        """Return how the extension scripts ended; None while they run."""
        child = self._children.get(node_id)
        if child is not None:
            child.poll()
        try:
            return int(self.files(node_id).exit.read_text())
        except FileNotFoundError:
            return None

    def console_tail(self, node_id: str) -> str:
        """Return the end of what the scripts printed."""
        return self.files(node_id).console.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]

    def switch_off(self, node_id: str) -> None:
        """Forget that a machine was started, so that it starts again with the host."""
        files = self.files(node_id)
        for path in (files.started, files.exit):
            path.unlink(missing_ok=True)

    def kill(self, node_id: str) -> list[Environment]:
        """SIGKILL every process of a machine; return their environments. Its folder stays."""
        killed = kill_all(of_instance(node_id, self.files(node_id).root))
        with self._lock:
            child = self._children.pop(node_id, None)
        if child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5.0)
        return killed

    def leave_running(self) -> None:
        """Give the machines up to the system, as this process is about to end."""
        disown(self._children)

    def delete(self, node_id: str) -> None:
        """Kill a machine and remove it, and write down which tasks that ended."""
        killed = self.kill(node_id)
        tasks = [environment for environment in killed if TASK_MARK in environment]
        append_line(
            self._layout.deletes_log,
            {
                "time": time.time(),
                "node_id": node_id,
                "processes": len(killed),
                "task_processes": len(tasks),
                "tasks": sorted({task[TASK_MARK] for task in tasks}),
            },
        )
        shutil.rmtree(self.files(node_id).folder, ignore_errors=True)

    def _environment(self, node_id: str, nonce: str) -> dict[str, str]:
        root = self.files(node_id).root
        return {
            "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "SSL_CERT_FILE": str(self._layout.ca_bundle),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{self._metadata_url()}/vm/{nonce}",
            ROOT_MARK: str(root),
            INSTANCE_MARK: node_id,
            FOLDER_MARK: str(self._layout.local),
        }


def extension_scripts(profile: dict[str, Any], protected: dict[str, dict[str, Any]]) -> list[str]:
    """Return the scripts that the extensions of a Linux model run, in order; `ValueError` when one cannot be read."""
    scripts = []
    for extension in profile.get("extensionProfile", {}).get("extensions", []):
        settings = extension.get("properties", {}).get("settings") or {}
        settings = settings | protected.get(extension.get("name", ""), {})
        if "script" in settings:
            data = base64.b64decode(settings["script"], validate=True)
            data = gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data
            scripts.append(data.decode())
        elif "commandToExecute" in settings:
            scripts.append(settings["commandToExecute"] + "\n")
    return scripts


def host_runs(*, windows: bool) -> bool:
    """Say whether this host can stand for a machine of that system."""
    return (os.name == "nt") == windows
