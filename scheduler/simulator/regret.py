"""What is lost when an Azure Batch pool runs the formula of a policy and not the policy: both replay one workload."""

from dataclasses import dataclass

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
    """Both replays, and what the formula costs and lets work wait above the policy; below it the number is negative."""

    policy: Report
    formula: Report

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
    window = (
        max(policy.idle_timeout or policy.restart_cost(None), settings.interval).total_seconds() + 2 * SAMPLE_PERIOD
    )
    formula = GivenFormula(
        compile_policy(policy, settings).text,
        evaluation=settings.interval.total_seconds(),
        window=window,
        spot=settings.spot,
        name="its formula",
    )
    limits = limits_of(workload, world)
    own = replay(workload, world, own_policy(world, policy, name="the policy"))
    return Regret(report(own, limits), report(replay(workload, world, formula), limits))
