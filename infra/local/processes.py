"""Finding and ending processes by the marks in their environment, whoever their parent is by now.

Tasks start sessions of their own and daemons die without notice, so neither parents nor groups say what belongs to
what; the environment a process was started with does.
"""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from infra.local.layout import FOLDER_MARK

INSTANCE_MARK = "MILLPOND_INSTANCE"
STORAGE_MARK = "MILLPOND_STORAGE_ACCOUNT"
DATABASE_MARK = "MILLPOND_DATABASE_SERVER"
ROOT_MARK = "MILLPOND_ROOT"
# Part of the node protocol: only processes of tasks have it.
TASK_MARK = "MILLPOND_TASK_INDEX"

_LOOK_AGAIN_SECONDS = 0.05
# Longer than the kernel takes from closing files to showing the new program's environment, on a busy machine.
_EXECUTION_SECONDS = 0.01
_MOST_LOOKS = 10

Environment = dict[str, str]


def marked(matches: Callable[[Environment], bool]) -> list[tuple[psutil.Process, Environment]]:
    """List the living processes of this user whose environment matches, this one left out.

    While a process executes a program anew, Linux shows an empty environment for a moment: those are looked at again.
    """
    found, blank = [], []
    for process in psutil.process_iter():
        environment = _environment(process)
        if environment is not None and matches(environment):
            found.append((process, environment))
        elif environment == {}:
            blank.append(process)
    for _ in range(_MOST_LOOKS):
        if not blank:
            break
        time.sleep(_EXECUTION_SECONDS)
        again = [(process, environment) for process in blank if (environment := _environment(process)) is not None]
        found += [(process, environment) for process, environment in again if matches(environment)]
        blank = [process for process, environment in again if not environment]
    return found


def of_instance(node_id: str, root: Path) -> Callable[[Environment], bool]:
    """Match the processes of one instance; its root tells it from one of the same name in another folder."""
    return lambda environment: (
        environment.get(INSTANCE_MARK) == node_id and environment.get(ROOT_MARK, str(root)) == str(root)
    )


def of_folder(local: Path) -> Callable[[Environment], bool]:
    """Match everything that the local Azure in this folder has started."""

    def matches(environment: Environment) -> bool:
        root = environment.get(ROOT_MARK)
        return environment.get(FOLDER_MARK) == str(local) or (
            INSTANCE_MARK in environment and root is not None and Path(root).is_relative_to(local)
        )

    return matches


def of_storage(local: Path) -> Callable[[Environment], bool]:
    """Match the storage servers of this folder."""
    return lambda environment: STORAGE_MARK in environment and environment.get(FOLDER_MARK) == str(local)


def kill_all(matches: Callable[[Environment], bool], patience_seconds: float = 10.0) -> list[Environment]:
    """SIGKILL what matches until nothing is left; return the environments of those found at first."""
    deadline = time.monotonic() + patience_seconds
    first = found = marked(matches)
    while found:
        for process, _ in found:
            _quietly(process.kill)
        time.sleep(_LOOK_AGAIN_SECONDS)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {[process.pid for process, _ in found]} do not end after SIGKILL")
        found = marked(matches)
    return [environment for _, environment in first]


def terminate(matches: Callable[[Environment], bool], patience_seconds: float) -> int:
    """SIGTERM what matches, SIGKILL what is left after the patience; return how many there were."""
    found = [process for process, _ in marked(matches)]
    for process in found:
        _quietly(process.terminate)
    deadline = time.monotonic() + patience_seconds
    # Zombies count as gone: whoever is their parent may never wait for them.
    while marked(matches) and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_SECONDS)
    kill_all(matches)
    return len(found)


def disown(children: dict[str, subprocess.Popen[bytes]]) -> None:
    """Forget children that are to live on; otherwise Python warns of each that was not waited for."""
    for child in children.values():
        if child.poll() is None:
            child.returncode = 0
    children.clear()


def _environment(process: psutil.Process) -> Environment | None:
    """Read what a process was started with; None when it is this one, gone, a zombie, or another user's."""
    if process.pid == os.getpid():
        return None
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return None


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except psutil.NoSuchProcess:
        return
