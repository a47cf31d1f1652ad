"""Decisions told in plain words, from records alone."""

from dataclasses import replace
from datetime import time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.inputs import DecisionRecord, Inputs, decide_on, record_of
from scheduler.autoscale.plan import GroupFleet, GroupHistory
from scheduler.demand import Foreseen, ForeseenKind
from scheduler.errors import CapacityErrorKind
from scheduler.explain.decision import difference, still_held, tell, title
from scheduler.model import Decision, GroupKey, NodePhase, PoolDemand, Sample
from scheduler.policy import Floor, ScalingPolicy, Weekday
from scheduler.views import DecisionStory
from tests.scheduler.autoscale.fleets import NOW, POOL, fleet, group, node, work
from tests.scheduler.autoscale.situations import DEMANDS, FLEETS, POLICIES, Fleets

MINUTE = timedelta(minutes=1)
POLICY = ScalingPolicy(acceptable_wait=MINUTE, max_nodes=10)
KEY = group().key


def record(
    demand: PoolDemand | None,
    *groups: GroupFleet,
    policy: ScalingPolicy = POLICY,
    history: dict[GroupKey, GroupHistory] | None = None,
) -> DecisionRecord:
    """Decide for the one pool."""
    inputs = Inputs({POOL: policy}, {POOL: demand}, groups, tuple((history or {}).items()), NOW)
    return record_of(inputs, decide_on(inputs), POOL)


@given(POLICIES, st.none() | DEMANDS, FLEETS, st.booleans())
def test_every_decision_can_be_told(
    policy: ScalingPolicy, demand: PoolDemand | None, situation: Fleets, carried_out: bool
) -> None:
    """Whatever the situation, each action and group has a sentence, and the same decision comes out."""
    groups, history = situation
    made = record(demand, *groups, policy=policy, history=history)
    story = tell(made, made.decided if carried_out else None)
    assert len(story.decided) == len(made.decided)
    assert len(story.seen) == 1 + len(groups)
    assert story.same
    told = (*story.seen, *story.wanted, *story.decided, *story.held_back, *story.replayed)
    assert all(line[0].isupper() or line[0].isdigit() for line in told)
    assert all(line.endswith(".") for line in told)
    assert not any("not carried out" in line for line in story.decided)


def test_an_order_is_told_with_its_arithmetic() -> None:
    """What waited, what was booting, what was wanted and bought, and what kept it from more."""
    busy = [node(number, held=("m",)) for number in (1, 2)]
    booting = node(3, NodePhase.BOOTING, age=3 * MINUTE)
    demand = work(active=20, running=2, waited=4 * MINUTE)
    story = tell(record(demand, fleet(group(most=20), *busy, booting), history={KEY: GroupHistory(boot_time=MINUTE)}))
    assert story.seen == (
        "Tasks: 20 waited and 2 ran, of about 60 s each; the oldest had waited for 4 min.",
        "Group main (Standard_D2s_v5, 2 slots a node): 1 booting (for up to 3 min), 2 working; a boot took 60 s.",
    )
    assert story.wanted[0].startswith("20 waiting and 2 running tasks of about 60 s each are 1260 s of work")
    assert story.wanted[0].endswith(": 22 slots.")
    assert story.wanted[1:] == ("Nodes that served or would soon had 6 slots.", "Bounds of the pool: 0 to 10 nodes.")
    assert story.decided[0].startswith("Scale out 7 nodes of group main, because 20 waiting")
    assert story.held_back[0] == "2 slots more would have been of use."
    assert story.held_back[1:] == ("Group main: the pool is at its maximum of 10 nodes.",)
    assert story.replayed == ("Decided again from its inputs, the same comes out.",)
    assert title(story) == f"Pool {POOL}, decided at 2026-03-01 12:00:00 UTC"


