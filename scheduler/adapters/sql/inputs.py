"""Which blobs of `inputs` a job names: kept from its draft on, so that garbage can be told from what is wanted."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, insert, select

from node_bootstrap.protocol import INPUTS, TaskDefinition
from scheduler.adapters.sql.job_schema import JOB_INPUTS
from scheduler.model import Step


def keep_named(connection: Connection, job: int, steps: Iterable[Step]) -> None:
    """Keep what the steps of a draft name, beside what is kept already."""
    known = set(connection.execute(select(JOB_INPUTS.c.blob).where(JOB_INPUTS.c.job == job)).scalars())
    fresh = {name for step in steps for name in _names(step.definition)} - known
    if fresh:
        connection.execute(insert(JOB_INPUTS), [{"job": job, "blob": name} for name in sorted(fresh)])


def _names(definition: TaskDefinition) -> Iterator[str]:
    files = (*definition.resource_files, *(package.file for package in definition.application_packages))
    for file in files:
        if file.container == INPUTS:
            yield file.blob
