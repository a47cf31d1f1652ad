"""What the scheduler may expect of queues and blobs: the same over memory and over Azurite."""

import base64
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.queue import QueueServiceClient

from node_bootstrap.protocol import CONTAINERS, EVENTS_QUEUE, INPUTS, MAX_MESSAGE_BYTES, OUTPUTS, sha256_hex
from scheduler.adapters.azure_storage import AzureBlobs, AzureQueues
from scheduler.adapters.memory import ManualClock, MemoryBlobs, MemoryQueues
from scheduler.errors import ConflictError, InvalidRequestError, NotFoundError, PreconditionError, UnavailableError
from scheduler.ports.storage import Blobs, Queues
from tests.azurite import Storage, UnsignedCredential

REAL = pytest.param("azure", marks=pytest.mark.system)
NUMBERS = itertools.count()


@dataclass(frozen=True)
class QueueSide:
    """The port, a way to make a queue and to look at what a node would receive."""

    queues: Queues
    create: Callable[[str], None]
    bodies: Callable[[str], list[str]]


def azure_side(queues: AzureQueues, service: QueueServiceClient) -> QueueSide:
    """Look at the account with the SDK alone, as a node's plain HTTP would."""
    for _ in service.get_queue_client(EVENTS_QUEUE).receive_messages(messages_per_page=32):
        pass  # events of an earlier test are hidden now
    service.get_queue_client(EVENTS_QUEUE).clear_messages()

    def bodies(queue: str) -> list[str]:
        peeked = service.get_queue_client(queue).peek_messages(max_messages=32)
        return [base64.b64decode(message.content).decode() for message in peeked]

    return QueueSide(queues, lambda queue: service.create_queue(queue).close(), bodies)


@pytest.fixture(params=["memory", REAL])
def side(request: pytest.FixtureRequest) -> Iterator[QueueSide]:
    """Queues of each kind."""
    if request.param == "memory":
        memory = MemoryQueues(ManualClock())
        yield QueueSide(
            memory,
            memory.create_queue,
            lambda queue: [message.body for message in memory.receive(queue, timedelta(seconds=1), 32)],
        )
        return
    storage: Storage = request.getfixturevalue("storage")
    queues = AzureQueues(storage.credential, storage.queue_endpoint)
    with QueueServiceClient(storage.queue_endpoint, storage.credential) as service:
        yield azure_side(queues, service)
    queues.close()


@pytest.fixture(params=["memory", REAL])
def blobs(request: pytest.FixtureRequest) -> Iterator[Blobs]:
    """Blobs of each kind."""
    if request.param == "memory":
        yield MemoryBlobs(ManualClock(datetime.now(UTC)))
        return
    storage: Storage = request.getfixturevalue("storage")
    made = AzureBlobs(storage.credential, storage.blob_endpoint)
    yield made
    made.close()


@pytest.fixture
def queue(side: QueueSide) -> str:
    """Make an empty queue."""
    name = f"work-{next(NUMBERS)}"
    side.create(name)
    return name


@pytest.fixture
def folder() -> str:
    """Give a prefix that no other test uses."""
    return f"test-{next(NUMBERS)}/"


@pytest.mark.parametrize("body", ["plain", "Größe 水車 \n<xml/> & \x01", "x" * MAX_MESSAGE_BYTES])
def test_a_node_receives_what_was_sent(side: QueueSide, queue: str, body: str) -> None:
    """A message's text arrives unchanged, up to the largest size."""
    side.queues.send(queue, body)
    assert side.queues.depth(queue) == 1
    assert side.bodies(queue) == [body]


def test_a_message_too_large_is_refused(side: QueueSide, queue: str) -> None:
    """A message over the limit is the caller's error and not put on the queue."""
    with pytest.raises(InvalidRequestError, match="put it in a blob"):
        side.queues.send(queue, "x" * (MAX_MESSAGE_BYTES + 1))
    assert side.queues.depth(queue) == 0


def test_a_queue_that_is_not_there(side: QueueSide) -> None:
    """Sending to and measuring an absent queue raise NotFoundError; deleting it does not."""
    with pytest.raises(NotFoundError):
        side.queues.send("never-made", "text")
    with pytest.raises(NotFoundError):
        side.queues.depth("never-made")
    side.queues.delete_queue("never-made")


def test_a_deleted_queue_is_gone(side: QueueSide, queue: str) -> None:
    """After delete_queue nothing can be sent any more."""
    side.queues.delete_queue(queue)
    with pytest.raises(NotFoundError):
        side.queues.send(queue, "text")