def test_bounds_back_off_and_breaker_are_named() -> None:
    """What kept a pool from more: the group's maximum, a refusal, failed boots, a set that could not be read."""
    spare = group("spare")
    refused = GroupHistory(refused_at=NOW, refused_kind=CapacityErrorKind.QUOTA, refused_message="no cores left")
    broken = GroupHistory(failed_boots=3, failed_boot_at=NOW)
    demand = work(active=100)

    def kept_from(*groups: GroupFleet, **histories: GroupHistory) -> str:
        by_key = {each.group.key: histories[each.group.key.name] for each in groups if each.group.key.name in histories}
        return " ".join(tell(record(demand, *groups, history=by_key)).held_back)

    assert "Group main: Azure refused nodes (quota): no cores left; asked again after" in kept_from(
        fleet(group()), main=refused
    )
    assert "Group main: 3 boots in a row failed" in kept_from(fleet(group()), main=broken)
    assert "Group main: the group is at its maximum of 1 nodes." in kept_from(
        fleet(group(most=1), node(1)), fleet(spare), spare=refused
    )
    assert "Group main could not be read: throttled." in kept_from(fleet(group(), unknown="throttled"))


def test_what_is_kept_without_work_is_told() -> None:
    """Nodes without work are told with the time that they are kept for."""
    story = tell(record(work(), fleet(group(), node(1, idle=MINUTE)), policy=replace(POLICY, min_nodes=1)))
    assert "1 working (1 without work)" in story.seen[1]
    assert story.held_back == (
        "Nothing more was wanted; 2 slots to spare.",
        (
            "Group main: 1 node without work, kept as long as it pays off by the pauses that the work has had, and "
            "longer while the work or the minimum of 1 node needs them."
        ),
    )
    owners = tell(record(work(), fleet(group(), node(1, idle=MINUTE)), policy=replace(POLICY, idle_timeout=5 * MINUTE)))
    assert "kept for 5 min as the owner says, and longer" in owners.held_back[1]


def test_what_goes_or_comes_back_is_counted() -> None:
    """Nodes that this decision drains are not told as kept, and those taken back are not told as missing."""
    drained = tell(record(work(), fleet(group(), node(1, idle=60 * MINUTE))))
    assert drained.decided[0].startswith("Drain 1 node of group main: vmss-main-g1_1, because ")
    assert drained.held_back == ("Nothing more was wanted.",)
    back = tell(
        record(work(active=4, mean=600.0), fleet(group(), node(1, NodePhase.DRAINING), node(2, NodePhase.DRAINED)))
    )
    assert back.decided[0].startswith("Undrain 2 nodes of group main")
    assert back.held_back == ("Nothing more was wanted.",)


def test_the_order_that_fills_a_group_says_so() -> None:
    """What an order leaves missing has its reason: the group's maximum, or boots that fail, of which one is tried."""
    full = tell(record(work(active=40), fleet(group(most=3))))
    assert full.held_back[1:] == ("Group main: with this order it is at its maximum of 3 nodes.",)
    failed = GroupHistory(failed_boots=3, failed_boot_at=NOW - 60 * MINUTE)
    tried = tell(record(work(active=40), fleet(group()), history={KEY: failed}))
    assert tried.held_back[1:] == (f"Group main: the group {KEY} takes no more nodes now.",)
    dear = tell(record(work(active=40), fleet(group()), policy=replace(POLICY, budget_per_hour=0.3, max_step_out=9)))
    assert dear.held_back[1:] == ("Group main: the pool's machines may cost 0.3 dollars an hour.",)


def test_of_many_nodes_some_are_named() -> None:
    """A story names ten nodes and counts the others."""
    nodes = [node(number, idle=60 * MINUTE) for number in range(12)]
    story = tell(record(work(), fleet(group(most=20), *nodes), policy=replace(POLICY, max_nodes=20)))
    assert (
        "vmss-main-g1_7, vmss-main-g1_8 and 2 others" in story.decided[0]
        or " and 2 others, because" in story.decided[0]
    )


def test_what_is_to_come_is_counted() -> None:
    """Tasks that are foreseen are told with those that wait, and what comes within a boot is in what is wanted."""
    coming = Foreseen(ForeseenKind.FEEDING, "j", "next", 40, earliest=NOW)
    story = tell(record(replace(work(active=1), foreseen=(coming,)), fleet(group())))
    assert story.seen[0] == "Tasks: 1 waited and 0 ran, of about 60 s each; 40 more were known to come sometime."
    assert "40 tasks of job j, which is being sent" in story.wanted[0]


