"""Starting, stopping and harming the local Azure of a folder, from outside its daemon."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.environment import past_proxies
from infra.local.health import left_behind, look
from infra.local.layout import FOLDER_MARK, Layout, LocalAzureError, RunningState, read_state
from infra.local.lock import is_held, running
from infra.local.processes import (
    DATABASE_MARK,
    INSTANCE_MARK,
    Environment,
    disown,
    kill_all,
    marked,
    of_folder,
    of_instance,
    terminate,
)
from infra.local.start_failures import MESSAGE_MARK, explain

DEFAULT_BOOT_DELAY_SECONDS = 3.0
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_RESTART_SECONDS = 2.0  # for a daemon that is broken anyway
_LOOK_AGAIN_SECONDS = 0.05
_LOG_TAIL_CHARACTERS = 2000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `stop` ended: whether a daemon was up, and how many machines' processes were alive."""

    daemon: bool
    instances: int


def start(home: Path, boot_delay: float = DEFAULT_BOOT_DELAY_SECONDS, say: Say = lambda _: None) -> RunningState:
    """Start the local Azure of a home unless it is up, and return where it is once clients are answered.

    `boot_delay` is in seconds, from a machine's order to the start of its bootstrap.
    """
    layout = Layout(home.resolve())
    try:
        state = _whole(layout, say)
        if state is not None:
            if state.boot_delay_seconds != boot_delay:
                raise LocalAzureError(
                    f"the local Azure of {layout.home} is up already, with a boot delay of"
                    f" {state.boot_delay_seconds:g} s; to change it, run: millpond local down"
                )
            say("already up")
            return state
        return _start(layout, boot_delay, say)
    except OSError as error:
        raise LocalAzureError(explain(error, layout)) from error


def _whole(layout: Layout, say: Say) -> RunningState | None:
    """Return where the daemon is if it runs and every part of it answers; end one that is broken, and say why."""
    if not is_held(layout):
        if layout.state_file.exists():
            storage, processes = left_behind(layout)
            say(f"the last daemon ended without `down`; taking over {storage} storage servers, {processes} processes")
        return None
    state = _await_state(layout)
    broken = [part for part in look(layout, state) if not part.healthy] if state is not None else []
    if state is not None and not broken:
        return state
    for part in broken:
        say(f"{part.name}: {part.detail}")
    if state is None:
        say(f"a daemon runs, and {layout.state_file} cannot be read")
    say("starting the daemon again; machines and storage go on")
    terminate(_of_daemon(layout), _RESTART_SECONDS)
    return None


def _await_state(layout: Layout) -> RunningState | None:
    """Return where the daemon is; one that was started a moment ago has not said so yet."""
    deadline = time.monotonic() + _RESTART_SECONDS
    while (state := read_state(layout)) is None and is_held(layout) and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_SECONDS)
    return state


def _of_daemon(layout: Layout) -> Callable[[Environment], bool]:
    """Match the daemon alone of all that the local Azure in this folder has started."""
    folder = str(layout.local)
    return lambda environment: (
        environment.get(FOLDER_MARK) == folder
        and "AZURITE_ACCOUNTS" not in environment
        and DATABASE_MARK not in environment
        and INSTANCE_MARK not in environment
    )


def _start(layout: Layout, boot_delay: float, say: Say) -> RunningState:
    layout.local.mkdir(parents=True, exist_ok=True)
    layout.state_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "infra.local.daemon", "--home", str(layout.home), "--boot-delay", str(boot_delay)]
    with layout.daemon_log.open("ab") as log:
        offset = log.tell()
        child = subprocess.Popen(
            command,
            env=os.environ | past_proxies() | {FOLDER_MARK: str(layout.local)},
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    say(f"starting process {child.pid}; log: {layout.daemon_log}")
    return _await_start(layout, child, offset)


def _await_start(layout: Layout, child: subprocess.Popen[bytes], offset: int) -> RunningState:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        state = read_state(layout)
        if state is not None and state.pid == child.pid:
            disown({"daemon": child})
            return state
        ended = child.poll() is not None
        if ended or time.monotonic() > deadline:
            if not ended:
                child.kill()
                child.wait()
            elif (other := running(layout)) is not None:
                return other  # someone else started it at the same moment
            tail = layout.daemon_log.read_bytes()[offset:].decode(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip()
            _, told, message = tail.rpartition(MESSAGE_MARK)
            if told:
                raise LocalAzureError(message)
            raise LocalAzureError(f"the local Azure did not start; the end of {layout.daemon_log}:\n{tail}")
        time.sleep(_LOOK_AGAIN_SECONDS)


def stop(home: Path) -> Stopped:
    """Stop everything of a home, also what a killed daemon left behind. Machines start again with the next `start`."""
    layout = Layout(home.resolve())
    was_up = is_held(layout)
    folder = of_folder(layout.local)

    def is_machine(environment: Environment) -> bool:
        return INSTANCE_MARK in environment and folder(environment)

    terminate(_of_daemon(layout), _STOP_SECONDS)
    machines = kill_all(is_machine)
    terminate(folder, _STOP_SECONDS)  # storage, which writes everything out first
    layout.state_file.unlink(missing_ok=True)
    if layout.local.is_dir():
        layout.powered_off.touch()
    return Stopped(was_up, len({environment[INSTANCE_MARK] for environment in machines}))


def instances(home: Path) -> dict[str, int]:
    """Count the living processes of each machine of a home."""
    layout = Layout(home.resolve())
    counts = {folder.name: 0 for folder in sorted(layout.instances.glob("*")) if folder.is_dir()}
    for _, environment in marked(of_folder(layout.local)):
        if INSTANCE_MARK in environment:
            counts[environment[INSTANCE_MARK]] = counts.get(environment[INSTANCE_MARK], 0) + 1
    return counts


def kill_instance(home: Path, node_id: str) -> int:
    """SIGKILL every process of a machine, as a hung one: Azure goes on listing it. Return how many there were."""
    layout = Layout(home.resolve())
    folder = layout.instances / node_id
    if not folder.is_dir():
        known = ", ".join(instances(home)) or "none"
        raise LocalAzureError(f"there is no machine '{node_id}' in {layout.instances}; there are: {known}")
    return len(kill_all(of_instance(node_id, folder / "root")))


def kill_daemon(home: Path) -> None:
    """SIGKILL the daemon alone; machines and storage go on."""
    layout = Layout(home.resolve())
    state = running(layout)
    if state is None:
        raise LocalAzureError(f"the local Azure of {layout.home} is not up; start it with: millpond local up")
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        process = psutil.Process(state.pid)
        os.kill(state.pid, signal.SIGKILL)
        process.wait(_STOP_SECONDS)
