"""The cloud of a faithful replay: machines that boot after a drawn time, fail, are refused, evicted and paid for."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from scheduler.adapters.memory import ManualClock, MemoryCapacity
from scheduler.errors import CapacityError, CapacityErrorKind
from scheduler.model import Instance, NodeGroup, ScaleSetView
from scheduler.simulator.fitting import quotas_of
from scheduler.simulator.nodes import GroupTotals
from scheduler.simulator.world import Group, World


@dataclass(slots=True)
class Machine:
    """A machine that is paid for. `ready_at` is None while it boots; times are seconds of the workload."""

    number: int
    instance_id: str
    requested_at: float
    ready_at: float | None = None
    failed: bool = False


class CloudGroup:
    """What the cloud keeps of one group of a world."""

    def __init__(self, number: int, pool: int, spec: Group, node_group: NodeGroup, source: random.Random) -> None:
        self.number = number
        self.pool = pool
        self.spec = spec
        self.node_group = node_group
        self.source = source
        self.totals = GroupTotals()
        self.machines: dict[str, Machine] = {}
        self.up = 0


class Cloud(MemoryCapacity):
    """Scale sets of the groups of a world.

    What is asked for beyond a quota is refused whole, as Azure does. `later` has something happen at a time; `up` and
    `gone` are told of machines, `gone` before their tasks' processes end.
    """

    def __init__(
        self,
        clock: ManualClock,
        seconds: Callable[[], float],
        world: World,
        groups: Sequence[NodeGroup],
        seed: int,
        later: Callable[[float, Callable[[], None]], None],
        up: Callable[[CloudGroup, Machine], None],
        gone: Callable[[CloudGroup, Machine], None],
    ) -> None:
        super().__init__(clock, (group.scale_set for group in groups))
        self._seconds = seconds
        self._later = later
        self._up = up
        self._gone_told = gone
        pools = {pool.name: number for number, pool in enumerate(world.pools)}
        # As the fast engine draws, so that both see the same boots where they ask for the same nodes.
        self.groups = tuple(
            CloudGroup(number, pools[pool.name], spec, group, random.Random(f"{seed}/{pool.name}/{spec.name}"))  # noqa: S311
            for number, ((pool, spec), group) in enumerate(zip(world.groups, groups, strict=True))
        )
        self._by_set: Mapping[str, CloudGroup] = {each.node_group.scale_set: each for each in self.groups}
        self._quotas = [(most, [self.groups[number] for number in numbers]) for most, numbers in quotas_of(world)]
        self._initial = False
        # Counts every change, so that who looks on knows that there was one.
        self.changes = 0

    def begin(self) -> None:
        """Have the initial machines be there, up and paid for from the beginning of the workload."""
        self._initial = True
        for each in self.groups:
            view = self.observe(each.node_group)
            if view is not None and each.spec.initial:
                super().raise_to(each.node_group, view, each.spec.initial)
        self._initial = False

    def begin_boot(self, scale_set: str, instance_id: str) -> tuple[timedelta, bool]:
        """Draw how long a machine boots; one that fails is seen to have failed at the group's boot deadline."""
        each = self._by_set[scale_set]
        machine = Machine(each.totals.started, instance_id, max(0.0, self._seconds()))
        each.machines[instance_id] = machine
        each.totals.started += 1
        each.totals.peak = max(each.totals.peak, len(each.machines))
        if self._initial:
            self._come_up(each, machine)
            return timedelta(0), False
        took = each.spec.boot.draw(each.source)
        fails = bool(each.spec.boot_failure) and each.source.random() < each.spec.boot_failure
        if fails:
            took = each.spec.boot_deadline
            self._later(self._seconds() + took, lambda: self._fail(each, machine))
        else:
            self._later(self._seconds() + took, lambda: self._boot_done(each, machine))
        return timedelta(seconds=took), fails

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Make instances up to the capacity, unless the cloud refuses."""
        each = self._by_set[group.scale_set]
        wanted = capacity - view.capacity
        refusal = self._refusal(each, wanted)
        if refusal is not None:
            each.totals.refused += wanted
            raise CapacityError(refusal, f"no nodes for {group.scale_set}: {refusal.value} (simulated)")
        super().raise_to(group, view, capacity)
        self.changes += 1

    def instances(self, scale_set: str) -> tuple[Instance, ...]:
        """Give the instances of a set that the cloud lists already."""
        found = super().instances(scale_set)
        each = self._by_set[scale_set]
        if not each.spec.listed_after:
            return found
        since = self._seconds() - each.spec.listed_after
        young = {one.instance_id for one in each.machines.values() if one.requested_at > since}
        return tuple(instance for instance in found if instance.instance_id not in young)

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Delete instances; they are paid for until they are gone."""
        each = self._by_set[group.scale_set]
        there = [each.machines[name] for name in instance_ids if name in each.machines]
        each.totals.cancelled += sum(machine.ready_at is None and not machine.failed for machine in there)
        self._end(each, there, each.spec.deleted_after)

    def close(self, until: float) -> None:
        """Pay for the machines that are left, up to a time."""
        for each in self.groups:
            for machine in each.machines.values():
                each.totals.node_seconds += max(0.0, until - machine.requested_at)
                if machine.ready_at is None:
                    each.totals.boot_seconds += max(0.0, until - machine.requested_at)

    def _refusal(self, each: CloudGroup, wanted: int) -> CapacityErrorKind | None:
        now = self._seconds()
        if any(begin <= now < end for begin, end in each.spec.refused):
            return CapacityErrorKind.ALLOCATION
        if each.spec.max_nodes is not None and len(each.machines) + wanted > each.spec.max_nodes:
            return CapacityErrorKind.QUOTA
        for most, sharing in self._quotas:
            if each in sharing and sum(len(other.machines) for other in sharing) + wanted > most:
                return CapacityErrorKind.QUOTA
        return None

    def _boot_done(self, each: CloudGroup, machine: Machine) -> None:
        if machine.instance_id in each.machines:
            self._come_up(each, machine)

    def _come_up(self, each: CloudGroup, machine: Machine) -> None:
        machine.ready_at = max(0.0, self._seconds())
        each.up += 1
        each.totals.boot_seconds += machine.ready_at - machine.requested_at
        if each.spec.lifetime is not None:
            lives = each.spec.lifetime.draw(each.source)
            self._later(machine.ready_at + lives, lambda: self._evict(each, machine))
        self.changes += 1
        self._up(each, machine)

    def _fail(self, each: CloudGroup, machine: Machine) -> None:
        if machine.instance_id in each.machines:
            machine.failed = True
            each.totals.failed_boots += 1
            self.changes += 1

    def _evict(self, each: CloudGroup, machine: Machine) -> None:
        if machine.instance_id in each.machines:
            each.totals.preempted += 1
            self._end(each, [machine], 0.0)

    def _end(self, each: CloudGroup, machines: Sequence[Machine], delay: float) -> None:
        now = self._seconds()
        names = tuple(machine.instance_id for machine in machines)
        self._delete(self._sets[each.node_group.scale_set], names, timedelta(seconds=delay))
        for machine in machines:
            del each.machines[machine.instance_id]
            each.totals.node_seconds += now - machine.requested_at + delay
            if machine.ready_at is None:
                each.totals.boot_seconds += now - machine.requested_at
            else:
                each.up -= 1
            self._gone_told(each, machine)
        self.changes += bool(machines)
