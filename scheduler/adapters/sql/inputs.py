"""Which blobs of `inputs` a job names: kept from its draft on, so that garbage can be told from what is wanted."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, insert, select

from node_bootstrap.protocol import INPUTS, TaskDefinition, file_blob
from scheduler.adapters.sql.job_schema import IN_LIST, JOB_INPUTS
from scheduler.model import Step


def keep_named(connection: Connection, job: int, steps: Iterable[Step]) -> None:
    """Keep what the steps of a draft name, beside what is kept already."""
    keep_blobs(connection, job, named_by(steps))


def named_by(steps: Iterable[Step]) -> set[str]:
    """Give the blobs that the definitions of steps name."""
    return {name for step in steps for name in _names(step.definition)}


def keep_blobs(connection: Connection, job: int, names: set[str]) -> None:
    """Keep these names, beside what is kept already."""
    known: set[str] = set()
    wanted = sorted(names)
    for start in range(0, len(wanted), IN_LIST):
        some = JOB_INPUTS.c.blob.in_(wanted[start : start + IN_LIST])
        known.update(connection.execute(select(JOB_INPUTS.c.blob).where(JOB_INPUTS.c.job == job, some)).scalars())
    fresh = [{"job": job, "blob": name} for name in wanted if name not in known]
    if fresh:
        connection.execute(insert(JOB_INPUTS), fresh)


def _names(definition: TaskDefinition) -> Iterator[str]:
    files = (*definition.resource_files, *(package.file for package in definition.application_packages))
    for file in files:
        if file.container == INPUTS:
            yield file.blob
    if definition.table is not None:
        yield from map(file_blob, definition.table.parts)
