"""What every reader gives, and how files are opened."""

import codecs
import gzip
import json
import math
import re
import sys
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.simulator.workload import SimulatedJob, Workload, workload_of

_GZIP_MAGIC = b"\x1f\x8b"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Longer than anybody's jobs; beyond it numbers are in another unit than seconds, or nonsense.
LONGEST = 100 * 365 * 86400.0
MOST_SLOTS = 1_000_000
_SUFFIXES = re.compile(r"(\.(swf|csv|json|jsonl|txt))?(\.gz)?$", re.IGNORECASE)


# Standard input, as in most commands.
STDIN = Path("-")
_LOOKED_AT = 4096
WHAT_IS_READ = (
    "a workload is a table (its first line names columns, submit_s,run_s), a log in Standard Workload Format,"
    " a workflow in WfFormat 1.5, or what `millpond history` wrote"
)


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

    `boots` are boot times that were measured.
    """

    workload: Workload
    problems: tuple[Problem, ...] = ()
    left_out: int = 0
    boots: tuple[float, ...] = ()


def text_of(path: Path) -> str:
    """Read a file, compressed or not, with a byte order mark or not; bytes that are no UTF-8 are replaced.

    `InvalidRequestError` for what is no text at all.
    """
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror or error}") from error
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidRequestError(f"{path} is not a whole gzip file: {error}") from error
    if not content.strip():
        raise InvalidRequestError(f"{path} is empty; {WHAT_IS_READ}")
    if content.startswith(_UTF_16):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:_LOOKED_AT]:
        raise InvalidRequestError(f"{path} is no text; {WHAT_IS_READ}")
    return content.decode("utf-8-sig", errors="replace")


def document_of(name: str, text: str) -> Any:
    """Read JSON; `InvalidRequestError` says where it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"{name}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InvalidRequestError(f"{name}: its brackets are nested too deep") from error


# What dates are counted from as numbers.
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_of(text: str) -> datetime:
    """Read a date and time as ISO 8601 has them, one without a zone as UTC; `ValueError` where it is none."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def seconds_in(column: str, value: float) -> float:
    """Give a number of seconds; `ValueError` where it is none that a job could have."""
    if not math.isfinite(value):
        raise ValueError(f"{column}: {value} is not a finite number")
    if abs(value) > LONGEST:
        raise ValueError(f"{column}: {value:g} s are more than a hundred years; is it in another unit than seconds?")
    return value


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def name_of(path: Path) -> str:
    """Name a workload by its file: `jobs.csv.gz` of many folders by its folder."""
    if path == STDIN:
        return "standard input"
    name = _SUFFIXES.sub("", path.name)
    return path.resolve().parent.name if name in {"jobs", "history"} else name


def reading_of(
    name: str,
    jobs: list[SimulatedJob],
    problems: list[Problem],
    left_out: int,
    boots: tuple[float, ...] = (),
    zero: datetime | None = None,
) -> Reading:
    """Make a reading; `zero` is the instant that submissions are counted from, where that is known.

    `InvalidRequestError` when no job is left.
    """
    if not jobs:
        first = f"; the first of {len(problems)} unreadable lines is {problems[0]}" if problems else ""
        never = f"; {left_out:,} jobs have no run time or no slots" if left_out else ""
        raise InvalidRequestError(f"{name} has no job that ran{first}{never}")
    span = max(job.submit for job in jobs) - min(job.submit for job in jobs)
    if span > LONGEST:
        raise InvalidRequestError(
            f"{name}: from the first to the last submission are {span / (365 * 86400):,.0f} years; submissions are"
            f" seconds, all since one instant, or dates"
        )
    try:
        workload = workload_of(name, jobs, zero)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}: {error}; jobs are counted from 0 as they stand in the file") from error
    return Reading(workload, tuple(problems), left_out, boots)
