"""What follows from one report of a task: success, another attempt, or failure, by budgets kept apart."""

from dataclasses import dataclass, replace

from node_bootstrap.protocol import Outcome
from scheduler.model import RetryPolicy, TaskResult


@dataclass(frozen=True, slots=True)
class Spent:
    """What a task has used of each budget."""

    retries: int = 0
    node_faults: int = 0
    preemptions: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the task: `result`, or None for another attempt; a suspect task is sent alone."""

    result: TaskResult | None
    spent: Spent
    suspect: bool
    reason: str


# Whose budget an outcome is charged to. A run that was stopped although its task is still wanted was stopped by us,
# as a preemption; an output lost after the run is the node's doing.
_BUDGET = {
    Outcome.RETRYABLE: "retries",
    Outcome.PREEMPTED: "preemptions",
    Outcome.CANCELLED: "preemptions",
    Outcome.NODE_FAULT: "node_faults",
    Outcome.OUTPUT_LOST: "node_faults",
}
_ALLOWED = {"retries": "max_task_retries", "node_faults": "max_node_faults", "preemptions": "max_preemptions"}
_WORDS = {"retries": "retries", "node_faults": "node faults", "preemptions": "preemptions"}


def retry_decision(outcome: Outcome, spent: Spent, policy: RetryPolicy, reason: str) -> Verdict:
    """Decide what one run's outcome means for its task.

    Ignorable ends the task as a success, with the reason kept: its dependents start. A budget of n allows n
    charges; the next one fails the task.
    """
    if outcome is Outcome.SUCCESS:
        return Verdict(TaskResult.SUCCESS, spent, suspect=False, reason=reason)
    if outcome is Outcome.IGNORABLE:
        return Verdict(TaskResult.SUCCESS, spent, suspect=False, reason=f"ignorable failure: {reason}")
    if outcome is Outcome.PERMANENT:
        return Verdict(TaskResult.FAILURE, spent, suspect=False, reason=reason)
    budget = _BUDGET[outcome]
    used, allowed = getattr(spent, budget), getattr(policy, _ALLOWED[budget])
    if used >= allowed:
        why = f"{reason}; all {allowed} allowed {_WORDS[budget]} are used"
        return Verdict(TaskResult.FAILURE, spent, suspect=False, reason=why)
    after = replace(spent, **{budget: used + 1})
    return Verdict(None, after, suspect=outcome is Outcome.NODE_FAULT, reason=reason)
