"""Jobs as comma-separated values: a heading and a line for each job.

Columns, in any order, others are ignored: `submit_s` and `run_s` (seconds), and if there are `cores` or `slots`,
`estimate_s`, `recorded_wait_s`, `pool`, `id` (any text), `after` (ids, separated by spaces) and `work` (of what kind).
Submissions may be dates (ISO 8601; UTC where none is said); if all are, the
replay's clock goes by them. Semicolons or tabs may stand for the commas.
"""

import csv
import io
import math
from dataclasses import replace
from typing import Any

from scheduler.errors import InvalidRequestError
from scheduler.simulator.readers.reading import (
    MOST_SLOTS,
    UNIX_EPOCH,
    Problem,
    Reading,
    instant_of,
    is_number,
    reading_of,
    seconds_in,
)
from scheduler.simulator.workload import SimulatedJob

_NAMES = {
    "submit_s": "submit", "submit": "submit", "run_s": "run", "run": "run", "cores": "slots", "slots": "slots",
    "estimate_s": "estimate", "estimate": "estimate", "recorded_wait_s": "wait", "pool": "pool", "id": "id",
    "after": "after", "work": "work",
}  # fmt: skip

# Of a heading, in a message.
_SHOWN = 80


def read_table(name: str, text: str) -> Reading:
    """Read a table. Jobs with a run time or slots of zero or less are left out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    try:
        return _read(name, lines)
    except csv.Error as error:
        raise InvalidRequestError(f"{name}: line {lines.line_num}: {error}") from error


def _columns(name: str, heading: list[str]) -> dict[str, int]:
    """Find where the columns stand that are read."""
    columns: dict[str, int] = {}
    for place, column in enumerate(heading):
        if column in _NAMES and columns.setdefault(_NAMES[column], place) != place:
            raise InvalidRequestError(f"{name}: line 1: the column {column} stands there twice, or by two names")
    missing = [column for column in ("submit", "run") if column not in columns]
    if missing:
        found = ", ".join(heading)
        shown = found if len(found) <= _SHOWN else f"{found[:_SHOWN]}..."
        raise InvalidRequestError(
            f"{name}: line 1: the column {missing[0]}_s is missing; a table's first line names its columns, submit_s"
            f" and run_s, and it may have slots, estimate_s, pool, id, after and work; this one has {shown!r}"
        )
    return columns


def _read(name: str, lines: Any) -> Reading:
    heading = [column.strip().lower() for column in next(lines, [])]
    columns = _columns(name, heading)
    rows: list[tuple[int, dict[str, str], SimulatedJob]] = []
    problems: list[Problem] = []
    left_out = 0
    for row in lines:
        if not row:
            continue
        number = lines.line_num
        if len(row) != len(heading):
            problems.append(Problem(number, f"{len(row)} fields, the heading has {len(heading)}"))
            continue
        fields = {column: row[place].strip() for column, place in columns.items()}
        try:
            job = _job(fields)
        except ValueError as error:
            problems.append(Problem(number, str(error)))
            continue
        if job is None:
            left_out += 1
        else:
            rows.append((number, fields, job))
    zero = UNIX_EPOCH if rows and not any(is_number(fields["submit"]) for _, fields, _ in rows) else None
    return reading_of(name, _linked(rows, problems), problems, left_out, zero=zero)


def _job(fields: dict[str, str]) -> SimulatedJob | None:
    submit, run = _submission(fields["submit"]), seconds_in("run", _number(fields, "run"))
    slots = _number(fields, "slots", 1.0)
    if run <= 0 or slots <= 0:
        return None
    if slots > MOST_SLOTS:
        raise ValueError(f"slots: {slots:g} are more than {MOST_SLOTS:,}")
    if slots != int(slots):
        raise ValueError(f"{slots:g} slots: it must be a whole number")
    estimate = _number(fields, "estimate") if fields.get("estimate") else None
    wait = _number(fields, "wait") if fields.get("wait") else None
    pool, work = fields.get("pool", ""), fields.get("work", "")
    return SimulatedJob(submit, run, int(slots), estimate=estimate, recorded_wait=wait, pool=pool, work=work)


def _submission(text: str) -> float:
    try:
        return _finite("submit", float(text))
    except ValueError:
        pass
    try:
        return instant_of(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"submit: {text!r} is neither a number of seconds nor a date") from None


def _number(fields: dict[str, str], column: str, default: float | None = None) -> float:
    text = fields.get(column, "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column}: {text!r} is not a number") from None
    return _finite(column, value)


def _finite(column: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{column}: {value} is not a finite number")
    return value


def _linked(rows: list[tuple[int, dict[str, str], SimulatedJob]], problems: list[Problem]) -> list[SimulatedJob]:
    """Turn ids in `after` into positions; a job left out counts as done."""
    if not any(fields.get("after") for _, fields, _ in rows):
        return [job for _, _, job in rows]
    places: dict[str, int] = {}
    for place, (number, fields, _) in enumerate(rows):
        identity = fields.get("id")
        if identity and places.setdefault(identity, place) != place:
            first = rows[places[identity]][0]
            problems.append(
                Problem(number, f"the id {identity!r} is line {first}'s already; who waits for it waits for that")
            )
    jobs = []
    for place, (number, fields, job) in enumerate(rows):
        others = fields.get("after", "").split()
        unknown = [other for other in others if places.get(other, place) == place]
        if unknown:
            problems.append(Problem(number, f"it waits for {unknown[0]!r}, which is no other job here; taken as done"))
        after = tuple(places[other] for other in others if other not in unknown)
        jobs.append(replace(job, after=after))
    return jobs
