"""Explanations: what is said, from frozen facts alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_bootstrap.protocol import Outcome
from scheduler.explain.job import JobFacts, explain_job
from scheduler.explain.node import NodeFacts, explain_node
from scheduler.explain.pool import PoolFacts, explain_pool
from scheduler.explain.task import TaskFacts, explain_task
from scheduler.explain.words import number, span
from scheduler.model import (
    Decision,
    GroupKey,
    GroupPriority,
    Job,
    JobResult,
    JobState,
    Node,
    NodeGroup,
    NodePhase,
    PoolView,
    Task,
    TaskCounts,
    TaskResult,
    TaskState,
)
from scheduler.views import Explanation, Handout, StepView

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = GroupKey("risk", "main", "g1")
GROUP = NodeGroup(KEY, "set", "queue", "Standard_D2s_v5", GroupPriority.REGULAR, 2, 4)
BOUGHT = Decision(NOW - 30 * MINUTE, KEY, "scale_out", 2, (), "24 waiting tasks: 4 slots.")
NODE = Node("set_0", KEY, "0", NodePhase.WORKING, 1, "i", NOW - 29 * MINUTE, NOW - 28 * MINUTE, NOW, None)
POOL = PoolFacts(
    PoolView("risk", (GROUP,), TaskCounts(active=3), 2, 1, 0, 4, MINUTE, BOUGHT),
    (NODE,),
    (BOUGHT,),
)
JOB = Job("j", "job", "risk", 0, JobState.ACTIVE, None, TaskCounts(active=3), NOW, NOW, None, ("a", "b"))
TASK = Task("j", 3, "a", 3, TaskState.ACTIVE, None, 0, 0, 0, 0, None, None, None, None, None)
STEPS = (
    StepView("a", 0, 4, 4, 4, 0, (), 2.0),
    StepView("b", 4, 1, 1, 0, 0, ("a",), None),
)
HANDOUT = Handout("m1", "risk/main/g1", "queue", NOW - MINUTE, NOW - MINUTE, None, None)


def task(known: TaskFacts | None = None, **changes: object) -> str:
    """Explain a task that is changed so."""
    facts = known or TaskFacts(TASK, JOB, STEPS, None, 0, POOL)
    return explain_task(replace(facts, task=replace(facts.task, **changes)), NOW).paragraph  # type: ignore[arg-type]


def job(known: JobFacts | None = None, **changes: object) -> str:
    """Explain a job that is changed so."""
    facts = known or JobFacts(JOB, STEPS, (), 0, POOL)
    return explain_job(replace(facts, job=replace(facts.job, **changes)), NOW).paragraph  # type: ignore[arg-type]


def node(*decisions: Decision, **changes: object) -> str:
    """Explain a node that is changed so."""
    return explain_node(NodeFacts(replace(NODE, **changes), (BOUGHT, *decisions)), NOW).paragraph  # type: ignore[arg-type]


def test_a_task_that_is_not_handed_out_says_what_comes_first() -> None:
    """A ready task names the work before it, the pool's nodes and the reason of the last decision."""
    told = task(TaskFacts(TASK, JOB, STEPS, None, 1200, POOL))
    assert "not handed out yet" in told
    assert "1,200 ready tasks of jobs with precedence or of the same rank come first" in told
    assert "The pool has 1 node (1 working)." in told
    assert "scale out of 2 nodes, because 24 waiting tasks: 4 slots." in told


def test_a_task_on_a_queue_says_which_and_what_may_take_it() -> None:
    """A handed-out task names its group; only where no node works does it quote why."""
    known = TaskFacts(TASK, JOB, STEPS, HANDOUT, 0, POOL)
    told = task(known)
    assert "handed out to group risk/main/g1 60 s ago; the message is on its queue" in told
    assert "because" not in told
    empty = replace(known, pool=replace(POOL, nodes=()))
    assert "The pool has no nodes." in task(empty)
    assert "because 24 waiting tasks" in task(empty)
    unsent = replace(known, handout=replace(HANDOUT, sent_at=None))
    assert "is about to be put on its queue" in task(unsent)
    taken = replace(known, handout=replace(HANDOUT, started_at=NOW, node_id="set_0"))
    assert "Node set_0 took it 0.0 s ago" in task(taken)


def test_a_running_task_says_where_and_how_its_node_is() -> None:
    """Where it runs, for how long, how long others took, and what becomes of it if its node goes."""
    running = {"state": TaskState.RUNNING, "node_id": "set_0", "attempt": 1, "started_at": NOW - 5 * MINUTE}
    told = task(**running)
    assert "It runs on node set_0 for 5 min, attempt 1." in told
    assert "took 2.0 s on average" in told
    for phase, words in ((NodePhase.LOST, "is lost"), (NodePhase.DRAINING, "is draining: it ends what it holds")):
        gone = TaskFacts(TASK, JOB, STEPS, None, 0, replace(POOL, nodes=(replace(NODE, phase=phase),)))
        assert words in task(gone, **running)
    cancelled = TaskFacts(TASK, replace(JOB, state=JobState.TERMINATING), STEPS, None, 0, None)
    assert "being stopped" in task(cancelled, **running)


