"""A deployment on which schedulers can be started, one after the other or at once."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from node_bootstrap.protocol import SCHEDULER
from scheduler.adapters.memory import LeaderRecord, MemoryLease
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.deletion_store import SqlDeletionStore
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.app import BlobAddress, BlobSettings
from scheduler.controller.clear import Clear
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


class Counted:
    """A port, each call of which is one request to storage."""

    def __init__(self, port: Any, requests: Counter[str]) -> None:
        self._port = port
        self._requests = requests

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)

        def call(*arguments: Any) -> Any:
            self._requests[name] += 1
            return found(*arguments)

        return call


class Stage:
    """A deployment on which controllers can be started."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.world = World(url)
        self.opened = [self.world.database]
        self.record = LeaderRecord()
        self.requests: Counter[str] = Counter()
        self.deploy("g1")

    def deploy(self, *generations: str) -> None:
        """Publish settings."""
        self.world.blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(settings(*generations)).encode())

    def keep_a_node(self) -> None:
        """Publish settings by which the pool is never without a node."""
        wanted = settings("g1")
        pools = tuple(replace(pool, policy=replace(pool.policy, min_nodes=1)) for pool in wanted.pools)
        changed = dump_settings(replace(wanted, pools=pools))
        self.world.blobs.write(SCHEDULER, SETTINGS_BLOB, changed.encode())

    def close(self) -> None:
        """Close every store."""
        for database in self.opened:
            database.close()

    def controller(self, *, apart: bool = False) -> tuple[Controller, UnsureLease]:
        """Start a scheduler; one that is apart has connections of its own, as a process of its own has."""
        world = self.world
        database, dispatch, store = world.database, world.dispatch, world.store
        if apart:
            database = Database(self.url)
            dispatch, store = SqlDispatchStore(database), SqlFleetStore(database)
            self.opened.append(database)
        lease = UnsureLease(world.clock, self.record)
        queues, blobs = Counted(world.queues, self.requests), Counted(world.blobs, self.requests)
        made = Controller(
            Counted(lease, self.requests),
            database,
            BlobSettings(blobs, BlobAddress("https://b/", SCHEDULER, SETTINGS_BLOB)),
            store,
            dispatch,
            collect=Collect(dispatch, queues, blobs),
            reconcile=Reconcile(dispatch, queues, blobs),
            feed=Feed(dispatch, queues, blobs),
            fleet=Fleet(store, dispatch, world.capacity, queues, blobs),
            clear=Clear(SqlDeletionStore(database), blobs),
        )
        return made, lease

    def live(self, controller: Controller, span: timedelta, status_every: timedelta = 10 * SECOND) -> None:
        """Let a scheduler step whenever it wants to, and nodes report now and then."""
        world = self.world
        end, reported = world.clock.now() + span, world.clock.now()
        while world.clock.now() < end:
            if world.clock.now() - reported >= status_every:
                reported = world.clock.now()
                world.nodes_report()
            world.clock.advance(max(controller.step(world.clock.now()), timedelta(milliseconds=10)))

    def run(self, controller: Controller, steps: int, every: timedelta = 10 * SECOND) -> None:
        """Let a scheduler and the nodes do some steps."""
        for _ in range(steps):
            self.world.clock.advance(every)
            self.world.nodes_report()
            controller.step(self.world.clock.now())