def test_events_are_received_once_and_counted_until_deleted(side: QueueSide) -> None:
    """At most 32 come at once; they are hidden from the next receive, still counted, and gone once deleted."""
    for number in range(40):
        side.queues.send(EVENTS_QUEUE, f"event {number}")
    received = side.queues.receive_events(100)
    assert len(received) == 32
    received += side.queues.receive_events(32)
    assert sorted(event.body for event in received) == sorted(f"event {number}" for number in range(40))
    assert side.queues.receive_events(100) == ()
    assert side.queues.depth(EVENTS_QUEUE) == 40
    for _ in range(2):
        side.queues.delete_events(received)
    assert side.queues.depth(EVENTS_QUEUE) == 0


def test_no_more_events_than_asked_for(side: QueueSide) -> None:
    """The limit of a receive is kept; the rest comes with the next."""
    for number in range(5):
        side.queues.send(EVENTS_QUEUE, f"event {number}")
    assert len(side.queues.receive_events(3)) == 3
    assert len(side.queues.receive_events(3)) == 2


def test_blobs_are_read_as_written(blobs: Blobs, folder: str) -> None:
    """A blob is read whole or in part, and a later write replaces it."""
    blobs.write(OUTPUTS, f"{folder}a", b"0123456789")
    assert blobs.read(OUTPUTS, f"{folder}a") == b"0123456789"
    assert blobs.read_range(OUTPUTS, f"{folder}a", 2, 3) == b"234"
    assert blobs.read_range(OUTPUTS, f"{folder}a", 8, 10) == b"89"
    assert blobs.read_range(OUTPUTS, f"{folder}a", 5, 0) == b""
    blobs.write(OUTPUTS, f"{folder}a", b"")
    assert blobs.read(OUTPUTS, f"{folder}a") == b""


@pytest.mark.parametrize("size", [0, 5, 9_000_000])
def test_a_file_is_written_whole_or_not_at_all(blobs: Blobs, folder: str, tmp_path: Path, size: int) -> None:
    """Its bytes are there as they are in the file; a file that has changed since it was hashed writes nothing."""
    path = tmp_path / "input"
    path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    digest = sha256_hex(path.read_bytes())
    blobs.write_file(INPUTS, f"{folder}/file", path, digest)
    assert blobs.read(INPUTS, f"{folder}/file") == path.read_bytes()
    path.write_bytes(b"other")
    with pytest.raises(ConflictError, match="changed"):
        blobs.write_file(INPUTS, f"{folder}/changed", path, digest)
    assert blobs.list(INPUTS, f"{folder}/changed") == ()


def test_a_range_beyond_the_end_is_refused(blobs: Blobs, folder: str) -> None:
    """A range that begins beyond the blob's end is the caller's error, not an empty answer."""
    blobs.write(OUTPUTS, f"{folder}a", b"0123")
    with pytest.raises(InvalidRequestError):
        blobs.read_range(OUTPUTS, f"{folder}a", 4, 1)


def test_a_blob_that_is_not_there(blobs: Blobs, folder: str) -> None:
    """Reading an absent blob raises NotFoundError; deleting it does not."""
    with pytest.raises(NotFoundError):
        blobs.read(OUTPUTS, f"{folder}none")
    for length in (0, 1):
        with pytest.raises(NotFoundError):
            blobs.read_range(OUTPUTS, f"{folder}none", 0, length)
    blobs.delete(OUTPUTS, f"{folder}none")


def test_a_container_that_is_not_there(blobs: Blobs) -> None:
    """Every access to an absent container but a delete raises NotFoundError: it is unknown, not empty."""
    with pytest.raises(NotFoundError):
        blobs.write("never-made", "a", b"")
    with pytest.raises(NotFoundError):
        blobs.read("never-made", "a")
    with pytest.raises(NotFoundError):
        blobs.list("never-made", "")


def test_listing_is_by_prefix_in_order_of_name(blobs: Blobs, folder: str) -> None:
    """A listing holds exactly the blobs under the prefix, sorted, with length, time and a changing ETag."""
    before = datetime.now(UTC) - timedelta(seconds=5)
    for name in ("b", "a/2", "a/10", "c"):
        blobs.write(OUTPUTS, folder + name, name.encode())
    listed = blobs.list(OUTPUTS, folder)
    assert [(entry.name, entry.length) for entry in listed] == [
        (f"{folder}a/10", 4),
        (f"{folder}a/2", 3),
        (f"{folder}b", 1),
        (f"{folder}c", 1),
    ]
    assert all(before <= entry.last_modified <= datetime.now(UTC) + timedelta(seconds=5) for entry in listed)
    assert [entry.name for entry in blobs.list(OUTPUTS, f"{folder}a/")] == [f"{folder}a/10", f"{folder}a/2"]
    assert blobs.list(OUTPUTS, f"{folder}z") == ()
    blobs.write(OUTPUTS, f"{folder}c", b"d")
    assert blobs.list(OUTPUTS, f"{folder}c")[0].etag != listed[-1].etag
    blobs.delete(OUTPUTS, f"{folder}c")
    assert blobs.list(OUTPUTS, f"{folder}c") == ()


