"""A deployment on which schedulers can be started, one after the other or at once."""

from datetime import timedelta

from node_bootstrap.protocol import SCHEDULER
from scheduler.adapters.memory import LeaderRecord, MemoryLease
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.app import BlobAddress, BlobSettings
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed
from scheduler.controller.fleet import Fleet
from scheduler.controller.loop import Controller
from scheduler.controller.reconcile import Reconcile
from scheduler.errors import UnavailableError
from scheduler.settings import SETTINGS_BLOB, dump_settings
from tests.scheduler.controller.fleet_world import World, settings

SECOND = timedelta(seconds=1)


class UnsureLease(MemoryLease):
    """A lease that cannot be reached on demand."""

    unreachable = False

    def hold(self, store_id: str) -> bool:
        """Hold, or fail."""
        if self.unreachable:
            raise UnavailableError("storage does not answer")
        return super().hold(store_id)


class Stage:
    """A deployment on which controllers can be started."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.world = World(url)
        self.opened = [self.world.database]
        self.record = LeaderRecord()
        self.deploy("g1")

    def deploy(self, *generations: str) -> None:
        """Publish settings."""
        self.world.blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(settings(*generations)).encode())

    def controller(self, *, apart: bool = False) -> tuple[Controller, UnsureLease]:
        """Start a scheduler; one that is apart has connections of its own, as a process of its own has."""
        world = self.world
        database, dispatch, store = world.database, world.dispatch, world.store
        if apart:
            database = Database(self.url)
            dispatch, store = SqlDispatchStore(database), SqlFleetStore(database)
            self.opened.append(database)
        lease = UnsureLease(world.clock, self.record)
        made = Controller(
            lease,
            database,
            BlobSettings(world.blobs, BlobAddress("https://b/", SCHEDULER, SETTINGS_BLOB)),
            store,
            collect=Collect(dispatch, world.queues, world.blobs),
            reconcile=Reconcile(dispatch, world.queues, world.blobs),
            feed=Feed(dispatch, world.queues, world.blobs),
            fleet=Fleet(store, dispatch, world.capacity, world.queues, world.blobs),
        )
        return made, lease

    def close(self) -> None:
        """Close every store."""
        for database in self.opened:
            database.close()

    def run(self, controller: Controller, steps: int, every: timedelta = 10 * SECOND) -> None:
        """Let a scheduler and the nodes do some steps."""
        for _ in range(steps):
            self.world.clock.advance(every)
            self.world.nodes_report()
            controller.step(self.world.clock.now())
