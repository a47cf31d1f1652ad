"""A compiled formula sizes a pool as the policy says, and says where it does not."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.autoscale.decide import decide
from scheduler.autoscale.plan import GroupFleet, ScaleOut
from scheduler.errors import InvalidRequestError
from scheduler.formula.check import read
from scheduler.formula.compile_report import UNTOLD, Standing
from scheduler.formula.compiler import CompileSettings, compile_policy
from scheduler.formula.dialect import Dialect
from scheduler.formula.evaluate import evaluate
from scheduler.formula.parse import parse
from scheduler.formula.printing import print_formula
from scheduler.formula.samples import MetricSamples, Pool
from scheduler.model import GroupKey, GroupPriority, NodeGroup, PoolDemand
from scheduler.policy import ScalingPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_SPANS = st.integers(1, 7_200_000_000).map(lambda micro: timedelta(microseconds=micro)) | st.integers(1, 3600).map(
    lambda seconds: timedelta(seconds=seconds)
)
POLICIES = st.builds(
    lambda cost, wait, low, more, time, idle: ScalingPolicy(
        waiting_cost=cost,
        acceptable_wait=wait,
        min_nodes=low,
        max_nodes=low + more,
        default_task_time=time,
        idle_timeout=idle,
    ),
    st.floats(0, 100),
    _SPANS,
    st.integers(0, 20),
    st.integers(0, 10_000),
    _SPANS,
    _SPANS,
)
# A second is what a setting is given in at least; in fractions of it our scheduler's floats may round otherwise.
SECONDS_POLICIES = st.builds(
    lambda wait, low, more, time: ScalingPolicy(
        acceptable_wait=timedelta(seconds=wait),
        min_nodes=low,
        max_nodes=low + more,
        default_task_time=timedelta(seconds=time),
    ),
    st.integers(1, 7200),
    st.integers(0, 20),
    st.integers(0, 10_000),
    st.integers(1, 7200),
)
_COUNTS = st.integers(0, 20) | st.integers(0, 100_000)
HISTORIES = st.lists(st.tuples(_COUNTS, _COUNTS), max_size=30)
SETTINGS = st.builds(CompileSettings, slots=st.none() | st.integers(1, 16), spot=st.booleans())


@dataclass(frozen=True)
class World:
    """A pool with its past: `history` is (active, running) each half minute, the newest first."""

    current: int
    target: int
    slots: int
    history: list[tuple[int, int]]


WORLDS = st.builds(World, st.integers(0, 200), st.integers(0, 200), st.integers(1, 16), HISTORIES)


def evaluated(policy: ScalingPolicy, world: World, settings: CompileSettings, lag: int) -> tuple[int, int]:
    """Give the targets that the compiled formula sets: its own kind's, and the other's."""
    times = [NOW - timedelta(seconds=30 * age) for age in range(len(world.history))]
    samples = {
        name: MetricSamples.of((at, float(seen[which])) for at, seen in zip(times, world.history, strict=True))
        for which, name in enumerate(("$ActiveTasks", "$RunningTasks"))
    }
    sizes = (7, world.current, 7, world.target) if settings.spot else (world.current, 7, world.target, 7)
    pool = Pool(*sizes, world.slots, samples)
    run = evaluate(read(compile_policy(policy, settings).text), pool, NOW, lambda: 0.5, Dialect(lag=lag))
    assert run.error is None
    assert run.deallocation == "taskcompletion"
    both = (run.target_dedicated, run.target_low_priority)
    return both[::-1] if settings.spot else both


def by_the_policy(policy: ScalingPolicy, active: int, running: int, slots: int, settings: CompileSettings) -> int:
    """Count nodes by the policy's words, in whole numbers.

    Its backlog over its wait, and a slot more for the part of the waiting tasks that is worth one, between running and
    all tasks.
    """
    seconds = policy.default_task_time.total_seconds()
    part = policy.worth_a_slot(seconds, policy.start_cost(None, settings.slots or 1))
    worth = running + ceil(Fraction(active * part, 1_000_000))
    wait = Fraction(policy.acceptable_wait / timedelta(microseconds=1))
    time = Fraction(policy.default_task_time / timedelta(microseconds=1))
    backlog = active * min(time, wait) + running * min(time / 2, wait)
    needed = max(worth, ceil(backlog / wait), 1)
    return ceil(Fraction(min(active + running, needed), slots))


def within(policy: ScalingPolicy, nodes: int) -> int:
    """Apply the policy's bounds."""
    return max(policy.min_nodes, min(policy.max_nodes, nodes))


