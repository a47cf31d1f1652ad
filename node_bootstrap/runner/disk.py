"""The node's disk: whether it runs low, and whether it is what a task has failed of."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from node_bootstrap.protocol import Outcome
from node_bootstrap.runner.task_process import Ending

# What is kept for later tasks goes when less is free.
_LEAST_FREE = 0.1
# A program that finds no room for what it writes may leave a little: it asked for more, or has removed some of it.
_FULL_BYTES = 16 * 1024 * 1024


class DiskUsage(NamedTuple):
    """Of a disk, in bytes; as `shutil.disk_usage` gives it."""

    total: int
    used: int
    free: int


ReadDisk = Callable[[Path], DiskUsage]


def read_disk(path: Path) -> DiskUsage:
    """Give the usage of the disk that a path is on."""
    return DiskUsage(*shutil.disk_usage(path))


def runs_low(usage: DiskUsage) -> bool:
    """Whether what is kept for later tasks should go."""
    return usage.free < _LEAST_FREE * usage.total


def blamed_on_disk(ending: Ending, usage: DiskUsage, place: Path) -> Ending | None:
    """Give how a task ended that failed beside a full disk: by the node's fault; None where the disk is not to blame.

    What a step's rules say of an exit code, and a stop on request, hold whatever the disk. `usage` is of the moment
    after the end, with what the task has written still there.
    """
    if ending.outcome is not Outcome.RETRYABLE or usage.free >= _FULL_BYTES:
        return None
    full = f"the node's disk is full: {usage.free:,} of {usage.total:,} bytes are free at {place}"
    return replace(ending, outcome=Outcome.NODE_FAULT, reason=f"{ending.reason}; {full}")


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the account's share of it, has no room."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
