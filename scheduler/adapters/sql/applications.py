"""Applications in SQL: versions of programs, each a file in storage by its content."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from node_bootstrap.protocol import INPUTS, FileRef, file_blob
from scheduler.adapters.sql.job_schema import APPLICATIONS, DELETED_JOBS
from scheduler.errors import ConflictError, NotFoundError
from scheduler.model import Application


def put_application(
    connection: Connection, name: str, version: str, file: FileRef, now: datetime, *, default: bool
) -> Application:
    """Record a version, and make it the default if it is the first of its name or so marked."""
    of_name = APPLICATIONS.c.name == name
    here = and_(of_name, APPLICATIONS.c.version == version)
    first = connection.execute(select(APPLICATIONS.c.number).where(of_name).limit(1)).first() is None
    found = connection.execute(select(APPLICATIONS).where(here)).first()
    if found is not None and found.sha256 != file.sha256:
        raise ConflictError(
            f"{name}:{version} is there with another content; versions never change, choose another or delete it first"
        )
    if found is None:
        values = {"sha256": file.sha256, "length": file.length, "is_default": False, "created_at": now}
        connection.execute(insert(APPLICATIONS).values(name=name, version=version, **values))
    if default or first:
        connection.execute(update(APPLICATIONS).where(of_name).values(is_default=APPLICATIONS.c.version == version))
    return _application(connection.execute(select(APPLICATIONS).where(here)).one())


def applications(connection: Connection) -> tuple[Application, ...]:
    """Give every version, by name, the newest first."""
    rows = select(APPLICATIONS).order_by(APPLICATIONS.c.name, APPLICATIONS.c.number.desc())
    return tuple(map(_application, connection.execute(rows)))


def delete_application(connection: Connection, name: str, version: str, now: datetime) -> None:
    """Remove a version, and have its file looked at when it may be garbage."""
    here = and_(APPLICATIONS.c.name == name, APPLICATIONS.c.version == version)
    found = connection.execute(select(APPLICATIONS).where(here)).first()
    if found is None:
        raise NotFoundError(f"there is no application {name}:{version}; `millpond application list` shows all")
    connection.execute(delete(APPLICATIONS).where(here))
    if found.is_default:
        of_name = select(APPLICATIONS.c.number).where(APPLICATIONS.c.name == name)
        newest = connection.execute(of_name.order_by(APPLICATIONS.c.number.desc()).limit(1)).scalar()
        connection.execute(update(APPLICATIONS).where(APPLICATIONS.c.number == newest).values(is_default=True))
    gone = f"application/{name}/{version}"
    connection.execute(delete(DELETED_JOBS).where(DELETED_JOBS.c.job_id == gone))
    inputs = json.dumps([file_blob(found.sha256)])
    connection.execute(insert(DELETED_JOBS).values(job_id=gone, deleted_at=now, inputs=inputs))


def _application(row: Row[Any]) -> Application:
    file = FileRef(f"{row.name}.zip", INPUTS, file_blob(row.sha256), 0, row.length, row.sha256)
    return Application(row.name, row.version, file, row.is_default, row.created_at)
