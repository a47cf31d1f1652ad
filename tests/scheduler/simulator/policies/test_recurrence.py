"""Work that comes at the same time each night is started ahead in a replay, however rarely the policy is asked."""

import random

from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.run import Run
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool


def nights(count: int, *, anticipate: bool, interval: float = 60.0, skips: bool = True) -> Run:
    """Replay ten jobs at about two of each night but the eighth."""
    source = random.Random(5)  # noqa: S311
    jobs = [SimulatedJob(0.0, 1.0)] + [
        SimulatedJob(day * 86_400.0 + 7200 + source.uniform(0, 30), source.uniform(300, 900))
        for day in range(count)
        if day != 7
        for _ in range(10)
    ]
    world = one_pool(Group(boot=Fixed(240.0)))
    rules = ScalingPolicy(max_nodes=20, anticipate=anticipate)
    return replay(workload_of("nights", jobs), world, own_policy(world, rules, interval=interval, skips=skips))


def test_what_repeats_is_started_ahead_and_a_miss_costs_little() -> None:
    """From the seventh night on jobs start at once, the one that is left out costs a boot and a break-even each."""
    ahead, without = nights(10, anticipate=True), nights(10, anticipate=False)
    assert set(list(ahead.waits)[-20:]) == {0.0}
    assert min(list(without.waits)[-20:]) >= 240.0
    started = ahead.groups[0].started - without.groups[0].started
    assert started == 10
    # Ten nodes once in vain: a boot, five minutes, an interval or two; and thirty that are up a little early.
    assert ahead.node_seconds - without.node_seconds <= 10 * (240 + 300 + 2 * 60) + 30 * 2 * 60


def test_a_question_left_out_changes_nothing_of_what_is_expected() -> None:
    """Asked at every interval, or only when something may have changed: the same starts, nodes and costs."""
    skipping, asking = (nights(7, anticipate=True, interval=150.0, skips=skips) for skips in (True, False))
    assert skipping.start.tobytes() == asking.start.tobytes()
    assert skipping.groups == asking.groups
    assert skipping.questions < asking.questions
