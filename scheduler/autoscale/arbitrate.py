"""Which groups of a pool give the nodes that its work needs, and which nodes go."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter

from scheduler.autoscale.assess import Assessment
from scheduler.autoscale.budget import Ledger
from scheduler.autoscale.desire import Desire
from scheduler.autoscale.gangs import keep_whole, nodes_for
from scheduler.autoscale.keeping import Keeping
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Action, Drain, Hold, Reason, ReasonKind, Remove, ScaleOut, Undrain
from scheduler.autoscale.share import Claim, offers_of
from scheduler.autoscale.weigh import Weighed
from scheduler.model import GroupKey, Node


@dataclass(frozen=True, slots=True)
class Purchases:
    """What a pool may buy of each group, and why the groups that can give no more nodes cannot."""

    counts: Mapping[GroupKey, int]
    held: Mapping[GroupKey, Reason]


NOTHING_BOUGHT = Purchases({}, {})


@dataclass(slots=True)
class Shortage:
    """What is still missing while groups are gone through."""

    slots: int
    nodes: int
    bought_from: list[GroupKey] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        """Whether anything is missing."""
        return self.slots > 0 or self.nodes > 0

    def nodes_of(self, each: Assessment) -> int:
        """Count the nodes of a group that would meet it."""
        return max(math.ceil(self.slots / each.group.task_slots), self.nodes, 0)

    def met_by(self, each: Assessment, count: int) -> None:
        """Have so many nodes of a group meet it in part."""
        self.slots -= count * each.group.task_slots
        self.nodes -= count
        self.bought_from.append(each.group.key)


@dataclass(frozen=True, slots=True)
class Standing:
    """A pool's current groups, those of them that could be read, and what is missing once draining nodes are back."""

    current: tuple[Assessment, ...]
    known: tuple[Assessment, ...]
    back: tuple[Undrain, ...]
    shortage: Shortage


def stand(pool: Weighed) -> Standing:
    """Say what a pool lacks, and take draining nodes back for it."""
    current = tuple([each for each in pool.groups if each.group.current])
    known = tuple([each for each in current if each.unknown is None])
    shortage = _shortage(pool, current)
    back = _take_back(shortage, known, pool.wanted) if shortage.exists else []
    return Standing(current, known, tuple(back), shortage)


def claim_of(pool: Weighed, standing: Standing, ledger: Ledger) -> Claim:
    """Say what a pool would buy; one that lacks nothing is offered nothing."""
    current, known, shortage = standing.current, standing.known, standing.shortage
    taken = {action.group: len(action.nodes) for action in standing.back}
    nodes = {each.group.key: each.serving + taken.get(each.group.key, 0) for each in current}
    return Claim(
        pool=pool.groups[0].group.key.pool,
        policy=pool.policy,
        slots=shortage.slots,
        nodes=shortage.nodes,
        serving=sum(nodes.values()),
        spot=sum(nodes[each.group.key] for each in current if each.spot),
        offers=offers_of(known, ledger) if shortage.exists else (),
    )


def arbitrate(
    pool: Weighed, standing: Standing, purchases: Purchases, learned: PoolHistory | None, now: datetime
) -> tuple[Action, ...]:
    """Plan for the groups of one pool, in declared order.

    Missing slots are taken from draining nodes first (`stand`), then bought as `purchases` says. Where nothing is to be
    bought, boots that are not needed any more are given up, and idle nodes go, from the last group first, and only
    while what is left is enough without any group that could not be read. Nodes of retired generations all go, and so
    do those that a person asked to go, which are never taken back; others are bought for them in the same plan.
    """
    current, known, back, shortage = standing.current, standing.known, standing.back, standing.shortage
    actions: list[Action] = [*_retire(pool.groups), *_let_go(current), *back]
    if shortage.exists:
        actions += _buy(shortage, known, purchases, pool)
    else:
        taken = {action.group: len(action.nodes) for action in back}
        # An order that is not listed yet may never come: nothing goes on its account.
        listed = [(each.listed + taken.get(each.group.key, 0), each.group.task_slots) for each in known]
        surplus = _Surplus(
            slots=sum(nodes * task_slots for nodes, task_slots in listed),
            nodes=sum(nodes for nodes, _ in listed) - _least_nodes(pool, pool.kept, current),
        )
        going = [*_give_up_boots(surplus, pool.kept, known), *_drain_idle(surplus, pool, known, learned, now)]
        serving = sum(each.serving for each in current) + sum(taken.values())
        actions += keep_whole(going, serving, pool.policy.gang_nodes)
    taken_back = {name for action in actions if isinstance(action, Undrain) for name in action.nodes}
    for each in pool.groups:
        if each.unknown is None:
            actions += _remove(each, taken_back)
    acted = {action.group for action in actions if not isinstance(action, Hold)}
    actions = [action for action in actions if not isinstance(action, Hold) or action.group not in acted]
    named = {action.group for action in actions}
    actions += [_hold(each, pool, shortage, purchases) for each in pool.groups if each.group.key not in named]
    return tuple(actions)


