"""Observe the nodes, decide, revalidate, apply, record (design section 3).

Every change is first a row in the store, then a control blob, then a call to the cloud; each step brings the later ones
up to the rows again, so a crash at any line is mended by the next leader's step.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.autoscale.assess import given_up
from scheduler.autoscale.inputs import Inputs, bearing, decide_on, record_of
from scheduler.autoscale.plan import (
    Action,
    Drain,
    GroupHistory,
    Hold,
    Plan,
    Reason,
    ReasonKind,
    Remove,
    ScaleOut,
    Undrain,
)
from scheduler.controller.controls import Controls
from scheduler.controller.learn import Learning
from scheduler.controller.observe import LEASING, FleetReading, GroupReading, Observer, count, of_group
from scheduler.errors import (
    CapacityError,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    PreconditionError,
    StaleLeaderError,
)
from scheduler.model import (
    GroupKey,
    InstanceState,
    Node,
    NodePhase,
    PoolDemand,
    Sample,
)
from scheduler.ports.capacity import Capacity, live
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.fleet_store import FleetStore, NodeChange
from scheduler.ports.storage import Blobs, Queues

_LOG = logging.getLogger(__name__)

# How often a deletion that was asked for is asked for again.
_ASK_AGAIN = timedelta(seconds=20)
# A node looks at its queue often for a minute after its last work; it counts from another moment than its row.
_LOOKS_SELDOM = timedelta(seconds=30)


class Journal:
    """Keeps the decisions of a step that are news, and then, once a pool, what they were made from."""

    def __init__(self, store: FleetStore, epoch: int, inputs: Inputs, plan: Plan) -> None:
        self._store = store
        self._epoch = epoch
        self._inputs = inputs
        self._plan = plan
        self._news: set[str] = set()

    def record(self, actions: tuple[Action, ...]) -> None:
        """Keep what was done."""
        kept = self._store.record_decisions(self._epoch, actions, self._inputs.now) if actions else ()
        for decision in kept:
            _LOG.info("%s %s %s: %s", decision.action, decision.group, _what(decision.count), decision.reason)
        self._news |= {decision.group.pool for decision in kept}

    def close(self, known: dict[str, tuple[object, ...]]) -> None:
        """Keep inputs where there was news: in what was done, in a pool's policy, or in what a proposed one would do.

        `known` is what the latter two were in the last step, and is brought up to date.
        """
        for pool in self._inputs.demand:
            newest = bearing(self._inputs, pool)
            if pool in self._news or known.get(pool) != newest:
                self._keep(pool)
            known[pool] = newest

    def _keep(self, pool: str) -> None:
        try:
            self._store.record_inputs(self._epoch, record_of(self._inputs, self._plan, pool))
        except InvalidRequestError as error:
            _LOG.warning("the decision about pool %s cannot be replayed later: %s", pool, error)


@dataclass(frozen=True, slots=True)
class Acted:
    """What was acted on, and how it stands after it.

    journal   what was decided and is kept of it
    settled   nothing was changed and nothing is on its way, so that it is soon enough to look again later
    """

    demand: Mapping[str, PoolDemand | None]
    nodes: tuple[Node, ...]
    capacities: Mapping[GroupKey, int]
    journal: Journal
    settled: bool


class Fleet:
    """The nodes of all pools."""

    def __init__(
        self,
        store: FleetStore,
        dispatch: DispatchStore,
        capacity: Capacity,
        queues: Queues,
        blobs: Blobs,
        decide_on: Callable[[Inputs], Plan] = decide_on,
    ) -> None:
        self._decide_on = decide_on
        self._store = store
        self._dispatch = dispatch
        self._capacity = capacity
        self._queues = queues
        self._observer = Observer(store, capacity, blobs)
        self._controls = Controls(store, blobs)
        self._learning = Learning(store)
        self._asked_at: dict[str, datetime] = {}
        self._sent: Counter[str] = Counter()
        self._known: dict[str, tuple[object, ...]] = {}

    def observe(self, epoch: int, now: datetime) -> FleetReading:
        """Read sets and statuses, and bring the rows up to date."""
        return self._observer.observe(epoch, now)

    def wake(self, sent: Mapping[str, int]) -> bool:
        """Have nodes that idle looked after by the next `act`, as so many messages were put on these queues."""
        self._sent.update(sent)
        return bool(sent)

    def act(self, epoch: int, reading: FleetReading, now: datetime) -> Acted:
        """Decide and apply; then bring control blobs, removals and retired groups up to the rows."""
        demand = {pool: self._demand(pool) for pool in reading.pools}
        histories = self._histories(demand)
        if self._note_late_refusals(epoch, reading, histories, now):
            histories = self._histories(demand)
        learned = self._learning.observe(epoch, demand, now, reading.policies)
        groups = tuple(each.fleet for each in reading.groups)
        inputs = Inputs(
            reading.policies,
            demand,
            groups,
            tuple(histories.items()),
            now,
            proposed=reading.proposed,
            learned=learned,
            limits=reading.limits,
        )
        plan = self._decide_on(inputs)
        journal = Journal(self._store, epoch, inputs, plan)
        readings = {each.fleet.group.key: each for each in reading.groups}
        applied: list[Action] = []
        for action in plan.actions:
            done = self._apply(epoch, action, readings[action.group], now)
            if done is not None and not isinstance(done, Hold):
                journal.record((done,))
            applied += [done] if done is not None else []
        journal.record(tuple(each for each in applied if isinstance(each, Hold)))
        quiet = all(isinstance(action, Hold) for action in plan.actions)
        nodes = self._nodes(reading, () if quiet else {action.group.pool for action in plan.actions})
        stops = {pool: self._dispatch.stops(pool) for pool in demand}
        told = self._controls.write(epoch, nodes, stops, self._to_wake(reading, nodes, now))
        for each in reading.groups:
            self._remove(each, of_group(nodes, each.fleet.group.key), now)
            if not each.fleet.group.current and each.fleet.unknown is None and not each.fleet.nodes:
                self._delete_retired(epoch, each, now)
        capacities = {each.fleet.group.key: each.fleet.capacity for each in reading.groups}
        for action in applied:
            if isinstance(action, ScaleOut):
                capacities[action.group] += action.count - action.given_up
        return Acted(demand, nodes, capacities, journal, quiet and told and reading.settled)

    def keep(self, acted: Acted) -> None:
        """Keep what news was decided from, also the news of policies that are only proposed.

        A part of its own, after the step is done: what goes wrong here costs an explanation and nothing else.
        """
        acted.journal.close(self._known)

    def sample(self, epoch: int, reading: FleetReading, acted: Acted, now: datetime) -> None:
        """Keep a point of each pool's timeline."""
        for pool in reading.policies:
            demand = acted.demand.get(pool)
            if demand is None:
                continue
            nodes = [node for node in acted.nodes if node.group.pool == pool]
            ordered = sum(
                max(0, capacity - len(of_group(nodes, key)))
                for key, capacity in acted.capacities.items()
                if key.pool == pool
            )
            self._store.record_sample(
                epoch,
                Sample(
                    at=now,
                    pool=pool,
                    active_tasks=demand.active_tasks,
                    running_tasks=demand.running_tasks,
                    target_nodes=count(nodes, LEASING) + ordered,
                    current_nodes=len(nodes),
                    booting_nodes=count(nodes, frozenset({NodePhase.BOOTING})),
                ),
            )

    def _nodes(self, reading: FleetReading, changed: Collection[str]) -> tuple[Node, ...]:
        """Give the nodes of all pools that are not gone; those of pools where something was changed are read again."""
        return tuple(
            node
            for pool in reading.pools
            for node in (self._store.nodes(pool) if pool in changed else reading.nodes(pool))
            if node.phase is not NodePhase.GONE
        )

    def _to_wake(self, reading: FleetReading, nodes: tuple[Node, ...], now: datetime) -> frozenset[str]:
        """Choose nodes that may be looking seldom: as many as there were messages, those that idle for longest."""
        sent, self._sent = self._sent, Counter()
        chosen: list[str] = []
        for each in reading.groups:
            group = each.fleet.group
            idle = [
                (node.idle_since, node.node_id)
                for node in of_group(nodes, group.key)
                if node.phase is NodePhase.WORKING and node.idle_since and now - node.idle_since >= _LOOKS_SELDOM
            ]
            chosen += [node_id for _, node_id in sorted(idle)[: sent[group.queue]]]
        return frozenset(chosen)

    def _histories(self, pools: Collection[str]) -> dict[GroupKey, GroupHistory]:
        return {key: history for pool in pools for key, history in self._store.histories(pool).items()}

    def _demand(self, pool: str) -> PoolDemand | None:
        try:
            return self._dispatch.demand(pool)
        except StaleLeaderError:
            raise
        except MillpondError as error:
            _LOG.warning("the work of pool %s could not be read: %s", pool, error)
            return None

    def _note_late_refusals(
        self, epoch: int, reading: FleetReading, histories: Mapping[GroupKey, GroupHistory], now: datetime
    ) -> bool:
        """Keep, once an order, that the cloud gave up on it after it had taken it, or that none of it has come."""
        noted = False
        for each in reading.groups:
            key = each.fleet.group.key
            history, policy = histories.get(key), reading.policies.get(key.pool)
            if history is None or policy is None or history.refused_at is not None or each.fleet.unknown is not None:
                continue
            refusal = given_up(each.fleet, history, policy, now)
            if refusal is not None:
                self._store.record_refusal(epoch, key, *refusal, now)
                noted = True
        return noted

    def _apply(self, epoch: int, action: Action, reading: GroupReading, now: datetime) -> Action | None:
        """Carry an action out as far as the rows still allow, and give what was done."""
        match action:
            case ScaleOut():
                return self._scale_out(epoch, action, reading, now)
            case Undrain() | Drain() | Remove():
                nodes = self._change(epoch, action, reading, now)
                return replace(action, nodes=nodes) if nodes else None
            case Hold():
                return action

    def _change(
        self, epoch: int, action: Undrain | Drain | Remove, reading: GroupReading, now: datetime
    ) -> tuple[str, ...]:
        rows = {node.node_id: node for node in reading.fleet.nodes}
        gives_up = action.reason.kind is ReasonKind.NOT_NEEDED
        changes = tuple(
            NodeChange(rows[name], _phase_after(action, rows[name]), action.reason.sentence, gives_up)
            for name in action.nodes
        )
        return tuple(node.node_id for node in self._store.change_nodes(epoch, changes, now))

    def _scale_out(self, epoch: int, action: ScaleOut, reading: GroupReading, now: datetime) -> Action | None:
        group, view = reading.fleet.group, reading.view
        if view is None:
            return None
        # What is to be removed and still there is in both numbers; the capacity falls when its deletion begins.
        capacity = max(view.capacity - action.given_up, live(view)) + action.count
        self._observer.look_again(group.key)
        # First the row: this fences an old leader, and an order whose answer is lost is still expected for a while.
        self._store.record_order(epoch, group.key, now)
        try:
            self._capacity.raise_to(group, view, capacity)
        except PreconditionError as error:
            _LOG.info("%s is observed again: %s", group.key, error)
            return None
        except CapacityError as error:
            self._store.record_refusal(epoch, group.key, error.kind, str(error), now)
            sentence = f"{action.count} nodes were refused ({error.kind.value}): {error}"
            return Hold(group.key, Reason(ReasonKind.CAPACITY_REFUSED, sentence))
        except MillpondError as error:
            self._observer.heed(group.key, error, now)
            _LOG.warning("asking %d nodes of %s failed: %s", action.count, group.key, error)
            return None
        self._store.record_capacity(epoch, group.key, capacity)
        return action

    def _remove(self, reading: GroupReading, nodes: tuple[Node, ...], now: datetime) -> None:
        """Delete what is to be removed, again and again until it is gone, but only what was told to retire."""
        if reading.view is None:
            return
        deleting = {i.node_id for i in reading.view.instances if i.state is InstanceState.DELETING}
        due = [
            node
            for node in nodes
            if node.phase is NodePhase.REMOVING
            and node.node_id not in deleting
            and self._controls.retired(node)
            and self._due(node.node_id, now)
        ]
        if not due:
            return
        self._observer.look_again(reading.fleet.group.key)
        try:
            self._capacity.remove(reading.fleet.group, tuple(node.instance_id for node in due))
        except MillpondError as error:
            self._observer.heed(reading.fleet.group.key, error, now)
            for node in due:
                self._asked_at.pop(node.node_id, None)
            # A Batch pool that is being resized cannot lose nodes yet: nothing is wrong.
            level = logging.INFO if isinstance(error, ConflictError) else logging.WARNING
            _LOG.log(level, "removing nodes of %s failed and is tried again: %s", reading.fleet.group.key, error)

    def _delete_retired(self, epoch: int, reading: GroupReading, now: datetime) -> None:
        """Delete the set of an empty retired group, then, when no message is left to account for, its queue."""
        group = reading.fleet.group
        try:
            if reading.view is not None:
                if reading.view.capacity == 0 and self._due(str(group.key), now):
                    self._capacity.delete_group(group)
                    self._observer.look_again(group.key)
            elif not any(load.queue == group.queue and load.messages for load in self._dispatch.loads(group.key.pool)):
                self._queues.delete_queue(group.queue)
                self._store.forget_group(epoch, group.key, now)
                _LOG.info("the retired group %s is deleted", group.key)
        except ConflictError as error:
            _LOG.info("the retired group %s cannot be deleted yet: %s", group.key, error)

    def _due(self, name: str, now: datetime) -> bool:
        """Whether something may be asked for (again) now; it then counts as asked for."""
        asked_at = self._asked_at.get(name)
        if asked_at is not None and now - asked_at < _ASK_AGAIN:
            return False
        self._asked_at = {other: at for other, at in self._asked_at.items() if now - at < _ASK_AGAIN}
        self._asked_at[name] = now
        return True


def _phase_after(action: Undrain | Drain | Remove, node: Node) -> NodePhase:
    match action:
        case Undrain():
            return NodePhase.BOOTING if node.ready_at is None else NodePhase.WORKING
        case Drain():
            return NodePhase.DRAINING
        case Remove():
            return NodePhase.REMOVING


def _what(nodes: int) -> str:
    return f"({nodes} node{'' if nodes == 1 else 's'})" if nodes else ""
