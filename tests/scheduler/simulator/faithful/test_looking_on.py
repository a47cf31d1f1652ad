"""What the faithful engine leaves out could have changed nothing: decisions that rest, and questions to the store."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.inputs import Inputs, decide_on
from scheduler.autoscale.levels import PoolHistory
from scheduler.autoscale.plan import GroupHistory
from scheduler.policy import ScalingPolicy
from scheduler.simulator.faithful import engine
from scheduler.simulator.faithful.looking_on import rests
from scheduler.simulator.faithful.remembering import WatchedDatabase
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Exponential, Fixed, Group, Pool, World
from tests.scheduler.autoscale.fleets import NOW, POOL, fleet, group, node, work
from tests.scheduler.autoscale.situations import LEARNED, POLICIES, quiet


@given(
    POLICIES,
    st.lists(st.integers(0, 12), min_size=1, max_size=3),
    st.integers(1, 4),
    LEARNED,
    st.timedeltas(timedelta(0), timedelta(days=2)),
)
def test_a_decision_that_rests_does_nothing_later_either(
    policy: ScalingPolicy, nodes: list[int], slots: int, learned: PoolHistory, later: timedelta
) -> None:
    """Where every node has a task and none waits, a plan that does nothing now does nothing at any later time."""
    groups = [group(f"g{number}", slots=slots, most=12) for number in range(len(nodes))]
    inputs = Inputs(
        policies={POOL: replace(policy, anticipate=False)},
        demand={POOL: work(running=sum(nodes))},
        fleet=tuple(
            fleet(of, *(node(each, of=of, held=("m",)) for each in range(count)))
            for of, count in zip(groups, nodes, strict=True)
        ),
        history=tuple((of.key, GroupHistory(boot_time=timedelta(minutes=4))) for of in groups),
        now=NOW,
        learned={POOL: learned},
    )
    assert rests(inputs)
    if quiet(decide_on(inputs)):
        assert quiet(decide_on(replace(inputs, now=NOW + later)))


class _Compared(WatchedDatabase):
    """Asks the store again each time, and compares."""

    compared = 0

    def remembering(self, read: Callable[..., Any]) -> Callable[..., Any]:
        remembered = super().remembering(read)

        def both(*given: Any) -> Any:
            found = remembered(*given)
            assert found == read(*given), read
            _Compared.compared += 1
            return found

        return both


def test_what_is_remembered_is_what_the_store_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over arrays, workflows, failed boots and evictions every remembered answer is what a new question finds."""
    monkeypatch.setattr(engine, "WatchedDatabase", _Compared)
    source = random.Random(3)  # noqa: S311
    jobs = [SimulatedJob(source.randrange(200), source.randrange(20, 200)) for _ in range(6)]
    jobs += [SimulatedJob(100, 15, pool="b"), SimulatedJob(100, 15, after=(6,), pool="b")]
    spot = Group("spot", max_nodes=3, boot=Fixed(20.0), boot_failure=0.3, boot_deadline=60.0, spot=True)
    world = World(
        (
            Pool("a", (replace(spot, lifetime=Exponential(150.0)), Group("regular", boot=Fixed(20.0), max_nodes=1))),
            Pool("b", (Group(boot=Fixed(20.0), max_nodes=1),)),
        )
    )
    rules = ScalingPolicy(acceptable_wait=timedelta(seconds=30), max_nodes=4)
    run = engine.replay_faithfully(workload_of("mixed", jobs), world, own_policy(world, rules), seed=2)
    assert run.unfinished == 0
    assert min(run.groups[0].preempted, run.groups[0].failed_boots) > 0
    assert _Compared.compared > 1000
