"""Our own decision inside the simulator: its real inputs are made from what is seen, its plan becomes orders."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from statistics import median_high

from scheduler.autoscale.decide import decide
from scheduler.autoscale.learning import learnt
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import Action, Drain, GroupFleet, GroupHistory, Hold, Remove, ScaleOut, Undrain
from scheduler.dispatch.run_times import POOL_SPAN
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, GroupPriority, Node, NodeGroup, NodePhase
from scheduler.policy import NO_LIMITS, Limits, ScalingPolicy
from scheduler.simulator.clock import Clock
from scheduler.simulator.interface import Detail, NodeView, Observation, Orders
from scheduler.simulator.policies.asking import at_rest, deadlines, has_steps, left_after, wants_no_more
from scheduler.simulator.policies.seen_work import demand_of
from scheduler.simulator.world import World
from scheduler.sketch import NONE_SEEN, NOTHING_KNOWN, Expected, RunTimes

# As many as the scheduler's store takes the median of.
_NEWEST_BOOTS = 9
_NO_TIMES = NONE_SEEN, NOTHING_KNOWN
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
    foresight: bool = True
    limits: Limits = NO_LIMITS

    @property
    def detail(self) -> Detail:
        """No busy node: the decision only counts them, but where it counts what was asked for lately."""
        policies = self.policies.values()
        return Detail.NODES if any(has_steps(policy) for policy in policies) else Detail.WORK

    def start(self) -> OwnState:
        """Begin without any history."""
        return OwnState({group.key: GroupHistory() for group in self.groups})

    def decide_all(self, seen: tuple[Observation, ...], state: OwnState) -> tuple[tuple[Orders, ...], OwnState]:
        """Decide as the controller does, and give its actions as orders."""
        now = seen[0].clock.instant(seen[0].now)
        pools: dict[str, list[Observation]] = {}
        for group, one in zip(self.groups, seen, strict=True):
            pools.setdefault(group.key.pool, []).append(one)
        state = self._followed(state, seen, pools, now)
        if self.skips and all(at_rest(self.policies[pool], own) for pool, own in pools.items()):
            due = min(self._deadlines(state, seen, [one.alive for one in seen]), default=math.inf)
            if due > seen[0].now:
                return (Orders(wake_at=due),) * len(seen), state
        return self._decided(state, seen, pools, now)

    def _followed(
        self, state: OwnState, seen: tuple[Observation, ...], pools: Mapping[str, list[Observation]], now: datetime
    ) -> OwnState:
        """Take in what has happened since the last question."""
        histories, times, boots, learned = {}, dict(state.times), dict(state.boots), {}
        for group, one in zip(self.groups, seen, strict=True):
            key = group.key
            if one.boots:
                boots[key] = (*boots.get(key, ()), *one.boots)[-_NEWEST_BOOTS:]
            histories[key] = _happened(state.histories[key], one, boots.get(key, ()), now)
        for pool, (one, *_) in pools.items():
            if one.finished:
                followed = times.get(pool, _NO_TIMES)[0].followed_by(one.finished, POOL_SPAN)
                times[pool] = followed, followed.expected()
            # What repeats takes time to learn, so that it is learned only where it is used.
            policy, before = self.policies[pool], state.learned.get(pool, PoolHistory())
            tasks = one.waiting_slots + one.running_slots
            learned[pool] = (
                learnt(before, tasks, now, policy.time_zone) if policy.anticipate else observed(before, tasks, now)
            )
        return OwnState(histories, times, boots, learned)

    def _decided(
        self, state: OwnState, seen: tuple[Observation, ...], pools: Mapping[str, list[Observation]], now: datetime
    ) -> tuple[tuple[Orders, ...], OwnState]:
        fleet = tuple([_fleet(group, one) for group, one in zip(self.groups, seen, strict=True)])
        demand = {
            pool: demand_of(own[0], state.times.get(pool, _NO_TIMES)[1], foresight=self.foresight)
            for pool, own in pools.items()
        }
        plan = decide(self.policies, demand, fleet, state.histories, now, learned=state.learned, limits=self.limits)
        actions: dict[GroupKey, list[Action]] = {group.key: [] for group in self.groups}
        ordered: dict[GroupKey, GroupHistory] = {}
        for action in plan.actions:
            actions[action.group].append(action)
            if isinstance(action, ScaleOut):
                ordered[action.group] = replace(state.histories[action.group], ordered_at=now)
        asks_on = not self.skips or any(one.foreseen for one in demand.values())
        wake_at = None if asks_on else self._again_at(state, seen, list(actions.values()))
        state = replace(state, histories={**state.histories, **ordered}) if ordered else state
        return tuple([_orders(own, wake_at) for own in actions.values()]), state

    def _again_at(
        self, state: OwnState, seen: tuple[Observation, ...], actions: Sequence[Sequence[Action]]
    ) -> float | None:
        """Give when to decide again if nothing happens once these actions are carried out; None: at once."""
        nodes: list[int] = []
        of_pool: dict[str, tuple[Observation, int, list[Action]]] = {}
        for group, one, own in zip(self.groups, seen, actions, strict=True):
            pool = group.key.pool
            left = left_after(self.policies[pool], one, own, state.histories[group.key])
            if left is None:
                return None
            nodes.append(left)
            _, others, before = of_pool.get(pool, (one, 0, []))
            of_pool[pool] = one, others + left, [*before, *own]
        every = [action for own in actions for action in own]
        # Whatever is removed makes room, for other pools, too.
        if any(isinstance(action, Remove) for action in every) and not all(
            wants_no_more(self.policies[pool], *of_it) for pool, of_it in of_pool.items()
        ):
            return None
        bought_for = {each.group.pool for each in every if isinstance(each, ScaleOut)}
        # Where nodes differ in size the last may give more than was lacking, and for that a smaller one is given up.
        if any(len({group.task_slots for group in self.groups if group.key.pool == pool}) > 1 for pool in bought_for):
            return None
        now = seen[0].now
        times = [at for at in self._deadlines(state, seen, nodes) if at > now]
        times += [now + self.policies[pool].boot_deadline.total_seconds() for pool in bought_for]
        return min(times, default=math.inf)

    def _deadlines(self, state: OwnState, seen: tuple[Observation, ...], nodes: Sequence[int]) -> Iterator[float]:
        """Give the deadlines of every group, if it had so many nodes."""
        slots: dict[str, int] = {}
        for group, count in zip(self.groups, nodes, strict=True):
            slots[group.key.pool] = slots.get(group.key.pool, 0) + count * group.task_slots
        for group, one in zip(self.groups, seen, strict=True):
            key = group.key
            policy, learned = self.policies[key.pool], state.learned[key.pool]
            yield from deadlines(group, policy, one, state.histories[key], learned, slots[key.pool])


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


def _fleet(group: NodeGroup, seen: Observation) -> GroupFleet:
    node_of = _converter(group, seen.clock)
    there = seen.alive + seen.draining
    return GroupFleet(group, tuple(map(node_of, seen.nodes)), there, busy=there - len(seen.nodes))


@lru_cache(maxsize=256)
def _converter(group: NodeGroup, clock: Clock) -> Callable[[NodeView], Node]:
    """Give what makes the rows of a group's nodes; a node that has not changed keeps its row."""
    return lru_cache(maxsize=16384)(partial(_node, group, clock))


def _node(group: NodeGroup, clock: Clock, view: NodeView) -> Node:
    # Names sort as numbers do, so that the order of nodes is that in which they were asked for.
    node_id = f"{group.scale_set}_{view.number:08d}"
    ready_at = None if view.ready_at is None else clock.instant(view.ready_at)
    return Node(
        node_id=node_id,
        group=group.key,
        instance_id=str(view.number),
        phase=_PHASES[view.phase],
        control_number=1,
        incarnation=None if ready_at is None else node_id,
        first_seen_at=clock.instant(view.requested_at),
        ready_at=ready_at,
        status_at=ready_at,
        idle_since=None if view.idle_since is None else clock.instant(view.idle_since),
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
        kind = seen.refused_kind or CapacityErrorKind.ALLOCATION
        words = "it is used up" if kind is CapacityErrorKind.QUOTA else "no capacity"
        refusals = history.refusals + 1
        return replace(history, refused_at=now, refused_kind=kind, refused_message=words, refusals=refusals)
    if seen.booting and history.refused_at is not None and history.ordered_at is not None:
        refused_at = seen.clock.seconds(history.refused_at)
        given_since = any(since > refused_at for since in seen.booting_since)
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
