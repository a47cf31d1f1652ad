"""Others' autoscalers: each by inputs and outputs from its definition, and what holds for all of them."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.simulator.clock import ANY_TIME, Clock
from scheduler.simulator.engine import replay
from scheduler.simulator.interface import NodeView, Observation, Policy
from scheduler.simulator.policies.batch_formula import BatchFormula
from scheduler.simulator.policies.calendars import AlwaysMax, FixedHours
from scheduler.simulator.policies.catalogue import PEERS
from scheduler.simulator.policies.kubernetes import ClusterAutoscaler, Escalator, Keda
from scheduler.simulator.policies.packers import CycleCloud, Ray, Slurm
from scheduler.simulator.policies.queue_scalers import Buildkite, SkyPilot, SqsBacklog
from scheduler.simulator.policies.research import Adapt, ConPaaS, Hist, React, Reg
from scheduler.simulator.policies.sizing import resize, short_of
from scheduler.simulator.workload import SimulatedJob, workload_of
from scheduler.simulator.world import Fixed, Group, one_pool

HOUR = 3600.0
# Policies without memory, whose first answer grows with the queue.
MONOTONE: tuple[Policy[Any], ...] = (
    Keda(), Buildkite(), Ray(), CycleCloud(), Slurm(), ClusterAutoscaler(), Escalator(), React(),
)  # fmt: skip


def seen(
    *, now: float = 0.0, waiting: int = 0, running: int = 0, booting: int = 0, idle: int = 0, busy: int = 0, **more: Any
) -> Observation:
    """Show a pool of nodes with one slot."""
    nodes = tuple(
        NodeView(number, "up", -500.0, -400.0, None if number < busy else -400.0, int(number < busy))
        for number in range(busy + idle)
    )
    known: dict[str, Any] = {
        "taken_at": now, "waiting_slots": waiting, "running_slots": running, "backlog_seconds": None,
        "oldest_waiting_at": None, "slots_per_node": 1, "max_nodes": None, "requested": 0, "draining": 0,
        "arrived": 0, "finished": (), "boots": (), "failed_boots": 0, "preempted": 0, "refused": 0,
        "booting_since": (now,) * booting, "idle_since": (-400.0,) * idle, "nodes": nodes,
    }  # fmt: skip
    return Observation(
        **{
            "now": now, "waiting": waiting, "running": running, "booting": booting, "idle": idle, "busy": busy,
            **known, **more,
        }
    )  # fmt: skip


def size_after(policy: Policy[Any], what: Observation) -> int:
    """Give how many nodes are alive once a policy's first orders are carried out."""
    orders, _ = policy.decide(what, policy.start())
    retired = orders.cancel + orders.stop_idle + orders.retire_busy + len(orders.drain)
    return what.alive + orders.request - retired


@pytest.mark.parametrize(
    ("messages", "replicas", "wanted"),
    [(0, 4, 1), (5, 1, 1), (6, 1, 2), (50, 10, 10), (54, 10, 10), (56, 10, 12), (46, 10, 10), (44, 10, 9)],
)
def test_hpa_divides_the_queue_by_its_target_outside_the_tolerance(messages: int, replicas: int, wanted: int) -> None:
    """ceil(messages / 5), and the replicas that there are while the ratio is within a tenth of one."""
    assert Keda().recommend(messages, replicas) == wanted


def test_keda_activates_one_replica_and_then_doubles() -> None:
    """From zero it starts one; the HPA then adds four or doubles in 15 s, whichever is more."""
    keda = Keda()
    assert size_after(keda, seen(waiting=1000)) == 1
    assert size_after(keda, seen(waiting=1000, busy=1)) == 5
    assert size_after(keda, seen(waiting=1000, busy=20)) == 40


