"""The state of the resource manager: resources and operations in SQLite, so that it survives any end of the daemon."""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

_SCHEMA = """
create table if not exists resources (
    key text primary key, id text not null, type text not null, body text not null, internal text not null,
    revision integer not null, sequence integer not null);
create index if not exists resources_by_type on resources (type);
create table if not exists operations (
    id text primary key, kind text not null, resource_id text not null, resource_key text not null,
    payload text not null, status text not null, error text, error_status integer, due real not null,
    created real not null, ended real);
create index if not exists operations_by_status on operations (status, due);
create table if not exists settings (name text primary key, value text not null);
"""

_KEEP_ENDED_SECONDS = 24 * 3600


@dataclass(slots=True)
class Resource:
    """A resource: `body` is what clients see; `internal` is ours (keys, counters). Change it, then `Store.save` it."""

    id: str
    type: str
    body: dict[str, Any]
    internal: dict[str, Any] = field(default_factory=dict)
    revision: int = 0

    @property
    def key(self) -> str:
        """The id for comparisons."""
        return self.id.lower()

    @property
    def name(self) -> str:
        """The last name in the id."""
        return self.id.rsplit("/", 1)[1]

    @property
    def properties(self) -> dict[str, Any]:
        """The body's properties, made when missing."""
        properties: dict[str, Any] = self.body.setdefault("properties", {})
        return properties

    @property
    def state(self) -> str | None:
        """The provisioning state."""
        return self.properties.get("provisioningState")

    @state.setter
    def state(self, value: str) -> None:
        self.properties["provisioningState"] = value

    @property
    def etag(self) -> str:
        """The revision as an entity tag."""
        return f'"{self.revision}"'


class Status(StrEnum):
    """The state of an operation, as its status object spells it."""

    RUNNING = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


@dataclass(slots=True)
class Operation:
    """One long-running operation on one resource; times in seconds since the epoch."""

    id: str
    kind: str
    resource_id: str
    payload: dict[str, Any]
    status: Status
    error: dict[str, Any] | None
    error_status: int | None
    due: float
    created: float
    ended: float | None


