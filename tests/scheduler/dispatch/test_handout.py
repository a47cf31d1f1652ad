"""Which tasks go where, and how many to a message."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import MAX_MESSAGE_BYTES, TaskMessage, TaskRef, encode
from scheduler.dispatch.handout import DEFAULT_RULES, MAX_TASKS_PER_MESSAGE, plan_hand_out, tasks_per_message
from scheduler.dispatch.records import GroupSlots, QueueLoad, ReadyStep
from scheduler.model import GroupKey, GroupPriority, NodeGroup

START = datetime(2026, 1, 1, tzinfo=UTC)


def group(name: str, slots: int, *, current: bool = True) -> GroupSlots:
    """Make a group of the pool with so many slots."""
    return GroupSlots(
        NodeGroup(GroupKey("p", name, "1"), name, name, "s", GroupPriority.REGULAR, 1, 99, current), slots
    )


def ready(
    job: str,
    count: int,
    seconds: float | None = None,
    priority: int = 0,
    age: int = 0,
    suspects: int = 0,
    step: int = 0,
) -> ReadyStep:
    """Make a step with tasks that wait."""
    return ReadyStep(job, step, priority, START - timedelta(minutes=age), count, suspects, seconds, published=True)


def test_nothing_is_handed_out_without_slots() -> None:
    """Without nodes, and to retired groups, nothing goes: what waits in the store can still be reprioritised."""
    assert plan_hand_out([ready("a", 5)], [], []) == ()
    assert plan_hand_out([ready("a", 5)], [], [group("g", 0), group("old", 4, current=False)]) == ()


def test_short_tasks_travel_together() -> None:
    """Tasks of a tenth of a second go a hundred to a message: ten seconds of work."""
    orders = plan_hand_out([ready("a", 10_000, 0.1)], [], [group("g", 4)])
    assert {order.count for order in orders} == {100}


def test_few_short_tasks_are_spread() -> None:
    """What would fit one message is split when slots would stand idle."""
    orders = plan_hand_out([ready("a", 10, 0.1)], [], [group("g", 4)])
    assert [order.count for order in orders] == [3, 3, 3, 1]


def test_long_tasks_go_one_to_a_slot() -> None:
    """Tasks longer than the look-ahead fill every slot once and no more."""
    orders = plan_hand_out([ready("a", 100, 3600.0)], [], [group("g", 4)])
    assert [order.count for order in orders] == [1, 1, 1, 1]


def test_what_is_out_counts() -> None:
    """A queue with enough work out gets nothing more."""
    assert plan_hand_out([ready("a", 100, 3600.0)], [QueueLoad("g", "a", 4, 14400.0)], [group("g", 4)]) == ()


def test_a_suspect_goes_alone_and_first() -> None:
    """A task that may break nodes does not travel with others."""
    orders = plan_hand_out([ready("a", 20, 1.0, suspects=2)], [], [group("g", 2)])
    assert [(order.suspect, order.count) for order in orders] == [(True, 1), (True, 1), (False, 10), (False, 10)]


def test_priority_comes_first() -> None:
    """While a job of higher priority has ready tasks, none of a lower one goes."""
    orders = plan_hand_out([ready("low", 50, 60.0, age=9), ready("high", 50, 60.0, priority=1)], [], [group("g", 2)])
    assert {order.job_id for order in orders} == {"high"}


def test_jobs_of_equal_priority_share() -> None:
    """A job with much work out lets the other one catch up; then they take turns."""
    loads = [QueueLoad("g", "old", 2, 120.0)]
    orders = plan_hand_out([ready("old", 50, 60.0, age=9), ready("new", 50, 60.0)], loads, [group("g", 4)])
    assert Counter(order.job_id for order in orders) == {"new": 4, "old": 2}


def test_the_older_job_wins_a_tie() -> None:
    """With nothing out, the job that was armed first goes first."""
    orders = plan_hand_out([ready("b", 9, 600.0), ready("a", 9, 600.0, age=1)], [], [group("g", 1)])
    assert [order.job_id for order in orders] == ["a"]


def test_groups_fill_evenly() -> None:
    """Work spreads over groups by their slots."""
    orders = plan_hand_out([ready("a", 100, 600.0)], [], [group("small", 1), group("big", 3)])
    assert Counter(order.group.queue for order in orders) == {"small": 1, "big": 3}


def test_the_largest_message_fits() -> None:
    """The longest task references, as many as go together, stay under the wire's limit with long names."""
    refs = (TaskRef(2**31 - 1, 2**31 - 1),) * MAX_TASKS_PER_MESSAGE
    message = TaskMessage("m" * 64, "j" * 80, "d" * 64, refs, "i" * 64)
    assert len(encode(message).encode()) <= MAX_MESSAGE_BYTES


@given(
    counts=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 5)), max_size=5),
    seconds=st.one_of(st.none(), st.floats(0, 1e5)),
    slots=st.lists(st.integers(0, 20), max_size=3),
)
def test_orders_are_bounded(counts: list[tuple[int, int]], seconds: float | None, slots: list[int]) -> None:
    """No order asks for more than waits, queues get no more than their need plus one message, suspects go alone."""
    steps = [
        ready(f"j{number % 2}", count, seconds, suspects=odd, step=number) for number, (count, odd) in enumerate(counts)
    ]
    groups = [group(f"g{number}", count) for number, count in enumerate(slots)]
    orders = plan_hand_out(steps, [], groups)
    assert orders == plan_hand_out(steps, [], groups)
    for each in steps:
        mine = [order for order in orders if order.step == each.step]
        assert sum(order.count for order in mine if not order.suspect) <= each.ready
        assert sum(order.suspect for order in mine) <= each.suspects
    assert all(1 <= order.count <= (1 if order.suspect else MAX_TASKS_PER_MESSAGE) for order in orders)
    for each_group in groups:
        mine = [order for order in orders if order.group == each_group.group]
        before_last = sum(order.count * order.task_seconds for order in mine[:-1])
        need = each_group.slots * DEFAULT_RULES.lookahead_seconds
        assert len(mine) <= each_group.slots or before_last < need or not mine


@given(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(0, 1000))
def test_a_message_is_never_empty(seconds: float, count: int, slots: int) -> None:
    """At least one task and at most the wire's limit; a message of several is about its aim or less."""
    number = tasks_per_message(seconds, count, slots)
    assert 1 <= number <= MAX_TASKS_PER_MESSAGE
    assert number == 1 or number * seconds <= DEFAULT_RULES.message_seconds


def test_no_more_messages_at_once_than_a_transaction_should_hold() -> None:
    """A huge pool is filled over several steps."""
    rules = replace(DEFAULT_RULES, max_messages=7)
    assert len(plan_hand_out([ready("a", 1000, 60.0)], [], [group("g", 500)], rules)) == 7
