"""The job of one occurrence: its steps with the time put in, its id and its idempotency key.

In commands and environments stand `${{ schedule.id }}`, `${{ schedule.time }}` (UTC, `2026-11-29T06:00:00Z`),
`${{ schedule.local_time }}` (with its offset) and `${{ schedule.date }}` by the clock of the schedule's time zone.
Every task finds them as `MILLPOND_SCHEDULE_ID` and so on, too.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from scheduler.errors import InvalidRequestError
from scheduler.job_schedule import JobSpecification, Schedule
from scheduler.model import NewJob, Step
from scheduler.recurrence.occurrences import zone_of

NAMES = ("id", "time", "local_time", "date")
_REFERENCE = re.compile(r"\$\{\{\s*schedule\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_PREFIX = "MILLPOND_SCHEDULE_"


def unknown_names(texts: Iterable[str]) -> list[str]:
    """Give the references to what no schedule knows, as they are named."""
    return sorted({name for text in texts for name in _REFERENCE.findall(text) if name not in NAMES})


def names_schedule(text: str) -> bool:
    """Say whether a text refers to a schedule."""
    return _REFERENCE.search(text) is not None


def values_of(schedule_id: str, schedule: Schedule, occurrence: datetime) -> dict[str, str]:
    """Give what a job may know of its occurrence."""
    local = occurrence.astimezone(zone_of(schedule)).replace(microsecond=0)
    utc = occurrence.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"id": schedule_id, "time": utc, "local_time": local.isoformat(), "date": local.date().isoformat()}


def steps_of(steps: Iterable[Step], values: Mapping[str, str]) -> tuple[Step, ...]:
    """Put the values of an occurrence into steps. A value is not searched again."""

    def filled(text: str) -> str:
        return _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)

    named = tuple((f"{_PREFIX}{name.upper()}", value) for name, value in values.items())

    def made(step: Step) -> Step:
        definition = step.definition
        own = tuple((name, filled(value)) for name, value in definition.environment)
        command = tuple(map(filled, definition.command))
        return replace(step, definition=replace(definition, command=command, environment=(*named, *own)))

    return tuple(map(made, steps))


def job_of(
    schedule_id: str, created_at: datetime, job: JobSpecification, occurrence: datetime, by_hand: str | None = None
) -> tuple[str, NewJob]:
    """Give the id and the request of an occurrence's job: the same whenever, and by whomever, it is made.

    The schedule's creation is part of the key, as another schedule may have had its id before. What is run by hand
    has its own key besides.
    """
    parts = ("schedule", schedule_id, created_at.isoformat(), occurrence.isoformat())
    key = "/".join(parts if by_hand is None else (*parts, by_hand))
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    name = re.sub(r"[^a-z0-9]+", "-", schedule_id.lower()).strip("-")[:40].strip("-") or "job"
    when = occurrence.astimezone(UTC).strftime("%Y%m%dt%H%M")
    return f"{name}-{when}-{digest}", NewJob(job.name, job.pool, key, job.priority)


def check_names(job: JobSpecification) -> None:
    """Refuse references that no occurrence could fill."""
    texts = (
        text
        for step in job.steps
        for text in (*step.definition.command, *(value for _, value in step.definition.environment))
    )
    unknown = unknown_names(texts)
    if unknown:
        known = ", ".join(f"schedule.{name}" for name in NAMES)
        raise InvalidRequestError(f"no schedule has {', '.join(unknown)}; there are {known}")
