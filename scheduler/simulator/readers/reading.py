"""What every reader gives, and how files are opened."""

import gzip
import re
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of

_GZIP_MAGIC = b"\x1f\x8b"
_SUFFIXES = re.compile(r"(\.(swf|csv|json|jsonl|txt))?(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be read, counted from 1, and why."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A workload, the lines that could not be read, and how many jobs were left out because they never ran.

    `boots` are boot times that were measured, and `begins_at` is when the first job came, where the file says so.
    """

    workload: Workload
    problems: tuple[Problem, ...] = ()
    left_out: int = 0
    boots: tuple[float, ...] = ()
    begins_at: datetime | None = None


def text_of(path: Path) -> str:
    """Read a file, compressed or not; bytes that are no UTF-8 are replaced, as in comments."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror or error}") from error
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidRequestError(f"{path} is not a whole gzip file: {error}") from error
    return content.decode("utf-8", errors="replace")


def name_of(path: Path) -> str:
    """Name a workload by its file: `jobs.csv.gz` of many folders by its folder."""
    name = _SUFFIXES.sub("", path.name)
    return path.resolve().parent.name if name in {"jobs", "history"} else name


def reading_of(
    name: str, jobs: list[SimulatedJob], problems: list[Problem], left_out: int, boots: tuple[float, ...] = ()
) -> Reading:
    """Make a reading; `InvalidRequestError` when no job is left."""
    if not jobs:
        first = f"; the first of {len(problems)} unreadable lines is {problems[0]}" if problems else ""
        raise InvalidRequestError(f"{name} has no job that ran{first}")
    return Reading(workload_of(name, jobs), tuple(problems), left_out, boots)
