"""What an error of the disk or of a damaged file means to the user: one message that says what to do."""

import errno
import sqlite3

from infra.local.layout import Layout

MESSAGE_MARK = "The local Azure cannot start: "  # before it, in the daemon's log

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_SQLITE_FULL = ("full", "disk i/o error")
_SQLITE_CLOSED = ("readonly", "unable to open")


def explain(error: OSError | sqlite3.Error, layout: Layout) -> str:
    """Say which file cannot be used, why, and what to do."""
    if isinstance(error, sqlite3.Error):
        return _of_database(str(error), layout)
    path = error.filename or layout.local
    if error.errno in _FULL:
        return _full(str(path))
    if error.errno in _CLOSED:
        return _closed(str(path), error.strerror or "no permission")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return f"{path} is in the way: a folder is needed there; move it away, or set MILLPOND_HOME to another folder"
    return f"{path} cannot be used: {error.strerror or error}"


def _of_database(message: str, layout: Layout) -> str:
    plain = message.lower()
    if any(sign in plain for sign in _SQLITE_FULL):
        return _full(str(layout.store))
    if any(sign in plain for sign in _SQLITE_CLOSED):
        return _closed(str(layout.store), message)
    if "locked" in plain:
        return f"{layout.store} is in use by another program ({message}); end that one and try again"
    return (
        f"{layout.store} is damaged ({message}). Put a copy of it back, or begin anew, which forgets all that is"
        f" deployed: millpond local down; rm -r {layout.local}; and destroy or remove the stacks that were in it"
    )


def _full(path: str) -> str:
    return f"the disk is full, {path} cannot be written; free some space and run: millpond local up"


def _closed(path: str, why: str) -> str:
    return f"{path} cannot be written ({why}); make it writable, or set MILLPOND_HOME to a folder that is"
