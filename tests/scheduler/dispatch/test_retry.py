"""What a report means for its task."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import Outcome
from scheduler.dispatch.retry import Spent, retry_decision
from scheduler.model import RetryPolicy, TaskResult

ALLOWED = {
    Outcome.RETRYABLE: 3,
    Outcome.NODE_FAULT: 3,
    Outcome.OUTPUT_LOST: 3,
    Outcome.PREEMPTED: 20,
    Outcome.CANCELLED: 20,
}


@pytest.mark.parametrize(("outcome", "allowed"), ALLOWED.items())
def test_a_budget_of_n_allows_n_more_attempts(outcome: Outcome, allowed: int) -> None:
    """A task fails on the charge after the last one that its budget allows, and says so."""
    spent = Spent()
    for _ in range(allowed):
        verdict = retry_decision(outcome, spent, RetryPolicy(), "it broke")
        assert verdict.result is None
        spent = verdict.spent
    last = retry_decision(outcome, spent, RetryPolicy(), "it broke")
    assert last.result is TaskResult.FAILURE
    assert "it broke" in last.reason
    assert str(allowed) in last.reason


@given(
    outcome=st.sampled_from(sorted(ALLOWED)),
    spent=st.builds(Spent, *[st.integers(0, 30)] * 3),
    policy=st.builds(RetryPolicy, *[st.integers(0, 30)] * 3),
)
def test_budgets_are_apart(outcome: Outcome, spent: Spent, policy: RetryPolicy) -> None:
    """One outcome charges at most one budget, by one, and never beyond what the policy allows."""
    verdict = retry_decision(outcome, spent, policy, "")
    before = (spent.retries, spent.node_faults, spent.preemptions)
    after = (verdict.spent.retries, verdict.spent.node_faults, verdict.spent.preemptions)
    assert sum(after) - sum(before) == (verdict.result is None)
    assert all(0 <= new - old <= 1 for old, new in zip(before, after, strict=True))


def test_only_a_node_fault_makes_a_task_suspect() -> None:
    """A task that was running when its node failed is sent alone; one that failed by itself is not."""
    assert [outcome for outcome in Outcome if retry_decision(outcome, Spent(), RetryPolicy(), "").suspect] == [
        Outcome.NODE_FAULT
    ]


def test_ends() -> None:
    """Success and ignorable end as success, permanent as failure, whatever the budgets."""
    ends = {outcome: retry_decision(outcome, Spent(), RetryPolicy(0, 0, 0), "why") for outcome in Outcome}
    assert ends[Outcome.SUCCESS].result is TaskResult.SUCCESS
    assert ends[Outcome.IGNORABLE].result is TaskResult.SUCCESS
    assert ends[Outcome.IGNORABLE].reason == "ignorable failure: why"
    assert ends[Outcome.PERMANENT].result is TaskResult.FAILURE
    assert all(verdict.result is not None for verdict in ends.values())