def test_a_blocked_task_names_the_steps_it_waits_for() -> None:
    """Steps that have ended are not named, those that have not are, with how much is left."""
    third = StepView("c", 5, 1, 1, 0, 0, ("a", "b"), None)
    ended = replace(STEPS[0], open_tasks=0)
    known = TaskFacts(replace(TASK, step="c"), JOB, (ended, STEPS[1], third), None, 0, POOL)
    assert task(known, state=TaskState.BLOCKED) == "It waits for step b, of whose 1 task 1 has not ended."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"result": TaskResult.SUCCESS, "attempt": 2, "retries": 1}, "It was tried again after 1 failure of its own."),
        ({"result": TaskResult.SUCCESS, "outcome": Outcome.IGNORABLE, "exit_code": 3}, "exit code 3 as good enough"),
        ({"result": TaskResult.FAILURE, "exit_code": 7, "reason": "boom."}, "with exit code 7 after 2.0 s"),
        ({"result": TaskResult.FAILURE, "outcome": Outcome.PERMANENT}, "is not tried again"),
        ({"result": TaskResult.CANCELLED}, "no reason was kept"),
        ({"result": TaskResult.SUCCESS, "node_faults": 2, "preemptions": 1}, "after 2 node faults, 1 preemption."),
    ],
)
def test_an_end_says_how_and_why(changes: dict[str, object], words: str) -> None:
    """Attempt, node, exit code and reason stand in the paragraph, and what earlier tries were lost to."""
    ended = {"started_at": NOW - timedelta(seconds=2), "ended_at": NOW, "node_id": "set_0"}
    assert words in task(state=TaskState.COMPLETED, **ended, **changes)


def test_a_task_whose_pool_is_gone_says_what_to_do() -> None:
    """Nothing will ever run it: deploy the pool, or cancel."""
    assert "deploy the pool, or cancel the job" in task(TaskFacts(TASK, JOB, STEPS, None, 0, None))


def test_a_job_says_what_waits_and_what_is_in_its_way() -> None:
    """Counts, steps that wait, the pool's nodes and decision, and tasks that were tried again."""
    again = replace(TASK, attempt=2)
    told = job(JobFacts(JOB, STEPS, (again,), 7, POOL), counts=TaskCounts(blocked=1, active=2, running=1, succeeded=1))
    assert "Of its 5 tasks, 1 ended, 1 runs, 2 are ready and 1 waits for steps before them." in told
    assert "Waiting steps: b for a." in told
    assert "7 ready tasks of jobs with precedence" in told
    assert "Tried more than once: 3." in told
    assert "deploy it, or cancel the job" in job(JobFacts(JOB, STEPS, (), 0, None))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": JobState.DRAFT}, "with the --key it had"),
        ({"state": JobState.TERMINATING, "reason": "cancelled by a user"}, "nothing of it starts any more"),
        ({"state": JobState.COMPLETED, "result": JobResult.SUCCESS, "ended_at": NOW + MINUTE}, "60 s after it was"),
        ({"state": JobState.COMPLETED, "result": JobResult.FAILURE, "reason": "1 of 3 failed"}, "1 of 3 failed."),
        ({"state": JobState.COMPLETED, "result": JobResult.CANCELLED}, "no reason was kept"),
    ],
)
def test_each_state_of_a_job_has_its_words(changes: dict[str, object], words: str) -> None:
    """Drafts say how to go on, ends how they came."""
    assert words in job(**changes)


def test_a_failed_job_names_its_first_failure() -> None:
    """The reason of the first failed task is in the paragraph, those of the others among the facts."""
    failed = replace(TASK, state=TaskState.COMPLETED, result=TaskResult.FAILURE, reason="disk full")
    known = JobFacts(JOB, STEPS, (failed, replace(failed, task_id=4)), 0, POOL)
    told = explain_job(replace(known, job=replace(JOB, state=JobState.COMPLETED, result=JobResult.FAILURE)), NOW)
    assert "The first that failed is task 3 (a 3): disk full." in told.paragraph
    assert [fact.name for fact in told.facts if fact.name.startswith("task ")] == ["task 3 (a 3)", "task 4 (a 3)"]


def test_a_node_says_why_it_was_bought() -> None:
    """The order before it was first seen is the one it came from; a later one is not."""
    later = replace(BOUGHT, at=NOW, reason="for others")
    told = node(later)
    assert "one of 2 nodes, because 24 waiting tasks: 4 slots." in told
    assert "for others" not in told
    assert "It was ready 60 s after it was first listed." in told
    assert "no longer kept" in explain_node(NodeFacts(NODE, ()), NOW).paragraph


