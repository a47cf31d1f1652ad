"""How long a node without work is kept."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.keeping import Keeping, worth_keeping
from scheduler.autoscale.levels import LONGEST_OF, Pauses, PoolHistory, observed
from scheduler.autoscale.plan import Drain, GroupHistory, ReasonKind, Remove
from scheduler.model import NodePhase
from scheduler.policy import UNMEASURED_BOOT, ScalingPolicy
from tests.scheduler.autoscale.fleets import NOW, fleet, group, node, plan_for, work

MINUTE = timedelta(minutes=1)
SPANS = st.timedeltas(timedelta(seconds=1), timedelta(days=1))
COUNTS = st.lists(st.floats(0, 1000), min_size=len(LONGEST_OF), max_size=len(LONGEST_OF))
PAUSES = COUNTS.map(lambda counts: Pauses(1, tuple(counts), NOW))


def paused(*lengths: timedelta) -> PoolHistory:
    """Let one level be needed and pause for each of the times, and now pause again for a second."""
    now = NOW - sum(lengths, timedelta()) - timedelta(seconds=1)
    history = observed(PoolHistory(), 1, now)
    for length in lengths:
        history = observed(history, 0, now)
        now += length
        history = observed(history, 1, now)
    return observed(history, 0, now)


@given(SPANS, st.none() | SPANS, st.none() | st.just(paused(MINUTE)))
def test_the_owners_word_comes_first(
    idle_timeout: timedelta, boot_time: timedelta | None, learned: PoolHistory | None
) -> None:
    """Where an idle time-out is set it holds, from the node's last work, whatever was measured or learned."""
    found = Keeping(ScalingPolicy(idle_timeout=idle_timeout), learned, boot_time)
    assert found.until(NOW, 1) == NOW + idle_timeout


@given(st.none() | PAUSES, st.floats(0, 10_000))
def test_no_node_is_kept_for_longer_than_a_restart_costs(pauses: Pauses | None, restart: float) -> None:
    """Then it has cost as much as the mistake of letting it go, and never less than nothing."""
    assert 0 <= worth_keeping(pauses, restart) <= restart


@given(PAUSES, st.floats(1, 10_000), st.floats(1, 10_000))
def test_a_dearer_restart_never_has_nodes_go_earlier(pauses: Pauses, restart: float, more: float) -> None:
    """The longer a boot takes, and the dearer waiting is, the longer nodes are kept."""
    assert worth_keeping(pauses, restart) <= worth_keeping(pauses, restart + more)


@given(PAUSES, st.floats(1, 10_000))
def test_no_other_time_would_have_cost_less(pauses: Pauses, restart: float) -> None:
    """Over the pauses seen and the belief that all lengths are alike, no time that may be chosen is better."""
    counts = [count + 3 / len(LONGEST_OF) for count in pauses.counts]
    lengths = [LONGEST_OF[0] / 2, *(0.84 * longest for longest in LONGEST_OF[1:])]

    def cost(limit: float) -> float:
        return sum(
            count * (length if longest <= limit else limit + restart)
            for count, longest, length in zip(counts, LONGEST_OF, lengths, strict=True)
        )

    chosen = worth_keeping(pauses, restart)
    assert all(cost(chosen) <= cost(other) * (1 + 1e-9) for other in (0.0, *LONGEST_OF) if other <= restart)


def test_what_pauses_shortly_is_kept_and_what_pauses_for_long_is_not() -> None:
    """A level whose pauses are mostly a minute keeps its node through them; one with hours between does not."""
    boot = timedelta(minutes=4)
    short, long = (
        Keeping(ScalingPolicy(), paused(*[length] * 20), boot).until(NOW, 1) - NOW
        for length in (MINUTE, timedelta(hours=3))
    )
    assert short > MINUTE
    assert long < timedelta(seconds=10)


def test_it_counts_from_when_the_level_was_needed_last() -> None:
    """However tasks were spread over the nodes: a node just idle goes when its level has long not been needed."""
    learned = observed(observed(PoolHistory(), 2, NOW - 60 * MINUTE), 0, NOW - 30 * MINUTE)
    idle = fleet(group(slots=1), node(0, idle=timedelta(seconds=1)))
    plan = plan_for(ScalingPolicy(), work(), idle, learned=learned)
    assert [(type(action), action.reason.kind) for action in plan.actions] == [(Drain, ReasonKind.IDLE)]
    assert "has not been needed for" in plan.actions[0].reason.sentence


@given(st.timedeltas(UNMEASURED_BOOT, timedelta(hours=1)))
def test_a_boot_is_given_up_once_other_nodes_have_taken_its_work(boot_time: timedelta) -> None:
    """The newest boots go first and at once, and none while a task waits for it."""
    nodes = (node(0, held=("m",)), *(node(n, NodePhase.BOOTING, age=n * timedelta(seconds=10)) for n in (1, 2, 3)))
    history = {group().key: GroupHistory(boot_time=boot_time)}
    policy = ScalingPolicy(waiting_cost=1000)
    plan = plan_for(policy, work(1, 1), fleet(group(slots=1), *nodes), history=history)
    (action,) = plan.actions
    assert isinstance(action, Remove)
    assert (action.reason.kind, action.nodes) == (
        ReasonKind.NOT_NEEDED,
        (nodes[1].node_id, nodes[2].node_id),
    )
