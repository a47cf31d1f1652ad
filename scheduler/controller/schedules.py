"""Schedules: the jobs whose time has come are made."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from scheduler.controller.pace import within
from scheduler.errors import MillpondError, NotFoundError, PreconditionError, StaleLeaderError, UnavailableError
from scheduler.ports.schedule_store import ScheduleStore
from scheduler.recurrence.due import Complete, PassOver, Standing, Start, Wait, due

_LOG = logging.getLogger(__name__)


class Schedules:
    """Makes the jobs of schedules; all that it knows of them is in the store."""

    def __init__(self, store: ScheduleStore, pools: Callable[[], frozenset[str]]) -> None:
        """Use the store; `pools` names the pools that there are."""
        self._store = store
        self._pools = pools
        self._looked_at: datetime | None = None

    def step(self, epoch: int, now: datetime, every: timedelta = timedelta(0)) -> None:
        """Do what is due, unless that was looked for less than `every` ago.

        A schedule that cannot be served is tried again in the next step and keeps none of the others from theirs.
        """
        if self._looked_at is not None and within(now - self._looked_at, every):
            return
        self._store.settle(epoch, now)
        standings = self._store.due(now)
        pools = self._pools() if standings else frozenset()
        failed = []
        for standing in standings:
            try:
                self._serve(epoch, standing, now, pool_is_known=standing.pool in pools)
            except (PreconditionError, NotFoundError):
                continue  # a user was quicker: it is looked at again in the next step
            except (StaleLeaderError, UnavailableError):
                raise
            except MillpondError as error:
                failed.append(f"schedule {standing.schedule_id}: {error}")
        self._looked_at = now
        if failed:
            raise MillpondError("; ".join(failed))

    def _serve(self, epoch: int, standing: Standing, now: datetime, *, pool_is_known: bool) -> None:
        match due(standing, now, pool_is_known=pool_is_known):
            case Start() as start:
                job_id = self._store.start(epoch, standing, start, now)
                words = f" ({start.reason})" if start.reason else ""
                _LOG.info("schedule %s: job %s is made%s", standing.schedule_id, job_id, words)
            case PassOver() as passed:
                self._store.pass_over(epoch, standing, passed, now)
                _LOG.info(
                    "schedule %s: %s %s: %s", standing.schedule_id, passed.count, passed.state.value, passed.reason
                )
            case Complete() as end:
                self._store.complete(epoch, standing, end, now)
                _LOG.info("schedule %s is completed: %s", standing.schedule_id, end.reason)
            case Wait():
                return
