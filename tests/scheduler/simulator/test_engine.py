"""The replay: what happens when, and what is paid for."""

from scheduler.simulator.engine import replay
from scheduler.simulator.policies.simple import FixedPool, QueueDepth
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.scheduler.simulator.worlds import jobs_of, poisson


def test_a_job_waits_for_its_node_and_the_node_for_the_next_job() -> None:
    """One boot, one job after another on the same node, and a stop when it has been idle for long enough."""
    run = replay(jobs_of((0, 100), (50, 30), (400, 10)), one_pool(Group(boot=Fixed(60))), QueueDepth(idle_timeout=300))
    assert list(run.start) == [60, 110, 400]
    assert list(run.end) == [160, 140, 410]
    # The first node, idle since 160, was idle last: it took the third job. The second stopped 300 s after 140.
    assert run.groups[0].node_seconds == (440 - 50) + (710 - 0)
    assert run.groups[0].started == 2


def test_a_fixed_pool_is_paid_for_until_the_last_job() -> None:
    """Nodes that never stop count from the first submission to the last end."""
    run = replay(jobs_of((0, 10), (0, 10), (5, 10)), one_pool(Group(initial=2)), FixedPool())
    assert list(run.end) == [10, 10, 20]
    assert run.node_seconds == 40


def test_the_same_seed_gives_the_same_run() -> None:
    """Every number of two runs is equal; another seed gives another run."""
    from_seed = [
        replay(poisson(0.01, 300, 500), one_pool(Group(boot=Fixed(200), boot_failure=0.3)), QueueDepth(), seed=seed)
        for seed in (1, 1, 2)
    ]
    assert from_seed[0].start.tobytes() == from_seed[1].start.tobytes()
    assert from_seed[0].groups == from_seed[1].groups
    assert from_seed[0].start.tobytes() != from_seed[2].start.tobytes()
