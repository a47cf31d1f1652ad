"""`DeletionStore` in SQL: a job's rows go in one transaction; its id stays, so that it is never used again."""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import chain

from sqlalchemy import delete, insert, select, update

from node_bootstrap.protocol import definition_blob, file_blob, resolved_blob
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.job_schema import (
    APPLICATIONS,
    CHUNKS,
    DELETED_JOBS,
    EDGES,
    IN_LIST,
    JOB_INPUTS,
    JOBS,
    MANIFESTS,
    MESSAGE_IS_OPEN,
    MESSAGES,
    STEPS,
    STOPS,
    TASKS,
)
from scheduler.adapters.sql.schedule_schema import SCHEDULE_INPUTS
from scheduler.model import JobState
from scheduler.ports.deletion_store import DeletedJob

# In an order in which no row is left that names one that is gone.
_OF_JOB = (STOPS, MANIFESTS, MESSAGES, TASKS, EDGES, STEPS, CHUNKS, JOB_INPUTS)


class SqlDeletionStore:
    """`DeletionStore` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def to_clear(self) -> tuple[str, ...]:
        """Give the deleting jobs of which no message is out."""
        out = select(MESSAGES.c.number).where(MESSAGES.c.job == JOBS.c.number, MESSAGE_IS_OPEN).exists()
        rows = select(JOBS.c.job_id).where(JOBS.c.state == JobState.DELETING.value, ~out).order_by(JOBS.c.number)
        with self._database.read() as connection:
            return tuple(connection.execute(rows).scalars())

    def forget(self, epoch: int, job_id: str, now: datetime) -> None:
        """Remove every row of a deleting job but its id."""
        deleting = select(JOBS.c.number).where(JOBS.c.job_id == job_id, JOBS.c.state == JobState.DELETING.value)
        with self._database.lead(epoch) as connection:
            job = connection.execute(deleting).scalar()
            if job is None:
                return
            files = connection.execute(select(JOB_INPUTS.c.blob).where(JOB_INPUTS.c.job == job)).scalars().all()
            steps = connection.execute(select(STEPS.c.definition_hash, STEPS.c.inputs).where(STEPS.c.job == job)).all()
            definitions = {definition_blob(step.definition_hash) for step in steps}
            resolved = {resolved_blob(step.inputs) for step in steps if step.inputs is not None}
            named = json.dumps(sorted({*files, *definitions, *resolved}))
            connection.execute(insert(DELETED_JOBS).values(job_id=job_id, deleted_at=now, inputs=named))
            for table in _OF_JOB:
                connection.execute(delete(table).where(table.c.job == job))
            connection.execute(delete(JOBS).where(JOBS.c.number == job))

    def forgotten(self, before: datetime) -> tuple[DeletedJob, ...]:
        """Give the jobs deleted before that instant whose inputs are not settled yet."""
        rows = select(DELETED_JOBS.c.job_id, DELETED_JOBS.c.inputs).where(
            DELETED_JOBS.c.deleted_at < before, DELETED_JOBS.c.inputs.is_not(None)
        )
        with self._database.read() as connection:
            found = connection.execute(rows.order_by(DELETED_JOBS.c.job_id)).all()
        return tuple(DeletedJob(row.job_id, tuple(json.loads(row.inputs))) for row in found)

    def named(self, inputs: Sequence[str]) -> frozenset[str]:
        """Give those of these blobs of `inputs` that a job names which is there, or is to come."""
        found: set[str] = set()
        with self._database.read() as connection:
            for start in range(0, len(inputs), IN_LIST):
                some = inputs[start : start + IN_LIST]
                hashes = [name.rsplit("/", 1)[-1].removesuffix(".json") for name in some]
                files = select(JOB_INPUTS.c.blob).where(JOB_INPUTS.c.blob.in_(some))
                to_come = select(SCHEDULE_INPUTS.c.blob).where(SCHEDULE_INPUTS.c.blob.in_(some))
                programs = select(APPLICATIONS.c.sha256).where(APPLICATIONS.c.sha256.in_(hashes))
                definitions = select(STEPS.c.definition_hash).where(STEPS.c.definition_hash.in_(hashes))
                resolved = select(STEPS.c.inputs).where(STEPS.c.inputs.in_(hashes))
                found.update(
                    chain(
                        connection.execute(files).scalars(),
                        connection.execute(to_come).scalars(),
                        map(file_blob, connection.execute(programs).scalars()),
                        map(definition_blob, connection.execute(definitions).scalars()),
                        map(resolved_blob, filter(None, connection.execute(resolved).scalars())),
                    )
                )
        return frozenset(found)

    def settle(self, epoch: int, job_id: str, left: Sequence[str]) -> None:
        """Keep which inputs of a deleted job are still to be looked at."""
        here = update(DELETED_JOBS).where(DELETED_JOBS.c.job_id == job_id)
        with self._database.lead(epoch) as connection:
            connection.execute(here.values(inputs=json.dumps(list(left)) if left else None))
