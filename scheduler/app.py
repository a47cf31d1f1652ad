"""Wiring: which adapters stand behind the ports of a deployed environment."""

import logging
import queue
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import certifi
from azure.core.credentials import TokenCredential

from scheduler.adapters.azure_database import EntraPassword, proven_address
from scheduler.adapters.azure_lease import BlobLeaderLease
from scheduler.adapters.azure_storage import AzureBlobs, AzureQueues
from scheduler.adapters.batch_pool import BatchPoolCapacity
from scheduler.adapters.capacity_by_kind import CapacityByKind
from scheduler.adapters.scale_set import ScaleSetCapacity
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.deletion_store import SqlDeletionStore
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.store_look import StoreLook, look
from scheduler.controller.assembly import Ports, assemble
from scheduler.controller.loop import Controller
from scheduler.controller.pace import pace_of
from scheduler.errors import InvalidRequestError, NotFoundError, UnavailableError
from scheduler.model import StorageAddress
from scheduler.ports.capacity import Capacity
from scheduler.ports.clock import Clock
from scheduler.ports.job_service import JobService
from scheduler.ports.storage import Blobs
from scheduler.service import Service
from scheduler.settings import SchedulerSettings, load_settings

_LOG = logging.getLogger(__name__)

# What the adapters are made from.
_ADDRESSES = (
    "subscription_id",
    "resource_group",
    "resource_manager",
    "blob_endpoint",
    "queue_endpoint",
    "batch_endpoint",
)


class _Closing(Protocol):
    def close(self) -> None: ...


_Part = TypeVar("_Part", bound=_Closing)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the present instant, in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class BlobAddress:
    """A blob's address in parts: `endpoint` ends with a slash."""

    endpoint: str
    container: str
    name: str


def parse_blob_url(url: str) -> BlobAddress:
    """Split `https://<account host>[/<account>]/<container>/<name>`; `InvalidRequestError` when it is not one."""
    parts = urlsplit(url)
    *before, container, name = parts.path.split("/") if parts.path.count("/") >= 2 else ("", "", "")  # noqa: PLR2004
    if parts.scheme not in {"http", "https"} or not parts.netloc or not container or not name or parts.query:
        raise InvalidRequestError(
            f"{url!r} is no address of settings; give the stack output scheduler_settings_url, "
            "https://<account>.blob.core.windows.net/<container>/<name>"
        )
    return BlobAddress(f"{parts.scheme}://{parts.netloc}{'/'.join(before)}/", container, name)


class BlobSettings:
    """The deployment's settings, read again when their ETag changes."""

    def __init__(self, blobs: Blobs, address: BlobAddress) -> None:
        self._blobs = blobs
        self._address = address
        self._etag: str | None = None
        self._first: SchedulerSettings | None = None

    def read(self) -> SchedulerSettings:
        """Read the settings now; `NotFoundError` says how to make them."""
        where = f"{self._address.container}/{self._address.name} at {self._address.endpoint}"
        try:
            return load_settings(self._blobs.read(self._address.container, self._address.name))
        except NotFoundError as error:
            raise NotFoundError(f"there are no settings {where}; deploy with `millpond up` first: {error}") from error

    def changed(self) -> SchedulerSettings | None:
        """Give the settings if they are new since the last call that gave some."""
        listed = self._blobs.list(self._address.container, self._address.name)
        etag = next((entry.etag for entry in listed if entry.name == self._address.name), None)
        if etag is None:
            raise UnavailableError("the settings are gone; nothing is changed, deploy with `millpond up` again")
        if etag == self._etag:
            return None
        settings = self.read()
        self._warn_of_moves(settings)
        self._etag = etag
        return settings

    def again(self) -> None:
        """Have the next call give them, new or not."""
        self._etag = None

    def _warn_of_moves(self, settings: SchedulerSettings) -> None:
        """Adapters are made once, so other addresses need another process."""
        first = self._first = self._first or settings
        for name in _ADDRESSES:
            if getattr(first, name) != getattr(settings, name):
                _LOG.warning("the settings name another %s; start the scheduler again to use it", name)


