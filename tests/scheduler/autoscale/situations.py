"""Situations that hypothesis makes up for the decision: any state of a pool, and deadlines to the microsecond."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from itertools import product
from typing import NamedTuple

from hypothesis import strategies as st

from scheduler.autoscale.assess import BACK_OFF, Assessment, assess
from scheduler.autoscale.decide import decide
from scheduler.autoscale.levels import PoolHistory, observed
from scheduler.autoscale.plan import GroupFleet, GroupHistory, Hold, Plan
from scheduler.autoscale.recurrence import AHEAD, MISSES, SPAN, Recurrence, Rise
from scheduler.errors import CapacityErrorKind
from scheduler.model import GroupKey, Node, NodeGroup, NodePhase, PoolDemand
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, POOL, after, applied, group, kept, node

TICK = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
# A node in one of these may hold messages; a drained one holds none, by `controller/fold.py`.
_MAY_HOLD = frozenset({NodePhase.WORKING, NodePhase.DRAINING, NodePhase.LOST, NodePhase.REMOVING})
_MAY_NEVER_HAVE_BEEN_READY = frozenset(
    {NodePhase.BOOTING, NodePhase.LOST, NodePhase.DRAINING, NodePhase.REMOVING, NodePhase.GONE}
)


class Age(NamedTuple):
    """How long ago something was: a deadline by its name, or a span, and a tick more or less."""

    span: str | timedelta
    off: timedelta

    def of(self, policy: ScalingPolicy) -> timedelta:
        """Give it by the policy's deadlines."""
        match self.span:
            case timedelta():
                span = self.span
            case "overdue":
                span = policy.acceptable_wait + policy.boot_deadline
            case "idle_timeout":
                span = policy.idle_timeout or policy.restart_cost(None)
            case name:
                span = getattr(policy, name)
        return max(timedelta(0), span + self.off)


class Shape(NamedTuple):
    """What a node does: its phase, whether it was ever ready, whether it holds messages."""

    phase: NodePhase
    ready: bool
    busy: bool

    @property
    def possible(self) -> bool:
        """Whether a node's life allows it."""
        if not self.ready:
            return not self.busy and self.phase in _MAY_NEVER_HAVE_BEEN_READY
        return self.phase is not NodePhase.BOOTING and (not self.busy or self.phase in _MAY_HOLD)


@dataclass(frozen=True)
class Situation:
    """One pool's rules, work, groups and their past."""

    policy: ScalingPolicy
    demand: PoolDemand
    groups: tuple[GroupFleet, ...]
    history: Mapping[GroupKey, GroupHistory]
    learned: PoolHistory | None = None

    def plan(self, now: datetime = NOW) -> Plan:
        """Decide."""
        return decide({POOL: self.policy}, {POOL: self.demand}, self.groups, self.history, now, learned=self.known)

    @property
    def known(self) -> dict[str, PoolHistory]:
        """Give what the pool has learned, if it has."""
        return {} if self.learned is None else {POOL: self.learned}

    def carried_out(self) -> "Situation":
        """Give the situation once the plan is carried out."""
        plan = self.plan()
        return replace(self, groups=applied(plan, self.groups), history=after(plan, self.history))

    def undisturbed(self) -> "Situation":
        """Give it without nodes that somebody else is deleting: each set asks for all nodes that it has.

        Otherwise an order first fills what the set lacks, and the decision after it makes good what that took.
        """
        whole = (replace(each, capacity=max(each.capacity, kept(each.nodes))) for each in self.groups)
        return replace(self, groups=tuple(whole))

    @property
    def assessed(self) -> tuple[Assessment, ...]:
        """Sort the nodes of every group."""
        return tuple(assess(each, self.history[each.group.key], self.policy, NOW) for each in self.groups)

    @property
    def slots(self) -> int:
        """Count slots of current groups that serve or will soon."""
        return sum(each.serving_slots for each in self.assessed if each.group.current)

    @property
    def nodes(self) -> dict[str, Node]:
        """Give every node by its name."""
        return {member.node_id: member for each in self.groups for member in each.nodes}


def quiet(plan: Plan) -> bool:
    """Whether a plan changes nothing."""
    return all(isinstance(action, Hold) for action in plan.actions)


