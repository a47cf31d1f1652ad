"""Queues and blobs of the storage account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from scheduler.errors import MillpondError


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as received; `receipt` deletes it."""

    body: str
    receipt: str


class Queues(Protocol):
    """Storage queues. They may lose, repeat, delay or reorder (design decision 16)."""

    def send(self, queue: str, body: str) -> None:
        """Put a message that never expires; `NotFoundError` when the queue does not exist."""
        ...

    def send_all(self, queue: str, bodies: Sequence[str]) -> tuple[MillpondError | None, ...]:
        """Put messages that never expire, about in this order; give for each None, or why it may not be there."""
        ...

    def depth(self, queue: str) -> int:
        """Give the approximate number of messages, leased ones included."""
        ...

    def receive_events(self, limit: int) -> tuple[ReceivedEvent, ...]:
        """Receive events, at most 32 at once, hidden from others for a while."""
        ...

    def delete_events(self, events: Sequence[ReceivedEvent]) -> None:
        """Delete events after the transaction that applied them; no error when one is gone.

        One that could not be deleted comes again, which is harmless; the first failure is raised at the end.
        """
        ...

    def delete_queue(self, queue: str) -> None:
        """Delete the queue of a retired generation; no error when it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A blob in a listing."""

    name: str
    last_modified: datetime
    length: int
    etag: str


class Blobs(Protocol):
    """Blobs by container and name."""

    def read(self, container: str, name: str) -> bytes:
        """Read a whole blob; `NotFoundError` when it is not there."""
        ...

    def read_all(self, container: str, names: Sequence[str]) -> tuple[bytes | None, ...]:
        """Read whole blobs; None for one that is not there."""
        ...

    def read_range(self, container: str, name: str, offset: int, length: int) -> bytes:
        """Read part of a blob; `NotFoundError` when it is not there."""
        ...

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a whole blob, over any old one."""
        ...

    def list(self, container: str, prefix: str, limit: int | None = None) -> tuple[BlobEntry, ...]:
        """List blobs whose names begin with the prefix, in order of name; the first `limit` of them."""
        ...

    def touch(self, container: str, name: str) -> None:
        """Give a blob a new last-modified and a new ETag, without sending its content again; `NotFoundError`."""
        ...

    def delete(self, container: str, name: str, etag: str | None = None) -> None:
        """Delete a blob; no error when it is gone. With `etag`, `PreconditionError` when it has changed since."""
        ...
