"""A store with one pool, memory queues and blobs, and a hand-worked node: what the tests of jobs work on."""

import itertools
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select

from node_bootstrap.protocol import (
    EVENTS_QUEUE,
    LEASE_SECONDS,
    OUTPUTS,
    Event,
    EventKind,
    FileRef,
    Manifest,
    Outcome,
    TaskDefinition,
    TaskMessage,
    TaskRef,
    TaskReport,
    decode,
    encode,
    manifest_blob,
)
from scheduler.adapters.memory import ManualClock, MemoryBlobs, MemoryQueues, QueueMessage
from scheduler.adapters.sql.database import METADATA, Database
from scheduler.adapters.sql.deletion_store import SqlDeletionStore
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.identity import IDENTITY, VERSION
from scheduler.adapters.sql.job_schema import JOBS, MESSAGES, STEPS, TASKS
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.controller.clear import Clear
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed
from scheduler.controller.reconcile import Reconcile
from scheduler.dispatch.records import FleetObservation, GroupSlots, Holding
from scheduler.model import GroupKey, GroupPriority, NewJob, NodeGroup, RetryPolicy, Step, Task

POOL = "risk"
QUEUE = "risk-main-1"
GROUP = NodeGroup(GroupKey(POOL, "main", "1"), "vmss-1", QUEUE, "Standard_D4s_v5", GroupPriority.REGULAR, 2, 5)
LEASE = timedelta(seconds=LEASE_SECONDS)


def step(
    name: str,
    first: int,
    count: int,
    depends_on: tuple[str, ...] = (),
    inputs_from: tuple[str, ...] = (),
    retry: RetryPolicy | None = None,
    expected: float | None = None,
) -> Step:
    """Make a step that runs `true`."""
    definition = TaskDefinition(name, ("true",), first, count)
    return Step(definition, depends_on, inputs_from, retry or RetryPolicy(), expected)


def empty(database: Database) -> None:
    """Remove every row but what a store says of itself: opening another store would take longer than a test."""
    with database.write() as connection:
        for table in reversed(METADATA.sorted_tables):
            if table not in (IDENTITY, VERSION):
                connection.execute(delete(table))


