"""A pool in memory: the real stores and fleet controller, and nodes that only do as their control blob says."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from node_bootstrap.protocol import (
    CONTROL,
    NODES,
    Directive,
    HeldMessage,
    NodeControl,
    NodeState,
    NodeStatus,
    TaskDefinition,
    control_blob,
    decode,
    encode,
    status_blob,
)
from scheduler.adapters.memory import ManualClock, MemoryBlobs, MemoryCapacity, MemoryQueues
from scheduler.adapters.sql.database import Database
from scheduler.adapters.sql.dispatch_store import SqlDispatchStore
from scheduler.adapters.sql.fleet_store import SqlFleetStore
from scheduler.adapters.sql.job_store import SqlJobStore
from scheduler.controller.fleet import Fleet
from scheduler.controller.observe import FleetReading
from scheduler.errors import CapacityError, CapacityErrorKind, NotFoundError, UnavailableError
from scheduler.model import (
    GroupKey,
    GroupPriority,
    InstanceState,
    NewJob,
    Node,
    NodeGroup,
    NodePhase,
    ScaleSetView,
    Step,
)
from scheduler.policy import ScalingPolicy
from scheduler.ports.storage import BlobEntry
from scheduler.settings import PoolSettings, SchedulerSettings

POOL = "pool"
POLICY = ScalingPolicy(
    acceptable_wait=timedelta(minutes=1),
    max_nodes=6,
    idle_timeout=timedelta(minutes=2),
    boot_deadline=timedelta(minutes=10),
    silence_deadline=timedelta(minutes=3),
)


def group(generation: str) -> NodeGroup:
    """Make the pool's one group, of a generation."""
    key = GroupKey(POOL, "main", generation)
    return NodeGroup(key, f"set-{generation}", f"work-{generation}", "Standard_D2s_v5", GroupPriority.REGULAR, 2, 5)


def settings(*generations: str, shadow: ScalingPolicy | None = None) -> SchedulerSettings:
    """Make the settings in which these generations are current, and a policy is proposed."""
    pool = PoolSettings(POOL, POLICY, tuple(group(generation) for generation in generations), shadow)
    return SchedulerSettings("local", "sub", "rg", "eastus", "https://arm", "https://b/", "https://q/", "acct", (pool,))


