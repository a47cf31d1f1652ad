"""What a policy's formula loses against the policy is what the replay of both says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.formula.compiler import CompileSettings
from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.batch_formula import GivenFormula
from scheduler.simulator.regret import regret, regret_by_approximation
from scheduler.simulator.world import Fixed, Group, one_pool
from tests.scheduler.simulator.worlds import jobs_of, poisson

POLICY = ScalingPolicy(default_task_time=timedelta(minutes=1), idle_timeout=timedelta(minutes=5))
NODES = Group(boot=Fixed(240.0))


def test_work_waits_for_the_evaluation() -> None:
    """A task that comes at 3610 s is in the sample of 3630 s; Azure evaluates at 3900 s, our scheduler at 3610 s."""
    found = regret(jobs_of((0, 60), (3610, 60)), NODES, POLICY, CompileSettings())
    assert (found.policy.waits.max, found.formula.waits.max) == (240.0, 290.0 + 240.0)
    assert found.mean_wait == pytest.approx((530 - 240) / 2)


def test_idle_nodes_wait_for_the_evaluation() -> None:
    """A task of a minute ends at 300 s; its node goes 5 min later with us, with Azure when a window has none running.

    The evaluation of 600 s still sees the samples from 330 s on, all without a task, so it goes then; with a window of
    ten minutes it goes at 900 s.
    """
    one = jobs_of((0, 60))
    found = regret(one, NODES, POLICY, CompileSettings())
    assert found.policy.node_hours == pytest.approx(600 / 3600, abs=10 / 3600)
    assert found.formula.node_hours == pytest.approx(600 / 3600)
    longer = replace(POLICY, idle_timeout=timedelta(minutes=10))
    assert regret(one, NODES, longer, CompileSettings()).formula.node_hours == pytest.approx(900 / 3600)
    assert found.node_hours == found.formula.node_hours - found.policy.node_hours


def test_slower_evaluations_let_work_wait_longer() -> None:
    """On a stream of tasks, an evaluation every half hour is regretted more than one every five minutes."""
    stream = poisson(1 / 120, 300, 300)
    quick, slow = (
        regret(stream, NODES, POLICY, CompileSettings(interval=timedelta(minutes=minutes))) for minutes in (5, 30)
    )
    assert quick.policy == slow.policy
    assert 0 < quick.mean_wait < slow.mean_wait
    assert quick.formula.unfinished == slow.formula.unfinished == 0


def test_regret_is_told_by_what_is_approximated() -> None:
    """A formula told too short a run time loses by that, and each by rare evaluation; with neither it loses least."""
    stream = poisson(1 / 60, 300, 300)
    wrong = replace(POLICY, default_task_time=timedelta(seconds=30), max_nodes=100)
    found = regret_by_approximation(stream, NODES, wrong, CompileSettings())
    assert replace(found, without={}) == replace(regret(stream, NODES, wrong, CompileSettings()), without={})
    assert list(found.without) == ["default_task_time", "how often it is decided", "both"]
    told, often, both = (each.waits.mean for each in found.without.values())
    right = replace(wrong, default_task_time=timedelta(seconds=stream.sum_run / 300))
    assert told == regret(stream, NODES, right, CompileSettings()).formula.waits.mean
    assert both < min(told, often) <= max(told, often) < found.formula.waits.mean
    assert regret_by_approximation(jobs_of(), NODES, POLICY, CompileSettings()).without == {}


def test_spot_nodes_are_sized_the_same() -> None:
    """The formula for Spot nodes sets the other target, and comes to the same run."""
    stream = poisson(1 / 120, 300, 100)
    dedicated, spot = (regret(stream, NODES, POLICY, CompileSettings(spot=kind)).formula for kind in (False, True))
    assert dedicated == spot


def test_a_given_formula_sees_its_metrics() -> None:
    """One that counts running tasks only never begins; one that counts those that wait does."""
    world, jobs = one_pool(NODES), jobs_of((0, 60), (0, 60))
    text = "$TargetDedicatedNodes = max(0, {}.GetSample(1)); $NodeDeallocationOption = taskcompletion;"
    waiting, running = (
        replay(jobs, world, GivenFormula(text.format(metric), evaluation=300.0, window=300.0))
        for metric in ("$ActiveTasks", "$RunningTasks")
    )
    assert (waiting.unfinished, running.unfinished) == (0, 2)
    assert running.node_seconds == 0