def test_the_hpa_holds_the_highest_recommendation_of_its_window() -> None:
    """After a fall of the queue the size stays for 300 s, also where nobody asked in between."""
    keda = Keda()
    _, state = keda.decide(seen(now=0, running=50, busy=10), keda.start())
    orders, state = keda.decide(seen(now=1000, running=5, busy=5, idle=5), state)
    assert not orders.changes
    orders, state = keda.decide(seen(now=1270, running=5, busy=5, idle=5), state)
    assert not orders.changes
    orders, _ = keda.decide(seen(now=1285.1, running=5, busy=5, idle=5), state)
    assert (orders.stop_idle, orders.retire_busy) == (5, 4)


def test_keda_goes_to_zero_after_the_cooldown() -> None:
    """The last replica goes when the queue has been empty for 300 s."""
    keda = Keda()
    _, state = keda.decide(seen(now=0, running=1, busy=1), keda.start())
    orders, state = keda.decide(seen(now=285, idle=1), state)
    assert not orders.changes
    orders, _ = keda.decide(seen(now=300, idle=1), state)
    assert orders.stop_idle == 1


@pytest.mark.parametrize(
    ("waiting", "running", "buffer", "wanted"), [(0, 0, 5, 0), (3, 4, 0, 7), (3, 4, 2, 9), (1, 0, 5, 2)]
)
def test_buildkite_needs_an_instance_a_job_and_its_buffer(waiting: int, running: int, buffer: int, wanted: int) -> None:
    """Scheduled and running jobs, plus the smaller of the buffer and what they need."""
    assert Buildkite(buffer=buffer).desired(seen(waiting=waiting, running=running)) == wanted


@pytest.mark.parametrize(
    ("messages", "capacity", "in_service", "target", "wanted"),
    [
        (1500, 10, 10, 100.0, 15),
        (0, 10, 10, 100.0, 0),
        (40, 0, 0, 10.0, 4),
        (100, 4, 2, 50.0, 4),
        (1, 10, 10, 100.0, 1),
    ],
)
def test_sqs_tracks_the_backlog_per_instance(
    messages: int, capacity: int, in_service: int, target: float, wanted: int
) -> None:
    """The documented example: 1,500 messages, 10 instances, a target of 100 give 15 instances."""
    assert SqsBacklog().desired(messages, capacity, in_service, target) == wanted


def test_sqs_target_is_latency_over_processing_time() -> None:
    """The documented example: 10 s of latency and 0.1 s of processing give 100 messages."""
    assert SqsBacklog(acceptable_latency=10.0).target(0.1) == pytest.approx(100.0)


def test_sqs_scales_out_at_the_third_point_only() -> None:
    """An alarm of three points fires at the third."""
    policy, state, requests = SqsBacklog(), SqsBacklog().start(), []
    for minute in range(3):
        orders, state = policy.decide(seen(now=60.0 * minute, waiting=10), state)
        requests.append(orders.request)
    assert requests == [0, 0, 10]


@pytest.mark.parametrize(("requests", "mean", "wanted"), [(0, 60.0, 0), (60, 1.0, 1), (61, 1.0, 2), (10, 300.0, 50)])
def test_skypilot_divides_the_rate_by_what_a_replica_serves(requests: int, mean: float, wanted: int) -> None:
    """Requests of a minute over 60 s, over one request in each mean run time."""
    assert SkyPilot().target(requests, mean, 1) == wanted


def test_skypilot_waits_for_its_delays() -> None:
    """It grows after 300 s of the wish and shrinks after 1,200 s of it; from zero it starts at once."""
    policy = SkyPilot(processing=60.0)
    assert size_after(policy, seen(waiting=3)) == 3
    _, state = policy.decide(seen(now=0, waiting=3, busy=1), policy.start())
    assert policy.decide(seen(now=299, waiting=3, busy=1), state)[0].request == 0
    assert policy.decide(seen(now=300, waiting=3, busy=1), state)[0].request == 2
    _, state = policy.decide(seen(now=0, idle=4), policy.start())
    assert not policy.decide(seen(now=1199, idle=4), state)[0].changes
    assert policy.decide(seen(now=1200, idle=4), state)[0].stop_idle == 4


