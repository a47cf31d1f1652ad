"""The compute service put together: scale sets, virtual machines, disks, and what is asked of the subscription."""

from collections.abc import Callable

from infra.local.arm.operations import Operations
from infra.local.arm.resource_types import ResourceType
from infra.local.arm.store import Resource, Store
from infra.local.arm.subscription import SubscriptionRoute
from infra.local.faults import Faults
from infra.local.machines import Machines
from infra.local.services.compute.catalog import ComputeCatalog
from infra.local.services.compute.disks import Disks
from infra.local.services.compute.instances import Instances
from infra.local.services.compute.machine_power import MachinePower
from infra.local.services.compute.quotas import Quotas
from infra.local.services.compute.scale_set_actions import ScaleSetActions
from infra.local.services.compute.scale_set_capacity import Capacity
from infra.local.services.compute.scale_set_members import Members
from infra.local.services.compute.scale_sets import ScaleSets
from infra.local.services.compute.scheduled_events import ScheduledEvents
from infra.local.services.compute.settings import ComputeSettings
from infra.local.services.compute.virtual_machines import VirtualMachines


class Compute:
    """The types, the routes and the operations of Microsoft.Compute."""

    def __init__(
        self,
        store: Store,
        machines: Machines,
        faults: Faults,
        operations: Operations,
        settings: ComputeSettings,
        start_delete: Callable[[Resource], None],
    ) -> None:
        self._settings = settings
        self.power = MachinePower(store, machines, faults, settings.boot_delay_seconds)
        self.events = ScheduledEvents(store, operations.wake)
        quotas = Quotas(store, settings)
        self.instances = Instances(
            store, machines, self.power, self.events, start_delete, settings.eviction_notice_seconds
        )
        capacity = Capacity(store, self.power, self.instances, Members(store, self.power), faults, start_delete)
        actions = ScaleSetActions(store, self.power, self.instances, capacity)
        self._scale_sets = ScaleSets(store, self.instances, capacity, actions, quotas, faults, start_delete)
        self._disks = Disks(store, machines)
        self._virtual_machines = VirtualMachines(
            store, machines, self.power, self.events, self.instances, self._disks, quotas, faults, start_delete
        )
        self._catalog = ComputeCatalog(quotas)
        operations.register("boot", self.power.boot)
        operations.register("power", self.power.step)
        operations.register("scheduled-event", self.events.step)
        # What waits for a fault to end looks again when faults change.
        faults.on_change(operations.wake)

    def types(self) -> tuple[ResourceType, ...]:
        """Return the types."""
        return (
            *self._scale_sets.types(self._settings.page_size),
            *self._virtual_machines.types(),
            *self._disks.types(),
        )

    def routes(self) -> tuple[SubscriptionRoute, ...]:
        """Return what is asked of the subscription."""
        return self._catalog.routes()