def _retire(groups: tuple[Assessment, ...]) -> tuple[Drain, ...]:
    reason = Reason(ReasonKind.RETIRED, "a newer generation of the group is declared; what runs may end")
    return tuple(
        Drain(each.group.key, tuple(sorted(_names(each.working + each.booting + each.leaving))), reason)
        for each in groups
        if not each.group.current and each.unknown is None and (each.working or each.booting or each.leaving)
    )


def _let_go(current: tuple[Assessment, ...]) -> tuple[Drain, ...]:
    reason = Reason(ReasonKind.ASKED_FOR, "a person asked for it to go; what runs may end")
    return tuple(
        Drain(each.group.key, _names(each.leaving), reason) for each in current if each.unknown is None and each.leaving
    )


def _take_back(shortage: Shortage, known: tuple[Assessment, ...], wanted: Desire) -> list[Undrain]:
    actions: list[Undrain] = []
    for each in known:
        candidates = tuple(node for node in each.draining + each.drained if node.drain_asked_at is None)
        count = min(len(candidates), shortage.nodes_of(each))
        if count:
            shortage.met_by(each, count)
            sentence = f"{wanted.sentence}; draining nodes taken back before any is bought: {count}"
            reason = Reason(ReasonKind.NEEDED_AGAIN, sentence)
            actions.append(Undrain(each.group.key, _names(candidates[:count]), reason))
    return actions


def _shortage(pool: Weighed, current: tuple[Assessment, ...]) -> Shortage:
    return Shortage(
        slots=pool.wanted.slots - sum(each.serving_slots for each in current),
        nodes=_least_nodes(pool, pool.wanted, current) - sum(each.serving for each in current),
    )


def _least_nodes(pool: Weighed, desire: Desire, current: tuple[Assessment, ...]) -> int:
    """Count the nodes that there are to be whatever their slots; what is bought by one count must not go by another."""
    least, gang = pool.policy.min_nodes, pool.policy.gang_nodes
    if gang > 1 and current:
        return nodes_for(desire.slots, current[0].group.task_slots, least, gang)
    return least


def _buy(
    shortage: Shortage,
    known: tuple[Assessment, ...],
    purchases: Purchases,
    pool: Weighed,
) -> list[ScaleOut]:
    orders: list[ScaleOut] = []
    for each in known:
        count = purchases.counts.get(each.group.key, 0)
        if count == 0:
            continue
        has = (
            f"nodes that serve or boot: {each.serving}, with {each.group.task_slots} slots each; {count} more asked for"
        )
        if shortage.slots > 0:
            reason = Reason(ReasonKind.BACKLOG, f"{pool.wanted.sentence}; {has}")
        else:
            reason = Reason(ReasonKind.MINIMUM, f"{pool.minimum}; {has}")
        orders.append(ScaleOut(each.group.key, count, reason, each.stuck))
        shortage.met_by(each, count)
    if shortage.exists:
        return [_cut(order, purchases.held.get(order.group)) for order in orders]
    return orders


def _cut(order: ScaleOut, held: Reason | None) -> ScaleOut:
    """Add what holds the rest back to an order that is not for all that is needed."""
    if held is None:
        return order
    return replace(
        order, reason=replace(order.reason, sentence=f"{order.reason.sentence}; no more, since {held.sentence}")
    )


@dataclass(slots=True)
class _Surplus:
    """What is still there while groups are gone through: slots, and nodes above the minimum."""

    slots: int
    nodes: int

    def spares(self, each: Assessment, slots: int) -> bool:
        """Whether one of the group's nodes could go, and so many slots be left."""
        return self.nodes > 0 and self.slots - each.group.task_slots >= slots

    def give(self, each: Assessment) -> None:
        self.slots -= each.group.task_slots
        self.nodes -= 1


def _give_up_boots(surplus: _Surplus, kept: Desire, known: tuple[Assessment, ...]) -> list[Action]:
    """Delete nodes that still boot and that no task waits for any more, newest first: they have cost least so far."""
    actions: list[Action] = []
    for each in reversed(known):
        if not surplus.spares(each, kept.enough):
            continue
        given_up: list[Node] = []
        for node in sorted(each.booting, key=lambda node: (node.first_seen_at, node.node_id), reverse=True):
            if not surplus.spares(each, kept.enough):
                break
            surplus.give(each)
            given_up.append(node)
        if given_up:
            sentence = f"{kept.sentence}; boots given up, as other nodes have taken the work: {len(given_up)}"
            actions.append(
                Remove(each.group.key, tuple(sorted(_names(given_up))), Reason(ReasonKind.NOT_NEEDED, sentence))
            )
    return actions


