"""What the decision says in known situations."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from scheduler.autoscale.plan import (
    Action,
    Drain,
    GroupFleet,
    GroupHistory,
    Hold,
    ReasonKind,
    Remove,
    ScaleOut,
    Undrain,
)
from scheduler.errors import CapacityErrorKind
from scheduler.model import NodePhase, PoolDemand
from scheduler.policy import ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, fleet, group, node, plan_for, work

MINUTE = timedelta(minutes=1)
MAIN = group()
SPARE = group("spare", most=3)
OLD = group(generation="g0", current=False)
# Slots are counted by the acceptable wait alone, and nodes go after five minutes.
POLICY = ScalingPolicy(max_nodes=10, waiting_cost=0, idle_timeout=5 * MINUTE)
# Recent orders are still expected.
EXPECTED = {MAIN.key: GroupHistory(ordered_at=NOW - MINUTE)}


def summary(actions: tuple[Action, ...]) -> list[tuple[str, str, int, ReasonKind]]:
    """Give action, group, count and kind of reason of each."""
    return [
        (
            type(action).__name__,
            f"{action.group.name}/{action.group.generation}",
            action.count if isinstance(action, ScaleOut) else 0 if isinstance(action, Hold) else len(action.nodes),
            action.reason.kind,
        )
        for action in actions
    ]


@dataclass
class Case:
    """A situation and what is to be done in it."""

    name: str
    demand: PoolDemand | None
    groups: tuple[GroupFleet, ...]
    expected: list[tuple[str, str, int, ReasonKind]]
    policy: ScalingPolicy = POLICY
    history: dict = field(default_factory=dict)


CASES = [
    Case("nothing to do", work(), (fleet(MAIN),), [("Hold", "main/g1", 0, ReasonKind.NO_WORK)]),
    Case("first task", work(1), (fleet(MAIN),), [("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG)]),
    Case(
        "100 tasks of 60 s within 300 s need 20 slots, so 10 nodes of 2",
        work(100),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 10, ReasonKind.BACKLOG)],
    ),
    Case(
        "never more slots than tasks",
        work(4, mean=36_000),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 2, ReasonKind.BACKLOG)],
    ),
    Case(
        "without history the default run time counts",
        work(30, mean=None),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 3, ReasonKind.BACKLOG)],
    ),
    Case(
        "booting and ordered nodes count",
        work(100),
        (fleet(MAIN, node(1, NodePhase.BOOTING, age=MINUTE), ordered=9),),
        [("Hold", "main/g1", 0, ReasonKind.ENOUGH)],
        history=EXPECTED,
    ),
    Case(
        "an order that has not come for longer than a boot does not count",
        work(20),
        (fleet(MAIN, ordered=2),),
        [("ScaleOut", "main/g1", 2, ReasonKind.BACKLOG)],
        history={MAIN.key: GroupHistory(ordered_at=NOW - 20 * MINUTE)},
    ),
    Case(
        "an overdue order is named until it is asked for again",
        work(20),
        (fleet(MAIN, ordered=10),),
        [("Hold", "main/g1", 0, ReasonKind.ORDER_OVERDUE)],
        history={MAIN.key: GroupHistory(ordered_at=NOW - 16 * MINUTE)},
    ),
    Case(
        "an overdue order takes no room from other groups",
        work(20),
        (fleet(MAIN, ordered=10), fleet(SPARE)),
        [("ScaleOut", "spare/g1", 2, ReasonKind.BACKLOG), ("Hold", "main/g1", 0, ReasonKind.OTHER_GROUP)],
        history={MAIN.key: GroupHistory(ordered_at=NOW - 16 * MINUTE)},
    ),
    Case(
        "an order of which some came lately is slow, and as many are expected still",
        work(20),
        (fleet(MAIN, node(1, NodePhase.BOOTING, age=MINUTE), ordered=9),),
        [("Hold", "main/g1", 0, ReasonKind.ENOUGH)],
        history={MAIN.key: GroupHistory(ordered_at=NOW - 16 * MINUTE)},
    ),
    Case(
        "draining nodes are taken back before any is bought",
        work(40),
        (fleet(MAIN, node(1, NodePhase.DRAINING), node(2, NodePhase.DRAINED)),),
        [("Undrain", "main/g1", 2, ReasonKind.NEEDED_AGAIN), ("ScaleOut", "main/g1", 2, ReasonKind.BACKLOG)],
    ),
    Case(
        "an idle node stays if a waiting task will be overdue, and want it, before another could boot",
        work(10, 4, 1.0, waited=20 * MINUTE),
        (fleet(MAIN, *(node(n, held=("m1", "m2")) for n in (1, 2)), node(3, idle=10 * MINUTE)),),
        [("Hold", "main/g1", 0, ReasonKind.ENOUGH)],
    ),
    Case(
        "an idle node goes after its time",
        work(),
        (fleet(MAIN, node(1, idle=5 * MINUTE), node(2, idle=4 * MINUTE)),),
        [("Drain", "main/g1", 1, ReasonKind.IDLE)],
    ),
    Case(
        "an idle node stays while it is needed",
        work(20),
        (fleet(MAIN, node(1, idle=9 * MINUTE), node(2, idle=9 * MINUTE)),),
        [("Hold", "main/g1", 0, ReasonKind.ENOUGH)],
    ),
    Case(
        "the least number of nodes stays",
        work(),
        (fleet(MAIN, node(1, idle=9 * MINUTE), node(2, idle=9 * MINUTE)),),
        [("Drain", "main/g1", 1, ReasonKind.IDLE)],
        policy=ScalingPolicy(min_nodes=1),
    ),
    Case(
        "the least number of nodes is bought",
        work(),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 2, ReasonKind.MINIMUM)],
        policy=ScalingPolicy(min_nodes=2),
    ),
    Case(
        "a busy node is never drained by scale-in",
        work(0, 1),
        (fleet(MAIN, node(1, held=("m",)), node(2, held=("n",))),),
        [("Hold", "main/g1", 0, ReasonKind.ENOUGH)],
    ),
    Case(
        "drained and lost nodes and failed boots go",
        work(),
        (
            fleet(
                MAIN,
                node(1, NodePhase.DRAINED),
                node(2, NodePhase.LOST),
                node(3, NodePhase.LOST, ready=False),
                node(4, NodePhase.BOOTING, age=16 * MINUTE),
                node(5, NodePhase.BOOTING, age=14 * MINUTE),
                node(6, NodePhase.REMOVING),
                node(7, NodePhase.GONE),
            ),
        ),
        [
            ("Remove", "main/g1", 1, ReasonKind.NOT_NEEDED),
            ("Remove", "main/g1", 1, ReasonKind.DRAINED),
            ("Remove", "main/g1", 2, ReasonKind.BOOT_FAILED),
            ("Remove", "main/g1", 1, ReasonKind.LOST),
        ],
    ),
    Case(
        "the first group is filled before the second",
        work(100),
        (fleet(group(most=8)), fleet(SPARE)),
        [("ScaleOut", "main/g1", 8, ReasonKind.BACKLOG), ("ScaleOut", "spare/g1", 2, ReasonKind.BACKLOG)],
    ),
    Case(
        "the last group is emptied first",
        work(1),
        (fleet(MAIN, node(1, idle=9 * MINUTE)), fleet(SPARE, node(1, of=SPARE, idle=6 * MINUTE))),
        [("Drain", "spare/g1", 1, ReasonKind.IDLE), ("Hold", "main/g1", 0, ReasonKind.ENOUGH)],
    ),
    Case(
        "the pool's maximum holds over all groups",
        work(1000),
        (fleet(MAIN), fleet(SPARE)),
        [("ScaleOut", "main/g1", 4, ReasonKind.BACKLOG), ("Hold", "spare/g1", 0, ReasonKind.AT_MAXIMUM)],
        policy=ScalingPolicy(max_nodes=4),
    ),
    Case(
        "a retired generation drains while the new one is bought",
        work(0, 2),
        (fleet(MAIN), fleet(OLD, node(1, of=OLD, held=("m",)), node(2, NodePhase.BOOTING, of=OLD, age=MINUTE))),
        [("Drain", "main/g0", 2, ReasonKind.RETIRED), ("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG)],
    ),
    Case(
        "a retired generation keeps the slots of what runs there",
        work(1, 1),
        (fleet(MAIN), fleet(OLD, node(1, NodePhase.DRAINING, of=OLD, held=("m",)))),
        [("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG), ("Hold", "main/g0", 0, ReasonKind.RETIRED)],
    ),
    Case(
        "without demand nothing is changed",
        None,
        (fleet(MAIN, node(1, idle=9 * MINUTE), node(2, NodePhase.DRAINED)), fleet(OLD, node(1, of=OLD))),
        [("Hold", "main/g1", 0, ReasonKind.UNKNOWN_DEMAND), ("Hold", "main/g0", 0, ReasonKind.UNKNOWN_DEMAND)],
    ),
    Case(
        "a group that cannot be read is held, and the others go on with its last known nodes",
        work(20),
        (fleet(MAIN, node(1), unknown="throttled"), fleet(SPARE)),
        [("ScaleOut", "spare/g1", 1, ReasonKind.BACKLOG), ("Hold", "main/g1", 0, ReasonKind.UNKNOWN_FLEET)],
    ),
    Case(
        "a group that cannot be read does not free others from serving",
        work(2),
        (fleet(MAIN, node(1), unknown="throttled"), fleet(SPARE, node(1, of=SPARE, idle=9 * MINUTE))),
        [("Hold", "main/g1", 0, ReasonKind.UNKNOWN_FLEET), ("Hold", "spare/g1", 0, ReasonKind.ENOUGH)],
    ),
    Case(
        "after a refusal another group is asked",
        work(1),
        (fleet(MAIN), fleet(SPARE)),
        [("ScaleOut", "spare/g1", 1, ReasonKind.BACKLOG), ("Hold", "main/g1", 0, ReasonKind.OTHER_GROUP)],
        history={MAIN.key: GroupHistory(refused_at=NOW - MINUTE, refused_kind=CapacityErrorKind.ALLOCATION)},
    ),
    Case(
        "a refusal is remembered by its kind",
        work(1),
        (fleet(MAIN),),
        [("Hold", "main/g1", 0, ReasonKind.CAPACITY_REFUSED)],
        history={MAIN.key: GroupHistory(refused_at=NOW - 4 * MINUTE, refused_kind=CapacityErrorKind.QUOTA)},
    ),
    Case(
        "after a quota's refusal one node is tried",
        work(40),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG)],
        history={MAIN.key: GroupHistory(refused_at=NOW - 6 * MINUTE, refused_kind=CapacityErrorKind.QUOTA)},
    ),
    Case(
        "while it is tried no more is asked for",
        work(40),
        (fleet(MAIN, node(1, NodePhase.BOOTING, age=MINUTE)),),
        [("Hold", "main/g1", 0, ReasonKind.CAPACITY_REFUSED)],
        history={MAIN.key: GroupHistory(refused_at=NOW - 6 * MINUTE, refused_kind=CapacityErrorKind.QUOTA)},
    ),
    Case(
        "a refusal is forgotten after its time",
        work(1),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG)],
        history={MAIN.key: GroupHistory(refused_at=NOW - 4 * MINUTE, refused_kind=CapacityErrorKind.ALLOCATION)},
    ),
    Case(
        "failed boots in a row stop the buying",
        work(100),
        (fleet(MAIN),),
        [("Hold", "main/g1", 0, ReasonKind.BOOT_BREAKER)],
        history={MAIN.key: GroupHistory(failed_boots=3, failed_boot_at=NOW - MINUTE)},
    ),
    Case(
        "after a while one is tried",
        work(100),
        (fleet(MAIN),),
        [("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG)],
        history={MAIN.key: GroupHistory(failed_boots=3, failed_boot_at=NOW - 16 * MINUTE)},
    ),
    Case(
        "and no other until it is known how that ended",
        work(100),
        (fleet(MAIN, ordered=1),),
        [("Hold", "main/g1", 0, ReasonKind.BOOT_BREAKER)],
        history={MAIN.key: GroupHistory(3, NOW - 16 * MINUTE, ordered_at=NOW - MINUTE)},
    ),
    Case(
        "waiting tasks get slots of their own when running ones do not make way",
        work(4, 2, waited=21 * MINUTE),
        (fleet(MAIN, node(1, held=("a", "b"))),),
        [("ScaleOut", "main/g1", 1, ReasonKind.BACKLOG)],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decision(case: Case) -> None:
    """In each situation exactly the expected actions are planned, each with its kind of reason."""
    plan = plan_for(case.policy, case.demand, *case.groups, history=case.history)
    assert summary(plan.actions) == case.expected


def test_a_pool_that_is_no_longer_declared_drains() -> None:
    """Without a policy the pool's retired groups are still drained."""
    groups = (fleet(OLD, node(1, of=OLD)),)
    plan = plan_for(POLICY, work(), *groups)
    assert summary(plan.actions) == [("Drain", "main/g0", 1, ReasonKind.RETIRED)]


