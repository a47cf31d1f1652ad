"""Our own decision inside the simulator: its real inputs are made from what is seen, its plan becomes orders."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from statistics import median_high

from scheduler.autoscale.assess import back_off
from scheduler.autoscale.calendar import boot_ahead, next_edge
from scheduler.autoscale.decide import decide
from scheduler.autoscale.keeping import Keeping
from scheduler.autoscale.learning import learnt
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import Action, Drain, GroupFleet, GroupHistory, Hold, Remove, ScaleOut, Undrain
from scheduler.autoscale.recurrence import DOUBT, SPAN, Recurrence, start_of_span
from scheduler.dispatch.run_times import POOL_SPAN
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import NO_LIMITS, UNMEASURED_BOOT, Limits, ScalingPolicy
from scheduler.simulator.interface import Detail, NodeView, Observation, Orders
from scheduler.simulator.policies.seen_work import demand_of, instant, seconds
from scheduler.simulator.world import World
from scheduler.sketch import NONE_SEEN, NOTHING_KNOWN, Expected, RunTimes

# As many as the scheduler's store takes the median of.
_NEWEST_BOOTS = 9
_PHASES = {
    "booting": NodePhase.BOOTING,
    "up": NodePhase.WORKING,
    "draining": NodePhase.DRAINING,
    "drained": NodePhase.DRAINED,
}


@dataclass(frozen=True, slots=True)
class OwnState:
    """What the scheduler keeps in its store, as far as the decision reads it."""

    histories: Mapping[GroupKey, GroupHistory]
    times: Mapping[str, tuple[RunTimes, Expected]] = field(default_factory=dict)
    boots: Mapping[GroupKey, tuple[float, ...]] = field(default_factory=dict)
    learned: Mapping[str, PoolHistory] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """`scheduler.autoscale.decide` over all pools and groups of a world.

    A task is a slot of a job, as the runner counts them. What was asked for is listed at once. With `skips` it is not
    asked again before something happens, or before the next time at which one of its deadlines passes: the answer
    would be the same (the tests compare both ways). Without `foresight` it is not told what is to come.
    """

    groups: tuple[NodeGroup, ...]
    policies: Mapping[str, ScalingPolicy]
    interval: float | None = 5.0
    skips: bool = True
    name: str = "millpond"
    detail: Detail = Detail.WORK
    foresight: bool = True
    limits: Limits = NO_LIMITS

    def start(self) -> OwnState:
        """Begin without any history."""
        return OwnState({group.key: GroupHistory() for group in self.groups})

    def decide_all(self, seen: tuple[Observation, ...], state: OwnState) -> tuple[tuple[Orders, ...], OwnState]:
        """Decide as the controller does, and give its actions as orders."""
        now = instant(seen[0].now)
        pools = {group.key.pool: one for group, one in zip(self.groups, seen, strict=True)}
        times = dict(state.times)
        for pool, one in pools.items():
            if one.finished:
                seen_so_far = times[pool][0] if pool in times else NONE_SEEN
                followed = seen_so_far.followed_by(one.finished, POOL_SPAN)
                times[pool] = followed, followed.expected()
        boots = {
            group.key: (*state.boots.get(group.key, ()), *one.boots)[-_NEWEST_BOOTS:]
            for group, one in zip(self.groups, seen, strict=True)
        }
        histories = {
            group.key: _happened(state.histories[group.key], one, boots[group.key], now)
            for group, one in zip(self.groups, seen, strict=True)
        }
        fleet = tuple([_fleet(group, one) for group, one in zip(self.groups, seen, strict=True)])
        demand = {pool: self._demand(pool, one, times) for pool, one in pools.items()}
        learned = {pool: self._learned(pool, state, one, now) for pool, one in demand.items()}
        plan = decide(self.policies, demand, fleet, histories, now, learned=learned, limits=self.limits)
        actions: dict[GroupKey, list[Action]] = {group.key: [] for group in self.groups}
        for action in plan.actions:
            actions[action.group].append(action)
            if isinstance(action, ScaleOut):
                histories[action.group] = replace(histories[action.group], ordered_at=now)
        wakes = self.skips and not any(one.foreseen for one in demand.values())
        slots = Counter[str]()
        for group, one in zip(self.groups, seen, strict=True):
            slots[group.key.pool] += one.alive * group.task_slots
        orders = tuple(
            [
                _orders(
                    actions[group.key],
                    self._again_at(group, one, histories[group.key], learned[group.key.pool], slots[group.key.pool])
                    if wakes
                    else None,
                )
                for group, one in zip(self.groups, seen, strict=True)
            ]
        )
        return orders, OwnState(histories, times, boots, learned)

    def _demand(self, pool: str, seen: Observation, times: Mapping[str, tuple[RunTimes, Expected]]) -> PoolDemand:
        expected = times[pool][1] if pool in times else NOTHING_KNOWN
        return demand_of(seen, expected, foresight=self.foresight)

    def _learned(self, pool: str, state: OwnState, one: PoolDemand, now: datetime) -> PoolHistory:
        """Learn as the scheduler does; what repeats, which takes time to learn, only where it is used."""
        policy, before = self.policies[pool], state.learned.get(pool, PoolHistory())
        tasks = one.active_tasks + one.running_tasks
        return learnt(before, tasks, now, policy.time_zone) if policy.anticipate else observed(before, tasks, now)

    def _again_at(
        self, group: NodeGroup, seen: Observation, history: GroupHistory, learned: PoolHistory, slots: int
    ) -> float | None:
        """Give the first time at which a deadline passes that the decision looks at."""
        policy = self.policies[group.key.pool]
        if policy.max_step_out is not None or policy.max_step_out_per_minute is not None:
            return None  # what a step holds back is asked for in the next one
        boot = policy.boot_deadline.total_seconds()
        times: list[float] = []
        if seen.idle_since:
            # Of a group's idle nodes the longest idle goes first, and the others are looked at once it has gone.
            since = instant(seen.idle_since[0])
            keeping = Keeping(policy, learned, history.boot_time)
            times.append(seconds(keeping.until(since, slots - group.task_slots + 1)))
        times += [since + boot for since in seen.booting_since]
        times += [node.requested_at + boot for node in seen.nodes if node.phase == "draining" and node.ready_at is None]
        if seen.oldest_waiting_at is not None:
            # A task is overdue only when it has waited for longer than both together; scale-in looks a boot ahead.
            overdue_at = seen.oldest_waiting_at + policy.acceptable_wait.total_seconds() + boot
            horizon = (history.boot_time or UNMEASURED_BOOT).total_seconds()
            times += [math.nextafter(overdue_at - ahead, math.inf) for ahead in (0.0, horizon)]
        if history.refused_at is not None and history.refused_kind is not None:
            times.append(seconds(history.refused_at + back_off(history.refused_kind, history.refusals)))
        edge = next_edge(policy, boot_ahead(policy, (history.boot_time,)), instant(seen.now))
        if edge is not None:
            times.append(seconds(edge))
        if history.failed_boot_at is not None:
            times.append(seconds(history.failed_boot_at + policy.boot_deadline))
        if policy.anticipate:
            times += _expectations(policy, history, learned.recurrence, instant(seen.now))
        return min((at for at in times if at > seen.now), default=math.inf)


def own_policy(
    world: World,
    rules: ScalingPolicy | Mapping[str, ScalingPolicy],
    *,
    interval: float = 5.0,
    name: str = "millpond",
    skips: bool = True,
    foresight: bool = True,
) -> OwnPolicy:
    """Make our policy for a world: the same rules for each of its pools, or each pool's own."""
    policies = {pool.name: rules if isinstance(rules, ScalingPolicy) else rules[pool.name] for pool in world.pools}
    groups = tuple(
        NodeGroup(
            key=GroupKey(pool.name, group.name, "simulated"),
            scale_set=f"{pool.name}-{group.name}",
            queue=f"{pool.name}-{group.name}",
            vm_size=group.vm_size,
            priority=GroupPriority.SPOT if group.spot else GroupPriority.REGULAR,
            task_slots=group.slots,
            max_nodes=policies[pool.name].max_nodes if group.max_nodes is None else group.max_nodes,
        )
        for pool, group in world.groups
    )
    return OwnPolicy(groups, policies, interval, skips, name, foresight=foresight, limits=world.limits)


