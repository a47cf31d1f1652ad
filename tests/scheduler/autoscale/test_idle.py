"""How long a node without work is kept."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale.idle import LEAST, MOST, idle_limit
from scheduler.autoscale.plan import Drain, GroupHistory
from scheduler.policy import UNMEASURED_IDLE, ScalingPolicy
from tests.scheduler.autoscale.fleets import fleet, group, node, plan_for, work

SPANS = st.timedeltas(timedelta(seconds=1), timedelta(days=1))


@given(SPANS, st.none() | SPANS)
def test_the_owners_word_comes_first(idle_timeout: timedelta, boot_time: timedelta | None) -> None:
    """Where an idle time-out is set it holds, whatever was measured."""
    assert idle_limit(ScalingPolicy(idle_timeout=idle_timeout), boot_time).limit == idle_timeout


@given(st.none() | SPANS)
def test_otherwise_a_node_is_kept_for_as_long_as_a_boot_takes(boot_time: timedelta | None) -> None:
    """The limit is the measured boot time within its bounds, and the words say the measure."""
    found = idle_limit(ScalingPolicy(), boot_time)
    if boot_time is None:
        assert found.limit == UNMEASURED_IDLE
    else:
        assert found.limit == min(max(boot_time, LEAST), MOST)
        assert f"{boot_time.total_seconds():g} s" in found.sentence


@given(st.timedeltas(LEAST, MOST), st.timedeltas(timedelta(0), 2 * MOST))
def test_a_node_goes_when_its_idling_has_cost_a_boot(boot_time: timedelta, idle: timedelta) -> None:
    """Without work a node is drained exactly when it has idled for as long as a boot takes."""
    history = {group().key: GroupHistory(boot_time=boot_time)}
    plan = plan_for(ScalingPolicy(), work(), fleet(group(), node(0, idle=idle)), history=history)
    assert any(isinstance(action, Drain) for action in plan.actions) == (idle >= boot_time)