def test_reasons_have_the_numbers() -> None:
    """A scale-out says how much work there is, how long it may wait, and what serves already."""
    (action,) = plan_for(POLICY, work(100, 2), fleet(MAIN, node(1, held=("a", "b")))).actions
    assert isinstance(action, ScaleOut)
    assert action.reason.sentence == (
        "100 waiting and 2 running tasks of about 60 s each are 6060 s of work, none counted for longer than "
        "300 s; to be begun within 300 s it needs 19 slots more, and beside a boot of 120 s 0 are worth their price: "
        "21 slots; "
        "nodes that serve or boot: 1, with 2 slots each; 9 more asked for; no more, since "
        "the group render/main/g1 takes no more nodes now, and the pool is at its maximum of 10 nodes"
    )


def test_a_lost_nodes_cause_is_told() -> None:
    """What is known of why nodes are given up stands in the reason."""
    lost = replace(node(1, NodePhase.LOST), reason="no status came")
    (action,) = plan_for(POLICY, work(), fleet(MAIN, lost)).actions
    assert isinstance(action, Remove)
    assert "no status came" in action.reason.sentence


@pytest.mark.parametrize(
    ("error", "minutes", "kind"),
    [
        ("AllocationFailed: no capacity", 1, ReasonKind.CAPACITY_REFUSED),
        ("AllocationFailed: no capacity", 3, None),
        ("AccountCoreQuotaReached: over core quota", 4, ReasonKind.CAPACITY_REFUSED),
        ("AccountCoreQuotaReached: over core quota", 5, None),
    ],
)
def test_an_order_that_came_to_nothing_is_not_repeated_at_once(
    error: str, minutes: int, kind: ReasonKind | None
) -> None:
    """What Azure gave up on after it took the order counts as a refusal from the order on, with Azure's words."""
    failed = replace(fleet(MAIN), error=error)
    history = {MAIN.key: GroupHistory(ordered_at=NOW - minutes * MINUTE)}
    (action,) = plan_for(POLICY, work(10), failed, history=history).actions
    if kind is None:
        assert isinstance(action, ScaleOut)
    else:
        assert isinstance(action, Hold)
        assert action.reason.kind is kind
        assert error in action.reason.sentence


