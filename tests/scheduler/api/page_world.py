"""A scheduler with one of everything that its page shows, some of it with hostile names."""

from dataclasses import replace
from datetime import timedelta

from node_bootstrap.protocol import (
    NODES,
    OUTPUTS,
    BootRecord,
    EventKind,
    FileRef,
    HeldMessage,
    NodeState,
    NodeStatus,
    Outcome,
    TaskMessage,
    TaskRef,
    boot_blob,
    encode,
    own_blob,
    sha256_hex,
    status_blob,
)
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_views import SqlJobViews
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.autoscale.plan import Hold, Reason, ReasonKind, ScaleOut
from scheduler.controller.schedules import Schedules
from scheduler.job_schedule import JobSpecification, NewJobSchedule, Schedule
from scheduler.model import Node, NodePhase, RetryPolicy, Sample, StorageAddress
from scheduler.policy import ScalingPolicy
from scheduler.service import Service
from scheduler.settings import PoolSettings, SchedulerSettings
from tests.scheduler.job_world import GROUP, POOL, World, step

HOSTILE = """<script>document.title = "owned"</script>"><img src=x onerror="document.title='owned'">'{{ 7 * 7 }}"""
LOG = b"line of a log\n" * 50 + b"<b>not markup</b>\n"


class PageWorld(World):
    """Jobs in several states, a pool with nodes, decisions and a timeline; `service` is over all of it."""

    def __init__(self, url: str = "sqlite://") -> None:
        super().__init__(url)
        self.fleet = SqlFleetStore(self.database)
        pool = PoolSettings(POOL, ScalingPolicy(max_nodes=5), (GROUP,))
        settings = SchedulerSettings("test", "s", "g", "l", "r", "b", "q", "a", (pool,))
        self.fleet.sync_groups(self.epoch, settings, self.clock.now())
        views = SqlJobViews(self.database)
        address = StorageAddress("https://blobs/")
        self.service = Service(
            self.jobs,
            self.fleet,
            lambda: address,
            self.clock,
            schedules=SqlScheduleStore(self.database),
            views=views,
            blobs=self.blobs,
        )
        self._populate_fleet()
        self.done = self._finished_job()
        self.running, self.message = self._running_job()
        self._schedules()

    def file(self, message: TaskMessage, ref: TaskRef, run: str, path: str) -> FileRef:
        """Write a file of a run and say where it is."""
        data = LOG if path == "stdout.txt" else f"{path} of task {ref.task_id}".encode()
        blob = own_blob(message.job_id, message.message_id, run, ref, path)
        self.blobs.write(OUTPUTS, blob, data)
        return FileRef(path, OUTPUTS, blob, 0, len(data), sha256_hex(data))

    def grow(self, data: bytes) -> None:
        """Have the running task have written this."""
        ref = self.message.tasks[0]
        self.blobs.write(OUTPUTS, own_blob(self.running, self.message.message_id, "run", ref, "stdout.txt"), data)

    def _populate_fleet(self) -> None:
        now = self.clock.now()
        bought = ScaleOut(GROUP.key, 2, Reason(ReasonKind.BACKLOG, f"12 waiting tasks: 4 slots {HOSTILE}"))
        self.fleet.record_decisions(self.epoch, (bought,), now)
        for number in range(40):
            at = now + timedelta(seconds=2 * number)
            waiting, nodes = max(0, 30 - number), min(3, number // 8)
            self.fleet.record_sample(self.epoch, Sample(at, POOL, waiting, 2 * nodes, 3, nodes, int(nodes < 3)))
        self.clock.advance(timedelta(seconds=80))
        now = self.clock.now()
        first = Node("vmss-1_0", GROUP.key, "0", NodePhase.WORKING, 1, "i", now, now, now, None, held=("m0001",))
        gone = replace(first, node_id="vmss-1_1", phase=NodePhase.GONE, gone_at=now, reason=HOSTILE)
        self.fleet.save_nodes(self.epoch, (first, gone), now)
        hold = Hold(GROUP.key, Reason(ReasonKind.ENOUGH, "nodes that serve: 1"))
        self.fleet.record_decisions(self.epoch, (hold,), now)
        held = HeldMessage("m0001", "job", (TaskRef(0, 1),))
        status = NodeStatus("vmss-1_0", "i", NodeState.WORKING, 1, 2, "v", now, (held,), HOSTILE)
        self.blobs.write(NODES, status_blob("vmss-1_0"), encode(status).encode())
        record = BootRecord("vmss-1_0", "stage-0", now, now, 0, HOSTILE)
        self.blobs.write(NODES, boot_blob("vmss-1_0", 0, "stage-0"), encode(record).encode())

    def _finished_job(self) -> str:
        """Run a job of 300 tasks, of which two fail."""
        job = self.submit(
            step("simulate", 0, 300, retry=RetryPolicy(max_task_retries=0), expected=0.1),
            step("merge", 300, 1, ("simulate",)),
            key=HOSTILE,
        )
        while True:
            self.hand_out(4)
            received = self.receive()
            if not received:
                return job
            for item, message in received:
                bad = tuple(ref for ref in message.tasks if ref.task_id in {7, 290})
                good = tuple(ref for ref in message.tasks if ref not in bad)
                self.tell(self.upload(message, good, run="run"))
                if bad:
                    self.tell(self.upload(message, bad, Outcome.PERMANENT, run="run", number=1))
                self.queues.delete(item)
            self.gather()

    def _schedules(self) -> None:
        """Have one schedule that ran and missed, and one of a single time."""
        now = self.clock.now()
        job = JobSpecification(HOSTILE, POOL, (step("price", 0, 2),))
        hourly = Schedule(recurrence_interval=timedelta(hours=1), do_not_run_until=now + timedelta(seconds=1))
        for name, when in (("hourly", hourly), ("once", Schedule(do_not_run_until=now + timedelta(days=2)))):
            self.service.create_schedule(NewJobSchedule(name, when, job))
        self.service.run_schedule("hourly", "by hand")
        store = SqlScheduleStore(self.database)
        self.clock.advance(timedelta(hours=1, seconds=2))
        self.service.cancel_job(self.service.list_runs("hourly")[0].job_id or "")
        Schedules(store, lambda: frozenset({POOL})).step(self.epoch, self.clock.now())

    def _running_job(self) -> tuple[str, TaskMessage]:
        job = self.submit(step("simulate", 0, 3), key="running")
        self.hand_out(1)
        (_, message), *_ = self.receive()
        self.say(EventKind.STARTED, message, message.tasks[:1], node="vmss-1_0")
        self.gather()
        return job, message
