"""One task's process: started, watched, limited and ended with all it started."""

import contextlib
import errno
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from node_bootstrap.protocol import ExitCodeRules, Outcome
from node_bootstrap.runner.account import Account
from node_bootstrap.runner.process_tree import Orphans, end_tree

_WINDOWS = os.name == "nt"
# Why a command cannot be started whatever node it runs on: not found, not executable, too long.
_COMMANDS_FAULT = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.E2BIG, errno.ENAMETOOLONG})
_SIGNAL_BASE = 128
# Nowhere near enough to give all process numbers out once (32,768 at the least).
_BRIEF_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended, for the report. `exit_code` is 128 + n after signal n, as shells say it."""

    outcome: Outcome
    exit_code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `account`, where given, is the user it runs as; output goes to the two files."""

    arguments: Sequence[str]
    working_directory: Path
    environment: Mapping[str, str]
    stdout: Path
    stderr: Path
    mark: str
    account: Account | None = None
    limit_seconds: float | None = None


class TaskProcess:
    """Runs one command. `stop` may be called from any thread at any time, also before it starts.

    `orphans`, where given, ends what a command left behind that bears no mark, and spares most the search for it.
    """

    def __init__(self, orphans: Orphans | None = None) -> None:
        self._orphans = orphans
        self._lock = threading.Lock()
        self._stopped: Ending | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = ""
        self._over = False

    @property
    def stopped(self) -> Ending | None:
        """How it was asked to end, once it was."""
        return self._stopped

    def stop(self, outcome: Outcome, reason: str) -> None:
        """Kill it with all it started; `run` then gives this outcome, unless it had ended before."""
        with self._lock:
            if self._over or self._stopped is not None:
                return
            self._stopped = Ending(outcome, None, reason)
            process = self._process
        if process is not None:
            end_tree(process.pid, self._mark)

    def run(
        self, command: Command, rules: ExitCodeRules, meanwhile: Callable[[float], float | None] | None = None
    ) -> Ending:
        """Run a command to its end; nothing it started is left.

        `meanwhile(seconds since start)` is called while it runs and gives the pause to its next call, None for never.
        Raises `OSError` for what is the node's fault (no memory, no processes, no disk).
        """
        with self._orphans.run() if self._orphans is not None else contextlib.nullcontext():
            return self._run(command, rules, meanwhile)

    def _run(self, command: Command, rules: ExitCodeRules, meanwhile: Callable[[float], float | None] | None) -> Ending:
        with self._lock:
            if self._stopped is not None:
                return self._stopped
            try:
                self._process = process = _start(command)
            except OSError as error:
                if error.errno in _COMMANDS_FAULT and error.filename != str(command.working_directory):
                    return Ending(
                        Outcome.PERMANENT, None, f"{command.arguments[0]!r} cannot be started: {error.strerror}"
                    )
                raise
            except ValueError as error:
                return Ending(Outcome.PERMANENT, None, f"{command.arguments[0]!r} cannot be started: {error}")
            self._mark = command.mark
        began = time.monotonic()
        overdue = not _wait(process, command.limit_seconds, meanwhile)
        with self._lock:
            self._over = not overdue and self._stopped is None
        # Also what a task that ended well has left running in the background.
        brief = time.monotonic() - began < _BRIEF_SECONDS
        if not self._over or self._orphans is None:
            end_tree(process.pid, command.mark, brief=brief)
        if self._orphans is not None:
            self._orphans.end(process.pid, command.mark)
        code = process.wait()
        if (stopped := self.stopped) is not None:
            return stopped
        if overdue:
            reason = f"stopped after its wall-clock limit of {command.limit_seconds:g} s"
            return Ending(Outcome.RETRYABLE, _exit_code(code), reason)
        return ending_of(code, rules)


def ending_of(return_code: int, rules: ExitCodeRules) -> Ending:
    """Say what a return code means by the rules of its step; negative is the number of the signal that killed it."""
    code = _exit_code(return_code)
    reason = f"exit code {code}" if return_code >= 0 else f"killed by signal {-return_code} ({_signal(-return_code)})"
    if code in rules.permanent:
        return Ending(Outcome.PERMANENT, code, reason)
    if code in rules.ignorable:
        return Ending(Outcome.IGNORABLE, code, reason)
    if code == 0:
        return Ending(Outcome.SUCCESS, code, "")
    return Ending(Outcome.RETRYABLE, code, reason)


def _exit_code(return_code: int) -> int:
    return return_code if return_code >= 0 else _SIGNAL_BASE - return_code


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _start(command: Command) -> subprocess.Popen[bytes]:
    arguments = list(command.arguments)
    if _WINDOWS:
        # CreateProcess looks along the runner's own PATH, not the task's.
        arguments[0] = shutil.which(arguments[0], path=command.environment.get("PATH")) or arguments[0]
    # Where a launcher switches accounts, it does it all; elsewhere Python does.
    launcher = command.account.launcher if command.account is not None else None
    account = command.account if launcher is None else None
    if command.account is not None and launcher is not None:
        arguments = [str(launcher), "run-as", command.account.name, *arguments]
    with command.stdout.open("wb") as stdout, command.stderr.open("wb") as stderr:
        return subprocess.Popen(
            arguments,
            cwd=str(command.working_directory),
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # All our own are closed on exec, as Python opens them; the runner closed what it was started with.
            close_fds=_WINDOWS,
            start_new_session=not _WINDOWS,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            user=account.name if account is not None else None,
            group=account.group if account is not None else None,
            extra_groups=[] if account is not None else None,
            umask=-1 if _WINDOWS else 0o022,
        )


def _wait(
    process: subprocess.Popen[bytes], limit_seconds: float | None, meanwhile: Callable[[float], float | None] | None
) -> bool:
    """Wait for the leader's end; False when the limit passed before."""
    started = time.monotonic()
    pause = meanwhile(0.0) if meanwhile is not None else None
    wake = None if pause is None else started + pause
    limit = None if limit_seconds is None else started + limit_seconds
    with _Watch(process) as watch:
        while True:
            times = [instant for instant in (wake, limit) if instant is not None]
            if watch.ended(max(0.0, min(times) - time.monotonic()) if times else None):
                return True
            now = time.monotonic()
            if limit is not None and now >= limit:
                return False
            if wake is not None and now >= wake and meanwhile is not None:
                pause = meanwhile(now - started)
                wake = None if pause is None else now + pause


class _Watch:
    """Waits for a child without polling where the system can (Linux: a descriptor of the process)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        opened = getattr(os, "pidfd_open", None)
        self._descriptor: int | None = opened(process.pid) if opened is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def ended(self, timeout_seconds: float | None) -> bool:
        """Wait at most so long and say whether the child has ended."""
        if self._descriptor is None:
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                return False
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(None if timeout_seconds is None else timeout_seconds * 1000))
