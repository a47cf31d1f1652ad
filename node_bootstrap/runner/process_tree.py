"""Ending all processes of a task, those included that left its session or lost their parent."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# In the environment of a task's processes: tells them from all others, whoever their parent is by now.
RUN_MARK = "MILLPOND_RUN"

_PROC = Path("/proc")
_LOOK_AGAIN_SECONDS = 0.02
_PATIENCE_SECONDS = 10.0
_WINDOWS = os.name == "nt"
# prctl(2), PR_SET_CHILD_SUBREAPER.
_SET_CHILD_SUBREAPER = 36


class Orphans:
    """Ends what tasks leave behind, and tells cheaply whether there is any; looking through all of /proc takes longer.

    On Linux the runner adopts what its tasks orphan, so every process of theirs descends from a child of the runner.
    The kernel gives orphans to the main thread; tasks are started by others, so its children are orphans alone. Where
    this cannot be known (another system, a kernel without that list), it says that there may be some.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        children = _PROC / f"self/task/{os.getpid()}/children"
        self._children = children if _adopt_orphans() and children.exists() else None

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Count a run, from before its start until after its `end`, for a `with` block."""
        with self._lock:
            self._runs += 1
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1

    def end(self, leader: int, mark: str) -> None:
        """End what a run has left whose leader ended by itself. `TimeoutError` as `end_tree`."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.possible(leader):
            end_tree(leader, mark)
            # A process that is just becoming another program, or was started with an environment of its own, bears no
            # mark. It is this run's for certain only where there is no other.
            if self._children is None or self._runs > 1:
                return
            for pid in self._others(leader):
                _signal(pid)
            if time.monotonic() > deadline:
                raise TimeoutError("orphans of the task do not end after SIGKILL")

    def possible(self, leader: int) -> bool:
        """Whether there may be orphans after a leader's end, of whatever task; those that have ended are reaped."""
        if self._children is None:
            return True
        with self._lock:  # the list is whole only while nobody else takes away from it
            while pids := self._others(leader):
                if sum(map(_reaped, pids)) == 0:
                    return True
        return False

    def _others(self, leader: int) -> list[int]:
        pids = self._children.read_bytes().split() if self._children is not None else []
        return [int(pid) for pid in pids if int(pid) != leader]


def _adopt_orphans() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _reaped(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


# Of so many numbers given out since a leader's start, each is looked at; of more, all processes are.
_FEW = 100


def end_tree(leader: int, mark: str, *, brief: bool = False) -> None:
    """Kill a task's leader, its session, all that descends from them or carries the mark; return when they are gone.

    Called when the leader has ended already, it ends what the task left behind. `brief`: the leader was started less
    than a second or so ago, so that numbers have not come round since, and only those above its own are looked at.
    `TimeoutError` when a process does not end (it hangs in the kernel).
    """
    if _WINDOWS:
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(leader)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return
    _kill_all(lambda: _found(leader, mark, brief=brief))


def end_marked(prefix: str) -> None:
    """Kill what a runner before this one left behind: every process whose mark begins so (Linux)."""
    if _PROC.is_dir():
        _kill_all(lambda: {pid for pid in _numbers() if _mark(pid).startswith(prefix.encode())})


def _kill_all(find: Callable[[], set[int]]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while found := find() - {os.getpid()}:
        for pid in found:
            _signal(pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(found)} do not end after SIGKILL")
        time.sleep(_LOOK_AGAIN_SECONDS)


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _found(leader: int, mark: str, *, brief: bool) -> set[int]:
    if _PROC.is_dir():
        table = _linux_processes((_since(leader) if brief else None) or _numbers())
        marked = {pid for pid in table if _mark(pid) == mark.encode()}
    else:
        table, marked = _other_processes(), set()
    found = marked | {pid for pid, (_, session) in table.items() if leader in {pid, session}}
    while True:
        more = {pid for pid, (parent, _) in table.items() if parent in found} - found
        if not more:
            return found
        found |= more


def _numbers() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdigit()]  # noqa: PTH208  half the time of a Path each


def _since(leader: int) -> list[int] | None:
    """Give the numbers given out from a leader's on, where they are few; None where that cannot be told.

    Linux gives them out in order and tells the newest (proc(5), loadavg). Mostly it is the leader's own.
    """
    newest = _read("loadavg").rpartition(b" ")[2].strip()
    if not newest.isdigit() or not leader <= int(newest) <= leader + _FEW:
        return None
    return list(range(leader, int(newest) + 1))


def _linux_processes(numbers: list[int]) -> dict[int, tuple[int, int]]:
    """Give parent and session of those processes that are there and are not zombies."""
    table = {}
    for pid in numbers:
        # The name, in parentheses, may hold anything (proc(5)): state, parent, group and session stand behind it.
        fields = _read(f"{pid}/stat").rpartition(b")")[2].split()
        if fields and fields[0] != b"Z":
            table[pid] = (int(fields[1]), int(fields[3]))
    return table


def _other_processes() -> dict[int, tuple[int, int]]:
    """Give parent and group of each process where there is no /proc (macOS): a new session begins a new group."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,pgid=,state="], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    rows = [line.split() for line in listing.stdout.decode().splitlines()]
    return {int(pid): (int(parent), int(group)) for pid, parent, group, state in rows if not state.startswith("Z")}


def _mark(pid: int) -> bytes:
    begin = f"{RUN_MARK}=".encode()
    for entry in _read(f"{pid}/environ").split(b"\0"):
        if entry.startswith(begin):
            return entry.removeprefix(begin)
    return b""


def _read(name: str) -> bytes:
    """Read what the kernel tells of a process; nothing when it is gone or not ours to see."""
    try:
        descriptor = os.open(f"{_PROC}/{name}", os.O_RDONLY)  # half the time of a file object
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
