"""The Standard Workload Format of the Parallel Workloads Archive, version 2.2.

A line has 18 numbers, -1 where unknown. Used here: 2 submission, 3 wait, 4 run time, 5 processors given (8: asked for),
9 run time asked for, which is the estimate. Source: Chapin et al. 1999; cs.huji.ac.il/labs/parallel/workload/swf.html.
"""

import math
import re
from datetime import datetime, timedelta

from scheduler.simulator.readers.reading import LONGEST, UNIX_EPOCH, Problem, Reading, is_number, reading_of
from scheduler.simulator.workload import SimulatedJob

_FIELDS = 18
_START = re.compile(r"^;\s*UnixStartTime:\s*(\d{1,12})\b", re.MULTILINE)
_SUBMIT, _WAIT, _RUN, _GIVEN, _ASKED, _ASKED_TIME = 1, 2, 3, 4, 7, 8


def read_swf(name: str, text: str) -> Reading:
    """Read a log. Jobs that never ran, or on no processor, are left out; comments begin with a semicolon.

    Of the comments the header UnixStartTime is read: the second since 1970 that submissions are counted from.
    """
    jobs: list[tuple[int, SimulatedJob]] = []
    problems: list[Problem] = []
    left_out = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        fields = line.split()
        if len(fields) != _FIELDS:
            problems.append(Problem(number, f"{len(fields)} fields, a job has {_FIELDS}"))
            continue
        try:
            values = [float(field) for field in fields]
        except ValueError:
            wrong = next(field for field in fields if not is_number(field))
            problems.append(Problem(number, f"{wrong!r} is not a number"))
            continue
        if not all(math.isfinite(value) for value in values):
            problems.append(Problem(number, "a number is not finite"))
            continue
        if abs(values[_RUN]) > LONGEST:
            problems.append(Problem(number, f"a run time of {values[_RUN]:g} s is more than a hundred years"))
            continue
        slots = int(values[_GIVEN] if values[_GIVEN] > 0 else values[_ASKED])
        if values[_RUN] <= 0 or slots <= 0:
            left_out += 1
            continue
        estimate = values[_ASKED_TIME] if values[_ASKED_TIME] > 0 else None
        wait = values[_WAIT] if values[_WAIT] >= 0 else None
        job = SimulatedJob(values[_SUBMIT], values[_RUN], slots, estimate=estimate, recorded_wait=wait)
        jobs.append((int(values[0]), job))
    # Job numbers are in order of submission; published schedules are in order of start, so they are sorted back.
    jobs.sort(key=lambda job: job[0])
    return reading_of(name, [job for _, job in jobs], problems, left_out, zero=_start(text))


def _start(text: str) -> datetime | None:
    """Give the instant of a header `; UnixStartTime: 843487200`; none of zero or less, which stands for unknown."""
    found = _START.search(text)
    seconds = float(found[1]) if found is not None else 0.0
    return UNIX_EPOCH + timedelta(seconds=seconds) if 0 < seconds < LONGEST else None


def is_swf(text: str) -> bool:
    """Whether a text looks like a log: its first line that is no comment has 18 numbers."""
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(";")), "")
    fields = first.split()
    return len(fields) == _FIELDS and all(map(is_number, fields))
