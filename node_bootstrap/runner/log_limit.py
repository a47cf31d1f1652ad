"""How much of what a task prints is kept: the beginning up to a limit, and a note in the place of the rest.

A task writes to its log itself, so nothing stands between them that could slow it down. While it runs, the file is cut
at the limit again and again: a process writes on where it was, and what lies between is a hole that takes no disk. On
Windows that gap does take disk until the task ends.
"""

import contextlib
import logging
import os
from pathlib import Path

_LOG = logging.getLogger(__name__)


class LimitedLog:
    """One log of a task, on the node's disk."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the task was seen to have printed more than is kept."""
        return self._is_over

    def bound(self) -> int:
        """Free the disk of what is past the limit; give how many bytes of the log will stay as they are."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:  # the task has removed it
            return 0
        if size > self._most_bytes:
            self._is_over = True
            with contextlib.suppress(PermissionError):  # Windows, of a file that another program holds; cut at the end
                os.truncate(self.path, self._most_bytes)
        return min(size, self._most_bytes)

    def finish(self) -> int:
        """Cut the log of a task that has ended, say so in it, and give its length. Nothing writes to it any more."""
        length = self.bound()
        if not self._is_over:
            return length
        note = f"\n[The task printed more than {self._most_bytes:,} bytes here; the rest was not kept.]\n".encode()
        try:
            with self.path.open("r+b") as file:
                file.truncate(self._most_bytes)
                file.seek(self._most_bytes)
                file.write(note)
        except OSError as error:  # removed, or no room for the note: the task's result is worth more
            _LOG.warning("the log %s has no note that it was cut: %s", self.path, error)
            return length
        return self._most_bytes + len(note)
