"""Read sets and statuses, and bring the nodes' rows up to date."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scheduler.autoscale.plan import GroupFleet
from scheduler.controller.fold import Folded, Sighting, fold, new_node
from scheduler.controller.statuses import Statuses
from scheduler.dispatch.records import FleetObservation, GroupSlots, Holding
from scheduler.errors import MillpondError, ThrottledError
from scheduler.model import GroupKey, GroupKind, Node, NodeGroup, NodePhase, ScaleSetView
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy
from scheduler.ports.capacity import Capacity
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.storage import Blobs

_LOG = logging.getLogger(__name__)

# While nothing boots, is ordered or is removed, a set is read this often: Azure counts reads of the resource manager.
VIEW_KEPT = timedelta(seconds=10)

_KINDS = {GroupKind.SCALE_SET: "scale set", GroupKind.BATCH: "Batch pool"}

LEASING = frozenset({NodePhase.BOOTING, NodePhase.WORKING})
_LIVE = LEASING | {NodePhase.DRAINING, NodePhase.DRAINED}
_AT_REST = frozenset({NodePhase.WORKING, NodePhase.GONE})
_SETTLED = _AT_REST | {NodePhase.DRAINING}
_OVER = frozenset({NodePhase.LOST, NodePhase.REMOVING, NodePhase.GONE})


@dataclass(frozen=True, slots=True)
class GroupReading:
    """One group as it stands: its reading of the cloud, where there is one, and its rows."""

    fleet: GroupFleet
    view: ScaleSetView | None


@dataclass(frozen=True, slots=True)
class FleetReading:
    """All groups as they stand, with the rows of each pool (gone nodes too), and what statuses say of messages.

    `proposed` are the policies that are only decided by, of the pools that have one.
    """

    policies: Mapping[str, ScalingPolicy]
    groups: tuple[GroupReading, ...]
    observation: FleetObservation
    rows: Mapping[str, tuple[Node, ...]]
    proposed: Mapping[str, ScalingPolicy] = field(default_factory=dict)
    limits: Limits = NO_LIMITS

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool with groups, also one that is declared no more."""
        return tuple(self.rows)

    def nodes(self, pool: str) -> tuple[Node, ...]:
        """Give the rows of a pool."""
        return self.rows[pool]

    @property
    def settled(self) -> bool:
        """Whether all was read, and no machine or node is on its way from one state to another."""
        return self.observation.statuses_listed and all(
            each.fleet.unknown is None
            and each.fleet.group.current
            and each.view is not None
            and _quiet(each.view, each.fleet.nodes, _AT_REST)
            for each in self.groups
        )

    @property
    def slots(self) -> tuple[GroupSlots, ...]:
        """What the feed may count on: slots of nodes that lease or boot, in current groups."""
        return tuple(
            GroupSlots(each.fleet.group, each.fleet.group.task_slots * count(each.fleet.nodes, LEASING))
            for each in self.groups
            if each.fleet.group.current
        )


