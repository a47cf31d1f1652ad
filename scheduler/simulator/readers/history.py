"""A pool's own history: the tasks that it ran, as the scheduler's records have them, and how long its nodes booted.

The file is JSON lines: a first line that names pool and version, then one object a line: `{"job", "step", "index",
"submitted_at", "started_at", "ended_at"}` for a task, `{"boot_seconds"}` for a node that came up.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from scheduler.errors import InvalidRequestError
from scheduler.model import Job, Task
from scheduler.ports.job_service import JobService
from scheduler.simulator.readers.reading import UNIX_EPOCH, Problem, Reading, instant_of, reading_of, seconds_in
from scheduler.simulator.workload import SimulatedJob

FORMAT = "millpond-history"
VERSION = 1


def record_history(service: JobService, pool: str, since: datetime | None = None) -> Iterator[str]:
    """Give the lines of a pool's history: its jobs, from an instant on where one is given.

    Tasks that have not both started and ended are left out.
    """
    yield json.dumps({"format": FORMAT, "version": VERSION, "pool": pool})
    for job in sorted(_jobs_of(service, pool, since), key=lambda job: job.created_at):
        for task in _tasks(service, job):
            if task.started_at is not None and task.ended_at is not None:
                yield json.dumps(_record(job, task))
    for node in service.list_nodes(pool):
        if node.ready_at is not None:
            yield json.dumps({"boot_seconds": (node.ready_at - node.first_seen_at).total_seconds()})


def read_history(name: str, text: str) -> Reading:
    """Read a history. A step whose first task began after the last of an earlier step had ended waits for that step."""
    lines = text.splitlines()
    _check_heading(name, lines[0] if lines else "")
    tasks: list[dict[str, Any]] = []
    boots: list[float] = []
    problems: list[Problem] = []
    left_out = 0
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            record = _record_of(line)
        except ValueError as error:
            problems.append(Problem(number, str(error)))
            continue
        if isinstance(record, float):
            boots.append(record)
        elif record["ended_at"] > record["started_at"]:
            tasks.append(record)
        else:
            left_out += 1
    return reading_of(name, _jobs(tasks), problems, left_out, tuple(boots), UNIX_EPOCH)


def _record_of(line: str) -> dict[str, Any] | float:
    """Read a task, or how long a node booted; `ValueError` says why it is neither."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"column {error.colno}: it is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("its brackets are nested too deep") from error
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004  told with its line
    try:
        if "boot_seconds" in record:
            return _boot(record["boot_seconds"])
        task: dict[str, Any] = {"job": str(record["job"]), "step": str(record["step"])}
        for moment in ("submitted_at", "started_at", "ended_at"):
            task[moment] = instant_of(record[moment]).timestamp()
        seconds_in("run", task["ended_at"] - task["started_at"])
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"a value is wrong: {error}") from error
    return task


def _boot(value: object) -> float:
    seconds = seconds_in("boot_seconds", float(str(value)))
    if seconds < 0:
        raise ValueError(f"boot_seconds: {seconds:g} is below zero")
    return seconds


def is_history(text: str) -> bool:
    """Whether a text begins as a history does."""
    return FORMAT in text.partition("\n")[0]


def _jobs_of(service: JobService, pool: str, since: datetime | None) -> Iterator[Job]:
    before: str | None = None
    while page := service.list_jobs(before):
        for job in page:
            if since is not None and job.created_at < since:
                return
            if job.pool == pool:
                yield job
        before = page[-1].job_id


def _tasks(service: JobService, job: Job) -> Iterator[Task]:
    after = -1
    while page := service.list_tasks(job.job_id, after=after):
        yield from page
        after = page[-1].task_id


def _record(job: Job, task: Task) -> dict[str, object]:
    submitted = job.armed_at or job.created_at
    return {
        "job": job.job_id,
        "step": task.step,
        "index": task.index,
        "submitted_at": submitted.isoformat(),
        "started_at": task.started_at.isoformat() if task.started_at else None,
        "ended_at": task.ended_at.isoformat() if task.ended_at else None,
    }


def _check_heading(name: str, line: str) -> None:
    try:
        heading = json.loads(line)
    except json.JSONDecodeError:
        heading = None
    if not isinstance(heading, dict) or heading.get("format") != FORMAT or heading.get("version") != VERSION:
        raise InvalidRequestError(
            f"{name}: line 1: this is no {FORMAT} of version {VERSION}; `millpond history` writes one"
        )


def _jobs(tasks: list[dict[str, Any]]) -> list[SimulatedJob]:
    jobs = []
    places: dict[tuple[str, str], list[int]] = {}
    for place, task in enumerate(tasks):
        places.setdefault((task["job"], task["step"]), []).append(place)
    began = {step: min(tasks[place]["started_at"] for place in found) for step, found in places.items()}
    ended = {step: max(tasks[place]["ended_at"] for place in found) for step, found in places.items()}
    before = {step: _latest_before(step, places, began, ended) for step in places}
    for task in tasks:
        waits_for = before[task["job"], task["step"]]
        after = tuple(places[waits_for]) if waits_for else ()
        ready_at = max(task["submitted_at"], ended[waits_for]) if waits_for else task["submitted_at"]
        wait, run = max(0.0, task["started_at"] - ready_at), task["ended_at"] - task["started_at"]
        jobs.append(SimulatedJob(task["submitted_at"], run, after=after, recorded_wait=wait))
    return jobs


def _latest_before(
    step: tuple[str, str],
    steps: Iterable[tuple[str, str]],
    began: dict[tuple[str, str], float],
    ended: dict[tuple[str, str], float],
) -> tuple[str, str] | None:
    """Give the step of the same job that ended last before this one began."""
    earlier = [other for other in steps if other[0] == step[0] and other != step and ended[other] <= began[step]]
    return max(earlier, key=lambda other: ended[other], default=None)
