"""The whole system on a manual clock, against faults drawn from seeds and against chosen ones.

`MILLPOND_SIM_SEEDS` says how many seeds are simulated in full size, `MILLPOND_SIM_SMALL_SEEDS` how many in a world so
small that many can be, and `MILLPOND_SIM_SCHEDULED_SEEDS` how many with a schedule: most of what can go wrong shows
with two nodes and three tasks. A failure names its seed, which replays it exactly.
"""

import os
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.job_schedule import Overlap
from scheduler.model import JobResult
from tests.system.faults import FaultPlan
from tests.system.workload import JobPlan, StepPlan, draw_small_job
from tests.system.world import QUICK, Outcome, Scenario, World, run

SEEDS = int(os.environ.get("MILLPOND_SIM_SEEDS", "24"))
SMALL_SEEDS = int(os.environ.get("MILLPOND_SIM_SMALL_SEEDS", "120"))
SCHEDULED_SEEDS = int(os.environ.get("MILLPOND_SIM_SCHEDULED_SEEDS", "6"))
CHUNKS = 12  # tests that the seeds are spread over, so that two processes share them

MIXES = (
    FaultPlan(
        crash=0.001,
        unavailable=0.005,
        answer_lost=0.003,
        lost=0.05,
        repeated=0.05,
        delayed=0.1,
        refused=0.05,
        failed_boot=0.05,
        killed=0.002,
        restarted=0.002,
        noticed=0.001,
        hung=0.002,
        evicted=0.001,
    ),
    FaultPlan(
        crash=0.004,
        unavailable=0.01,
        answer_lost=0.01,
        lost=0.1,
        repeated=0.1,
        delayed=0.2,
        refused=0.1,
        failed_boot=0.1,
        killed=0.004,
        restarted=0.004,
        noticed=0.004,
        hung=0.004,
        evicted=0.002,
    ),
    FaultPlan(crash=0.02, answer_lost=0.02),
    FaultPlan(killed=0.01, restarted=0.01, noticed=0.01, hung=0.02, evicted=0.01),
    FaultPlan(lost=0.5, repeated=0.3, delayed=0.3),
)

LONG = JobPlan("long", 0, (StepPlan("map", (40,) * 8), StepPlan("reduce", (5,), after="map")))
SHORT = JobPlan(
    "short", 0, (StepPlan("map", (2,) * 30, flaky=frozenset({3, 7})), StepPlan("reduce", (2,), after="map"))
)


def scenario_of(seed: int) -> Scenario:
    """Give the scenario of a seed: its mix of faults, one or two schedulers, perhaps a new generation on the way."""
    redeclared_at = timedelta(seconds=40 + seed % 80) if seed % 3 == 0 else None
    return Scenario(seed, faults=MIXES[seed % len(MIXES)], schedulers=1 + (seed % 7 == 0), redeclared_at=redeclared_at)


def small_scenario_of(seed: int) -> Scenario:
    """Give a small scenario: one or two jobs of a few short tasks on at most two nodes, in the same mixes of faults."""
    source = random.Random(seed)  # noqa: S311  repeatable on purpose
    jobs = tuple(draw_small_job(source, f"job-{number}") for number in range(source.randint(1, 2)))
    redeclared_at = timedelta(seconds=25 + seed % 30) if seed % 5 == 0 else None
    return Scenario(
        seed,
        jobs=jobs,
        faults=MIXES[seed % len(MIXES)],
        policy=replace(QUICK, max_nodes=2),
        task_slots=1 + seed % 2,
        schedulers=1 + (seed % 7 == 0),
        redeclared_at=redeclared_at,
    )


def must_hold(outcome: Outcome, name: str) -> None:
    """Fail with what was wrong and the end of the trace."""
    tail = "\n".join(outcome.trace[-60:])
    assert outcome.wrong == (), f"{name}: {outcome.wrong}\n{tail}"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_job_ends_as_computed_beforehand_whatever_goes_wrong(chunk: int) -> None:
    """Each task ends once with the expected bytes, no busy node is deleted, and the pool goes back to no nodes."""
    for seed in range(chunk, SEEDS, CHUNKS):
        must_hold(run(scenario_of(seed)), f"seed {seed}")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_small_job_ends_as_computed_beforehand_whatever_goes_wrong(chunk: int) -> None:
    """The same holds in many small worlds."""
    for seed in range(chunk, SMALL_SEEDS, CHUNKS):
        must_hold(run(small_scenario_of(seed)), f"small seed {seed}")


@pytest.mark.parametrize("seed", range(SCHEDULED_SEEDS))
def test_every_occurrence_of_a_schedule_makes_one_job_whatever_goes_wrong(seed: int) -> None:
    """Each makes one job or is told to have come to nothing, and the jobs end as computed beforehand."""
    scenario = Scenario(
        seed,
        jobs=(),
        scheduled=draw_small_job(random.Random(seed), "of-schedule"),  # noqa: S311  repeatable on purpose
        overlap=(Overlap.WAIT, Overlap.ALLOW)[seed % 2],
        faults=replace(MIXES[seed % 3], quiet_after=timedelta(minutes=4)),
        policy=replace(QUICK, max_nodes=3),
        schedulers=1 + seed % 2,
    )
    must_hold(run(scenario), f"scheduled seed {seed}")


