"""From a job file to a running job: upload, draft, chunks, arm. Every step may be repeated."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from node_bootstrap.protocol import ExitCodeRules, FileRef, TaskDefinition
from scheduler.cli.applications import packages
from scheduler.cli.job_dependencies import single_tasks, whole_steps
from scheduler.cli.job_file import JobStep, LoadedJob
from scheduler.cli.sweep import axis_records, table_record
from scheduler.cli.upload import send, upload
from scheduler.errors import UnavailableError
from scheduler.model import Job, NewJob, RetryPolicy, Step
from scheduler.ports.job_service import JobService
from scheduler.ports.storage import Blobs

_Answer = TypeVar("_Answer")

# A step is a few kilobytes however many tasks it has, so that a chunk stays far below any request limit.
_STEPS_IN_CHUNK = 50
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was armed, and what its upload sent."""

    job: Job
    sent_files: int
    unchanged_files: int


@dataclass(frozen=True, slots=True)
class SentInputs:
    """A job's steps, whose inputs lie in storage, and how many files were sent for them."""

    steps: tuple[Step, ...]
    files: int
    unchanged_files: int


def submit(
    service: JobService, blobs: Blobs, loaded: LoadedJob, key: str, sleep: Callable[[float], None] = time.sleep
) -> Submitted:
    """Send a job; with the same key again, go on where a broken connection left it.

    `UnavailableError` after a few tries; the draft stays and the same key continues it.
    """
    sent = send_inputs(service, blobs, loaded)
    new = NewJob(name=loaded.job.name, pool=loaded.job.pool, idempotency_key=key, priority=loaded.job.priority)
    job = patiently(partial(service.create_job, new), sleep)
    for number, chunk in enumerate(_chunks(sent.steps)):
        patiently(partial(service.add_steps, job.job_id, number, chunk), sleep)
    count = sum(step.definition.task_count for step in sent.steps)
    job = patiently(partial(service.arm_job, job.job_id, count), sleep)
    return Submitted(job, sent_files=sent.files, unchanged_files=sent.unchanged_files)


def send_inputs(service: JobService, blobs: Blobs, loaded: LoadedJob) -> SentInputs:
    """Bring all that a job's tasks will need to storage, and give its steps."""
    known = service.list_applications() if _names_applications(loaded) else ()
    programs = {step.name: packages((*loaded.job.applications, *step.applications), known) for step in loaded.job.steps}
    paths = {path for step in loaded.job.steps for path in loaded.files_of(step).values()}
    uploaded = upload(blobs, paths)
    for table in loaded.tables.values():
        send(blobs, table.parts())
    steps = tuple(
        replace(step, definition=replace(step.definition, application_packages=programs[step.definition.step]))
        for step in _steps(loaded, uploaded.files)
    )
    return SentInputs(steps, files=uploaded.sent, unchanged_files=uploaded.unchanged)


def _names_applications(loaded: LoadedJob) -> bool:
    return bool(loaded.job.applications or any(step.applications for step in loaded.job.steps))


def _steps(loaded: LoadedJob, contents: dict[Path, FileRef]) -> tuple[Step, ...]:
    steps = []
    first_task_id = 0
    for step in loaded.job.steps:
        files = tuple(replace(contents[path], path=name) for name, path in sorted(loaded.files_of(step).items()))
        count = loaded.count_of(step)
        made = _step(step, first_task_id, count, files)
        if isinstance(step.sweep, str):
            table = table_record(loaded.tables[step.sweep])
            made = replace(made, definition=replace(made.definition, table=table))
        steps.append(made)
        first_task_id += count
    return tuple(steps)


def _step(step: JobStep, first_task_id: int, count: int, files: tuple[FileRef, ...]) -> Step:
    limit, expected = step.wall_clock_limit, step.expected_time
    definition = TaskDefinition(
        step=step.name,
        command=step.command,
        first_task_id=first_task_id,
        task_count=count,
        environment=tuple(sorted(step.environment.items())),
        resource_files=files,
        output_patterns=step.outputs,
        wall_clock_limit_seconds=None if limit is None else limit.total_seconds(),
        exit_codes=ExitCodeRules(permanent=step.exit_codes.permanent, ignorable=step.exit_codes.ignorable),
        axes=axis_records(step.sweep) if step.sweep is not None and not isinstance(step.sweep, str) else (),
    )
    return Step(
        definition=definition,
        depends_on=whole_steps(step.depends_on, step.inputs_from),
        depends_on_tasks=single_tasks(step.depends_on),
        needed_success=step.when.at_least,
        inputs_from=step.inputs_from,
        retry=RetryPolicy(max_task_retries=step.retries),
        expected_task_seconds=None if expected is None else expected.total_seconds(),
    )


def _chunks(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    for start in range(0, len(steps), _STEPS_IN_CHUNK):
        yield tuple(steps[start : start + _STEPS_IN_CHUNK])


def patiently(call: Callable[[], _Answer], sleep: Callable[[float], None] = time.sleep) -> _Answer:
    """Ask again a few times, with growing pauses, while nobody answers: what is asked may be repeated."""
    for pause in _PAUSES_SECONDS:
        try:
            return call()
        except UnavailableError:
            sleep(pause)
    return call()
