"""`Queues` and `Blobs` over a storage account with Entra tokens."""

import binascii
from base64 import b64decode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.storage.blob import BlobClient, BlobServiceClient
from azure.storage.queue import QueueClient, QueueServiceClient, TextBase64EncodePolicy

from node_bootstrap.protocol import EVENTS_QUEUE, MAX_MESSAGE_BYTES
from scheduler.adapters.azure_errors import translated
from scheduler.errors import InvalidRequestError, MillpondError, NotFoundError, PreconditionError
from scheduler.ports.storage import BlobEntry, ReceivedEvent

# A step must not be blocked for minutes (an SDK's defaults: 20 s to connect, 60 s to read, three tries that back off
# up to a minute): the next step is the retry. One quick try more bridges a dropped connection.
STORAGE_OPTIONS: dict[str, Any] = {
    "connection_timeout": 5,
    "read_timeout": 20,
    "retry_total": 1,
    "retry_connect": 1,
    "initial_backoff": 1,
    "increment_base": 1,
    "random_jitter_range": 1,
}
# Long enough to apply a batch of events in one transaction; an event not deleted by then comes again.
_EVENT_VISIBILITY_SECONDS = 30
# The service gives at most 32 messages a call.
_MOST_MESSAGES = 32
# As much as one listing gives (docs: List Blobs, maxresults).
_MOST_ENTRIES = 5000
_FOREVER = -1
# Requests under way at once where many are asked for: what they cost is waiting. The SDK keeps ten connections a host.
_AT_ONCE = 8


class AzureQueues:
    """The queues of one storage account; bodies travel as base64 text, as nodes read and write them."""

    def __init__(self, credential: TokenCredential, queue_endpoint: str) -> None:
        self._service = QueueServiceClient(queue_endpoint, credential, **STORAGE_OPTIONS)
        self._clients: dict[str, QueueClient] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="queues")

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._service.close()

    def send(self, queue: str, body: str) -> None:
        """Put a message that never expires."""
        size = len(body.encode())
        if size > MAX_MESSAGE_BYTES:
            raise InvalidRequestError(
                f"a message of {size} bytes for queue {queue}: at most {MAX_MESSAGE_BYTES}; put it in a blob"
            )
        with translated(f"sending to queue {queue}"):
            self._queue(queue).send_message(body, time_to_live=_FOREVER)

    def send_all(self, queue: str, bodies: Sequence[str]) -> tuple[MillpondError | None, ...]:
        """Put messages that never expire, some at a time; give for each None, or why it may not be there."""
        self._queue(queue)
        return tuple(self._pool.map(lambda body: _failure(self.send, queue, body), bodies))

    def depth(self, queue: str) -> int:
        """Give the approximate number of messages, leased ones included."""
        with translated(f"reading queue {queue}"):
            return int(self._queue(queue).get_queue_properties().approximate_message_count or 0)

    def receive_events(self, limit: int) -> tuple[ReceivedEvent, ...]:
        """Receive events, hidden for 30 s."""
        with translated(f"receiving from queue {EVENTS_QUEUE}"):
            pages = self._queue(EVENTS_QUEUE).receive_messages(
                messages_per_page=min(limit, _MOST_MESSAGES), visibility_timeout=_EVENT_VISIBILITY_SECONDS
            )
            # One page is one request; going on would ask once more to learn that there is nothing.
            messages = next(pages.by_page(), ())
            return tuple(
                ReceivedEvent(_text(str(message.content)), f"{message.id} {message.pop_receipt}")
                for message in messages
            )

    def delete_events(self, events: Sequence[ReceivedEvent]) -> None:
        """Delete events, some at a time; one that another received since stays, and comes again."""
        self._queue(EVENTS_QUEUE)
        failures = tuple(self._pool.map(lambda event: _failure(self._delete, event), events))
        for failure in failures:
            if failure is not None:
                raise failure

    def _delete(self, event: ReceivedEvent) -> None:
        identifier, _, receipt = event.receipt.partition(" ")
        try:
            with translated(f"deleting an event of queue {EVENTS_QUEUE}"):
                self._queue(EVENTS_QUEUE).delete_message(identifier, receipt)
        except (NotFoundError, InvalidRequestError):  # the latter: 400 PopReceiptMismatch
            return

    def delete_queue(self, queue: str) -> None:
        """Delete a queue with all that is on it."""
        try:
            with translated(f"deleting queue {queue}"):
                self._queue(queue).delete_queue()
        except NotFoundError:
            return

    def _queue(self, queue: str) -> QueueClient:
        if queue not in self._clients:
            # The service's client does not hand an encoding policy on to those of its queues.
            encoding = TextBase64EncodePolicy()
            self._clients[queue] = self._service.get_queue_client(queue, message_encode_policy=encoding)
        return self._clients[queue]


