"""Looking for processes that tests may have left."""

import contextlib
import os
from pathlib import Path


def processes_of(root: Path) -> list[int]:
    """Find processes that belong to the tasks of a runner."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if entry.isdigit() and f"MILLPOND_RUN={root}".encode() in Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
    return found
