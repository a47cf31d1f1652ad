"""What a figure depends on besides the code: the machine, its disk and what else ran."""

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

_SYNCS = 200
_PAGE = bytes(4096)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine at the start of the measurements; `sync_us` is the median of a 4 KiB write with fsync."""

    cores: int
    memory_gib: float
    system: str
    python: str
    sqlite: str
    sqlalchemy: str
    huey: str
    load: float
    sync_us: float

    def __str__(self) -> str:
        return (
            f"{self.cores} cores, {self.memory_gib:.1f} GiB memory, load {self.load:.1f}, {self.system}; "
            f"Python {self.python}, SQLite {self.sqlite}, SQLAlchemy {self.sqlalchemy}, huey {self.huey}; "
            f"4 KiB write with fsync {self.sync_us:.0f} us"
        )


def this_machine(scratch: Path) -> Machine:
    """Look at this machine and at the disk under `scratch`."""
    return Machine(
        cores=os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / 2**30,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        sqlalchemy=version("sqlalchemy"),
        huey=version("huey"),
        load=os.getloadavg()[0],
        sync_us=sync_us(scratch),
    )


def sync_us(scratch: Path) -> float:
    """Time a 4 KiB write with fsync under `scratch`: the median, in microseconds."""
    times = []
    with tempfile.TemporaryFile(dir=scratch) as file:
        for _ in range(_SYNCS):
            started = time.perf_counter()
            file.write(_PAGE)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6
