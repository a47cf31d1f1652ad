"""What is lost when an Azure Batch pool runs the formula of a policy and not the policy: both replay one workload."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from scheduler.formula.compiler import CompileSettings, compile_policy
from scheduler.formula.samples import SAMPLE_PERIOD
from scheduler.policy import ScalingPolicy
from scheduler.simulator.engine import replay
from scheduler.simulator.policies.batch_formula import GivenFormula
from scheduler.simulator.policies.own import own_policy
from scheduler.simulator.report import Report, limits_of, report
from scheduler.simulator.workload import Workload
from scheduler.simulator.world import Group, one_pool


@dataclass(frozen=True, slots=True)
class Regret:
    """Both replays, and what the formula costs and lets work wait above the policy; below it the number is negative.

    `without` are replays of the formula as if it did not approximate: by the name of what is approximated, as in the
    compiler's report, or of both. What is regretted then comes of the rest: idleness that is counted over the pool, and
    nodes that Azure chooses.
    """

    policy: Report
    formula: Report
    without: Mapping[str, Report] = field(default_factory=dict)

    @property
    def node_hours(self) -> float:
        """Node-hours of the formula above those of the policy."""
        return self.formula.node_hours - self.policy.node_hours

    @property
    def mean_wait(self) -> float:
        """Seconds that a task waits longer with the formula, on average."""
        return self.formula.waits.mean - self.policy.waits.mean


def regret(workload: Workload, group: Group, policy: ScalingPolicy, settings: CompileSettings) -> Regret:
    """Replay a workload of one-slot tasks through a policy and through its formula, on nodes of one kind.

    The formula sees samples without delay, which is the best that the service may do.
    """
    world = one_pool(group)
    limits = limits_of(workload, world)
    own = replay(workload, world, own_policy(world, policy, name="the policy"))
    formula = _formula(policy, settings, settings.interval, "its formula")
    return Regret(report(own, limits), report(replay(workload, world, formula), limits))


def regret_by_approximation(
    workload: Workload, group: Group, policy: ScalingPolicy, settings: CompileSettings
) -> Regret:
    """Find the regret, and what it would be were the formula told the mean run time, or evaluated with each sample."""
    world, found = one_pool(group), regret(workload, group, policy, settings)
    if not len(workload) or not workload.sum_run:
        return found
    limits = limits_of(workload, world)
    often = timedelta(seconds=SAMPLE_PERIOD)
    told = replace(policy, default_task_time=timedelta(seconds=workload.sum_run / len(workload)))
    formulas = (
        _formula(told, settings, settings.interval, "default_task_time"),
        _formula(policy, settings, often, "how often it is decided"),
        _formula(told, settings, often, "both"),
    )
    without = {each.name: report(replay(workload, world, each), limits) for each in formulas}
    return replace(found, without=without)


def _formula(policy: ScalingPolicy, settings: CompileSettings, interval: timedelta, name: str) -> GivenFormula:
    idle = policy.idle_timeout or policy.restart_cost(None)
    return GivenFormula(
        compile_policy(policy, settings).text,
        evaluation=interval.total_seconds(),
        window=max(idle, interval).total_seconds() + 2 * SAMPLE_PERIOD,
        spot=settings.spot,
        name=name,
    )
