"""Files of committed runs: kept small in the store, so that listing them needs no storage."""

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, select

from node_bootstrap.protocol import FileRef, TaskReport
from scheduler.adapters.sql.job_schema import MANIFESTS, STEPS, TASKS


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
    """Give the tasks of a job that a report ended, in order of id; `conditions` are on `TASKS` and `STEPS`."""
    rows = connection.execute(
        select(TASKS.c.task_id, TASKS.c.manifest, STEPS.c.name, STEPS.c.first_task_id)
        .join(STEPS, (STEPS.c.job == TASKS.c.job) & (STEPS.c.position == TASKS.c.step))
        .where(TASKS.c.job == job, TASKS.c.manifest.is_not(None), *conditions)
        .order_by(TASKS.c.manifest, TASKS.c.task_id)
    ).all()
    found = []
    number, files = None, {}
    for row in rows:
        if row.manifest != number:
            number = row.manifest
            packed = select(MANIFESTS.c.files).where(MANIFESTS.c.number == number)
            files = json.loads(zlib.decompress(connection.execute(packed).scalar_one()))
        refs = tuple(FileRef(*values) for values in files[str(row.task_id)])
        found.append(CommittedTask(row.task_id, row.name, row.task_id - row.first_task_id, refs))
    return tuple(sorted(found, key=lambda task: task.task_id))