@given(POLICIES, WORLDS, SETTINGS, st.integers(0, 2))
@example(ScalingPolicy(), World(0, 0, 1, []), CompileSettings(), 0)
@example(ScalingPolicy(min_nodes=3), World(0, 0, 4, [(0, 0)]), CompileSettings(), 0)
def test_a_compiled_formula_is_its_policy(
    policy: ScalingPolicy, world: World, settings: CompileSettings, lag: int
) -> None:
    """Bounds, backlog over wait and holding without samples are exact, on any history and at any lag."""
    slots = settings.slots or world.slots
    seen = world.history[lag:]
    fresh = len(world.history[lag:10]) > 0
    if not fresh:
        expected = world.target
    else:
        active, running = seen[0]
        idle = policy.idle_timeout or policy.restart_cost(None)
        idle_samples = max(1, ceil(idle / timedelta(seconds=30)))
        busy = max(each for _, each in seen[:idle_samples])
        kept = min(world.current, ceil(Fraction(busy, slots)))
        expected = max(by_the_policy(policy, active, running, slots, settings), kept)
    assert evaluated(policy, world, settings, lag) == (within(policy, expected), 0)


@given(POLICIES, _COUNTS, _COUNTS, st.integers(0, 200), SETTINGS, st.integers(1, 16))
def test_where_nothing_ended_lately_only_the_policy_counts(
    policy: ScalingPolicy, active: int, running: int, current: int, settings: CompileSettings, slots: int
) -> None:
    """On a history without change what is approximated (idle nodes) adds nothing, nor does a second evaluation."""
    world = World(current, current, slots, [(active, running)] * 30)
    expected = within(policy, by_the_policy(policy, active, running, settings.slots or slots, settings))
    assert evaluated(policy, world, settings, 0) == (expected, 0)
    assert evaluated(policy, World(expected, expected, slots, world.history), settings, 0) == (expected, 0)


def ordered(policy: ScalingPolicy, demand: PoolDemand | None, slots: int) -> int:
    """Count the nodes that our scheduler orders for an empty pool of one group."""
    key = GroupKey("pool", "nodes", "g1")
    group = NodeGroup(key, "vmss", "work", "Standard_D2s_v5", GroupPriority.REGULAR, slots, policy.max_nodes)
    plan = decide({"pool": policy}, {"pool": demand}, (GroupFleet(group, (), 0),), {}, NOW)
    return sum(action.count for action in plan.actions if isinstance(action, ScaleOut))


@given(SECONDS_POLICIES, _COUNTS, _COUNTS, st.integers(1, 16))
def test_the_scheduler_decides_as_the_formula_where_nothing_was_measured(
    policy: ScalingPolicy, active: int, running: int, slots: int
) -> None:
    """For an empty pool our scheduler orders as many nodes as the formula sets; of unknown work neither makes any."""
    settings = CompileSettings(slots=slots)
    expected = ordered(policy, PoolDemand(active, running, None, None), slots)
    assert evaluated(policy, World(0, 0, slots, [(active, running)]), settings, 0) == (expected, 0)
    assert ordered(policy, None, slots) == 0
    nodes = policy.min_nodes
    assert evaluated(policy, World(nodes, nodes, slots, []), settings, 0) == (nodes, 0)


@given(POLICIES, WORLDS, st.integers(0, 1000))
def test_more_work_never_gets_fewer_nodes(policy: ScalingPolicy, world: World, more: int) -> None:
    """The formula is monotone in the tasks that wait."""
    busier = World(world.current, world.target, world.slots, [(active + more, run) for active, run in world.history])
    settings = CompileSettings()
    assert evaluated(policy, busier, settings, 0)[0] >= evaluated(policy, world, settings, 0)[0]