class Observer:
    """Looks at the fleet. What it keeps in memory saves reads, and may be lost."""

    def __init__(self, store: FleetStore, capacity: Capacity, blobs: Blobs) -> None:
        self._store = store
        self._capacity = capacity
        self._statuses = Statuses(blobs)
        self._views: dict[GroupKey, tuple[datetime, ScaleSetView]] = {}
        self._left_alone: dict[GroupKey, datetime] = {}

    def observe(self, epoch: int, now: datetime) -> FleetReading:
        """Read sets and statuses, and bring the rows up to date."""
        pools = self._store.known_pools()
        groups = [group for pool in pools for group in self._store.groups(pool)]
        rows = {pool: self._store.nodes(pool) for pool in pools}
        sightings = {group.key: self._look(group, rows[group.key.pool], now) for group in groups}
        listed = {i.node_id for view, _ in sightings.values() if view for i in view.instances}
        known = {node.node_id for nodes in rows.values() for node in nodes if node.phase in _LIVE}
        statuses_listed = self._statuses.refresh(listed | known, now)
        declared = self._store.pools()
        policies = {pool.name: pool.policy for pool in declared}
        proposed = {pool.name: pool.shadow for pool in declared if pool.shadow is not None}
        changed: set[str] = set()
        for group in groups:
            view, unknown = sightings[group.key]
            if unknown is None:
                nodes = of_group(rows[group.key.pool], group.key)
                silence = policies.get(group.key.pool, ScalingPolicy()).silence_deadline
                if self._bring_up_to_date(epoch, group, view, nodes, silence, now):
                    changed.add(group.key.pool)
        capacities = self._last_capacities(epoch, sightings, pools)
        rows |= {pool: self._store.nodes(pool) for pool in changed}
        readings = self._readings(groups, rows, sightings, capacities, statuses_listed)
        return FleetReading(
            policies,
            readings,
            self._observation(readings, rows, statuses_listed),
            rows,
            proposed,
            self._store.limits(),
        )

    def heed(self, group: GroupKey, error: MillpondError, now: datetime) -> None:
        """Leave the group's set alone for as long as the service asks for; until then it counts as unknown."""
        if isinstance(error, ThrottledError):
            self._views.pop(group, None)
            self._left_alone[group] = now + error.retry_after

    def look_again(self, group: GroupKey) -> None:
        """Have the next observation read the group's set, because it is about to change."""
        self._views.pop(group, None)

    def _look(self, group: NodeGroup, rows: tuple[Node, ...], now: datetime) -> tuple[ScaleSetView | None, str | None]:
        """Read a set, or take the last reading while all is quiet; with no view and no error the set does not exist."""
        kept = self._views.get(group.key)
        if kept is not None and now - kept[0] < VIEW_KEPT and _quiet(kept[1], of_group(rows, group.key), _SETTLED):
            return kept[1], None
        self._views.pop(group.key, None)
        until = self._left_alone.get(group.key)
        if until is not None and now < until:
            return None, f"Azure asks not to be asked before {until:%H:%M:%S} UTC"
        try:
            view = self._capacity.observe(group)
        except MillpondError as error:
            self.heed(group.key, error, now)
            _LOG.warning("%s could not be read: %s", group.key, error)
            return None, str(error)
        if view is not None:
            self._views[group.key] = (now, view)
        return view, None

    def _bring_up_to_date(
        self,
        epoch: int,
        group: NodeGroup,
        view: ScaleSetView | None,
        rows: tuple[Node, ...],
        silence_deadline: timedelta,
        now: datetime,
    ) -> bool:
        """Write the rows that have changed, and say whether there were some."""
        instances = {instance.node_id: instance for instance in (view.instances if view is not None else ())}
        before = {node.node_id: node for node in rows}
        for node_id, instance in instances.items():
            before.setdefault(node_id, new_node(group.key, instance, now))
        folded: list[Folded] = []
        for node_id, node in before.items():
            silent = self._statuses.silence(node_id, now) > silence_deadline
            folded.append(fold(node, Sighting(instances.get(node_id), self._statuses.of(node_id), silent), now))
        present = set(rows)
        changed = tuple(each.node for each in folded if each.node not in present)
        self._store.save_nodes(epoch, changed, now)
        renewed = {each.node.node_id: 0 for each in folded if each.renew}
        if renewed:
            self._store.next_controls(epoch, renewed)
        for node in changed:
            _LOG.debug("node %s is %s %s", node.node_id, node.phase.value, node.reason)
        return bool(changed or renewed)

    def _last_capacities(
        self,
        epoch: int,
        sightings: Mapping[GroupKey, tuple[ScaleSetView | None, str | None]],
        pools: tuple[str, ...],
    ) -> Mapping[GroupKey, int]:
        """Keep the capacities that were read, and give all of them, where unread the last known."""
        capacities = {key: capacity for pool in pools for key, capacity in self._store.capacities(pool).items()}
        for key, (view, unknown) in sightings.items():
            capacity = view.capacity if view is not None else 0
            if unknown is None and capacities.get(key) != capacity:
                self._store.record_capacity(epoch, key, capacity)
                capacities[key] = capacity
        return capacities

    def _readings(
        self,
        groups: list[NodeGroup],
        rows: Mapping[str, tuple[Node, ...]],
        sightings: Mapping[GroupKey, tuple[ScaleSetView | None, str | None]],
        capacities: Mapping[GroupKey, int],
        statuses_listed: bool,
    ) -> tuple[GroupReading, ...]:
        readings = []
        for group in groups:
            view, unknown = sightings[group.key]
            if view is None and unknown is None and group.current:
                unknown = f"the {_KINDS[group.kind]} {group.scale_set} does not exist; run `millpond up`"
            if unknown is None and not statuses_listed:
                unknown = "the statuses of its nodes could not be listed"
            nodes = tuple(
                node for node in of_group(rows[group.key.pool], group.key) if node.phase is not NodePhase.GONE
            )
            error = view.error if view is not None else None
            capacity = capacities.get(group.key, 0)
            readings.append(GroupReading(GroupFleet(group, nodes, capacity, unknown, error), view))
        return tuple(readings)

    def _observation(
        self, readings: tuple[GroupReading, ...], rows: Mapping[str, tuple[Node, ...]], statuses_listed: bool
    ) -> FleetObservation:
        held = tuple(holding for each in readings for node in each.fleet.nodes for holding in self._holdings(node))
        left = {message for nodes in rows.values() for node in nodes if node.phase in _OVER for message in node.held}
        unread = {each.fleet.group.queue for each in readings if not self._is_read(each.fleet)}
        retired = {each.fleet.group.queue for each in readings if not each.fleet.group.current}
        return FleetObservation(
            statuses_listed=statuses_listed,
            held=held,
            abandoned=frozenset(left - {holding.message_id for holding in held}),
            unread=frozenset(unread),
            retired=frozenset(unread & retired),
        )

    def _is_read(self, fleet: GroupFleet) -> bool:
        """Whether some node takes messages from the group's queue, or may soon."""
        if fleet.unknown is not None:
            return True
        kept = sum(node.phase is not NodePhase.REMOVING for node in fleet.nodes)
        return fleet.capacity > kept or any(self._takes_messages(node) for node in fleet.nodes)

    def _takes_messages(self, node: Node) -> bool:
        if node.phase is not NodePhase.DRAINING:
            return node.phase in LEASING
        reading = self._statuses.of(node.node_id)
        if reading is None or reading.status is None:
            return True
        return reading.status.control_number < node.control_number

    def _holdings(self, node: Node) -> tuple[Holding, ...]:
        reading = self._statuses.of(node.node_id)
        if node.phase not in _LIVE or reading is None or reading.status is None:
            return ()
        return tuple(
            Holding(message.message_id, node.node_id, message.running, reading.last_modified)
            for message in reading.status.held
        )


def _quiet(view: ScaleSetView, rows: tuple[Node, ...], phases: frozenset[NodePhase]) -> bool:
    return all(node.phase in phases for node in rows) and view.capacity == len(view.instances)


def of_group(nodes: Iterable[Node], key: GroupKey) -> tuple[Node, ...]:
    """Give the nodes of one group."""
    return tuple(node for node in nodes if node.group == key)


def count(nodes: Iterable[Node], phases: frozenset[NodePhase]) -> int:
    """Count the nodes in some phases."""
    return sum(node.phase in phases for node in nodes)