@pytest.mark.parametrize("seed", [1, 4])
def test_a_seed_replays_exactly(seed: int) -> None:
    """The same seed gives the same events in the same order, and the same bytes."""
    first, second = run(scenario_of(seed)), run(scenario_of(seed))
    assert first.trace == second.trace
    assert first.digest == second.digest


def test_different_seeds_differ() -> None:
    """A seed decides what happens, so that many seeds see much."""
    assert len({run(scenario_of(seed)).digest for seed in (1, 6)}) == 2


def test_with_every_event_lost_every_job_ends() -> None:
    """Events are only the fast path: manifests and statuses alone bring every job to its end."""
    plan = FaultPlan(lost_events=1.0, quiet_after=timedelta(days=1))
    must_hold(run(Scenario(1, jobs=(LONG, SHORT), faults=plan)), "every event lost")


def test_a_killed_node_loses_no_task() -> None:
    """A node whose processes die in the middle is found silent, its tasks run elsewhere, and it is replaced."""
    killed: list[str] = []

    def script(world: World) -> None:
        busy = [name for name, node in world.nodes.items() if node.running_tasks()]
        if busy and not killed and world.age() > timedelta(seconds=40):
            killed.append(busy[0])
            world.nodes[busy[0]].kill()

    world = World(Scenario(2, jobs=(LONG,), script=script))
    attempts = watch_attempts(world)
    must_hold(world.run(), "a killed node")
    assert killed
    assert max(attempts) > 1


def watch_attempts(world: World) -> list[int]:
    """Collect the attempt of every task when the world closes its store."""
    attempts: list[int] = []
    close = world.database.close

    def closing() -> None:
        for job_id in world.job_ids.values():
            attempts.extend(task.attempt for task in world.jobs.tasks(job_id, -1, 1000))
        close()

    world.database.close = closing  # type: ignore[method-assign]
    return attempts


def test_a_stopped_scheduler_goes_on_where_it_was() -> None:
    """While no scheduler runs, nodes finish what they have; a new process takes everything up from the store."""

    def script(world: World) -> None:
        stopped = timedelta(seconds=45) < world.age() < timedelta(minutes=4)
        if stopped and not world.idle_schedulers:
            world.controllers[0] = world.start_scheduler()
        world.idle_schedulers = {0} if stopped else set()

    outcome = run(Scenario(3, jobs=(LONG, SHORT), script=script))
    must_hold(outcome, "a stopped scheduler")
    assert outcome.lasted > timedelta(minutes=4)


def test_one_of_two_schedulers_leads() -> None:
    """Of two schedulers one leads; one that stood still for longer than its lease finds itself fenced."""
    led: set[int] = set()
    both: list[timedelta] = []

    def script(world: World) -> None:
        leading = {number for number, each in enumerate(world.controllers) if each.leads} - world.idle_schedulers
        led.update(leading)
        if len(leading) > 1:
            both.append(world.age())
        # Each in turn stands still for 30 s of every minute, which is twice the lease.
        seconds = int(world.age().total_seconds()) % 120
        world.idle_schedulers = {0} if 30 <= seconds < 60 else {1} if 90 <= seconds < 120 else set()

    must_hold(run(Scenario(4, jobs=(LONG, SHORT), schedulers=2, script=script)), "two schedulers")
    assert led == {0, 1}
    assert len(both) <= 2 * 4  # until a fenced one steps again and learns of it


def test_a_cancelled_job_stops_what_runs() -> None:
    """A job that is cancelled in the middle ends long before its tasks would, and others are not touched."""
    endless = JobPlan("endless", 0, (StepPlan("map", (100_000,) * 6),))
    ended: list[timedelta] = []

    def script(world: World) -> None:
        if world.age() > timedelta(minutes=1) and not world.judge.cancelled:
            assert any(node.running_tasks() for node in world.nodes.values())
            world.cancel("endless")
        if world.judge.cancelled and not ended:
            job = world.jobs.job(world.job_ids["endless"])
            ended.extend([world.age()] if job.result is JobResult.CANCELLED else [])

    outcome = run(Scenario(5, jobs=(endless, SHORT), script=script))
    must_hold(outcome, "a cancelled job")
    assert ended[0] < timedelta(minutes=3)


def test_a_new_generation_takes_over_while_nodes_work() -> None:
    """When a new generation is declared, the old one's nodes finish their tasks, go, and set and queue are deleted."""
    busy: list[str] = []

    def script(world: World) -> None:
        if world.age() < timedelta(seconds=45):
            busy[:] = [name for name, node in world.nodes.items() if node.running_tasks()]

    world = World(Scenario(6, jobs=(LONG, SHORT), redeclared_at=timedelta(seconds=45), script=script))
    outcome = world.run()
    must_hold(outcome, "a new generation")
    assert busy
    assert not any(" killed" in line for line in outcome.trace)
    assert any("node pool-b_" in line for line in outcome.trace)


def test_a_pool_keeps_its_minimum() -> None:
    """A pool with a minimum buys it without work, and goes back to it, not below, after work."""
    world = World(Scenario(7, jobs=(SHORT,), policy=replace(QUICK, min_nodes=2)))
    must_hold(world.run(), "a minimum")
    assert len(world.capacity.instances("pool-a")) == 2