def test_a_node_that_went_says_by_which_decision() -> None:
    """Decisions that name it, as this machine, are told; without any it went by itself."""
    former = Decision(NOW - 60 * MINUTE, KEY, "remove", 1, ("set_0",), "an earlier life")
    drained = Decision(NOW - 5 * MINUTE, KEY, "drain", 1, ("set_0",), "no message held for 60 s")
    removed = Decision(NOW - 4 * MINUTE, KEY, "remove", 1, ("set_0",), "drained")
    told = node(former, drained, removed, phase=NodePhase.GONE, gone_at=NOW)
    assert "It is gone after 29 min." in told
    assert "drained from 2026-03-01 11:55:00 UTC, because no message held for 60 s." in told
    assert "removed from 2026-03-01 11:56:00 UTC, because drained." in told
    assert "an earlier life" not in told
    assert "it went by itself: its instance" in node(phase=NodePhase.GONE, gone_at=NOW, reason="its instance is gone")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phase": NodePhase.BOOTING, "ready_at": None}, "booting for 29 min and has not reported"),
        ({"held": ("m1",)}, "It works: it holds 1 message."),
        ({"idle_since": NOW - MINUTE}, "nothing to do for 60 s"),
        ({}, "It is ready for work."),
        ({"phase": NodePhase.DRAINING, "drain_asked_at": NOW}, "A person asked at 2026-03-01 12:00:00 UTC"),
        ({"phase": NodePhase.DRAINED}, "about to be removed"),
        ({"phase": NodePhase.REMOVING}, "being removed"),
        ({"phase": NodePhase.LOST, "reason": "no status came"}, "It is lost: no status came."),
    ],
)
def test_each_phase_of_a_node_has_its_words(changes: dict[str, object], words: str) -> None:
    """What it does now stands in the paragraph."""
    assert words in node(**changes)


def test_a_pool_quotes_the_last_decision_of_each_current_group() -> None:
    """Only the newest of each group, and none of a group that is retired."""
    newer = replace(BOUGHT, at=NOW, action="hold", count=0, reason="enough")
    retired = replace(BOUGHT, group=GroupKey("risk", "main", "g0"), reason="retired")
    told = explain_pool(replace(POOL, decisions=(retired, BOUGHT, newer)), NOW).paragraph
    assert told == (
        "Pool risk has 1 node (1 working), between 0 and 4 allowed. It is to have 2. "
        "Last decision about group main, 0.0 s ago: hold, because enough."
    )


_INSTANTS = st.none() | st.integers(-10_000, 10_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
_TASKS = st.builds(
    Task,
    job_id=st.just("j"),
    task_id=st.integers(0, 9),
    step=st.sampled_from(["a", "b", "unknown"]),
    index=st.integers(0, 9),
    state=st.sampled_from(TaskState),
    result=st.none() | st.sampled_from(TaskResult),
    attempt=st.integers(0, 3),
    retries=st.integers(0, 3),
    node_faults=st.integers(0, 3),
    preemptions=st.integers(0, 3),
    node_id=st.sampled_from([None, "set_0", "other"]),
    exit_code=st.none() | st.integers(-1, 255),
    outcome=st.none() | st.sampled_from(Outcome),
    started_at=_INSTANTS,
    ended_at=_INSTANTS,
    reason=st.text(),
)
_NODES = st.builds(
    replace,
    st.just(NODE),
    phase=st.sampled_from(NodePhase),
    ready_at=_INSTANTS,
    status_at=_INSTANTS,
    idle_since=_INSTANTS,
    gone_at=_INSTANTS,
    reason=st.text(),
)


def _is_sound(told: Explanation) -> bool:
    lines = [told.subject, told.paragraph]
    return told.paragraph.endswith(".") and not any("\n" in line or "None" in line for line in lines)


@given(_TASKS, st.sampled_from(JobState), st.none() | st.just(POOL), st.none() | st.just(HANDOUT))
def test_whatever_the_facts_a_task_has_a_sound_paragraph(
    its: Task, state: JobState, pool: PoolFacts | None, handout: Handout | None
) -> None:
    """Any combination, also one that should not be, gives one line of whole sentences with nothing left open."""
    known = TaskFacts(
        replace(its, reason=its.reason.replace("None", "")), replace(JOB, state=state), STEPS, handout, 1, pool
    )
    assert _is_sound(explain_task(known, NOW))


@given(_NODES)
def test_whatever_the_facts_a_node_has_a_sound_paragraph(its: Node) -> None:
    """Any phase with any instants, also of clocks that disagree, gives whole sentences."""
    its = replace(its, reason=its.reason.replace("None", ""))
    drained = Decision(NOW, KEY, "drain", 1, (its.node_id,), "idle")
    assert _is_sound(explain_node(NodeFacts(its, (BOUGHT, drained)), NOW))


@given(st.floats(-1e7, 1e9))
def test_spans_are_never_negative_and_have_a_unit(seconds: float) -> None:
    """A span that another clock set back is none."""
    words = span(timedelta(seconds=seconds))
    assert not words.startswith("-")
    assert words.split(" ")[1] in {"s", "min", "h", "days"}


def test_numbers_agree_with_their_nouns() -> None:
    """One is singular."""
    assert [number(count, "task") for count in (0, 1, 2000)] == ["0 tasks", "1 task", "2,000 tasks"]
