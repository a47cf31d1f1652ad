"""What pools learn of their demand from step to step, and keep in the store now and then."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from scheduler.autoscale.learning import learnt, resumed, told
from scheduler.autoscale.levels import PoolHistory
from scheduler.controller.pace import within
from scheduler.model import PoolDemand
from scheduler.policy import ScalingPolicy
from scheduler.ports.fleet_store import FleetStore

# A scheduler that is killed forgets so much: a few pauses of the last minute.
_KEPT_EVERY = timedelta(minutes=1)
_DEFAULT = ScalingPolicy()


class Learning:
    """What each pool has learned, as the leader of one epoch knows it."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._epoch: int | None = None
        self._learned: dict[str, PoolHistory] = {}
        self._kept: dict[str, PoolHistory] = {}
        self._kept_at: datetime | None = None

    def observe(
        self,
        epoch: int,
        demand: Mapping[str, PoolDemand | None],
        now: datetime,
        policies: Mapping[str, ScalingPolicy],
    ) -> Mapping[str, PoolHistory]:
        """Learn from what the demand of each pool is now, and give what decisions are made from.

        Nothing is learned from demand that could not be read.
        """
        if epoch != self._epoch:
            # Another may have led meanwhile, and learned.
            self._epoch, self._learned, self._kept, self._kept_at = epoch, {}, {}, now
        for pool, work in demand.items():
            if pool not in self._learned:
                self._learned[pool] = self._kept[pool] = resumed(self._store.learned(pool))
            if work is None:
                self._learned[pool] = resumed(self._learned[pool])
            else:
                zone = policies.get(pool, _DEFAULT).time_zone
                self._learned[pool] = learnt(self._learned[pool], work.active_tasks + work.running_tasks, now, zone)
        if self._kept_at is None or not within(now - self._kept_at, _KEPT_EVERY):
            # Without the five minutes that are not over: whoever reads it has not seen them whole.
            whole = {pool: resumed(each) for pool, each in self._learned.items()}
            changed = {pool: each for pool, each in whole.items() if each != self._kept[pool]}
            if changed:
                self._store.record_learned(epoch, changed)
                self._kept |= changed
            self._kept_at = now
        return {pool: told(each) for pool, each in self._learned.items()}