def _expectations(
    policy: ScalingPolicy, history: GroupHistory, recurrence: Recurrence, now: datetime
) -> Iterator[float]:
    """Give the times at which what repeats may make a difference: spans begin, and rises are near or are past."""
    yield seconds(start_of_span(now) + SPAN)
    if recurrence.missed_at is not None:
        yield seconds(recurrence.missed_at + DOUBT)
    again = policy.restart_cost(history.boot_time)
    for rise in recurrence.rises:
        yield seconds(rise.at - (history.boot_time or UNMEASURED_BOOT))
        yield seconds(rise.at + min(again, SPAN))


def _fleet(group: NodeGroup, seen: Observation) -> GroupFleet:
    node_of = _converter(group)
    return GroupFleet(group, tuple([node_of(view) for view in seen.nodes]), len(seen.nodes))


@lru_cache(maxsize=256)
def _converter(group: NodeGroup) -> Callable[[NodeView], Node]:
    """Give what makes the rows of a group's nodes; a node that has not changed keeps its row."""
    return lru_cache(maxsize=16384)(partial(_node, group))


def _node(group: NodeGroup, view: NodeView) -> Node:
    # Names sort as numbers do, so that the order of nodes is that in which they were asked for.
    node_id = f"{group.scale_set}_{view.number:08d}"
    ready_at = None if view.ready_at is None else instant(view.ready_at)
    return Node(
        node_id=node_id,
        group=group.key,
        instance_id=str(view.number),
        phase=_PHASES[view.phase],
        control_number=1,
        incarnation=None if ready_at is None else node_id,
        first_seen_at=instant(view.requested_at),
        ready_at=ready_at,
        status_at=ready_at,
        idle_since=None if view.idle_since is None else instant(view.idle_since),
        held=("job",) * view.used,
    )