class AzureBlobs:
    """The blobs of one storage account."""

    def __init__(self, credential: TokenCredential, blob_endpoint: str) -> None:
        self._service = BlobServiceClient(blob_endpoint, credential, **STORAGE_OPTIONS)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="blobs")

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._service.close()

    def read(self, container: str, name: str) -> bytes:
        """Read a whole blob."""
        with translated(f"reading blob {container}/{name}"):
            return self._blob(container, name).download_blob().readall()

    def read_all(self, container: str, names: Sequence[str]) -> tuple[bytes | None, ...]:
        """Read whole blobs, some at a time; None for one that is not there."""

        def read(name: str) -> bytes | None:
            try:
                return self.read(container, name)
            except NotFoundError:
                return None

        return tuple(self._pool.map(read, names))

    def read_range(self, container: str, name: str, offset: int, length: int) -> bytes:
        """Read part of a blob; `InvalidRequestError` when it begins beyond its end."""
        with translated(f"reading {length} bytes at {offset} of blob {container}/{name}"):
            if length == 0:  # a range of no bytes cannot be said in HTTP
                self._blob(container, name).get_blob_properties()
                return b""
            data = self._blob(container, name).download_blob(offset, length).readall()
        if not data:  # Azure refuses such a range with 416, Azurite gives nothing
            raise InvalidRequestError(f"blob {container}/{name} has no bytes at {offset}")
        return data

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a whole blob, over any old one."""
        with translated(f"writing blob {container}/{name}"):
            self._blob(container, name).upload_blob(data, overwrite=True)

    def list(self, container: str, prefix: str, limit: int | None = None) -> tuple[BlobEntry, ...]:
        """List blobs whose names begin with the prefix, in order of name."""
        page = None if limit is None else min(limit, _MOST_ENTRIES)
        with translated(f"listing blobs {container}/{prefix}*"):
            client = self._service.get_container_client(container)
            found = islice(client.list_blobs(name_starts_with=prefix, results_per_page=page), limit)
            return tuple(BlobEntry(item.name, item.last_modified, item.size, item.etag) for item in found)

    def touch(self, container: str, name: str) -> None:
        """Give a blob a new last-modified and a new ETag: writing its metadata does, and is free of its content."""
        with translated(f"touching blob {container}/{name}"):
            self._blob(container, name).set_blob_metadata({})

    def delete(self, container: str, name: str, etag: str | None = None) -> None:
        """Delete a blob; no error when it is gone."""
        condition: dict[str, Any] = {}
        if etag is not None:  # a listing gives it without the quotes that a condition needs
            quoted = '"' + etag.strip('"') + '"'
            condition = {"etag": quoted, "match_condition": MatchConditions.IfNotModified}
        try:
            with translated(f"deleting blob {container}/{name}"):
                self._blob(container, name).delete_blob(**condition)
        except NotFoundError:
            return
        except PreconditionError:  # of a blob that is gone, too
            with translated(f"looking for blob {container}/{name}"):
                if self._blob(container, name).exists():
                    raise

    def _blob(self, container: str, name: str) -> BlobClient:
        return self._service.get_blob_client(container, name)


def _failure(action: Callable[..., None], *arguments: object) -> MillpondError | None:
    """Do something, and give our error where it failed."""
    try:
        action(*arguments)
    except MillpondError as error:
        return error
    return None


def _text(content: str) -> str:
    """Decode a body. One that is not ours comes as it is, so that the reader refuses and deletes it.

    The SDK's own decoding policy raises instead, and one bad message would block the queue for ever.
    """
    try:
        return b64decode(content, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return content
