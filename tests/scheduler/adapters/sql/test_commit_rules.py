"""Whatever nodes report, however often, late and disordered: committed results stay, and every task ends."""

from contextlib import closing

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from node_bootstrap.protocol import Event, Outcome, TaskMessage, TaskRef, decode
from scheduler.adapters.sql.database import Database
from scheduler.dispatch.records import Start
from scheduler.errors import ConflictError
from scheduler.model import JobState, OutputFile, RetryPolicy, Task, TaskResult, TaskState
from tests.scheduler.job_world import World, empty, step

RETRY = RetryPolicy(max_task_retries=1, max_node_faults=1, max_preemptions=1)
MIXED = st.sampled_from([*Outcome, Outcome.SUCCESS, Outcome.SUCCESS, Outcome.SUCCESS])


class Commits(RuleBasedStateMachine):
    """A world in which nodes say anything about any message that was ever made."""

    database: Database

    @initialize(
        first=st.integers(1, 6),
        second=st.integers(1, 3),
    )
    def submit(self, first: int, second: int) -> None:
        """Submit two jobs of two dependent steps and an independent one."""
        empty(self.database)
        self.world = World(database=self.database)
        self.messages: list[TaskMessage] = []
        self.events: list[Event] = []
        self.ended: dict[tuple[str, int], tuple[Task, tuple[OutputFile, ...]]] = {}
        self.shown: dict[tuple[str, int], tuple[OutputFile, ...]] = {}
        self.floors: dict[tuple[str, int], int] = {}
        for key in ("one", "two"):
            self.world.submit(
                step("a", 0, first, retry=RETRY, expected=0.5),
                step("b", first, second, ("a",), ("a",), retry=RETRY, expected=0.5),
                step("c", first + second, 1, retry=RETRY, expected=0.5),
                key=key,
            )

    @rule(slots=st.integers(1, 3))
    def hand_out(self, slots: int) -> None:
        """Make messages; a node may see them at any time from now on."""
        self.world.hand_out(slots)
        for item, message in self.world.receive():
            self.messages.append(decode(TaskMessage, item.body))
            assert message.tasks

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), outcome=MIXED)
    def report(self, data: st.DataObject, outcome: Outcome) -> None:
        """Report some tasks of any message, be it old."""
        message = data.draw(st.sampled_from(self.messages))
        refs = data.draw(st.lists(st.sampled_from(message.tasks), min_size=1, unique=True))
        run = f"r{len(self.events)}"
        event = self.world.upload(message, refs, outcome, run)
        self.events.append(event)
        self.world.tell(event)
        self.world.gather()

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Send an event again."""
        self.world.tell(data.draw(st.sampled_from(self.events)))
        self.world.gather()

    @precondition(lambda self: self.messages)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """Say that a node runs a task, true or not."""
        message = data.draw(st.sampled_from(self.messages))
        now = self.world.clock.now()
        ref = data.draw(st.sampled_from(message.tasks))
        self.world.store.record(self.world.epoch, (Start(message.message_id, "node", (ref,), now),), (), now)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), charge=st.booleans())
    def give_back(self, data: st.DataObject, charge: bool) -> None:
        """Give a message back, or find it lost, or both."""
        message = data.draw(st.sampled_from(self.messages))
        running: tuple[TaskRef, ...] = tuple(data.draw(st.lists(st.sampled_from(message.tasks), max_size=1)))
        self.world.store.give_back(
            self.world.epoch,
            message.message_id,
            self.world.clock.now(),
            reason="given back",
            running=running,
            charge=charge,
        )

    @rule(which=st.integers(0, 1), sure=st.integers(0, 2))
    def cancel(self, which: int, sure: int) -> None:
        """Cancel a job, now and then."""
        if sure == 0:
            self.world.jobs.cancel_job(self.world.jobs.jobs()[which].job_id, self.world.clock.now())

    @rule(which=st.integers(0, 1), data=st.data())
    def requeue(self, which: int, data: st.DataObject) -> None:
        """Have some completed tasks run again, or all that did not succeed."""
        job = self.world.jobs.jobs()[which]
        tasks = [task for task in self.world.tasks(job.job_id) if task.state is TaskState.COMPLETED]
        if not tasks or job.state is JobState.TERMINATING:
            return
        chosen = None
        if data.draw(st.booleans()) or all(task.result is TaskResult.SUCCESS for task in tasks):
            chosen = data.draw(st.lists(st.sampled_from([task.task_id for task in tasks]), min_size=1, unique=True))
        refused = False
        try:
            self.world.jobs.requeue_job(job.job_id, chosen, self.world.clock.now())
        except ConflictError as error:
            refused = "requeue those, too" in str(error)
            if not refused:
                raise
        if refused:
            return
        for task in tasks:
            here = job.job_id, task.task_id
            if self.world.jobs.task(*here).state is not TaskState.COMPLETED:
                _, shown = self.ended.pop(here)
                self.floors[here] = task.attempt + 1
                outputs = tuple(each for each in shown if each.file.path == "out.json")
                self.shown[here] = outputs if task.result is TaskResult.SUCCESS else self.shown.get(here, ())

    @invariant()
    def ended_stays_ended(self) -> None:
        """Assert that what was committed never changes but by a requeue, and is listed until a new run succeeds.

        No run from before a requeue is ever committed after it.
        """
        for job in self.world.jobs.jobs() if hasattr(self, "world") else ():
            for task in self.world.tasks(job.job_id):
                here = job.job_id, task.task_id
                files = self.world.jobs.outputs(*here)
                if task.state is TaskState.COMPLETED:
                    assert self.ended.setdefault(here, (task, files)) == (task, files)
                if task.result is TaskResult.SUCCESS:
                    runs = {int(each.file.blob.split("/")[-2].split(".")[1]) for each in files}
                    assert min(runs) >= self.floors.get(here, 1)
                else:
                    assert set(files) >= set(self.shown.get(here, ()))

    @invariant()
    def counters_are_right(self) -> None:
        """Assert that counters equal a recount."""
        if hasattr(self, "world"):
            self.world.check_counters()

    def teardown(self) -> None:
        """Assert that both jobs end, whatever happened, once what is out is accounted for."""
        if not hasattr(self, "world"):
            return
        world = self.world
        for _ in range(30):
            if all(job.state is JobState.COMPLETED for job in world.jobs.jobs()):
                break
            for message in world.store.open_messages():
                world.store.give_back(world.epoch, message.message_id, world.clock.now(), reason="lost")
            world.hand_out()
            world.run_all()
            world.gather()
        assert all(job.state is JobState.COMPLETED for job in world.jobs.jobs())
        self.ended_stays_ended()
        world.check_counters()


@pytest.mark.parametrize(("kind", "examples"), [("sqlite", 30), ("postgresql", 6)])
def test_commit_rules(kind: str, examples: int, request: pytest.FixtureRequest) -> None:
    """Committed results never change, counters are exact, and every task ends, in any order of events."""
    url = "sqlite://" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with closing(Database(url)) as database:
        run_examples(database, examples)


def run_examples(database: Database, examples: int) -> None:
    """Run so many examples over one database: opening it is most of an example's time."""
    Commits.database = database
    # A failure is shown as it was found: shrinking one takes minutes.
    limits = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, derandomize=True, phases=[Phase.generate]
    )
    run_state_machine_as_test(Commits, settings=limits)
