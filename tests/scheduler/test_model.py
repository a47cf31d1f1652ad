"""The words of the model."""

from scheduler.model import REQUEUE_TRANSITIONS, TRANSITIONS, GroupKey, TaskCounts, TaskState


def test_completed_is_final() -> None:
    """Every state has its row in the table, nothing leaves `completed`, and every other state reaches it."""
    assert set(TRANSITIONS) == set(TaskState)
    assert TRANSITIONS[TaskState.COMPLETED] == frozenset()
    assert all(TaskState.COMPLETED in TRANSITIONS[state] for state in TaskState if state is not TaskState.COMPLETED)


def test_only_a_requeue_goes_back() -> None:
    """What was released or has ended stays so, unless a user asks for it; what runs is never taken back."""
    assert not [state for state, following in TRANSITIONS.items() if TaskState.BLOCKED in following]
    back = {state for state, following in REQUEUE_TRANSITIONS.items() if following}
    assert back == {TaskState.COMPLETED, TaskState.ACTIVE}
    assert set(REQUEUE_TRANSITIONS) == set(TaskState)


def test_counts_add_up() -> None:
    """Total is every task, pending is what Batch calls so."""
    counts = TaskCounts(blocked=1, active=2, running=4, succeeded=8, failed=16, cancelled=32)
    assert (counts.completed, counts.total, counts.pending) == (56, 63, 6)


def test_a_group_key_reads_as_a_path() -> None:
    """The key is shown as pool, name and generation."""
    assert str(GroupKey("risk", "main", "a1")) == "risk/main/a1"
