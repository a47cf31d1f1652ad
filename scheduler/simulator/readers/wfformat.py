"""WfFormat 1.5, the workflow instances of wfcommons.org: tasks that wait for each other."""

import json
import re
from typing import Any

from scheduler.errors import InvalidRequestError
from scheduler.simulator.readers.reading import LONGEST, Problem, Reading, document_of, reading_of
from scheduler.simulator.workload import SimulatedJob

_VERSIONS = ("1.5",)


def read_wfformat(name: str, text: str) -> Reading:
    """Read an instance: all its tasks come at once, and each runs for as long as it did when it was recorded."""
    document = document_of(name, text)
    if not isinstance(document, dict) or document.get("schemaVersion") not in _VERSIONS:
        version = document.get("schemaVersion") if isinstance(document, dict) else None
        raise InvalidRequestError(f"{name}: its schemaVersion is {version!r}; of JSON, WfFormat 1.5 is read")
    try:
        declared = list(document["workflow"]["specification"]["tasks"])
        executed = {task["id"]: task for task in document["workflow"]["execution"]["tasks"]}
    except (KeyError, TypeError) as error:
        raise InvalidRequestError(
            f"{name}: it lacks workflow.specification.tasks or .execution.tasks, lists of tasks with ids"
        ) from error
    lines = _Lines(text)
    problems: list[Problem] = []
    tasks: dict[str, tuple[dict[str, Any], float]] = {}
    for number, task in enumerate(declared):
        identity = task.get("id") if isinstance(task, dict) else None
        if not isinstance(identity, str):
            problems.append(Problem(1, f"task {number} of the specification has no id"))
            continue
        run = executed.get(identity, {}).get("runtimeInSeconds")
        if isinstance(run, bool) or not isinstance(run, int | float) or not 0 <= run <= LONGEST:
            problems.append(Problem(lines.of(identity), f"task {identity!r} has no run time in seconds"))
            continue
        if identity in tasks:
            problems.append(Problem(lines.of(identity), f"there are two tasks {identity!r}; the first one is taken"))
            continue
        tasks[identity] = (task, float(run))
    # A run time of zero is kept, as the shortest there is, because others wait for the task.
    places = {identity: place for place, identity in enumerate(tasks)}
    jobs = []
    for identity, (task, run) in tasks.items():
        given = task.get("parents", ())
        parents = [str(parent) for parent in given] if isinstance(given, list) else []
        unknown = [parent for parent in parents if parent not in places]
        problems += [Problem(lines.of(identity), f"task {identity!r} waits for {one!r}, not there") for one in unknown]
        after = tuple(places[parent] for parent in parents if parent in places)
        jobs.append(SimulatedJob(0.0, max(run, 1e-9), after=after, work=_program(executed[identity])))
    return reading_of(name, jobs, problems, 0)


def _program(task: dict[str, Any]) -> str:
    """Name the kind of work by the program that the task ran, where that was recorded."""
    command = task.get("command")
    program = command.get("program") if isinstance(command, dict) else None
    return program if isinstance(program, str) else ""


class _Lines:
    """Where ids stand in the text, for messages."""

    def __init__(self, text: str) -> None:
        self._text = text

    def of(self, identity: str) -> int:
        found = re.search(rf'"id"\s*:\s*{re.escape(json.dumps(identity))}', self._text)
        return self._text.count("\n", 0, found.start()) + 1 if found else 1