_NAMED = ("overdue", "idle_timeout", "acceptable_wait", "boot_deadline", "silence_deadline")
_SPANS = (
    *BACK_OFF.values(),
    timedelta(0),
    timedelta(seconds=30),
    UNMEASURED_BOOT,
    timedelta(hours=1),
    timedelta(days=3),
)
EVERY_AGE = tuple(Age(*each) for each in product((*_NAMED, *_SPANS), (timedelta(0), TICK, -TICK)))
AGES = st.sampled_from(EVERY_AGE)
_SHAPES = [
    each for each in (Shape(*each) for each in product(NodePhase, (True, False), (False, True))) if each.possible
]
_SETTLED_SHAPES = [each for each in _SHAPES if each.ready and each.phase is not NodePhase.LOST]
# Work or idleness is what most nodes are about.
_WORKING = [each for each in _SHAPES if each.phase is NodePhase.WORKING] * 3
# What groups' nodes do, where anything may be, and where all has settled.
SHAPES = (*_SHAPES, *_WORKING)
SETTLED = (*_SETTLED_SHAPES, *_WORKING * 3)
ERRORS = (None, None, None, "AllocationFailed", "QuotaExceeded: the quota of cores is used up")

POLICIES = st.builds(
    lambda nodes, wait, time, idle, deadline, failures, cost, ahead: ScalingPolicy(
        acceptable_wait=wait,
        min_nodes=min(nodes),
        max_nodes=max(nodes),
        default_task_time=time,
        idle_timeout=idle,
        boot_deadline=deadline,
        max_failed_boots=failures,
        waiting_cost=cost,
        anticipate=ahead,
    ),
    st.tuples(st.sampled_from([0, 0, 1, 2, 3, 6]), st.sampled_from([0, 3, 8, 14, 30])),
    st.sampled_from([timedelta(seconds=1), timedelta(minutes=5), timedelta(hours=2)]),
    st.sampled_from([timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)]),
    st.sampled_from([None, None, TICK, TICK, timedelta(minutes=2)]),
    st.sampled_from([timedelta(minutes=5), timedelta(minutes=15)]),
    st.integers(1, 3),
    st.sampled_from([1.0, 1.0, 0.0, 0.01, 1000.0]),
    st.sampled_from([False, True, True]),
)
# None, a little, very much; runs of no time to months, or not known.
_WORK = st.tuples(
    st.sampled_from([0, 0, 0, 0, 1, 2, 5, 40, 1_000_000]),
    st.sampled_from([0, 0, 0, 1, 2, 3, 8, 60]),
    st.none() | st.just(0.0) | st.floats(0.001, 1e7),
    st.none() | AGES,
)
# Rises that are expected from some time on, past, near or far, to the microsecond; sometimes two have just not come.
RISES = st.builds(
    lambda rises, misses: Recurrence(
        rises=tuple(Rise(NOW + at + off, tasks, "3 of 4 weeks") for (at, off), tasks in sorted(rises.items())),
        misses=misses,
        missed_at=NOW if misses else None,
    ),
    st.dictionaries(
        st.tuples(
            st.sampled_from(
                [-SPAN, -UNMEASURED_BOOT, timedelta(0), MINUTE, MINUTE, UNMEASURED_BOOT, 4 * MINUTE, AHEAD]
            ),
            st.sampled_from([timedelta(0), TICK, -TICK]),
        ),
        st.sampled_from([1, 3, 20, 1_000_000]),
        max_size=4,
    ),
    st.sampled_from([0, 0, 0, 0, 0, MISSES]),
)
# Pauses of the first levels, learned from a demand that changed every two minutes, and what repeats.
LEARNED = st.builds(
    lambda levels, recurrence: replace(
        reduce(
            lambda known, step: observed(known, step[1], NOW - (9 - step[0]) * timedelta(minutes=2)),
            enumerate(levels),
            PoolHistory(),
        ),
        recurrence=recurrence,
    ),
    st.lists(st.integers(0, 12), max_size=8),
    RISES,
)
# A time without its kind, and the other way round, too.
_PASTS = st.tuples(
    st.integers(0, 4),
    st.none() | AGES,
    st.none() | AGES,
    st.none() | st.sampled_from(CapacityErrorKind),
    st.none() | AGES,
    st.none() | AGES,
)


