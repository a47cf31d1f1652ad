"""One step of the scheduler, from the leader's lease to the sample of the timeline."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from scheduler.controller.clear import Clear
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed
from scheduler.controller.fleet import Fleet
from scheduler.controller.observe import FleetReading
from scheduler.controller.pace import USUAL, Pace, within
from scheduler.controller.reconcile import Reconcile
from scheduler.errors import ConflictError, MillpondError, OutdatedProgramError, StaleLeaderError
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.leadership import LeaderLease
from scheduler.settings import SchedulerSettings

_LOG = logging.getLogger(__name__)
_Result = TypeVar("_Result")

RECONCILE_INTERVAL = timedelta(minutes=1)
_PRUNE_INTERVAL = timedelta(hours=1)


class Epochs(Protocol):
    """The store's name and its epochs."""

    @property
    def store_id(self) -> str:
        """Name of the store."""
        ...

    def begin_epoch(self) -> int:
        """Begin a new epoch: every older leader's transactions fail from now on."""
        ...


class SettingsSource(Protocol):
    """Where the deployment's settings come from."""

    def changed(self) -> SchedulerSettings | None:
        """Give the settings if they are new since the last call that gave some."""
        ...

    def again(self) -> None:
        """Have the next call give them, new or not."""
        ...


class Controller:
    """Leads while it holds the lease, and does its parts in order, each on its own.

    A part that fails is logged with its reason and tried again in the next step; the others go on with what is known.
    Nothing but the store remembers: a controller can be stopped at any line and another one started.
    """

    def __init__(
        self,
        lease: LeaderLease,
        epochs: Epochs,
        settings: SettingsSource,
        store: FleetStore,
        dispatch: DispatchStore,
        *,
        collect: Collect,
        reconcile: Reconcile,
        feed: Feed,
        fleet: Fleet,
        clear: Clear,
        reconcile_interval: timedelta = RECONCILE_INTERVAL,
        pace: Pace = USUAL,
    ) -> None:
        self._lease = lease
        self._epochs = epochs
        self._settings = settings
        self._store = store
        self._dispatch = dispatch
        self._collect = collect
        self._reconcile = reconcile
        self._feed = feed
        self._fleet = fleet
        self._clear = clear
        self._reconcile_interval = reconcile_interval
        self._pace = pace
        self._epoch: int | None = None
        self._held_at: datetime | None = None
        self._stands_by = False
        self._reading: FleetReading | None = None
        self._read_at: datetime | None = None
        self._idle = False
        self._pause = pace.interval
        self._reconciled_at: datetime | None = None
        self._pruned_at: datetime | None = None
        self._abandoned: frozenset[str] = frozenset()
        self._complaints: dict[str, str] = {}

    @property
    def leads(self) -> bool:
        """Whether this controller led in its last step."""
        return self._epoch is not None

    @property
    def idle(self) -> bool:
        """Whether nothing was to be done, so that it looks seldom until there is work."""
        return self._idle

    def step(self, now: datetime) -> timedelta:
        """Do what is due, if this process leads, and give the time until something is due again.

        `ConflictError` when the deployment belongs to another store, `OutdatedProgramError` when a newer scheduler has
        upgraded this one: this process must end.
        """
        try:
            if not self._leads_now(now):
                return self._pace.stand_by
            epoch = self._attempt("epoch", self._epoch_begun)
            return self._pace.interval if epoch is None else self._lead(epoch, now)
        except OutdatedProgramError:
            raise
        except StaleLeaderError as error:
            _LOG.warning("leadership has ended: %s", error)
            self._end()
            return self._pace.stand_by

    def release(self) -> None:
        """Give leadership up, so that another need not wait for the lease to run out."""
        self._end()
        self._attempt("lease", self._lease.release)

    def _leads_now(self, now: datetime) -> bool:
        if self._held_at is not None and within(now - self._held_at, self._pace.renew):
            return True
        try:
            held = self._lease.hold(self._epochs.store_id)
        except (ConflictError, OutdatedProgramError):
            self._end()
            raise
        except MillpondError as error:
            # The lease may still be ours; the epoch fences what is written, so nothing is given up, and nothing done.
            self._complain("lease", f"the leader's lease could not be held; this step is left out: {error}")
            self._held_at = None
            return False
        self._complaints.pop("lease", None)
        if held:
            self._held_at, self._stands_by = now, False
            return True
        if self._epoch is not None:
            _LOG.warning("the leader's lease is lost; another scheduler may lead")
        self._end()
        if not self._stands_by:
            _LOG.info("another scheduler leads; this one stands by and takes over when that one stops or dies")
        self._stands_by = True
        return False

    def _epoch_begun(self) -> int:
        if self._epoch is None:
            self._epoch = self._epochs.begin_epoch()
            self._reconciled_at = None
            self._settings.again()
            _LOG.info("this scheduler leads, epoch %d", self._epoch)
        return self._epoch

    def _end(self) -> None:
        self._epoch, self._held_at, self._reading, self._idle = None, None, None, False

    def _lead(self, epoch: int, now: datetime) -> timedelta:
        reading, read_at = self._reading, self._read_at
        if reading is None or read_at is None or not within(now - read_at, self._rest):
            return self._look(epoch, now)
        if self._idle:
            if not self._attempt("work", self._dispatch.has_work):
                return self._pace.interval
            # Work has come: it is handed out to the nodes last seen, then all is looked at.
            self._hand_out(epoch, reading, now)
            self._idle, self._read_at = False, None
            return timedelta(0)
        events = self._gather(epoch, reading, now)
        self._hand_out(epoch, reading, now)
        return self._next_pause(events, self._pace.interval - (now - read_at))

    @property
    def _rest(self) -> timedelta:
        return self._pace.idle if self._idle else self._pace.interval

    def _next_pause(self, events: int, longest: timedelta) -> timedelta:
        handed_out = self._fleet.wake(self._feed.take_sent())
        self._pause = self._pace.quick if events or handed_out else min(2 * self._pause, self._pace.interval)
        return min(self._pause, longest)

    def _look(self, epoch: int, now: datetime) -> timedelta:
        """Do every part once."""
        self._attempt("settings", lambda: self._take_up_settings(epoch, now))
        reading = self._attempt("observe", lambda: self._fleet.observe(epoch, now))
        self._reading, self._read_at = reading, now
        if reading is None:
            return self._pace.interval
        # Statuses first, so that an event which gives a message back meets the newest word on who holds it.
        events = self._gather(epoch, reading, now)
        if self._pruned_at is None or now - self._pruned_at >= _PRUNE_INTERVAL:
            self._attempt("prune", lambda: self._prune(epoch, now))
        overdue = self._reconciled_at is None or now - self._reconciled_at >= self._reconcile_interval
        if overdue or not reading.observation.abandoned <= self._abandoned:
            self._attempt("reconcile", lambda: self._reconcile_once(epoch, reading, now))
        self._hand_out(epoch, reading, now)
        pause = self._next_pause(events, self._pace.interval)
        acted = self._attempt("fleet", lambda: self._fleet.act(epoch, reading, now))
        if acted is not None:
            self._attempt("sample", lambda: self._fleet.sample(epoch, reading, acted, now))
            self._attempt("inputs", lambda: self._fleet.keep(acted))
        self._attempt("clear", lambda: self._clear.step(epoch, now))
        work = self._attempt("work", self._dispatch.has_work)
        self._idle = acted is not None and acted.settled and work is False and not events
        return self._pace.interval if self._idle else pause

    def _gather(self, epoch: int, reading: FleetReading, now: datetime) -> int:
        return self._attempt("collect", lambda: self._collect.step(epoch, now, reading.observation.held)) or 0

    def _hand_out(self, epoch: int, reading: FleetReading, now: datetime) -> None:
        self._attempt("feed", lambda: self._feed.step(epoch, reading.slots, now))

    def _prune(self, epoch: int, now: datetime) -> None:
        self._store.prune(epoch, now)
        self._dispatch.prune(epoch, now)
        self._pruned_at = now

    def _reconcile_once(self, epoch: int, reading: FleetReading, now: datetime) -> None:
        self._reconcile.step(epoch, reading.observation, now)
        if reading.observation.statuses_listed:
            self._reconciled_at = now
            self._abandoned = reading.observation.abandoned

    def _take_up_settings(self, epoch: int, now: datetime) -> None:
        settings = self._settings.changed()
        if settings is None:
            return
        try:
            self._store.sync_groups(epoch, settings, now)
        except BaseException:
            self._settings.again()
            raise
        groups = ", ".join(str(group.key) for pool in settings.pools for group in pool.groups)
        _LOG.info("settings of environment %s taken up; current groups: %s", settings.environment, groups or "none")

    def _attempt(self, part: str, action: Callable[[], _Result]) -> _Result | None:
        """Do one part; what fails is said once for as long as it fails alike, and never ends the loop."""
        try:
            result = action()
        except StaleLeaderError:
            raise
        except MillpondError as error:
            self._complain(part, f"{part}: {error}")
            return None
        except Exception:  # noqa: BLE001  a defect in one part must not stop the others while somebody reads this
            _LOG.exception("%s failed unexpectedly", part)
            return None
        if self._complaints.pop(part, None) is not None:
            _LOG.info("%s: works again", part)
        return result

    def _complain(self, part: str, sentence: str) -> None:
        if self._complaints.get(part) != sentence:
            _LOG.warning("%s", sentence)
        self._complaints[part] = sentence
