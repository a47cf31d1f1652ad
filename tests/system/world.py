"""A whole deployment in one process on a manual clock: scheduler, store, storage, machines, nodes and faults."""

import contextlib
import logging
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from unittest import mock

from node_bootstrap.protocol import EVENTS_QUEUE, SCHEDULER
from scheduler.adapters.memory import (
    LeaderRecord,
    ManualClock,
    MemoryBlobs,
    MemoryCapacity,
    MemoryLease,
    MemoryQueues,
)
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.deletion_store import SqlDeletionStore
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.adapters.sql.schedule_store import SqlScheduleStore
from scheduler.controller.assembly import Ports, assemble
from scheduler.controller.loop import Controller
from scheduler.controller.pace import USUAL
from scheduler.errors import MillpondError, NotFoundError
from scheduler.job_schedule import JobScheduleState, JobSpecification, NewJobSchedule, Overlap, Schedule
from scheduler.model import GroupKey, GroupPriority, InstanceState, NewJob, NodeGroup, NodePhase
from scheduler.policy import ScalingPolicy
from scheduler.settings import SETTINGS_BLOB, PoolSettings, SchedulerSettings, dump_settings, load_settings
from scheduler.simulator.faithful.node import SimulatedNode
from scheduler.simulator.faithful.wiring import simulated_settings
from tests.system.faults import (
    Crash,
    FaultPlan,
    Faults,
    NodeLink,
    Trace,
    Unreliable,
    UnreliableCapacity,
    UnreliableQueues,
)
from tests.system.judge import Judge
from tests.system.workload import JobPlan, PlannedPrograms, draw_jobs

POOL = "pool"
QUICK = ScalingPolicy(
    acceptable_wait=timedelta(seconds=30),
    max_nodes=6,
    default_task_time=timedelta(seconds=20),
    idle_timeout=timedelta(seconds=20),
    boot_deadline=timedelta(seconds=90),
    silence_deadline=timedelta(seconds=45),
)


QUIET = FaultPlan()
SCHEDULE = "schedule"
OCCURRENCES = 4


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    At `redeclared_at` a new generation of the pool's group is declared. `script` is called before each tick and may do
    anything to the world. `scheduled` is the job of a schedule that makes one each minute, `OCCURRENCES` in all.
    """

    seed: int
    jobs: tuple[JobPlan, ...] | None = None
    faults: FaultPlan = QUIET
    policy: ScalingPolicy = QUICK
    task_slots: int = 2
    schedulers: int = 1
    longest_tick: timedelta = timedelta(seconds=9)
    bound: timedelta = timedelta(minutes=40)
    redeclared_at: timedelta | None = None
    script: Callable[["World"], None] | None = None
    scheduled: JobPlan | None = None
    overlap: Overlap = Overlap.WAIT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; `wrong` is empty where all that must hold held."""

    wrong: tuple[str, ...]
    digest: str
    lasted: timedelta
    trace: tuple[str, ...]


class StoredSettings:
    """The deployment's settings, read from storage when they changed."""

    def __init__(self, blobs: MemoryBlobs) -> None:
        self._blobs = blobs
        self._etag: str | None = None

    def changed(self) -> SchedulerSettings | None:
        """Give the settings if they are new since the last call that gave some."""
        (entry,) = self._blobs.list(SCHEDULER, SETTINGS_BLOB)
        if entry.etag == self._etag:
            return None
        settings = load_settings(self._blobs.read(SCHEDULER, SETTINGS_BLOB))
        self._etag = entry.etag
        return settings

    def again(self) -> None:
        """Have the next call give them, new or not."""
        self._etag = None


class Complaints(logging.Handler):
    """Defects that the controller survives: it logs them as errors."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(logging.ERROR)
        self._judge = judge

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a defect to the judge."""
        self._judge.accuse(f"defect: {self.format(record)}")


