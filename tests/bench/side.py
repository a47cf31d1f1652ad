"""One side of a bench, in a process of its own: prepare, measure the work alone, check its result, print one record."""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True)
class Prepared:
    """Work to be measured, how many units it is, and a check after it that raises if the result is not whole.

    `memory_mib` gives the peak of another process, where that one does the work; `end` leaves nothing running.
    """

    work: Callable[[], None]
    units: int
    check: Callable[[], None]
    memory_mib: Callable[[], float] | None = None
    end: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Run:
    """What one process measured: the work's wall time, and the peak of resident memory before and after it."""

    seconds: float
    units: int
    prepared_mib: float
    peak_mib: float


def main(variants: Mapping[str, Callable[[int, Path], Prepared]]) -> None:
    """Run `variant size directory` of the command line and print its `Run` as JSON."""
    variant, size, directory = sys.argv[1:]
    prepared = variants[variant](int(size), Path(directory))
    memory_mib = prepared.memory_mib or peak_mib
    try:
        before = 0.0 if prepared.memory_mib else peak_mib()
        started = time.perf_counter()
        prepared.work()
        seconds = time.perf_counter() - started
        after = memory_mib()
        prepared.check()
    finally:
        prepared.end()
    sys.stdout.write(json.dumps(asdict(Run(seconds, prepared.units, before, after))) + "\n")


def peak_mib(process: int | str = "self") -> float:
    """Peak of resident memory in MiB, of this process or on Linux of another.

    Linux's VmHWM belongs to this program; `ru_maxrss` outlives exec, so it would count the parent's memory too.
    """
    status = Path(f"/proc/{process}/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / _KIB_PER_MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MIB
    return peak / _KIB_PER_MIB if sys.platform == "darwin" else peak