@pytest.mark.parametrize(("missing", "nodes", "wanted"), [(3, 0, 3), (9, 0, 5), (9, 8, 8), (100, 40, 40)])
def test_ray_launches_five_or_doubles(missing: int, nodes: int, wanted: int) -> None:
    """A round launches at most max(5, nodes) with an upscaling speed of 1."""
    assert Ray().launches(missing, nodes) == wanted


def test_slurm_keeps_its_rates() -> None:
    """300 resumes and 60 suspends a minute are 50 and 10 in a round of ten seconds."""
    assert size_after(Slurm(), seen(waiting=120)) == 50
    assert size_after(Slurm(), seen(now=1000, idle=25)) == 15


@pytest.mark.parametrize("policy", [Ray(), CycleCloud(), Slurm(), ClusterAutoscaler()])
def test_packers_count_booting_and_idle_nodes_first(policy: Policy[Any]) -> None:
    """Jobs that fit on nodes that are up or boot start none."""
    assert size_after(policy, seen(waiting=4, booting=3, idle=1)) == 4
    assert size_after(policy, seen(waiting=6, booting=3, idle=1)) == 6


@pytest.mark.parametrize(("policy", "timeout"), [(Ray(), 300.0), (CycleCloud(), 300.0), (Slurm(), 600.0)])
def test_packers_stop_what_has_been_idle_for_the_time(policy: Policy[Any], timeout: float) -> None:
    """Not a second before, and until then they ask for that moment."""
    early, _ = policy.decide(seen(now=timeout - 1, idle=2, idle_since=(0.0, 50.0)), policy.start())
    assert not early.changes
    assert early.wake_at == timeout
    late, _ = policy.decide(seen(now=timeout, idle=2, idle_since=(0.0, 50.0)), policy.start())
    assert late.stop_idle == 1


def test_cluster_autoscaler_takes_nothing_away_soon_after_an_addition() -> None:
    """A node that has been empty for ten minutes stays while the last addition is younger than ten minutes."""
    policy = ClusterAutoscaler()
    assert policy.decide(seen(now=700, idle=1), 200.0)[0].wake_at == 800.0
    assert policy.decide(seen(now=800, idle=1), 200.0)[0].stop_idle == 1
    assert policy.decide(seen(now=800, idle=30), 200.0)[0].stop_idle == 10


@pytest.mark.parametrize(
    ("requested", "nodes", "wanted"),
    [(80, 100, 15), (100, 100, 43), (70, 100, 0), (40, 100, 0), (39, 100, -2), (9, 100, -5), (7, 0, 10), (0, 0, 0)],
)
def test_escalator_adds_or_taints_by_utilisation(requested: int, nodes: int, wanted: int) -> None:
    """Above 70 %: ceil(n (u - 70) / 70) nodes; below 40 % two are tainted, below 10 % five."""
    assert Escalator().delta(requested, nodes, 1) == wanted


def test_escalator_takes_tainted_nodes_back_before_it_adds_any() -> None:
    """Of three nodes that are needed, two come back and one is new."""
    tainted = tuple(NodeView(90 + number, "drained", 0.0, 1.0, 2.0, 0) for number in range(2))
    what = seen(waiting=2, running=3, busy=3)
    what = what._replace(nodes=what.nodes + tainted, draining=2)
    policy = Escalator()
    orders, _ = policy.decide(what, policy.start())
    assert policy.delta(5, 3, 1) == 5
    assert sorted(orders.undrain) == [90, 91]
    assert orders.request == 3


@pytest.mark.parametrize(
    ("load", "capacity", "wanted"), [(1, 0, 1), (10, 0, 12), (10, 10, 10), (10, 11, 11), (10, 12, 12), (0, 9, 0)]
)
def test_react_grows_and_shrinks_with_head_room(load: int, capacity: int, wanted: int) -> None:
    """C + int(1.2 d) when short by d; ceil(1.2 load) when 1.1 load is below C."""
    assert React().target(load, capacity) == wanted