class FlakyBlobs(MemoryBlobs):
    """Blobs whose statuses cannot be listed, or nothing be written, on demand."""

    deaf = False
    read_only = False

    def list(self, container: str, prefix: str) -> tuple[BlobEntry, ...]:
        """List, or fail."""
        if self.deaf:
            raise UnavailableError("storage does not answer")
        return super().list(container, prefix)

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write, or fail."""
        if self.read_only and container == CONTROL:
            raise UnavailableError("storage takes nothing")
        super().write(container, name, data)


class RecordingCapacity(MemoryCapacity):
    """Scale sets that note what was asked of them, and can be unreadable, full, or give an order up, on demand."""

    unreadable = False
    full: frozenset[str] = frozenset()
    given_up: str | None = None

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock, ("set-g1", "set-g2"))
        self.raised: list[tuple[str, int]] = []
        self.removed: list[tuple[str, tuple[str, ...]]] = []

    def observe(self, group: NodeGroup) -> ScaleSetView | None:
        """Read, or fail."""
        if self.unreadable:
            raise UnavailableError("throttled")
        view = super().observe(group)
        return view if view is None else replace(view, error=self.given_up)

    def raise_to(self, group: NodeGroup, view: ScaleSetView, capacity: int) -> None:
        """Raise, and note it."""
        if group.scale_set in self.full:
            raise CapacityError(CapacityErrorKind.ALLOCATION, f"{group.scale_set} is full")
        super().raise_to(group, view, capacity)
        self.raised.append((group.scale_set, capacity))

    def remove(self, group: NodeGroup, instance_ids: tuple[str, ...]) -> None:
        """Remove, and note it."""
        super().remove(group, instance_ids)
        self.removed.append((group.scale_set, instance_ids))


class World:
    """Everything but feed, collect and reconcile."""

    def __init__(self, url: str = "sqlite://") -> None:
        self.clock = ManualClock()
        self.blobs = FlakyBlobs(self.clock)
        self.queues = MemoryQueues(self.clock, ("work-g1", "work-g2"))
        self.capacity = RecordingCapacity(self.clock)
        self.database = Database(url)
        self.store = SqlFleetStore(self.database)
        self.jobs = SqlJobStore(self.database)
        self.dispatch = SqlDispatchStore(self.database)
        self.held: dict[str, tuple[str, ...]] = {}
        self.dead: set[str] = set()
        self.restarts: dict[str, int] = {}
        self.lead()
        self.declare("g1")

    def lead(self) -> None:
        """Have a new leader take over, which remembers nothing."""
        self.epoch = self.database.begin_epoch()
        self.fleet = Fleet(self.store, self.dispatch, self.capacity, self.queues, self.blobs)

    def declare(self, *generations: str) -> None:
        """Deploy these generations."""
        self.store.sync_groups(self.epoch, settings(*generations), self.clock.now())

    def submit(self, tasks: int) -> str:
        """Submit a job of tasks of a minute each."""
        now = self.clock.now()
        job = self.jobs.create_job(NewJob("job", POOL, f"key-{now}"), now)
        step = Step(TaskDefinition("only", ("true",), 0, tasks), expected_task_seconds=60.0)
        self.jobs.add_steps(job.job_id, 0, (step,))
        self.jobs.arm_job(job.job_id, tasks, now)
        return job.job_id

    def destroy(self) -> None:
        """Make the sets and the storage of the deployment anew; the scheduler's store stays."""
        self.capacity._sets.clear()
        self.capacity.create_set("set-g1")
        for container in (NODES, CONTROL):
            for entry in self.blobs.list(container, ""):
                self.blobs.delete(container, entry.name)
        self.restarts["set-g1_0"] = 1
        self.lead()

    def step(self) -> FleetReading:
        """Let the controller do one step."""
        now = self.clock.now()
        reading = self.fleet.observe(self.epoch, now)
        acted = self.fleet.act(self.epoch, reading, now)
        self.fleet.sample(self.epoch, reading, acted, now)
        self.fleet.keep(acted)
        return reading

    def run(self, span: timedelta, every: timedelta = timedelta(seconds=10)) -> None:
        """Let time pass, with nodes and controller at work."""
        end = self.clock.now() + span
        while self.clock.now() < end:
            self.clock.advance(every)
            self.nodes_report()
            self.step()

    def nodes_report(self) -> None:
        """Have each node that runs read its control and write its status."""
        for name in self.capacity.scale_sets():
            for instance in self.capacity.instances(name):
                if instance.state is InstanceState.RUNNING and instance.node_id not in self.dead:
                    self._report(instance.node_id)

    def control(self, node_id: str) -> NodeControl | None:
        """Give a node's control."""
        try:
            return decode(NodeControl, self.blobs.read(CONTROL, control_blob(node_id)))
        except NotFoundError:
            return None

    def report(self, node_id: str, state: NodeState, control_number: int) -> None:
        """Write a status as the node would."""
        held = tuple(HeldMessage(name, "job", ()) for name in self.held.get(node_id, ()))
        status = NodeStatus(
            node_id=node_id,
            incarnation=f"life {self.restarts.get(node_id, 0)}",
            state=state,
            control_number=control_number,
            task_slots=2,
            runner_version="1",
            started_at=self.clock.now(),
            held=held,
            note=self.clock.now().isoformat(),
        )
        self.blobs.write(NODES, status_blob(node_id), encode(status).encode())

    def phases(self) -> Mapping[str, NodePhase]:
        """Give the phase of each node that is not gone."""
        return {each.node_id: each.phase for each in self.rows() if each.phase is not NodePhase.GONE}

    def rows(self) -> tuple[Node, ...]:
        """Give all nodes."""
        return self.store.nodes(POOL)

    def decisions(self) -> list[tuple[str, int]]:
        """Give what was done, holds left out."""
        return [(each.action, each.count) for each in self.store.decisions(POOL, 1000) if each.action != "hold"]

    def reasons(self) -> list[str]:
        """Give the reasons of all decisions."""
        return [each.reason for each in self.store.decisions(POOL, 1000)]

    def _report(self, node_id: str) -> None:
        control = self.control(node_id)
        if control is None:
            self.report(node_id, NodeState.WAITING, 0)
            return
        if control.directive is Directive.WORK:
            state = NodeState.WORKING
        else:
            state = NodeState.DRAINING if self.held.get(node_id) else NodeState.DRAINED
        self.report(node_id, state, control.number)
