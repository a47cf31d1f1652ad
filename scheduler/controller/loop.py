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
from scheduler.controller.reconcile import Reconcile
from scheduler.errors import ConflictError, MillpondError, StaleLeaderError
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.leadership import LeaderLease
from scheduler.settings import SchedulerSettings

_LOG = logging.getLogger(__name__)
_Result = TypeVar("_Result")

RECONCILE_INTERVAL = timedelta(minutes=1)


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
        *,
        collect: Collect,
        reconcile: Reconcile,
        feed: Feed,
        fleet: Fleet,
        clear: Clear,
        reconcile_interval: timedelta = RECONCILE_INTERVAL,
    ) -> None:
        self._lease = lease
        self._epochs = epochs
        self._settings = settings
        self._store = store
        self._collect = collect
        self._reconcile = reconcile
        self._feed = feed
        self._fleet = fleet
        self._clear = clear
        self._reconcile_interval = reconcile_interval
        self._epoch: int | None = None
        self._reconciled_at: datetime | None = None
        self._abandoned: frozenset[str] = frozenset()
        self._complaints: dict[str, str] = {}

    @property
    def leads(self) -> bool:
        """Whether this controller led in its last step."""
        return self._epoch is not None

    def step(self, now: datetime) -> None:
        """Do everything once, if this process leads. `ConflictError` when the deployment belongs to another store."""
        try:
            epoch = self._attempt("epoch", self._epoch_begun) if self._leads_now() else None
            if epoch is not None:
                self._parts(epoch, now)
        except StaleLeaderError as error:
            _LOG.warning("leadership has ended: %s", error)
            self._end()

    def release(self) -> None:
        """Give leadership up, so that another need not wait for the lease to run out."""
        self._epoch = None
        self._attempt("lease", self._lease.release)

    def _leads_now(self) -> bool:
        try:
            held = self._lease.hold(self._epochs.store_id)
        except ConflictError:
            self._end()
            raise
        except MillpondError as error:
            # The lease may still be ours; the epoch fences what is written, so nothing is given up, and nothing done.
            self._complain("lease", f"the leader's lease could not be held; this step is left out: {error}")
            return False
        self._complaints.pop("lease", None)
        if not held and self._epoch is not None:
            _LOG.warning("the leader's lease is lost; another scheduler may lead")
        if not held:
            self._end()
        return held

    def _epoch_begun(self) -> int:
        if self._epoch is None:
            self._epoch = self._epochs.begin_epoch()
            self._reconciled_at = None
            self._settings.again()
            _LOG.info("this scheduler leads, epoch %d", self._epoch)
        return self._epoch

    def _end(self) -> None:
        self._epoch = None

    def _parts(self, epoch: int, now: datetime) -> None:
        self._attempt("settings", lambda: self._take_up_settings(epoch, now))
        reading = self._attempt("observe", lambda: self._fleet.observe(epoch, now))
        if reading is None:
            return
        # Statuses first, so that an event which gives a message back meets the newest word on who holds it.
        self._attempt("collect", lambda: self._collect.step(epoch, now, reading.observation.held))
        overdue = self._reconciled_at is None or now - self._reconciled_at >= self._reconcile_interval
        if overdue or not reading.observation.abandoned <= self._abandoned:
            self._attempt("reconcile", lambda: self._reconcile_once(epoch, reading, now))
        self._attempt("feed", lambda: self._feed.step(epoch, reading.slots, now))
        self._attempt("fleet", lambda: self._fleet.act(epoch, reading, now))
        self._attempt("sample", lambda: self._fleet.sample(epoch, reading, now))
        self._attempt("clear", lambda: self._clear.step(epoch, now))

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
