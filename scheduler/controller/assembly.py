"""A controller over its ports: which part uses which of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from scheduler.autoscale.inputs import Inputs, decide_on
from scheduler.autoscale.plan import Plan
from scheduler.controller.clear import Clear
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed, random_id
from scheduler.controller.fleet import Fleet
from scheduler.controller.loop import RECONCILE_INTERVAL, Controller, Epochs, SettingsSource
from scheduler.controller.pace import Pace
from scheduler.controller.reconcile import Reconcile
from scheduler.controller.schedules import Schedules
from scheduler.ports.capacity import Capacity
from scheduler.ports.deletion_store import DeletionStore
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.leadership import LeaderLease
from scheduler.ports.schedule_store import ScheduleStore
from scheduler.ports.storage import Blobs, Queues


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a controller reaches; a simulation may do without schedules."""

    lease: LeaderLease
    epochs: Epochs
    fleet: FleetStore
    dispatch: DispatchStore
    deletions: DeletionStore
    capacity: Capacity
    queues: Queues
    blobs: Blobs
    schedules: ScheduleStore | None = None


def assemble(
    ports: Ports,
    settings: SettingsSource,
    pace: Pace,
    *,
    reconcile_interval: timedelta = RECONCILE_INTERVAL,
    new_message_id: Callable[[], str] = random_id,
    decide_on: Callable[[Inputs], Plan] = decide_on,
) -> Controller:
    """Make a controller; simulations name messages repeatably, and look on while it decides."""
    dispatch, queues, blobs = ports.dispatch, ports.queues, ports.blobs
    schedules = None
    if ports.schedules is not None:
        schedules = Schedules(ports.schedules, lambda: frozenset(pool.name for pool in ports.fleet.pools()))
    return Controller(
        ports.lease,
        ports.epochs,
        settings,
        ports.fleet,
        dispatch,
        collect=Collect(dispatch, queues, blobs),
        reconcile=Reconcile(dispatch, queues, blobs),
        feed=Feed(dispatch, queues, blobs, new_message_id),
        fleet=Fleet(ports.fleet, dispatch, ports.capacity, queues, blobs, decide_on),
        clear=Clear(ports.deletions, blobs),
        schedules=schedules,
        reconcile_interval=reconcile_interval,
        pace=pace,
    )
