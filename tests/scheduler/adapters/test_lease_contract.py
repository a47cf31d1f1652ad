"""What the scheduler may expect of the leader lease: the same over memory and over Azurite."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobServiceClient

from node_bootstrap.protocol import SCHEDULER
from scheduler.adapters.azure_lease import BlobLeaderLease
from scheduler.adapters.memory import LeaderRecord, ManualClock, MemoryLease
from scheduler.errors import ConflictError
from scheduler.ports.leadership import LeaderLease
from scheduler.settings import LEADER_BLOB
from tests.azurite import Storage

REAL = pytest.param("azure", marks=pytest.mark.system)


@dataclass(frozen=True)
class Rivals:
    """Two schedulers of one deployment, and the end of any lease."""

    first: LeaderLease
    second: LeaderLease
    break_lease: Callable[[], None]


@pytest.fixture(params=["memory", REAL])
def rivals(request: pytest.FixtureRequest) -> Iterator[Rivals]:
    """Leases of each kind on a leader blob that is not there yet."""
    if request.param == "memory":
        clock, record = ManualClock(), LeaderRecord()

        def free() -> None:
            record.holder, record.expires_at = None, None

        yield Rivals(MemoryLease(clock, record), MemoryLease(clock, record), free)
        return
    storage: Storage = request.getfixturevalue("storage")
    first, second = (BlobLeaderLease(storage.credential, storage.blob_endpoint) for _ in range(2))
    with BlobServiceClient(storage.blob_endpoint, storage.credential) as service:
        blob = service.get_blob_client(SCHEDULER, LEADER_BLOB)
        yield Rivals(first, second, lambda: end_lease(blob))
        if blob.exists():
            end_lease(blob)
            blob.delete_blob()
    first.close()
    second.close()


def end_lease(blob: BlobClient) -> None:
    """End whatever lease the leader blob has."""
    if blob.get_blob_properties().lease.state == "leased":
        BlobLeaseClient(blob).break_lease(lease_break_period=0)


def test_one_leads(rivals: Rivals) -> None:
    """Of two schedulers of one store one leads, and goes on leading as it renews."""
    assert rivals.first.hold("store")
    assert not rivals.second.hold("store")
    assert rivals.first.hold("store")
    assert not rivals.second.hold("store")


def test_a_released_lease_is_taken_at_once(rivals: Rivals) -> None:
    """A scheduler that stops hands over without delay; releasing again, or what is not held, is harmless."""
    assert rivals.first.hold("store")
    rivals.second.release()
    assert not rivals.second.hold("store")
    rivals.first.release()
    rivals.first.release()
    assert rivals.second.hold("store")
    assert not rivals.first.hold("store")


def test_a_lost_lease_says_no(rivals: Rivals) -> None:
    """A leader whose lease ended and was taken learns it at its next step and does not take it back."""
    assert rivals.first.hold("store")
    rivals.break_lease()
    assert rivals.second.hold("store")
    assert not rivals.first.hold("store")
    assert not rivals.first.hold("store")
    assert rivals.second.hold("store")


def test_a_lost_lease_that_nobody_took_is_acquired_anew(rivals: Rivals) -> None:
    """A leader that lost its lease says no once, so that it begins a new epoch, and may then lead again."""
    assert rivals.first.hold("store")
    rivals.break_lease()
    assert not rivals.first.hold("store")
    assert rivals.first.hold("store")


def test_another_store_is_refused(rivals: Rivals) -> None:
    """A scheduler with another store refuses to start, also while nobody leads."""
    assert rivals.first.hold("store")
    with pytest.raises(ConflictError, match="belongs to the store store, not other"):
        rivals.second.hold("other")
    rivals.first.release()
    with pytest.raises(ConflictError, match="belongs to the store store, not other"):
        rivals.second.hold("other")
    assert rivals.second.hold("store")


@pytest.mark.system
def test_a_leader_blob_that_cannot_be_understood_is_refused(storage: Storage) -> None:
    """A damaged leader blob stops the scheduler with a message instead of being overwritten."""
    lease = BlobLeaderLease(storage.credential, storage.blob_endpoint)
    with BlobServiceClient(storage.blob_endpoint, storage.credential) as service:
        blob = service.get_blob_client(SCHEDULER, LEADER_BLOB)
        blob.upload_blob(b"damaged")
        with pytest.raises(ConflictError, match="cannot be understood"):
            lease.hold("store")
        blob.delete_blob()
    lease.close()


def test_a_memory_lease_runs_out() -> None:
    """A leader that does not renew for the lease's duration can be replaced; one that does cannot."""
    clock, record = ManualClock(), LeaderRecord()
    first, second = (MemoryLease(clock, record, timedelta(seconds=30)) for _ in range(2))
    assert first.hold("store")
    clock.advance(timedelta(seconds=20))
    assert first.hold("store")
    clock.advance(timedelta(seconds=29))
    assert not second.hold("store")
    clock.advance(timedelta(seconds=1))
    assert second.hold("store")
    assert not first.hold("store")