def _nodes(shapes: tuple[Shape, ...]) -> st.SearchStrategy[list[tuple[Shape, Age, Age | None, bool]]]:
    asked = st.sampled_from([False, False, False, True])
    return st.lists(st.tuples(st.sampled_from(shapes), AGES, AGES | st.none(), asked), max_size=7)


# A group's nodes, how many more are asked for than are there (fewer: a deletion is on its way), why it could not be
# read, the last order's error, its past, slots, maximum.
_GROUPS = st.tuples(
    _nodes(SHAPES),
    st.integers(-1, 3),
    st.sampled_from([None, None, "throttled"]),
    st.sampled_from(ERRORS),
    _PASTS,
    st.integers(1, 4),
    st.sampled_from([0, 1, 3, 12]),
)
_SETTLED_GROUPS = st.tuples(
    _nodes(SETTLED),
    st.just(0),
    st.none(),
    st.none(),
    st.tuples(st.just(0), st.none(), st.none(), st.none(), st.none(), st.none() | AGES),
    st.integers(1, 4),
    st.sampled_from([0, 1, 3, 12]),
)
_OLDER = st.lists(st.sampled_from([("main", "g0"), ("spare", "g0"), ("main", "f9")]), unique=True, max_size=2)


@st.composite
def situations(
    draw: st.DrawFn, *, groups: int = 3, retired: bool = True, known: bool = False, settled: bool = False
) -> Situation:
    """Draw a pool.

    groups   most of its current groups
    retired  some nodes may have to go: retired generations, and nodes that a person asked to go
    known    every group could be read
    settled  nothing boots, is awaited, has failed or is refused: only work and idleness can change what is wanted
    """
    policy = draw(POLICIES)
    names = [(name, "g1") for name in ("main", "spare", "last")[: draw(st.integers(1, groups))]]
    fleets, history = [], {}
    for name, generation in (*names, *(draw(_OLDER) if retired else ())):
        nodes, more, unknown, error, past, slots, most = draw(_SETTLED_GROUPS if settled else _GROUPS)
        owner = group(name, generation, slots=slots, most=most, current=generation == "g1")
        members = tuple(_node(policy, owner, number, *each, retired=retired) for number, each in enumerate(nodes))
        capacity = max(0, kept(members) + more)
        fleets.append(GroupFleet(owner, members, capacity, None if known else unknown, error))
        history[owner.key] = _past(policy, *past)
    active, running, mean, oldest = draw(_WORK)
    demand = PoolDemand(active, running, mean, _ago(policy, oldest))
    return Situation(policy, demand, tuple(fleets), history, draw(st.none() | LEARNED | LEARNED))


def _node(
    policy: ScalingPolicy,
    owner: NodeGroup,
    number: int,
    shape: Shape,
    age: Age,
    idle: Age | None,
    asked: bool,
    *,
    retired: bool,
) -> Node:
    held = ("m1", "m2")[: owner.task_slots] if shape.busy else ()
    # One that works without a message may not be known to be idle, and one with messages may be said to be.
    since = idle.of(policy) if shape.phase is NodePhase.WORKING and idle is not None else None
    made = node(number, shape.phase, owner, idle=since, age=age.of(policy), held=held, ready=shape.ready)
    return replace(made, drain_asked_at=NOW) if asked and retired else made


def _past(
    policy: ScalingPolicy,
    failed: int,
    failed_at: Age | None,
    refused_at: Age | None,
    kind: CapacityErrorKind | None,
    ordered_at: Age | None,
    boot_time: Age | None,
) -> GroupHistory:
    return GroupHistory(
        failed_boots=failed,
        failed_boot_at=_ago(policy, failed_at),
        refused_at=_ago(policy, refused_at),
        refused_kind=kind,
        ordered_at=_ago(policy, ordered_at),
        boot_time=None if boot_time is None else boot_time.of(policy),
    )


def _ago(policy: ScalingPolicy, age: Age | None) -> datetime | None:
    return None if age is None else NOW - age.of(policy)


# The parts by themselves: any work, and any groups with their past.
Fleets = tuple[tuple[GroupFleet, ...], Mapping[GroupKey, GroupHistory]]
DEMANDS = _WORK.map(lambda drawn: PoolDemand(*drawn[:3], _ago(ScalingPolicy(), drawn[3])))
FLEETS: st.SearchStrategy[Fleets] = situations().map(lambda now: (now.groups, now.history))
