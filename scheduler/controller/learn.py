"""What pools learn of their demand from step to step, and keep in the store now and then."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.controller.pace import within
from scheduler.model import PoolDemand
from scheduler.ports.fleet_store import FleetStore

# A scheduler that is killed forgets so much: a few pauses of the last minute.
_KEPT_EVERY = timedelta(minutes=1)


class Learning:
    """What each pool has learned, as the leader of one epoch knows it."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._epoch: int | None = None
        self._learned: dict[str, PoolHistory] = {}
        self._kept: dict[str, PoolHistory] = {}
        self._kept_at: datetime | None = None

    def observe(self, epoch: int, demand: Mapping[str, PoolDemand | None], now: datetime) -> Mapping[str, PoolHistory]:
        """Learn from what the demand of each pool is now; nothing from one that could not be read."""
        if epoch != self._epoch:
            # Another may have led meanwhile, and learned.
            self._epoch, self._learned, self._kept, self._kept_at = epoch, {}, {}, now
        for pool, work in demand.items():
            if pool not in self._learned:
                self._learned[pool] = self._kept[pool] = self._store.learned(pool)
            if work is not None:
                self._learned[pool] = observed(self._learned[pool], work.active_tasks + work.running_tasks, now)
        if self._kept_at is None or not within(now - self._kept_at, _KEPT_EVERY):
            changed = {pool: each for pool, each in self._learned.items() if each is not self._kept[pool]}
            if changed:
                self._store.record_learned(epoch, changed)
                self._kept |= changed
            self._kept_at = now
        return dict(self._learned)