def _happened(history: GroupHistory, seen: Observation, boots: tuple[float, ...], now: datetime) -> GroupHistory:
    """Keep what became of boots and orders since the last decision; `boots` are how long the newest took."""
    if seen.boots:
        history = replace(history, boot_time=timedelta(seconds=median_high(boots)))
    if seen.boots and history.failed_boots:
        history = replace(history, failed_boots=0, failed_boot_at=None)
    if seen.failed_boots:
        history = replace(history, failed_boots=history.failed_boots + seen.failed_boots, failed_boot_at=now)
    if seen.refused:
        kind = CapacityErrorKind.ALLOCATION
        refusals = history.refusals + 1
        return replace(history, refused_at=now, refused_kind=kind, refused_message="no capacity", refusals=refusals)
    if seen.booting and history.refused_at is not None and history.ordered_at is not None:
        given_since = any(since > seconds(history.refused_at) for since in seen.booting_since)
        if given_since:
            history = replace(history, refused_at=None, refused_kind=None, refused_message="", refusals=0)
    return history


def _orders(actions: list[Action], again_at: float | None) -> Orders:
    undrain: tuple[int, ...] = ()
    drain: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()
    request = 0
    for action in actions:
        match action:
            case ScaleOut():
                request += action.count
            case Undrain():
                undrain += _numbers(action.nodes)
            case Drain():
                drain += _numbers(action.nodes)
            case Remove():
                stop += _numbers(action.nodes)
            case Hold():
                pass
    return Orders(undrain=undrain, request=request, drain=drain, stop=stop, wake_at=again_at)


def _numbers(names: tuple[str, ...]) -> tuple[int, ...]:
    return tuple([int(name.rpartition("_")[2]) for name in names])