def test_nodes_that_will_not_come_are_not_waited_for() -> None:
    """Once Azure has given up on an order, its nodes neither serve nor fill the group: what is needed is asked anew."""
    given_up = replace(fleet(MAIN, ordered=MAIN.max_nodes), error="AllocationFailed: no capacity")
    history = {MAIN.key: GroupHistory(ordered_at=NOW - 4 * MINUTE)}
    (action,) = plan_for(POLICY, work(10), given_up, history=history).actions
    assert isinstance(action, ScaleOut)
    assert (action.count, action.given_up) == (1, MAIN.max_nodes)


def test_the_longest_idle_node_goes_first() -> None:
    """Of several idle nodes the one that has been idle for longest is drained."""
    nodes = (node(1, idle=6 * MINUTE), node(2, idle=9 * MINUTE))
    (action,) = plan_for(ScalingPolicy(min_nodes=1), work(), fleet(MAIN, *nodes)).actions
    assert isinstance(action, Drain)
    assert action.nodes == ("vmss-main-g1_2",)


def test_taking_back_prefers_what_still_works() -> None:
    """A draining node is taken back before a drained one."""
    nodes = (node(1, NodePhase.DRAINED), node(2, NodePhase.DRAINING))
    actions = plan_for(POLICY, work(1), fleet(MAIN, *nodes)).actions
    assert isinstance(actions[0], Undrain)
    assert actions[0].nodes == ("vmss-main-g1_2",)
    assert isinstance(actions[1], Remove)