def test_every_container_of_the_protocol_exists(blobs: Blobs) -> None:
    """The containers that the protocol names can be listed."""
    for container in CONTAINERS:
        blobs.list(container, "no-such-prefix")


@pytest.mark.system
def test_an_event_that_is_not_ours_comes_as_it_is(storage: Storage) -> None:
    """One body that is not base64 does not block the queue: it is handed on for the reader to refuse."""
    queues = AzureQueues(storage.credential, storage.queue_endpoint)
    with QueueServiceClient(storage.queue_endpoint, storage.credential) as service:
        azure_side(queues, service)
        service.get_queue_client(EVENTS_QUEUE).send_message("not base64!")
        received = queues.receive_events(10)
        assert [event.body for event in received] == ["not base64!"]
        queues.delete_events(received[:1])
        assert queues.depth(EVENTS_QUEUE) == 0
    queues.close()


def test_an_unreachable_account_is_unknown_and_soon_known_to_be() -> None:
    """No answer is UnavailableError, never an empty listing, and it blocks a step for seconds at most."""
    started = time.monotonic()
    blobs = AzureBlobs(UnsignedCredential(), "https://127.0.0.1:9/account")
    with pytest.raises(UnavailableError, match="nothing is known"):
        blobs.list(OUTPUTS, "")
    assert time.monotonic() - started < 30
    blobs.close()


def test_memory_leases_come_again_and_count() -> None:
    """The nodes' side: a lease hides a message, ends, and the next receive counts; an old receipt is refused."""
    clock = ManualClock()
    queues = MemoryQueues(clock, ["work"])
    queues.send("work", "task")
    (first,) = queues.receive("work", timedelta(seconds=60))
    assert (first.body, first.dequeue_count) == ("task", 1)
    assert queues.receive("work", timedelta(seconds=60)) == ()
    clock.advance(timedelta(seconds=59))
    renewed = queues.update(first, timedelta(seconds=60))
    clock.advance(timedelta(seconds=59))
    assert queues.receive("work", timedelta(seconds=60)) == ()
    clock.advance(timedelta(seconds=1))
    (second,) = queues.receive("work", timedelta(seconds=60))
    assert second.dequeue_count == 2
    for stale in (first, renewed):
        with pytest.raises(NotFoundError):
            queues.update(stale, timedelta(seconds=60))
        with pytest.raises(NotFoundError):
            queues.delete(stale)
    queues.delete(second)
    assert queues.depth("work") == 0


def test_a_listing_ends_where_it_was_asked_to(blobs: Blobs, folder: str) -> None:
    """Only the first of many are given, in order of name; a limit above their number gives all."""
    for number in range(5):
        blobs.write(OUTPUTS, f"{folder}{number}", b"x")
    for limit, count in ((1, 1), (3, 3), (99, 5), (None, 5)):
        assert [entry.name for entry in blobs.list(OUTPUTS, folder, limit)] == [f"{folder}{n}" for n in range(count)]


def test_only_what_was_read_is_deleted(blobs: Blobs, folder: str) -> None:
    """A blob that was touched or written since it was listed stays; as it was listed it goes."""
    name = f"{folder}a"
    blobs.write(OUTPUTS, name, b"content")
    for change in (lambda: blobs.touch(OUTPUTS, name), lambda: blobs.write(OUTPUTS, name, b"content")):
        (before,) = blobs.list(OUTPUTS, name)
        change()
        with pytest.raises(PreconditionError):
            blobs.delete(OUTPUTS, name, before.etag)
        assert blobs.read(OUTPUTS, name) == b"content"
    (entry,) = blobs.list(OUTPUTS, name)
    blobs.delete(OUTPUTS, name, entry.etag)
    blobs.delete(OUTPUTS, name, entry.etag)
    assert blobs.list(OUTPUTS, name) == ()


def test_touching_makes_young(blobs: Blobs, folder: str) -> None:
    """A touched blob has a new ETag and its old content; one that is not there is told."""
    name = f"{folder}a"
    blobs.write(OUTPUTS, name, b"content")
    (before,) = blobs.list(OUTPUTS, name)
    blobs.touch(OUTPUTS, name)
    (after,) = blobs.list(OUTPUTS, name)
    assert after.etag != before.etag
    assert after.last_modified >= before.last_modified
    assert blobs.read(OUTPUTS, name) == b"content"
    with pytest.raises(NotFoundError):
        blobs.touch(OUTPUTS, f"{folder}none")