@given(POLICIES, SETTINGS)
def test_a_compiled_formula_is_within_the_limits(policy: ScalingPolicy, settings: CompileSettings) -> None:
    """It is far below 8 KB and 100 statements, the same each time, and reads as it prints."""
    compiled = compile_policy(policy, settings)
    tree = read(compiled.text)
    assert len(compiled.text.encode()) < 1500
    assert len(tree.statements) == 13
    assert compile_policy(policy, settings) == compiled
    assert parse(print_formula(tree)) == tree
    assert [check.name for check in compiled.checks] == [
        "an hour of samples, 0 periods late",
        "an hour of samples, 1 periods late",
        "an hour of samples, 2 periods late",
        "no sample",
        "one sample",
    ]


def test_the_text_is_this() -> None:
    """The default policy's formula, to the letter."""
    assert compile_policy(ScalingPolicy()).text == (
        "known = min($ActiveTasks.GetSamplePercent(TimeInterval_Minute * 5), "
        "$RunningTasks.GetSamplePercent(TimeInterval_Minute * 5));\n"
        "waiting = max(0, $ActiveTasks.GetSample(1));\n"
        "running = max(0, $RunningTasks.GetSample(1));\n"
        "worth = ceil(waiting * 707106 / 1000000);\n"
        "backlog = ceil((waiting * 2 + running * 1) / 10);\n"
        "taskSlots = min(waiting + running, max(running + worth, backlog, 1));\n"
        "wanted = ceil(taskSlots / $TaskSlotsPerNode);\n"
        "busy = ceil(max(0, $RunningTasks.GetSample(8)) / $TaskSlotsPerNode);\n"
        "kept = min($CurrentDedicatedNodes, busy);\n"
        "nodes = known > 0 ? max(wanted, kept) : $TargetDedicatedNodes;\n"
        "$TargetDedicatedNodes = max(0, min(10, nodes));\n"
        "$TargetLowPriorityNodes = 0;\n"
        "$NodeDeallocationOption = taskcompletion;\n"
    )


def test_the_report_speaks_of_every_setting_in_its_own_words() -> None:
    """A new setting of the policy needs a line in the report: what is lost with it, or how it is kept."""
    report = {element.name: element for element in compile_policy(ScalingPolicy()).elements}
    assert {field.name for field in fields(ScalingPolicy)} <= set(report)
    assert [name for name, element in report.items() if element.loss == UNTOLD] == []


@dataclass(frozen=True, slots=True)
class _LaterPolicy(ScalingPolicy):
    """A policy with a setting that this compiler does not know."""

    later: float = 12.5


def test_what_the_compiler_does_not_know_is_lost() -> None:
    """Each field has a standing; what the compiler does not know is said to be lost, with its value."""
    report = {element.name: element for element in compile_policy(_LaterPolicy()).elements}
    assert {field.name for field in fields(_LaterPolicy)} <= set(report)
    assert report["later"].standing is Standing.NOT_EXPRESSED
    assert report["later"].loss == UNTOLD
    assert "12.5" in report["later"].how
    for element in report.values():
        assert element.how
        assert bool(element.loss) is (element.standing is not Standing.EXACT), element.name
        assert element.advice or element.standing is not Standing.NOT_EXPRESSED, element.name
    exact = [name for name, element in report.items() if element.standing is Standing.EXACT]
    assert exact == ["min_nodes", "max_nodes", "acceptable_wait", "unknown demand"]


def test_spot_nodes_are_sized_in_their_own_words() -> None:
    """With spot the low-priority target is set, the dedicated one is 0, and the report speaks of preemption."""
    compiled = compile_policy(ScalingPolicy(), CompileSettings(spot=True, slots=4))
    assert "$TargetLowPriorityNodes = max(0, min(10, nodes));\n$TargetDedicatedNodes = 0;\n" in compiled.text
    assert "taskSlots / 4" in compiled.text
    assert any(element.name == "preempted nodes" for element in compiled.elements)


@pytest.mark.parametrize(
    "settings", [{"slots": 0}, {"interval": timedelta(minutes=4)}, {"interval": timedelta(hours=169)}]
)
def test_what_the_service_does_not_take_is_refused(settings: dict[str, timedelta]) -> None:
    """Slots below 1, and intervals out of 5 minutes to a week."""
    with pytest.raises(InvalidRequestError):
        CompileSettings(**settings)  # type: ignore[arg-type]
