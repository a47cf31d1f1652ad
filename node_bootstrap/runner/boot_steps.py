"""Carries out a pool's own part of the boot: packages, then start commands, each a recorded step of its own.

`python3 -m node_bootstrap.runner.boot_steps RUNNER PLAN`, with the settings that `boot_settings` wrote. A step is
recorded when it begins and when it ends; the first that fails ends the boot. Run again, packages that are there stay
and start commands run once more, as the start task of Azure Batch does: a start command has to bear that.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node_bootstrap.boot_plan import BootPlan, StartCommand
from node_bootstrap.protocol import ProtocolError, decode
from node_bootstrap.runner.boot_packages import PackageError, lay_package
from node_bootstrap.runner.boot_record import BootRecorder, boot_settings, boot_storage
from node_bootstrap.runner.boot_settings import packages_folder
from node_bootstrap.runner.process_tree import RUN_MARK, end_tree
from node_bootstrap.runner.storage import Storage, StorageError

# Their places among the steps of a boot: after disk, before service.
PACKAGES_NUMBER = 5
COMMANDS_NUMBER = 6
# What `timeout` of coreutils says, and what shells know.
TIMED_OUT = 124

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_TAIL_BYTES = 4096
_WINDOWS = os.name == "nt"


class BootStepError(Exception):
    """A step failed and is recorded; the message is for the machine's own log."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the steps work with. `folder` is where scripts and their output are kept."""

    storage: Storage
    recorder: BootRecorder
    folder: Path
    environment: Mapping[str, str]


def main(arguments: list[str]) -> int:
    """Carry out the steps; give 1 when one failed."""
    settings_file, plan_file = map(Path, arguments)
    settings = boot_settings(settings_file)
    try:
        plan = decode(BootPlan, plan_file.read_bytes())
    except ProtocolError as error:
        sys.stderr.write(f"{plan_file}: {error}\n")
        return 1
    with boot_storage(settings) as storage:
        folder = settings_file.parent / "start"
        folder.mkdir(mode=0o700, exist_ok=True)
        environment = {
            **os.environ,
            **settings.get("environment", {}),
            "AZ_BATCH_POOL_ID": settings["pool"],
            "AZ_BATCH_NODE_ID": settings["node_id"],
        }
        machine = _Machine(storage, BootRecorder(storage, settings["node_id"]), folder, environment)
        try:
            _lay_packages(machine, plan, packages_folder(settings_file))
            for number, command in enumerate(plan.start_commands, start=1):
                _run_command(machine, f"start-{number:02}-{command.name}", command)
        except BootStepError as error:
            sys.stdout.write(f"{error}\n")
            return 1
    return 0


def _lay_packages(machine: _Machine, plan: BootPlan, folder: Path) -> None:
    if not plan.packages:
        return
    started, said = datetime.now(UTC), ""
    _began(machine, PACKAGES_NUMBER, "packages", started)
    try:
        for package in plan.packages:
            said += lay_package(machine.storage, package, folder) + "\n"
    except (PackageError, OSError) as error:
        _ended(machine, PACKAGES_NUMBER, "packages", started, 1, f"{said}{error}\n")
        raise BootStepError(f"step packages failed: {error}") from error
    _ended(machine, PACKAGES_NUMBER, "packages", started, 0, said)


def _run_command(machine: _Machine, step: str, command: StartCommand) -> None:
    started, pause = datetime.now(UTC), _FIRST_PAUSE_SECONDS
    script = _write_script(machine.folder / step, command.script)
    said = ""
    for attempt in range(command.retries + 1):
        if attempt:
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        _began(machine, COMMANDS_NUMBER, step, started, said)
        code, output = _attempt(machine, step, script, command.timeout_seconds)
        said += f"== try {attempt + 1} of {command.retries + 1}: exit code {code}\n{output}"
        if code == 0:
            break
    _ended(machine, COMMANDS_NUMBER, step, started, code, said)
    if code != 0:
        raise BootStepError(f"step {step} failed: exit code {code}\n{output}")


def _attempt(machine: _Machine, step: str, script: Sequence[str], timeout_seconds: float) -> tuple[int, str]:
    """Run a script once, with all it starts ended afterwards if it takes too long; give its code and last output."""
    log, mark = machine.folder / f"{step}.txt", f"{machine.folder}{os.sep}{step}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            script,
            cwd=machine.folder,
            env={**machine.environment, RUN_MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=not _WINDOWS,
        )
        try:
            code = process.wait(timeout_seconds)
            late = ""
        except subprocess.TimeoutExpired:
            end_tree(process.pid, mark)
            process.wait()
            code, late = TIMED_OUT, f"stopped after its time-out of {timeout_seconds:g} s\n"
    with log.open("rb") as output:
        output.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = output.read().decode("utf-8", errors="replace")
    # A signal's number is negative here; shells say 128 and the number.
    return (code if code >= 0 else 128 - code), text + late


def _write_script(path: Path, text: str) -> list[str]:
    """Write a script and give the command that runs it strictly: its first failing line fails it."""
    if _WINDOWS:
        file = path.with_suffix(".ps1")
        # Windows PowerShell takes a file without this mark for one in the machine's old code page.
        file.write_text(f"$ErrorActionPreference = 'Stop'; {text}", encoding="utf-8-sig")
        return ["powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", str(file)]
    file = path.with_suffix(".sh")
    # In one line with the script's first, so that its own lines keep their numbers.
    file.write_text(f"trap 'echo \"failed at line $LINENO, exit code $?\"' ERR; {text}", encoding="utf-8")
    return ["bash", "-Eeuo", "pipefail", str(file)]


def _began(machine: _Machine, number: int, step: str, started: datetime, said: str = "") -> None:
    try:
        machine.recorder.began(number, step, started, said)
    except StorageError as error:
        sys.stderr.write(f"not recorded: {error}\n")


def _ended(machine: _Machine, number: int, step: str, started: datetime, code: int, said: str) -> None:
    try:
        machine.recorder.ended(number, step, started, code, said)
    except StorageError as error:
        sys.stderr.write(f"not recorded: {error}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
