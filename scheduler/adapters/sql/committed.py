"""Files of committed runs: kept small in the store, so that listing them needs no storage."""

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Column, ColumnElement, Connection, select

from node_bootstrap.protocol import FileRef, TaskReport
from scheduler.adapters.sql.job_schema import MANIFESTS, STEPS, TASKS

# Logs are a task's own, no inputs of the next step.
LOGS = frozenset({"stdout.txt", "stderr.txt"})


@dataclass(frozen=True, slots=True)
class CommittedTask:
    """A task with the files of the run that ended it."""

    task_id: int
    step: str
    index: int
    files: tuple[FileRef, ...]


def pack_files(reports: Iterable[TaskReport]) -> bytes:
    """Write the files of reports, by task."""
    files = {
        str(report.task_id): [
            [file.path, file.container, file.blob, file.offset, file.length, file.sha256] for file in report.files
        ]
        for report in reports
    }
    return zlib.compress(json.dumps(files, separators=(",", ":")).encode(), 1)


def committed_files(connection: Connection, job: int, *conditions: ColumnElement[bool]) -> tuple[CommittedTask, ...]:
    """Give the tasks of a job that a report ended, in order of id; `conditions` are on `TASKS` and `STEPS`.

    Of a task that was requeued, what an earlier run left is given until a new run has ended it; if that one failed,
    the earlier outputs stand beside its logs.
    """
    found = {task.task_id: task for task in _files_of(connection, job, TASKS.c.manifest, conditions)}
    for earlier in _files_of(connection, job, TASKS.c.earlier_manifest, conditions):
        newest = found.get(earlier.task_id)
        if newest is None:
            found[earlier.task_id] = earlier
        else:
            outputs = (file for file in earlier.files if file.path not in LOGS)
            found[earlier.task_id] = replace(newest, files=(*newest.files, *outputs))
    return tuple(found[task_id] for task_id in sorted(found))


def _files_of(
    connection: Connection, job: int, manifest: Column[int | None], conditions: tuple[ColumnElement[bool], ...]
) -> Iterator[CommittedTask]:
    rows = connection.execute(
        select(TASKS.c.task_id, manifest.label("manifest"), STEPS.c.name, STEPS.c.first_task_id)
        .join(STEPS, (STEPS.c.job == TASKS.c.job) & (STEPS.c.position == TASKS.c.step))
        .where(TASKS.c.job == job, manifest.is_not(None), *conditions)
        .order_by(manifest, TASKS.c.task_id)
    ).all()
    number, files = None, {}
    for row in rows:
        if row.manifest != number:
            number = row.manifest
            packed = select(MANIFESTS.c.files).where(MANIFESTS.c.number == number)
            files = json.loads(zlib.decompress(connection.execute(packed).scalar_one()))
        refs = tuple(FileRef(*values) for values in files[str(row.task_id)])
        yield CommittedTask(row.task_id, row.name, row.task_id - row.first_task_id, refs)