class Bell:
    """Ends a wait early. Rung from any thread, also by a signal's handler, at any time."""

    def __init__(self) -> None:
        # Its `put` may interrupt itself, which the methods of an `Event` may not.
        self._rung: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """End the wait that is on, or the next one."""
        self._rung.put(None)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until it is rung."""
        with suppress(queue.Empty):
            self._rung.get(timeout=seconds)
        with suppress(queue.Empty):
            while True:
                self._rung.get_nowait()


@dataclass(frozen=True, slots=True)
class App:
    """A scheduler, ready to run: `service` answers users, `controller` does the work.

    `bell` is rung by what must not wait for the next step: a job that was submitted, a request to stop.
    `store` is the address of its database as people may see it, without a password.
    """

    service: JobService
    controller: Controller
    store: str
    clock: Clock
    bell: Bell
    close: Callable[[], None]

    def run(self, stop: threading.Event) -> None:
        """Step, wait as long as it says or for the bell, and again, until stopped; then give up the lead and close."""
        try:
            while not stop.is_set():
                pause = self.controller.step(self.clock.now())
                self.bell.wait(pause.total_seconds())
        finally:
            try:
                self.controller.release()
            finally:
                self.close()


class StoreSignIn(StrEnum):
    """How the store's database knows the scheduler."""

    ADDRESS = "address"
    ENTRA = "entra"


def build(
    settings_url: str,
    store_url: str,
    clock: Clock,
    credential: TokenCredential,
    interval: float,
    store_sign_in: StoreSignIn = StoreSignIn.ADDRESS,
) -> App:
    """Connect the scheduler of a deployment; its settings must be readable now.

    With `StoreSignIn.ENTRA` the credential's token is the password of each connection to the store.
    """
    with ExitStack() as opened:
        source, settings, blobs = _read(opened, settings_url, credential)
        scale_sets = _opened(
            opened,
            ScaleSetCapacity(credential, settings.subscription_id, settings.resource_group, settings.resource_manager),
        )
        batch_pools = None
        if settings.batch_endpoint is not None:
            batch_pools = _opened(opened, BatchPoolCapacity(credential, settings.batch_endpoint))
        capacity = CapacityByKind(scale_sets, batch_pools)
        database = _opened(opened, _database(store_url, credential, store_sign_in))
        return _connected(opened, source, settings, blobs, capacity, database, clock, credential, interval)


def build_over(
    capacity: Capacity, settings_url: str, store_url: str, clock: Clock, credential: TokenCredential, interval: float
) -> App:
    """Connect the scheduler of a deployment whose machines are reached otherwise than by its settings."""
    with ExitStack() as opened:
        source, settings, blobs = _read(opened, settings_url, credential)
        database = _opened(opened, Database(store_url))
        return _connected(opened, source, settings, blobs, capacity, database, clock, credential, interval)


def _read(
    opened: ExitStack, settings_url: str, credential: TokenCredential
) -> tuple[BlobSettings, SchedulerSettings, AzureBlobs]:
    address = parse_blob_url(settings_url)
    blobs = _opened(opened, AzureBlobs(credential, address.endpoint))
    source = BlobSettings(blobs, address)
    return source, source.read(), blobs


def _connected(
    opened: ExitStack,
    source: BlobSettings,
    settings: SchedulerSettings,
    blobs: AzureBlobs,
    capacity: Capacity,
    database: Database,
    clock: Clock,
    credential: TokenCredential,
    interval: float,
) -> App:
    queues = _opened(opened, AzureQueues(credential, settings.queue_endpoint))
    lease = _opened(opened, BlobLeaderLease(credential, settings.blob_endpoint))
    jobs, dispatch, fleet_store = SqlJobStore(database), SqlDispatchStore(database), SqlFleetStore(database)
    deletions = SqlDeletionStore(database)
    controller = assemble(
        Ports(lease, database, fleet_store, dispatch, deletions, capacity, queues, blobs),
        source,
        pace_of(timedelta(seconds=interval)),
    )
    storage, bell = StorageAddress(blob_endpoint=settings.blob_endpoint), Bell()
    return App(
        service=Service(
            jobs, fleet_store, lambda: storage, clock, views=SqlJobViews(database), blobs=blobs, changed=bell.ring
        ),
        controller=controller,
        store=database.address,
        clock=clock,
        bell=bell,
        close=opened.pop_all().close,
    )


def look_at_store(url: str, credential: TokenCredential, sign_in: StoreSignIn) -> StoreLook:
    """Say of which version a store is, and what a start would do to it; nothing is changed."""
    return look(*_address(url, credential, sign_in))


def _database(url: str, credential: TokenCredential, sign_in: StoreSignIn) -> Database:
    return Database(*_address(url, credential, sign_in))


def _address(url: str, credential: TokenCredential, sign_in: StoreSignIn) -> tuple[str, Callable[[], str] | None]:
    if sign_in is StoreSignIn.ADDRESS:
        return url, None
    # What SSL_CERT_FILE names, or what the system has, or the well-known ones: the driver brings none.
    authorities = ssl.get_default_verify_paths().cafile or certifi.where()
    return proven_address(url, authorities), EntraPassword(credential)


def _opened(stack: ExitStack, part: _Part) -> _Part:
    """Have a part closed with the rest, also when a later one cannot be opened."""
    stack.callback(part.close)
    return part
