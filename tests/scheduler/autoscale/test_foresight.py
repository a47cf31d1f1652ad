"""What is known to come: it has nodes started ahead and idle ones kept, and never lets one go."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.desire import Desire
from scheduler.autoscale.foresight import foresee, with_foresight
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import Drain, GroupHistory, Hold, Plan, Remove, ScaleOut, Undrain
from scheduler.autoscale.recurrence import Recurrence, Rise
from scheduler.demand import Cohort, DemandClass, Foreseen, ForeseenKind
from scheduler.model import Node, PoolDemand
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from scheduler.sketch import RunTimes
from tests.scheduler.autoscale.fleets import NOW, fleet, group, node, plan_for, work
from tests.scheduler.autoscale.situations import RISES, Situation, situations

BOOT = timedelta(minutes=3)
MINUTE = RunTimes.of([60.0] * 20).expected()
HOUR = RunTimes.of([3600.0] * 20).expected()


def running(count: int, age: float, *, waiting: int = 0, step: str = "map") -> DemandClass:
    """Make the tasks of a step of one-minute tasks, begun `age` seconds ago."""
    return DemandClass("j", step, waiting, count, MINUTE, (Cohort(NOW - timedelta(seconds=age), count),))


def demand(*classes: DemandClass, foreseen: tuple[Foreseen, ...] = ()) -> PoolDemand:
    """Make the demand that these classes are."""
    active = sum(each.active_tasks for each in classes)
    return PoolDemand(
        active,
        sum(each.running_tasks for each in classes),
        60.0,
        NOW if active else None,
        tuple(classes),
        foreseen,
    )


def dependents(tasks: int, *behind: DemandClass, kind: ForeseenKind = ForeseenKind.DEPENDENTS) -> Foreseen:
    """Make tasks of an hour each that wait for these."""
    return Foreseen(kind, "j", "price", tasks, HOUR, behind=behind)


def test_nothing_foreseen_changes_nothing() -> None:
    """Without anything to come there is no forecast."""
    assert foresee(work(5, 2), BOOT, NOW) is None


def test_dependents_come_when_their_predecessors_end() -> None:
    """What ends within a boot makes room for what waits for it; the numbers say so."""
    behind = running(4, 30.0)
    found = foresee(demand(behind, foreseen=(dependents(40, behind),)), BOOT, NOW)
    assert found is not None
    then = found.demand
    assert (then.active_tasks, then.running_tasks, then.mean_task_seconds) == (40, 0, 3600.0)
    assert [(each.step, each.slots) for each in then.classes] == [("price", 40)]
    assert found.sentence == ("within the 180 s of a boot come 40 tasks of job j (step price) as map ends (4 left)")


@pytest.mark.parametrize(
    "behind",
    [
        # Nine rounds of a minute on two slots.
        running(2, 30.0, waiting=16),
        # Nothing of it runs yet, so nobody knows when it will end.
        DemandClass("j", "map", 3, 0, MINUTE),
        # Nobody knows how long one takes.
        DemandClass("j", "map", 0, 1),
        # Two stragglers, ten times as old as any that was seen.
        running(2, 600.0),
        # It takes an hour, and has run for a minute.
        DemandClass("j", "map", 0, 1, HOUR, (Cohort(NOW - timedelta(minutes=1), 1),)),
    ],
)
def test_what_does_not_end_within_a_boot_brings_nothing(behind: DemandClass) -> None:
    """A node that is started too early would only idle: nothing is foreseen."""
    assert foresee(demand(behind, foreseen=(dependents(40, behind),)), BOOT, NOW) is None


def test_all_that_is_waited_for_must_end() -> None:
    """A merge waits for the last of its steps; two that wait for the same step free its slots once."""
    quick, slow = running(4, 30.0), running(2, 30.0, waiting=16, step="other")
    assert foresee(demand(quick, slow, foreseen=(dependents(1, quick, slow),)), BOOT, NOW) is None
    twice = (dependents(3, quick), replace(dependents(5, quick), step="report"))
    found = foresee(demand(quick, slow, foreseen=twice), BOOT, NOW)
    assert found is not None
    assert (found.demand.active_tasks, found.demand.running_tasks) == (16 + 3 + 5, 2)
    assert found.demand.mean_task_seconds == pytest.approx((16 * 60 + 8 * 3600) / 24)


def test_task_by_task_each_takes_the_slot_of_the_one_before() -> None:
    """Of a hundred waiting tasks, three rounds on four slots end within a boot; so many of the next step come."""
    behind = running(4, 0.0, waiting=100)
    found = foresee(demand(behind, foreseen=(dependents(104, behind, kind=ForeseenKind.ONE_BY_ONE),)), BOOT, NOW)
    assert found is not None
    assert (found.demand.active_tasks, found.demand.running_tasks) == (100 - 8 + 12, 0)
    assert found.demand.mean_task_seconds == pytest.approx((92 * 60 + 12 * 3600) / 104)


def test_a_draft_that_is_being_filled_comes_soon_and_a_forgotten_one_never() -> None:
    """A draft counts for a few minutes; a schedule counts from a boot before its time on."""
    draft = Foreseen(ForeseenKind.FEEDING, "j", "", 500, MINUTE, earliest=NOW - timedelta(seconds=20))
    found = foresee(demand(foreseen=(draft,)), BOOT, NOW)
    assert found is not None
    assert (found.demand.active_tasks, found.sentence) == (
        500,
        "within the 180 s of a boot come 500 tasks of job j, which is being sent",
    )
    assert foresee(demand(foreseen=(replace(draft, earliest=NOW - timedelta(hours=1)),)), BOOT, NOW) is None
    nightly = replace(draft, kind=ForeseenKind.SCHEDULE, earliest=NOW + timedelta(minutes=2))
    found = foresee(demand(foreseen=(nightly,)), BOOT, NOW)
    assert found is not None
    assert found.sentence.endswith(f"500 tasks of schedule j at {NOW + timedelta(minutes=2):%H:%M} UTC")
    assert foresee(demand(foreseen=(nightly,)), timedelta(minutes=1), NOW) is None


def test_only_the_most_is_told() -> None:
    """A sentence names the three that bring most."""
    drafts = tuple(Foreseen(ForeseenKind.FEEDING, f"j{each}", "", each, MINUTE, earliest=NOW) for each in range(1, 6))
    found = foresee(demand(foreseen=drafts), BOOT, NOW)
    assert found is not None
    assert "j5" in found.sentence
    assert found.sentence.endswith(", and 2 more")
    assert "j1," not in found.sentence


def test_less_later_changes_nothing() -> None:
    """A forecast of less never takes away what is wanted now, nor gives up what boots."""
    wanted = Desire(5, 7, "five")
    assert with_foresight(wanted, Desire(4, 4, "four"), "soon") == wanted
    assert with_foresight(wanted, Desire(5, 8, "as many"), "soon") == Desire(5, 8, "five")
    assert with_foresight(wanted, Desire(6, 6, "six"), "soon") == Desire(
        6, 7, "soon; then six, against 5 slots for the work of now"
    )


def test_nodes_are_started_before_their_work_is_ready() -> None:
    """Four tasks end within the boot that is measured here, and forty of an hour each follow: nodes are bought now."""
    behind = running(4, 30.0)
    coming = demand(behind, foreseen=(dependents(40, behind),))
    owner, policy = group(slots=4, most=30), ScalingPolicy(max_nodes=30)
    serving = fleet(owner, node(1, of=owner, held=("m1",)))
    history = {owner.key: GroupHistory(boot_time=BOOT)}
    (bought,) = plan_for(policy, coming, serving, history=history).actions
    assert isinstance(bought, ScaleOut)
    assert bought.count == 9
    assert bought.reason.sentence.startswith("within the 180 s of a boot come 40 tasks of job j (step price)")
    # Nothing ends within a boot of ten seconds.
    quick = {owner.key: GroupHistory(boot_time=timedelta(seconds=10))}
    assert isinstance(plan_for(policy, coming, serving, history=quick).actions[0], Hold)


def test_idle_nodes_are_kept_for_what_comes() -> None:
    """A node that idles for long stays while the next step is a boot away, and goes when it is not to come."""
    owner = group(slots=1)
    idle = node(1, of=owner, idle=timedelta(hours=1))
    draft = Foreseen(ForeseenKind.FEEDING, "j", "", 1, MINUTE, earliest=NOW)
    kept = plan_for(ScalingPolicy(), demand(foreseen=(draft,)), fleet(owner, idle))
    assert isinstance(kept.actions[0], Hold)
    assert "1 task of job j, which is being sent" in kept.actions[0].reason.sentence
    assert f"{UNMEASURED_BOOT.total_seconds():.0f} s of a boot" in kept.actions[0].reason.sentence
    assert isinstance(plan_for(ScalingPolicy(), demand(), fleet(owner, idle)).actions[0], Drain)


CLASSES = st.builds(
    DemandClass,
    st.just("j"),
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 50),
    st.integers(0, 20),
    st.lists(st.floats(0.1, 1e4), max_size=5).map(lambda lengths: RunTimes.of(lengths).expected()),
    st.lists(
        st.builds(Cohort, st.floats(0, 1e4).map(lambda age: NOW - timedelta(seconds=age)), st.integers(1, 20)),
        max_size=3,
    ).map(tuple),
)
WORK = st.builds(
    PoolDemand, st.integers(0, 200), st.integers(0, 60), st.none() | st.floats(0.1, 10_000), st.none() | st.just(NOW)
)
FORESEEN = st.builds(
    Foreseen,
    st.sampled_from(ForeseenKind),
    st.just("j"),
    st.just("next"),
    st.integers(0, 300),
    st.lists(st.floats(0.1, 1e4), max_size=5).map(lambda lengths: RunTimes.of(lengths).expected()),
    st.none() | st.floats(-1e3, 1e3).map(lambda away: NOW + timedelta(seconds=away)),
    st.lists(CLASSES, max_size=2).map(tuple),
)


def slots_after(now: Situation, plan: Plan) -> int:
    """Give by how many slots a plan makes those that serve more."""
    change = 0
    for action in plan.actions:
        slots = next(each.group.task_slots for each in now.groups if each.group.key == action.group)
        match action:
            case ScaleOut():
                change += action.count * slots
            case Undrain():
                change += len(action.nodes) * slots
            case Drain():
                change -= len(action.nodes) * slots
            case Remove() | Hold():
                pass
    return change


@given(situations(retired=False), st.lists(FORESEEN, max_size=3).map(tuple))
def test_a_forecast_never_makes_less(now: Situation, foreseen: tuple[Foreseen, ...]) -> None:
    """Whatever is foreseen, no slots go that would have stayed, none is missing that would have come, bounds hold."""
    plan = replace(now, demand=replace(now.demand, foreseen=foreseen)).plan()
    assert slots_after(now, plan) >= slots_after(now, now.plan())
    bought = sum(action.count for action in plan.actions if isinstance(action, ScaleOut))
    assert not bought or sum(each.asked_for for each in now.assessed) + bought <= now.policy.max_nodes


@given(situations(retired=False), RISES)
def test_what_repeats_never_makes_less(now: Situation, expected: Recurrence) -> None:
    """Whatever is expected by time of week, no slots go that would have stayed, none is missing, bounds hold."""
    told = replace(now.learned or PoolHistory(), recurrence=expected)
    ahead = replace(now, policy=replace(now.policy, anticipate=True), learned=told)
    without = replace(ahead, policy=replace(now.policy, anticipate=False))
    assert slots_after(now, ahead.plan()) >= slots_after(now, without.plan())
    bought = sum(action.count for action in ahead.plan().actions if isinstance(action, ScaleOut))
    assert not bought or sum(each.asked_for for each in now.assessed) + bought <= now.policy.max_nodes


def test_a_rise_is_started_ahead_by_a_boot_and_waited_for_no_longer_than_it_is_worth() -> None:
    """Nodes are asked for a boot ahead, not before; idle ones stay a little for a rise that is late, and then go."""
    policy = ScalingPolicy(anticipate=True, idle_timeout=timedelta(seconds=1), acceptable_wait=timedelta(seconds=1))
    expected = Recurrence(rises=(Rise(NOW, 4, "3 of 4 weeks"),))
    past = GroupHistory(boot_time=BOOT)
    idle = tuple(node(number, idle=timedelta(hours=1)) for number in range(2))

    def at(after: timedelta, *nodes: Node, recurrence: Recurrence = expected) -> Plan:
        now, known = Situation(policy, work(0, 0), (fleet(group(), *nodes),), {group().key: past}), PoolHistory()
        return replace(now, learned=replace(known, recurrence=recurrence)).plan(NOW + after)

    tick = timedelta(microseconds=1)
    assert not isinstance(at(-BOOT - tick).actions[0], ScaleOut)
    (order,) = at(-BOOT).actions
    assert isinstance(order, ScaleOut)
    assert order.count * group().task_slots == 4
    assert "4 tasks are expected from 12:00 UTC on, as in 3 of 4 weeks before" in order.reason.sentence
    # Kept through what a restart costs before and, up to its five minutes, after.
    assert isinstance(at(-2 * BOOT - tick, *idle).actions[0], Drain)
    assert isinstance(at(-2 * BOOT, *idle).actions[0], Hold)
    assert isinstance(at(timedelta(minutes=5) - tick, *idle).actions[0], Hold)
    assert isinstance(at(timedelta(minutes=5), *idle).actions[0], Drain)
    missed = replace(expected, misses=2, missed_at=NOW - BOOT)
    assert isinstance(at(-BOOT, recurrence=missed).actions[0], Hold)


@given(WORK, st.lists(FORESEEN, max_size=4).map(tuple), st.floats(1, 1e4))
def test_what_will_be_is_never_less_than_nothing(now: PoolDemand, foreseen: tuple[Foreseen, ...], boot: float) -> None:
    """Whatever is foreseen, the work a boot from now is a number of tasks, of some length or of none known."""
    found = foresee(replace(now, foreseen=foreseen), timedelta(seconds=boot), NOW)
    if found is not None:
        then = found.demand
        assert then.active_tasks >= 0
        assert then.running_tasks >= 0
        assert then.mean_task_seconds is None or then.mean_task_seconds >= 0
        assert found.sentence.startswith("within the ")