def _drain_idle(
    surplus: _Surplus,
    pool: Weighed,
    known: tuple[Assessment, ...],
    learned: PoolHistory | None,
    now: datetime,
) -> list[Drain]:
    """Drain nodes that hold no message, the longest idle first, once keeping them does not pay off any more.

    None goes while a task waits that has no other slot: it may not be worth a new node, but this one is there.
    """
    needed = max(pool.kept.slots, pool.tasks)
    if not any(surplus.spares(each, needed) for each in known):
        return []
    lines = [_IdleNodes(each, Keeping(pool.policy, learned, each.boot_time)) for each in reversed(known)]
    # What goes from one group lowers the levels that the nodes of the others stand for: until none goes any more.
    while any(line.let_go(surplus, needed, now) for line in lines):
        pass
    return [
        Drain(
            line.group.group.key, tuple(sorted(line.gone)), Reason(ReasonKind.IDLE, f"{line.why}; {pool.kept.sentence}")
        )
        for line in lines
        if line.gone
    ]


class _IdleNodes:
    """The nodes of a group that hold no message, the longest idle first, and those of them that go."""

    def __init__(self, group: Assessment, keeping: Keeping) -> None:
        self.group = group
        self.gone: list[str] = []
        self.why = ""
        self._keeping = keeping
        # Nodes come in order of name, which decides between those that have been idle for equally long.
        self._stay = deque(sorted(_idle_since(group.working), key=itemgetter(0)))

    def let_go(self, surplus: _Surplus, needed: int, now: datetime) -> bool:
        """Let nodes go while so many slots are left; say whether any went."""
        before = len(self.gone)
        while self._stay and surplus.spares(self.group, needed):
            since, node = self._stay[0]
            lowest = surplus.slots - self.group.group.task_slots + 1
            if now < self._keeping.until(since, lowest):
                break
            self._stay.popleft()
            surplus.give(self.group)
            self.gone.append(node.node_id)
            self.why = self.why or self._keeping.sentence(lowest)
        return len(self.gone) > before


def _idle_since(nodes: tuple[Node, ...]) -> list[tuple[datetime, Node]]:
    return [(node.idle_since, node) for node in nodes if node.idle_since is not None and not node.held]


def _remove(each: Assessment, taken_back: set[str]) -> list[Action]:
    drained = tuple([node for node in each.drained if node.node_id not in taken_back])
    causes = (
        (drained, ReasonKind.DRAINED, "drained: nothing runs on it and it takes no more work"),
        (each.failed_boots, ReasonKind.BOOT_FAILED, "never became ready"),
        (each.lost, ReasonKind.LOST, "lost"),
    )
    return [
        Remove(each.group.key, _names(nodes), Reason(kind, _sentence(nodes, sentence)))
        for nodes, kind, sentence in causes
        if nodes
    ]


def _sentence(nodes: tuple[Node, ...], sentence: str) -> str:
    causes = sorted({node.reason for node in nodes if node.reason})
    return f"{sentence}: {'; '.join(causes)}" if causes else sentence


def _hold(each: Assessment, pool: Weighed, shortage: Shortage, purchases: Purchases) -> Hold:
    return Hold(each.group.key, _hold_reason(each, pool, shortage, purchases))


def _hold_reason(each: Assessment, pool: Weighed, shortage: Shortage, purchases: Purchases) -> Reason:
    policy, wanted = pool.policy, pool.wanted
    if each.unknown is not None:
        return Reason(ReasonKind.UNKNOWN_FLEET, f"the group could not be read, so it is left as it is: {each.unknown}")
    if not each.group.current:
        return _retired_reason(each)
    if shortage.exists and each.blocked is not None:
        return Reason(each.blocked.kind, f"{wanted.sentence}; {each.blocked.sentence}")
    held = purchases.held.get(each.group.key)
    if shortage.exists and held is not None:
        return Reason(held.kind, f"{wanted.sentence}; {held.sentence}")
    if shortage.exists and policy.spot_share is not None and not policy.spot_fallback:
        sentence = f"{wanted.sentence}; Spot nodes are to be {policy.spot_share:g} of all, and no other may stand in"
        return Reason(ReasonKind.SPOT_SHARE, sentence)
    if shortage.bought_from:
        others = ", ".join(key.name for key in shortage.bought_from)
        return Reason(ReasonKind.OTHER_GROUP, f"{wanted.sentence}; given by {others}")
    if wanted.slots == 0 and each.serving == 0:
        return Reason(ReasonKind.NO_WORK, f"{wanted.sentence} and no node is up")
    sentence = (
        f"{wanted.sentence}; nodes that serve: {each.up}, that boot: {each.serving - each.up}, with"
        f" {each.group.task_slots} slots each"
    )
    return Reason(ReasonKind.ENOUGH, sentence)


def _retired_reason(each: Assessment) -> Reason:
    if each.asked_for == 0:
        return Reason(ReasonKind.RETIRED, "retired and empty: its set and queue are deleted")
    sentence = f"retired; nodes that end their work or are being removed: {each.asked_for}"
    return Reason(ReasonKind.RETIRED, sentence)


def _names(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(node.node_id for node in nodes)