@pytest.mark.parametrize(
    ("loads", "capacity", "wanted"),
    [((20,), 10, 21), ((4, 4, 4, 4), 10, 5), ((9, 4, 1, 0), 10, 2), ((1, 2, 3, 4), 5, 5), ((0,) * 60, 3, 0)],
)
def test_reg_forecasts_on_the_way_down_alone(loads: tuple[int, ...], capacity: int, wanted: int) -> None:
    """ceil(1.05 load) when short; else 1.2 times the parabola's next value, never above what there is."""
    assert Reg().target(loads, capacity) == wanted


@pytest.mark.parametrize(
    ("peaks", "errors", "wanted"),
    [((), (), None), ((5,), (), 5), (tuple(range(1, 11)), (), 9), (tuple(range(1, 11)), (2, 4), 6), ((1,), (9,), 0)],
)
def test_hist_takes_the_percentile_less_the_mean_error(
    peaks: tuple[int, ...], errors: tuple[int, ...], wanted: int | None
) -> None:
    """The 90th percentile of the hour's peaks, corrected by the mean of the last errors, never below zero."""
    assert Hist().forecast(peaks, errors) == wanted


def test_hist_foresees_the_hour_that_was_busy_yesterday() -> None:
    """What the hour of the day had the day before is there when the hour begins."""
    policy, state = Hist(), Hist().start()
    for hour, load in ((0, 0), (1, 7), (2, 0), (24, 0)):
        _, state = policy.decide(seen(now=hour * HOUR, running=load, busy=load), state)
    orders, _ = policy.decide(seen(now=25 * HOUR), state)
    assert orders.request == 7


@pytest.mark.parametrize(
    ("change", "load", "capacity", "wanted"), [(4.0, 10.0, 20.0, 2.0), (-4.0, 10.0, 20.0, -0.5), (4.0, 0.0, 0.0, 0.0)]
)
def test_adapt_follows_the_change_slower_on_the_way_down(
    change: float, load: float, capacity: float, wanted: float
) -> None:
    """The product u P n with u = load / capacity, a quarter of it on the way down."""
    assert Adapt().rate(change, load, capacity) == wanted


def test_conpaas_takes_the_method_that_erred_least() -> None:
    """On a straight rise it foresees the next value, which smoothing would miss."""
    policy, state = ConPaaS(), ConPaaS().start()
    for minute in range(20):
        orders, state = policy.decide(seen(now=60.0 * minute, running=minute, busy=minute), state)
    assert orders.request == 1


def test_fixed_hours_follow_the_week() -> None:
    """20 nodes on weekdays from 8 to 18, 10 else; the first day is a Monday."""
    hours = [7.99, 8, 17.99, 18, 4 * 24 + 12, 5 * 24 + 12, 7 * 24 + 12]
    assert [FixedHours().wanted(hour * HOUR) for hour in hours] == [10, 20, 20, 10, 20, 10, 20]


def test_fixed_hours_go_by_the_clock_of_the_workload() -> None:
    """On a Friday at 17:30 there are 20 nodes for half an hour more; without a date it is Monday's midnight."""
    friday = Clock(datetime(2026, 7, 10, 17, 30, tzinfo=UTC))
    begun = seen(now=60.0, running=0, busy=20)._replace(clock=friday)
    assert FixedHours().decide(begun, None)[0].wake_at == 1800.0
    assert FixedHours().decide(begun._replace(now=1800.0), None)[0].stop_idle == 0
    assert FixedHours().decide(begun._replace(now=1800.0), None)[0].retire_busy == 10
    assert FixedHours().decide(begun._replace(clock=ANY_TIME), None)[0].retire_busy == 10


def test_always_max_is_the_maximum() -> None:
    """The group's where it has one."""
    assert size_after(AlwaysMax(nodes=7), seen()) == 7
    assert size_after(AlwaysMax(nodes=7), seen(max_nodes=3)) == 3


