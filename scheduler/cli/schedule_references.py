"""`${{ schedule.name }}` in a job file: the time at which a schedule makes the job, put in when it does."""

from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.cli.parameters import filled_later
from scheduler.recurrence.specification import NAMES, names_schedule, unknown_names

Where = tuple[str | int, ...]


def schedule_findings(value: Mapping[str, Any], *, scheduled: bool) -> Iterator[tuple[Where, str]]:
    """Say where references stand that cannot be filled; parameters are known by where they are used."""
    for where, text in _texts({key: part for key, part in value.items() if key != "parameters"}, ()):
        if not names_schedule(text):
            continue
        unknown = unknown_names([text])
        if unknown:
            known = ", ".join(f"schedule.{name}" for name in NAMES)
            yield where, f"no schedule has {', '.join(unknown)}; there are {known}"
        elif not scheduled:
            yield where, f"{text!r} is known on a schedule only (`millpond schedule create`); else give it with --set"
        elif not filled_later(where):
            yield where, "the time of a schedule may stand in a step's command and environment only"


def _texts(value: object, where: Where) -> Iterator[tuple[Where, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part, (*where, str(key)))
    elif isinstance(value, list):
        for position, part in enumerate(value):
            yield from _texts(part, (*where, position))