@dataclass
class World:
    """The deployment. Build it, `run` it once."""

    scenario: Scenario
    clock: ManualClock = field(default_factory=ManualClock)
    nodes: dict[str, SimulatedNode] = field(default_factory=dict)
    job_ids: dict[str, str] = field(default_factory=dict)
    idle_schedulers: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.began = self.clock.now()
        self.trace = Trace(self.clock)
        self.faults = Faults(scenario.seed, scenario.faults, self.clock, self.trace)
        self.random = random.Random(scenario.seed + 1)  # noqa: S311  repeatable on purpose
        self.queues = MemoryQueues(self.clock)
        self.blobs = MemoryBlobs(self.clock)
        self.capacity = MemoryCapacity(self.clock, boot_delay=timedelta(seconds=20), delete_delay=timedelta(seconds=10))
        self.database = Database("sqlite://")
        self.jobs = SqlJobStore(self.database)
        self.dispatch = SqlDispatchStore(self.database)
        self.fleet = SqlFleetStore(self.database)
        self.schedules = SqlScheduleStore(self.database)
        self.leader = LeaderRecord()
        self.plans = scenario.jobs if scenario.jobs is not None else draw_jobs(self.random)
        self.judge = Judge(self.jobs, self.blobs, {})
        self.declare("a")
        if scenario.scheduled is not None:
            self.schedule(scenario.scheduled, scenario.overlap)
        self.controllers: list[Controller] = [self.start_scheduler() for _ in range(scenario.schedulers)]

    def declare(self, generation: str) -> None:
        """Do what `pulumi up` does: make the generation's set and queue, and publish the settings."""
        name = self.current = f"{POOL}-{generation}"
        self.capacity.create_set(name)
        self.queues.create_queue(name)
        group = NodeGroup(
            key=GroupKey(POOL, "regular", generation),
            scale_set=name,
            queue=name,
            vm_size="Standard_D2s_v5",
            priority=GroupPriority.REGULAR,
            task_slots=self.scenario.task_slots,
            max_nodes=self.scenario.policy.max_nodes,
        )
        settings = simulated_settings((PoolSettings(POOL, self.scenario.policy, (group,)),))
        self.blobs.write(SCHEDULER, SETTINGS_BLOB, dump_settings(settings).encode())

    def submit(self) -> None:
        """Submit the jobs that are due, each request twice, as a client does whose connection breaks."""
        due = [plan for plan in self.plans if plan.arrives <= self.age() and plan.name not in self.job_ids]
        for plan in due:
            new = NewJob(plan.name, POOL, f"key-{plan.name}", plan.priority)
            job_id = self.jobs.create_job(new, self.clock.now()).job_id
            assert self.jobs.create_job(new, self.clock.now()).job_id == job_id
            for chunk, step in enumerate(plan.job_steps()):
                for _ in range(2):
                    self.jobs.add_steps(job_id, chunk, (step,))
            for _ in range(2):
                self.jobs.arm_job(job_id, plan.task_count, self.clock.now())
            self.job_ids[plan.name] = job_id
            self.judge.plans = {**self.judge.plans, job_id: plan}

    def schedule(self, plan: JobPlan, overlap: Overlap) -> None:
        """Make the schedule."""
        minute = timedelta(minutes=1)
        first, last = self.began + minute, self.began + OCCURRENCES * minute
        when = Schedule(recurrence_interval=minute, do_not_run_until=first, do_not_run_after=last, overlap=overlap)
        job = JobSpecification(plan.name, POOL, plan.job_steps(), plan.priority)
        self.schedules.create(NewJobSchedule(SCHEDULE, when, job), self.began)

    def adopt(self, plan: JobPlan) -> None:
        """Have the judge look at the jobs that the schedule has made."""
        for run in self.schedules.runs(SCHEDULE, 100):
            if run.job_id is not None and run.job_id not in self.judge.plans:
                self.judge.plans = {**self.judge.plans, run.job_id: plan}
                self.trace.note(f"job {run.job_id} of the schedule is there")

    def check_schedule(self) -> None:
        """Accuse a schedule of which an occurrence made two jobs, or came to nothing without a word."""
        runs = self.schedules.runs(SCHEDULE, 100)
        made = [run for run in runs if run.job_id is not None]
        jobs = {job.job_id for job in self.jobs.jobs()} - set(self.job_ids.values())
        if len(made) != len({run.occurrence for run in made}) or {run.job_id for run in made} != jobs:
            self.judge.accuse(f"the schedule's jobs are {sorted(jobs)}, its runs {runs}")
        if sum(run.count for run in runs) != OCCURRENCES:
            self.judge.accuse(f"of {OCCURRENCES} occurrences these are told of: {runs}")

    def start_scheduler(self) -> Controller:
        """Make a scheduler's process: everything new but the store and the world outside."""

        def port(inner: object, name: str) -> Any:
            return Unreliable(inner, self.faults, name)

        blobs = port(self.blobs, "blobs")
        return assemble(
            Ports(
                lease=port(MemoryLease(self.clock, self.leader, timedelta(seconds=15)), "lease"),
                epochs=self.database,
                fleet=port(self.fleet, "fleet"),
                dispatch=port(self.dispatch, "dispatch"),
                deletions=port(SqlDeletionStore(self.database), "deletions"),
                capacity=UnreliableCapacity(self.capacity, self.faults, self.check_removal),
                queues=UnreliableQueues(self.queues, self.faults),
                blobs=blobs,
                schedules=port(self.schedules, "schedules"),
            ),
            StoredSettings(blobs),
            replace(USUAL, renew=timedelta(seconds=5)),
            reconcile_interval=timedelta(seconds=30),
        )

    def run(self) -> Outcome:
        """Let time pass until every job has ended and every machine is gone, or the bound is reached."""
        with repeatable_names(self.scenario.seed), self.defects_noted():
            while not self.settled() and self.age() < self.scenario.bound and not self.judge.wrong:
                self.tick()
        if not self.settled() and not self.judge.wrong:
            self.judge.accuse(f"not settled within {self.scenario.bound}: {self.describe()}")
        if self.scenario.scheduled is not None:
            self.check_schedule()
        wrong = tuple(self.judge.sentence())
        self.trace.note(self.blobs.digest("outputs"))
        self.database.close()
        return Outcome(wrong, self.trace.digest(), self.age(), tuple(self.trace.lines))

    def tick(self) -> None:
        """Let a little time pass."""
        if self.scenario.script is not None:
            self.scenario.script(self)
        due = self.scenario.redeclared_at
        if due is not None and self.age() >= due and self.current == f"{POOL}-a":
            self.declare("b")
        self.submit()
        self.meet_machines()
        self.strike_nodes()
        for name in self.random.sample(sorted(self.nodes), len(self.nodes)):
            self.nodes[name].step(self.clock.now())
        for number in range(len(self.controllers)):
            if number not in self.idle_schedulers:
                self.step_scheduler(number)
        if self.scenario.scheduled is not None:
            self.adopt(self.scenario.scheduled)
        self.judge.look()
        self.check_size()
        self.clock.advance(timedelta(seconds=self.random.randint(1, int(self.scenario.longest_tick.total_seconds()))))

    def step_scheduler(self, number: int) -> None:
        """Step a scheduler; if it dies, another process takes its place."""
        try:
            self.controllers[number].step(self.clock.now())
        except Crash:
            self.trace.note(f"scheduler {number} is started again")
            self.controllers[number] = self.start_scheduler()
        except MillpondError as error:
            self.trace.note(f"scheduler {number}: {type(error).__name__}")

    def meet_machines(self) -> None:
        """Boot nodes on machines that came up, and end those whose machine is gone or going."""
        listed = {i.node_id: (i, name) for name in self.capacity.scale_sets() for i in self.capacity.instances(name)}
        for node_id in [name for name in self.nodes if name not in listed]:
            self.forget(node_id, "is gone")
        for node_id, (instance, scale_set) in listed.items():
            if instance.state is InstanceState.DELETING and node_id in self.nodes:
                self.forget(node_id, "is deleted")
            elif instance.state is InstanceState.RUNNING and node_id not in self.nodes:
                link = NodeLink(self.queues, self.blobs, self.faults)
                self.nodes[node_id] = SimulatedNode(
                    node_id,
                    scale_set,
                    self.scenario.task_slots,
                    link,
                    PlannedPrograms(self.plan_of),
                    self.clock.now(),
                    self.trace.note,
                )
                self.trace.note(f"node {node_id} boots")

    def forget(self, node_id: str, why: str) -> None:
        """End a machine."""
        self.nodes.pop(node_id).kill()
        self.trace.note(f"node {node_id} {why}")

    def strike_nodes(self) -> None:
        """Let faults befall nodes."""
        plan = self.faults.plan
        for name in sorted(self.nodes):
            node = self.nodes[name]
            if node.alive and self.faults.strike(plan.killed, f"node {name} killed"):
                node.kill()
            if node.alive and self.faults.strike(plan.restarted, f"runner of {name} restarted"):
                node.restart(self.clock.now())
            if node.alive and self.faults.strike(plan.noticed, f"node {name} is told that it goes"):
                node.notice("eviction", self.clock.now())
            if node.link.hung:
                node.link.hung = not self.faults.strike(0.1, f"node {name} is back") and self.age() < plan.quiet_after
            elif self.faults.strike(plan.hung, f"node {name} hangs"):
                node.link.hung = True
            if self.faults.strike(plan.evicted, f"node {name} evicted"):
                scale_set, _, instance_id = name.rpartition("_")
                self.capacity.evict(scale_set, instance_id)

    def check_removal(self, node_id: str) -> None:
        """Accuse a removal of a machine on which a task runs, unless a fault had silenced the machine before."""
        node = self.nodes.get(node_id)
        if node is None or not node.alive or not node.running_tasks():
            return
        silence = self.clock.now() - node.heard_at
        if silence <= self.scenario.policy.silence_deadline:
            self.judge.accuse(f"{node_id} is deleted while it runs {node.running_tasks()}, heard of {silence} ago")

    def check_size(self) -> None:
        """Accuse a pool of more machines than its maximum, those that are going left out."""
        instances = [each for name in self.capacity.scale_sets() for each in self.capacity.instances(name)]
        kept = [each.node_id for each in instances if each.state is not InstanceState.DELETING]
        if len(kept) > self.scenario.policy.max_nodes:
            self.judge.accuse(f"{len(kept)} machines, at most {self.scenario.policy.max_nodes} are allowed: {kept}")

    def plan_of(self, job_id: str) -> JobPlan:
        """Give the plan of a job; it stands for the programs that the job's commands name."""
        return self.judge.plans[job_id]

    def cancel(self, job: str) -> None:
        """Cancel a job."""
        self.jobs.cancel_job(self.job_ids[job], self.clock.now())
        self.judge.cancelled.add(self.job_ids[job])

    def age(self) -> timedelta:
        """Say how much time has passed."""
        return self.clock.now() - self.began

    def settled(self) -> bool:
        """Whether every job has ended, the pool is at its minimum, and of retired generations nothing is left."""
        if (
            len(self.job_ids) < len(self.plans)
            or not self.judge.all_ended()
            or self.capacity.scale_sets() != (self.current,)
        ):
            return False
        if any(each.state is not JobScheduleState.COMPLETED for each in self.schedules.schedules(self.clock.now())):
            return False
        machines = len(self.capacity.instances(self.current))
        return machines <= self.scenario.policy.min_nodes and self.queues.names() == (EVENTS_QUEUE, self.current)

    def phases(self) -> dict[str, NodePhase]:
        """Give each node's phase as the store has it."""
        return {node.node_id: node.phase for node in self.fleet.nodes(POOL) if node.phase is not NodePhase.GONE}

    def describe(self) -> str:
        """Say where things stand, for a failed run."""
        jobs = [(job.name, job.state.value, job.counts) for job in self.jobs.jobs()]
        decisions = [f"{d.action} {d.group} {d.count}: {d.reason}" for d in self.fleet.decisions(POOL, 5)]
        return f"jobs {jobs}; nodes {self.phases()}; queues {self.depths()}; last decisions {decisions}"

    def depths(self) -> dict[str, int]:
        """Give what is on each queue."""
        found = {}
        for name in self.queues.names():
            with contextlib.suppress(NotFoundError):
                found[name] = self.queues.depth(name)
        return found

    @contextlib.contextmanager
    def defects_noted(self) -> Iterator[None]:
        """Hand what the controller logs as a defect to the judge, and keep its other words quiet."""
        logger = logging.getLogger("scheduler")
        handler, level = Complaints(self.judge), logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


@contextlib.contextmanager
def repeatable_names(seed: int) -> Iterator[None]:
    """Draw the names that are otherwise random from the seed, so that a run can be repeated exactly."""
    source = random.Random(seed + 2)  # noqa: S311  repeatable on purpose

    def draw() -> uuid.UUID:
        return uuid.UUID(int=source.getrandbits(128), version=4)

    with mock.patch("uuid.uuid4", draw):
        yield


def run(scenario: Scenario) -> Outcome:
    """Simulate a scenario."""
    return World(scenario).run()