@pytest.mark.parametrize(
    ("shape", "values", "target", "wanted"),
    [
        ("average", (0, 0, 0, 0, 0, 12), 0, 2),
        ("average", (4,) * 6, 0, 4),
        ("average", (9,), 0, 1),
        ("newest-or-average", (0, 0, 0, 0, 0, 12), 0, 12),
        ("newest-or-average", (12, 12, 12, 12, 12, 0), 0, 10),
        ("newest-or-average", (0,) * 6, 9, 4),
    ],
)
def test_formulas_are_evaluated_by_the_language(shape: str, values: tuple[int, ...], target: int, wanted: int) -> None:
    """The average over 180 s, or the newest sample if that is more; half the nodes without tasks; one before data."""
    policy = BatchFormula(shape=shape)
    state = replace(policy.start(), target=target, due=math.inf)
    start = 900 - 30 * (len(values) - 1)
    for number, pending in enumerate(values[:-1]):
        _, state = policy.decide(seen(now=start + 30.0 * number, running=pending, busy=target), state)
    state = replace(state, due=900.0)
    assert policy.decide(seen(now=900.0, running=values[-1], busy=target), state)[1].target == wanted


def test_formulas_run_at_their_interval_alone() -> None:
    """What comes just after an evaluation waits for the next."""
    run = replay(workload_of("one", [SimulatedJob(0, 10), SimulatedJob(905, 10)]), one_pool(Group(boot=Fixed(60.0))),
                 BatchFormula(shape="newest-or-average"))  # fmt: skip
    assert run.start[0] == 60.0
    # At 900 s there is no task and half a node is cut to none, so that the second waits until 1,800 s and a boot.
    assert run.start[1] == 1860.0
    assert run.unfinished == 0


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 10), st.integers(0, 10), st.integers(0, 10))
def test_resize_goes_to_the_number(wanted: int, waiting: int, booting: int, idle: int, busy: int) -> None:
    """Whatever there is, what is asked for is what there will be, and no busy node goes before an idle one."""
    what = seen(waiting=waiting, booting=booting, idle=idle, busy=busy, running=busy)
    orders = resize(what, wanted)
    assert what.alive + orders.request - orders.cancel - orders.stop_idle - orders.retire_busy == wanted
    assert not orders.retire_busy or (orders.cancel, orders.stop_idle) == (booting, idle)
    assert short_of(what) == max(0, waiting - booting - idle)


@given(st.sampled_from(MONOTONE), st.integers(0, 40), st.integers(0, 40), st.integers(0, 20), st.integers(0, 10))
def test_more_waiting_jobs_never_give_fewer_nodes(
    policy: Policy[Any], waiting: int, more: int, busy: int, booting: int
) -> None:
    """The first answer is monotone in the queue."""
    fewer = seen(waiting=waiting, running=busy, busy=busy, booting=booting)
    larger = seen(waiting=waiting + more, running=busy, busy=busy, booting=booting)
    assert size_after(policy, fewer) <= size_after(policy, larger)


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.name)
@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 900)), min_size=1, max_size=15), st.integers(1, 4))
def test_all_keep_the_maximum_and_finish_the_work(kind: Any, jobs: list[tuple[int, int]], most: int) -> None:
    """Every job is done, and there are never more nodes than the group may have."""
    world = one_pool(Group(boot=Fixed(120.0), max_nodes=most))
    policy = kind.make(world, kind.settings)
    run = replay(workload_of("drawn", [SimulatedJob(*job) for job in jobs]), world, policy)
    assert run.unfinished == 0
    assert run.groups[0].peak <= most
    assert not run.restarts


@pytest.mark.parametrize("kind", PEERS, ids=lambda kind: kind.name)
def test_constant_demand_settles(kind: Any) -> None:
    """Five jobs that never end get their nodes, and after six hours no node comes or goes any more."""
    load = workload_of("constant", [SimulatedJob(0, 20 * HOUR) for _ in range(5)])
    world = one_pool(Group(boot=Fixed(240.0)))
    settings_of = {**kind.settings, **({"queue_length": 1.0} if kind.name == "keda" else {})}
    run = replay(load, world, kind.make(world, settings_of))
    assert run.unfinished == 0
    series = run.series[0]
    late = {alive for at, alive in zip(series.at, series.alive, strict=True) if 8 * HOUR < at < 18 * HOUR}
    assert len(late) <= 1
