"""Millpond's sides of "accept" and "hand out and commit", over its SQLite store in a file with synchronous=FULL.

Accepting goes through `JobService` in process (no HTTP). One client call of draft, chunks and arm makes a whole job, so
how many tasks share a job and a definition decides the price:
    one step     a job of one step with N tasks, as a parameter sweep
    N steps      a job of N steps of one task, each with a command of its own, sent in chunks of 1,000
    N jobs       a job for each task: the nearest to a plain queue's call, and the dearest way to use Millpond

Handing out runs the controller's own `Feed` and `Collect` with queues and blobs in memory and a node that does nothing:
for each message it sends a `started` event, writes one manifest with a report and a file reference for each task,
sends a `finished` event and deletes the message. That node's work is in the measured time, and what queues and blobs
hold is in the measured memory.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

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
    TaskReport,
    decode,
    encode,
    manifest_blob,
    pack_blob,
)
from scheduler.adapters.memory import ManualClock, MemoryBlobs, MemoryQueues
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.controller.collect import Collect
from scheduler.controller.feed import Feed
from scheduler.dispatch.records import GroupSlots
from scheduler.model import (
    GroupKey,
    GroupPriority,
    JobResult,
    NewJob,
    NodeGroup,
    Step,
    StorageAddress,
)
from scheduler.policy import ScalingPolicy
from scheduler.service import Service
from scheduler.settings import PoolSettings, SchedulerSettings
from tests.bench.side import Prepared, main

POOL = "bench"
QUEUE = "work-bench-main"
SLOTS = 32
CHUNK = 1000
LEASE = timedelta(seconds=LEASE_SECONDS)
GROUP = NodeGroup(GroupKey(POOL, "main", "g1"), "vmss-1", QUEUE, "Standard_D4s_v5", GroupPriority.REGULAR, 4, 25)
SETTINGS = SchedulerSettings(
    environment="bench",
    subscription_id="none",
    resource_group="none",
    location="none",
    resource_manager="none",
    blob_endpoint="none",
    queue_endpoint="none",
    storage_account="none",
    pools=(PoolSettings(POOL, ScalingPolicy(), (GROUP,)),),
)


class Scheduler:
    """The store, the service and the two steps of the controller, on a clock that stands still."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.database = Database(f"sqlite:///{directory}/store.sqlite")
        self.epoch = self.database.begin_epoch()
        fleet = SqlFleetStore(self.database)
        fleet.sync_groups(self.epoch, SETTINGS, self.clock.now())
        self.jobs = SqlJobStore(self.database)
        self.queues = MemoryQueues(self.clock, [QUEUE])
        self.blobs = MemoryBlobs(self.clock)
        self.service = Service(
            self.jobs,
            fleet,
            lambda: StorageAddress("none"),
            self.clock,
            schedules=SqlScheduleStore(self.database),
            views=SqlJobViews(self.database),
            blobs=self.blobs,
        )
        store = SqlDispatchStore(self.database)
        self.feed = Feed(store, self.queues, self.blobs)
        self.collect = Collect(store, self.queues, self.blobs)

    def submit(self, steps: list[Step], key: str) -> None:
        """Open a draft, send its steps in chunks and arm it."""
        job = self.service.create_job(NewJob("bench", POOL, key))
        for number, start in enumerate(range(0, len(steps), CHUNK)):
            self.service.add_steps(job.job_id, number, tuple(steps[start : start + CHUNK]))
        self.service.arm_job(job.job_id, sum(step.definition.task_count for step in steps))

    def require(self, accepted: int, succeeded: int) -> None:
        """Check that exactly so many tasks are there and so many succeeded."""
        counts = self.jobs.counts(POOL)
        assert (counts.total, counts.succeeded) == (accepted, succeeded), counts


def steps(tasks: int, *, each: int, seconds: float) -> list[Step]:
    """Make steps of `each` tasks, with commands of their own."""
    return [
        Step(
            TaskDefinition(f"step-{first}", ("python", "task.py", str(first)), first, min(each, tasks - first)),
            expected_task_seconds=seconds,
        )
        for first in range(0, tasks, each)
    ]


def accept_one_job(size: int, directory: Path, *, tasks_per_step: int) -> Prepared:
    """Accept `size` tasks as one job."""
    scheduler = Scheduler(directory)
    made = steps(size, each=tasks_per_step or size, seconds=60.0)
    return Prepared(partial(scheduler.submit, made, "key"), size, partial(scheduler.require, size, 0))


def accept_many_jobs(size: int, directory: Path) -> Prepared:
    """Accept `size` tasks as so many jobs."""
    scheduler = Scheduler(directory)

    def work() -> None:
        for number in range(size):
            scheduler.submit(steps(1, each=1, seconds=60.0), f"key-{number}")

    return Prepared(work, size, partial(scheduler.require, size, 0))


def hand_out(size: int, directory: Path, *, task_seconds: float) -> Prepared:
    """Bring `size` accepted tasks of one job from accepted to committed."""
    scheduler = Scheduler(directory)
    scheduler.submit(steps(size, each=size, seconds=task_seconds), "key")
    groups = [GroupSlots(GROUP, SLOTS)]
    now = scheduler.clock.now()

    def work() -> None:
        while True:
            scheduler.feed.step(scheduler.epoch, groups, now)
            ran = run_messages(scheduler, task_seconds)
            if scheduler.collect.step(scheduler.epoch, now) == 0 and ran == 0:
                return

    def check() -> None:
        scheduler.require(size, size)
        assert [job.result for job in scheduler.service.list_jobs()] == [JobResult.SUCCESS]

    return Prepared(work, size, check)


def run_messages(scheduler: Scheduler, task_seconds: float) -> int:
    """Take every message as a node whose tasks do nothing, report it, and say how many there were."""
    now = scheduler.clock.now()
    ended = now + timedelta(seconds=task_seconds)
    received = scheduler.queues.receive(QUEUE, LEASE, 10_000)
    for item in received:
        message = decode(TaskMessage, item.body)
        pack = pack_blob(message.job_id, message.message_id, "run", 0)
        stdout = FileRef("stdout.txt", OUTPUTS, pack, 0, 0, "0" * 64)
        reports = tuple(
            TaskReport(ref.task_id, ref.attempt, Outcome.SUCCESS, 0, "", now, ended, (stdout,)) for ref in message.tasks
        )
        blob = manifest_blob(message.job_id, message.message_id, "run", 0)
        manifest = Manifest(message.message_id, message.job_id, "node", "run", reports)
        started = Event(EventKind.STARTED, message.message_id, message.job_id, "node", now, running=message.tasks[:1])
        finished = Event(EventKind.FINISHED, message.message_id, message.job_id, "node", now, blob)
        scheduler.queues.send(EVENTS_QUEUE, encode(started))
        scheduler.blobs.write(OUTPUTS, blob, encode(manifest).encode())
        scheduler.queues.send(EVENTS_QUEUE, encode(finished))
        scheduler.queues.delete(item)
    return len(received)


VARIANTS: dict[str, Callable[[int, Path], Prepared]] = {
    "accept-one-step": partial(accept_one_job, tasks_per_step=0),
    "accept-n-steps": partial(accept_one_job, tasks_per_step=1),
    "accept-n-jobs": accept_many_jobs,
    # Tasks of a minute travel alone, tasks of 0.1 s a hundred to a message (scheduler.dispatch.handout).
    "hand-out-alone": partial(hand_out, task_seconds=60.0),
    "hand-out-hundreds": partial(hand_out, task_seconds=0.1),
}

if __name__ == "__main__":
    main(VARIANTS)