def test_unknown_work_is_told() -> None:
    """Where the work could not be read there is nothing wanted, and the hold says why."""
    story = tell(record(None, fleet(group())))
    assert story.seen[0] == "The pool's work could not be read."
    assert (story.wanted, story.held_back) == ((), ())
    assert "could not be read, so its nodes are left as they are" in story.decided[0]


def outcome(decided: Decision, *done: Decision) -> str:
    """Tell what became of the one order."""
    made = record(work(active=20), fleet(group()))
    story: DecisionStory = tell(replace(made, decided=(decided,)), done)
    return story.decided[0].partition("because ")[2]


def test_what_became_of_an_action_is_told() -> None:
    """A refusal, a part that had changed, and what was not done are told; what went as decided is not."""
    order = Decision(NOW, KEY, "scale_out", 3, (), "work")
    drain = Decision(NOW, KEY, "drain", 2, ("a", "b"), "idle")
    assert outcome(order, order) == "work."
    assert outcome(order, Decision(NOW, KEY, "hold", 0, (), "3 nodes were refused (sku).")) == (
        "work. It came to nothing: 3 nodes were refused (sku)."
    )
    assert outcome(drain, replace(drain, count=1, nodes=("a",))).endswith(
        "It was done for 1 of them; the others had changed meanwhile."
    )
    assert "It was not carried out" in outcome(drain)


def test_another_way_of_deciding_is_told() -> None:
    """When the inputs give another decision now, the story says so and which."""
    made = record(work(active=20), fleet(group()))
    story = tell(replace(made, decided=(replace(made.decided[0], count=1),)))
    assert not story.same
    assert "something else comes out" in story.replayed[0]
    assert story.replayed[1].startswith("Scale out 10 nodes of group main, because ")
    reworded = tell(replace(made, decided=(replace(made.decided[0], reason="much work"),)))
    assert reworded.same
    assert reworded.replayed[0] == "Decided again from its inputs, the same comes out, with another reason:"


def test_a_proposed_policy_is_told() -> None:
    """In what it differs, and what it would have done with the same nodes, or that it would have done the same."""
    made = record(work(active=20), fleet(group(), node(1, held=("m",))))

    def told(policy: ScalingPolicy) -> tuple[str, ...]:
        return tell(replace(made, inputs=replace(made.inputs, proposed={POOL: policy}))).proposed

    assert tell(made).proposed == ()
    faster = told(replace(POLICY, max_nodes=4, idle_timeout=MINUTE))
    assert faster[0] == (
        "The proposed policy (max_nodes 4 in place of 10, idle_timeout 60 s in place of none) would have, "
        "with these nodes:"
    )
    assert faster[1].startswith("Scale out 3 nodes of group main, because 20 waiting")
    assert told(replace(POLICY, silence_deadline=MINUTE)) == (
        "The proposed policy (silence_deadline 60 s in place of 3 min) would have done the same.",
    )
    assert "(nothing changed) would have done the same" in told(POLICY)[0]
    days = (Weekday.MON, Weekday.TUE)
    floors = (Floor(days, time(8), time(18, 30), "Europe/Zurich", 1), Floor(days, time(20), time(0), "UTC", 2))
    assert difference(POLICY, replace(POLICY, floors=floors)) == (
        "floors 1 node mon tue 08:00 to 18:30 Europe/Zurich and 2 nodes mon tue 20:00 to 00:00 UTC in place of none"
    )


def test_the_timeline_beside_it() -> None:
    """How the pool stood later, while the decision was in force."""
    assert still_held(Sample(NOW, POOL, 12, 3, 5, 4, 1)) == (
        "At 2026-03-01 12:00:00 UTC this still held: 12 tasks waited and 3 ran; 4 nodes, 1 of them booting, of 5 that "
        "were to be there"
    )