class Store:
    """All state. Whoever writes holds it alone inside `transaction`; a reading sees no half of a writing."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._on_commit: list[Callable[[], None]] = []
        self._watched: dict[str, list[Callable[[], None]]] = {}
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")
        self._connection.executescript(_SCHEMA)
        self._connection.execute("delete from operations where ended < ?", (time.time() - _KEEP_ENDED_SECONDS,))

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the state alone; an error undoes everything since the outermost entry."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("begin immediate")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("rollback")
                    self._on_commit.clear()
                raise
            self._depth -= 1
            if self._depth > 0:
                return
            self._connection.execute("commit")
            hooks, self._on_commit = self._on_commit, []
        for hook in hooks:
            hook()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let nobody write while several things are read that belong together."""
        with self._lock:
            yield

    def after_commit(self, hook: Callable[[], None]) -> None:
        """Call this once the present transaction is durable."""
        self._on_commit.append(hook)

    def watch(self, resource_type: str, hook: Callable[[], None]) -> None:
        """Call this after each transaction that wrote or removed a resource of a type."""
        self._watched.setdefault(resource_type.lower(), []).append(hook)

    def _tell(self, resource_type: str) -> None:
        for hook in self._watched.get(resource_type, ()):
            if hook not in self._on_commit:
                self._on_commit.append(hook)

    def setting(self, name: str, make: Callable[[], str]) -> str:
        """Return a value that is made once and kept."""
        with self.transaction():
            self._connection.execute("insert or ignore into settings values (?, ?)", (name, make()))
            row = self._connection.execute("select value from settings where name = ?", (name,)).fetchone()
            return str(row["value"])

    def keep(self, name: str, value: str) -> None:
        """Set a kept value."""
        with self.transaction():
            self._connection.execute("insert or replace into settings values (?, ?)", (name, value))

    def next_revision(self) -> int:
        """Return a number that was never returned before."""
        with self.transaction():
            number = int(self.setting("revision", lambda: "0")) + 1
            self.keep("revision", str(number))
            return number

    def get(self, resource_id: str) -> Resource | None:
        """Return a resource, or None."""
        with self._lock:
            row = self._connection.execute("select * from resources where key = ?", (resource_id.lower(),)).fetchone()
            return _resource(row) if row else None

    def find(self, resource_type: str | None = None, under: str = "") -> list[Resource]:
        """List resources of a type below an id, oldest first; all of them without arguments."""
        prefix = under.lower().rstrip("/") + "/"
        with self._lock:
            rows = self._connection.execute(
                "select * from resources where (?1 is null or type = ?1) and substr(key, 1, ?2) = ?3 order by sequence",
                (resource_type.lower() if resource_type else None, len(prefix), prefix),
            ).fetchall()
            return [_resource(row) for row in rows]

    def save(self, resource: Resource, *, changed: bool = True) -> None:
        """Write a resource; `changed` gives it a new entity tag."""
        with self.transaction():
            self._tell(resource.type.lower())
            number = self.next_revision()
            if changed or not resource.revision:
                resource.revision = number
            self._connection.execute(
                "insert into resources values (?, ?, ?, ?, ?, ?, ?) on conflict (key) do update set"
                " body = excluded.body, internal = excluded.internal, revision = excluded.revision",
                (
                    resource.key,
                    resource.id,
                    resource.type.lower(),
                    json.dumps(resource.body),
                    json.dumps(resource.internal),
                    resource.revision,
                    number,
                ),
            )

    def remove(self, resource_id: str) -> None:
        """Forget a resource and everything below it, also what is assigned on it."""
        key = resource_id.lower()
        with self.transaction():
            removed = self._connection.execute(
                "select distinct type from resources where key = ?1 or substr(key, 1, ?2) = ?3",
                (key, len(key) + 1, key + "/"),
            )
            for row in removed.fetchall():
                self._tell(row["type"])
            self._connection.execute(
                "delete from resources where key = ?1 or substr(key, 1, ?2) = ?3", (key, len(key) + 1, key + "/")
            )

    def start(
        self, kind: str, resource_id: str, payload: dict[str, Any] | None = None, delay_seconds: float = 0.0
    ) -> Operation:
        """Write down a new operation, to be worked on after the delay."""
        now = time.time()
        operation = Operation(
            str(uuid.uuid4()),
            kind,
            resource_id,
            payload or {},
            Status.RUNNING,
            None,
            None,
            now + delay_seconds,
            now,
            None,
        )
        with self.transaction():
            self._connection.execute(
                "insert into operations values (?, ?, ?, ?, ?, ?, null, null, ?, ?, null)",
                (
                    operation.id,
                    kind,
                    resource_id,
                    resource_id.lower(),
                    json.dumps(operation.payload),
                    operation.status,
                    operation.due,
                    operation.created,
                ),
            )
        return operation

    def operation(self, operation_id: str) -> Operation | None:
        """Return an operation, or None."""
        with self._lock:
            row = self._connection.execute("select * from operations where id = ?", (operation_id,)).fetchone()
            return _operation(row) if row else None

    def unfinished(self, resource_id: str | None = None, kind: str | None = None) -> list[Operation]:
        """List the operations that are not finished, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "select * from operations where status = ?1 and (?2 is null or resource_key = ?2)"
                " and (?3 is null or kind = ?3) order by created, rowid",
                (Status.RUNNING, resource_id.lower() if resource_id else None, kind),
            ).fetchall()
            return [_operation(row) for row in rows]

    def postpone(self, operation_id: str, due: float) -> None:
        """Let an operation be worked on again at `due`."""
        with self.transaction():
            self._connection.execute("update operations set due = ? where id = ?", (due, operation_id))

    def finish(
        self, operation_id: str, status: Status, error: dict[str, Any] | None = None, error_status: int | None = None
    ) -> bool:
        """End an operation; False when it had ended before."""
        with self.transaction():
            cursor = self._connection.execute(
                "update operations set status = ?, error = ?, error_status = ?, ended = ? where id = ? and status = ?",
                (status, json.dumps(error) if error else None, error_status, time.time(), operation_id, Status.RUNNING),
            )
            return cursor.rowcount == 1


def _resource(row: sqlite3.Row) -> Resource:
    return Resource(row["id"], row["type"], json.loads(row["body"]), json.loads(row["internal"]), row["revision"])


def _operation(row: sqlite3.Row) -> Operation:
    return Operation(
        row["id"],
        row["kind"],
        row["resource_id"],
        json.loads(row["payload"]),
        Status(row["status"]),
        json.loads(row["error"]) if row["error"] else None,
        row["error_status"],
        row["due"],
        row["created"],
        row["ended"],
    )
