"""The lock of a folder: held by its daemon for as long as that lives, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from infra.local.layout import Layout, LocalAzureError, RunningState, read_state


@contextlib.contextmanager
def hold(layout: Layout) -> Iterator[None]:
    """Hold the folder, or raise when another process does. Processes started meanwhile do not inherit it."""
    layout.local.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalAzureError(f"a local Azure is up already in {layout.local}") from None
        yield
    finally:
        os.close(descriptor)


def is_held(layout: Layout) -> bool:
    """Say whether a daemon holds the folder."""
    if not layout.lock_file.exists():
        return False
    try:
        with hold(layout):
            return False
    except LocalAzureError:
        return True


def running(layout: Layout) -> RunningState | None:
    """Return where the daemon is; None when it is not up."""
    return read_state(layout) if is_held(layout) else None


def require_running(layout: Layout) -> RunningState:
    """Return where the daemon is, or say how to start it."""
    if not is_held(layout):
        raise LocalAzureError(why_not_up(layout))
    state = read_state(layout)
    if state is None:
        raise LocalAzureError(
            f"the local Azure of {layout.home} is starting, or {layout.state_file} is damaged; run: millpond local up"
        )
    return state


def why_not_up(layout: Layout) -> str:
    """Say of a folder without a daemon whether that was stopped or has crashed; a stopped one leaves no record."""
    if not layout.state_file.exists():
        return f"the local Azure of {layout.home} is not up; start it with: millpond local up"
    last = read_state(layout)
    who = "its daemon" if last is None else f"its daemon, process {last.pid},"
    return (
        f"the local Azure of {layout.home} is not up: {who} was killed or has crashed (log: {layout.daemon_log});"
        " machines and storage go on without it; take them over with: millpond local up"
    )