class World:
    """Everything that a job passes through, on a clock that stands still."""

    def __init__(self, url: str = "sqlite://", database: Database | None = None) -> None:
        self.clock = ManualClock()
        self.queues = MemoryQueues(self.clock, [QUEUE])
        self.blobs = MemoryBlobs(self.clock)
        self.database = database or Database(url)
        self.jobs = SqlJobStore(self.database)
        self.store = SqlDispatchStore(self.database)
        self.deletions = SqlDeletionStore(self.database)
        self.epoch = self.database.begin_epoch()
        self._ids = itertools.count(1)
        self.feed = Feed(self.store, self.queues, self.blobs, self.new_id)
        self.collect = Collect(self.store, self.queues, self.blobs)
        self.reconcile = Reconcile(self.store, self.queues, self.blobs)
        self.clear = Clear(self.deletions, self.blobs)

    def new_id(self) -> str:
        """Give the next message id."""
        return f"m{next(self._ids):04}"

    def submit(self, *steps: Step, key: str = "key", priority: int = 0) -> str:
        """Draft, fill and arm a job."""
        job = self.jobs.create_job(NewJob(f"job {key}", POOL, key, priority), self.clock.now())
        self.jobs.add_steps(job.job_id, 0, steps)
        self.jobs.arm_job(job.job_id, sum(each.definition.task_count for each in steps), self.clock.now())
        return job.job_id

    def hand_out(self, slots: int = 4) -> None:
        """Do one step of the feed with so many slots."""
        self.feed.step(self.epoch, [GroupSlots(GROUP, slots)], self.clock.now())

    def gather(self, held: tuple[Holding, ...] = ()) -> int:
        """Do one step of collect."""
        return self.collect.step(self.epoch, self.clock.now(), held)

    def settle(self, held: tuple[Holding, ...] = (), **observed: Any) -> None:
        """Do one step of reconcile."""
        observation = FleetObservation(statuses_listed=True, held=held, **observed)
        self.reconcile.step(self.epoch, observation, self.clock.now())

    def tasks(self, job_id: str) -> tuple[Task, ...]:
        """Give every task of a job."""
        return self.jobs.tasks(job_id, -1, 1_000_000)

    # The node's side.

    def receive(self) -> list[tuple[QueueMessage, TaskMessage]]:
        """Lease all that is visible on the queue."""
        return [(item, decode(TaskMessage, item.body)) for item in self.queues.receive(QUEUE, LEASE, 1000)]

    def upload(
        self,
        message: TaskMessage,
        refs: Iterable[TaskRef] | None = None,
        outcome: Outcome = Outcome.SUCCESS,
        run: str = "run",
        number: int = 0,
        seconds: float = 5.0,
    ) -> Event:
        """Write the manifest of a run and give the event that names it, unsent."""
        now = self.clock.now()
        reports = tuple(
            TaskReport(
                ref.task_id,
                ref.attempt,
                outcome,
                0,
                outcome.value,
                now,
                now + timedelta(seconds=seconds),
                (
                    self.file(message, ref, run, "stdout.txt"),
                    self.file(message, ref, run, "out.json"),
                ),
            )
            for ref in (message.tasks if refs is None else refs)
        )
        manifest = Manifest(message.message_id, message.job_id, "node", run, reports)
        blob = manifest_blob(message.job_id, message.message_id, run, number)
        self.blobs.write(OUTPUTS, blob, encode(manifest).encode())
        return Event(EventKind.FINISHED, message.message_id, message.job_id, "node", now, blob)

    def file(self, message: TaskMessage, ref: TaskRef, run: str, path: str) -> FileRef:
        """Say where a run's file would be."""
        blob = f"{message.job_id}/{message.message_id}/{run}/{ref.task_id}.{ref.attempt}/{path}"
        return FileRef(path, OUTPUTS, blob, 0, 1, "0" * 64)

    def tell(self, event: Event) -> None:
        """Send an event."""
        self.queues.send(EVENTS_QUEUE, encode(event))

    def say(
        self,
        kind: EventKind,
        message: TaskMessage,
        running: tuple[TaskRef, ...] = (),
        node: str = "node",
    ) -> None:
        """Send an event without a manifest."""
        now = self.clock.now()
        self.tell(Event(kind, message.message_id, message.job_id, node, now, None, running, message.tasks))

    def run_all(self, outcome: Outcome = Outcome.SUCCESS) -> int:
        """Take every message, run and report it, as a node; say how many."""
        received = self.receive()
        for item, message in received:
            self.tell(self.upload(message, outcome=outcome))
            self.queues.delete(item)
        return len(received)

    def finish(self, rounds: int = 50) -> None:
        """Feed, run and collect until nothing is left to do."""
        for _ in range(rounds):
            self.hand_out()
            ran = self.run_all()
            if self.gather() == 0 and ran == 0:
                return
        raise AssertionError("there is always more to do")

    def check_counters(self) -> None:
        """Assert that every counter equals a recount, and that no task out is on a message that is closed."""
        with self.database.read() as connection:
            tasks = connection.execute(select(TASKS)).all()
            jobs = connection.execute(select(JOBS)).all()
            steps = connection.execute(select(STEPS)).all()
            closed = set(
                connection.execute(select(MESSAGES.c.number).where(MESSAGES.c.closed_at.is_not(None))).scalars()
            )
        for job in jobs:
            mine = [task for task in tasks if task.job == job.number]
            counts = Counter(task.result or task.state for task in mine)
            expected = {name: counts[name] for name in ("blocked", "active", "running", "cancelled")}
            expected |= {"succeeded": counts["success"], "failed": counts["failure"]}
            expected["open_tasks"] = sum(task.state != "completed" for task in mine)
            assert {name: getattr(job, name) for name in expected} == expected
            ended = job.state in {"completed", "deleting"}
            assert job.state == "draft" or ended == (expected["open_tasks"] == 0)
        for row in steps:
            mine = [task for task in tasks if (task.job, task.step) == (row.job, row.position)]
            waiting = [task for task in mine if task.state == "active" and task.message is None]
            expected = {
                "open_tasks": sum(task.state != "completed" for task in mine),
                "active": sum(task.state == "active" for task in mine),
                "ready": sum(not task.suspect for task in waiting),
                "suspects": sum(bool(task.suspect) for task in waiting),
                "running": sum(task.state == "running" for task in mine),
                "unsuccessful": sum(task.result in {"failure", "cancelled"} for task in mine),
            }
            assert {name: getattr(row, name) for name in expected} == expected
        out = [task for task in tasks if task.state in {"active", "running"} and task.message is not None]
        assert not [task for task in out if task.message in closed]
