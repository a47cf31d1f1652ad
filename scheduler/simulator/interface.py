"""What a scaling policy is to the simulator: a pure function from what is seen, and its own state, to orders."""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeVar

from scheduler.errors import CapacityErrorKind
from scheduler.simulator.clock import ANY_TIME, Clock
from scheduler.sketch import Expected

State = TypeVar("State")


class Detail(IntEnum):
    """How much a policy is shown; more of it takes the simulator longer.

    COUNTS  numbers of nodes by phase
    AGES    since when each node boots or is idle, too
    SPARE   every node but the busy ones, too
    WORK    what is known of workflows, too, where jobs wait for others
    NODES   the busy nodes, too
    """

    COUNTS = 0
    AGES = 1
    SPARE = 2
    WORK = 3
    NODES = 4


@dataclass(frozen=True, slots=True, eq=False)
class NodeView:
    """One node, by the same object until it changes.

    phase       `booting`, `up`, `draining` (its last jobs run) or `drained`
    ready_at    when it came up; None while it boots
    idle_since  since when no job runs on it; None while it boots or a job runs
    used        slots in use
    """

    number: int
    phase: str
    requested_at: float
    ready_at: float | None
    idle_since: float | None
    used: int


class StepView(NamedTuple):
    """A step of a workflow; numbers are slots. Of jobs that are in no workflow, `workflow` is below 0.

    times    what to expect of the run time of one
    cohorts  when those that run began, each with how many
    """

    workflow: int
    step: int
    waiting: int
    running: int
    times: Expected
    cohorts: tuple[tuple[float, int], ...]


class ComingView(NamedTuple):
    """A step whose jobs wait for nothing but jobs at hand: `behind` are these by step, each with how many of them."""

    workflow: int
    step: int
    slots: int
    times: Expected
    behind: tuple[tuple[StepView, int], ...]


class WorkView(NamedTuple):
    """What a scheduler's store knows of a pool's work beyond its numbers.

    steps             the greatest ones that have waiting or running jobs
    waiting, running  slots of the others
    times             what to expect of any of the pool's jobs
    coming            what is about to become ready
    """

    steps: tuple[StepView, ...]
    waiting: int
    running: int
    times: Expected
    coming: tuple[ComingView, ...]


class Observation(NamedTuple):
    """What a policy sees of a group of nodes and of the pool whose work it does. Times are seconds of the workload.

    now                 when the policy is asked
    taken_at            when this was seen: earlier than `now` by the observation lag
    waiting, running    jobs that are ready and wait, and that run; with `_slots`: the slots that they need
    backlog_seconds     slot-seconds of the waiting jobs, where run times are known beforehand
    oldest_waiting_at   when the job that has waited longest became ready
    requested           of the booting nodes those that the cloud does not list yet
    booting, idle, busy, draining   nodes by phase; those being drained are in none of the other three
    booting_since       when each booting node was asked for, oldest first (from `Detail.AGES` on)
    idle_since          since when each idle node is idle, longest idle first (from `Detail.AGES` on)
    nodes               every node in order of its number (`Detail.NODES`); below that those that boot, idle or drain
                        (from `Detail.SPARE` on)
    work                steps of workflows (from `Detail.WORK` on); None where no job of the workload waits for others
    clock               what instants these times are

    Since the policy was last asked: jobs that became ready (`arrived`), run times of those that finished (`finished`,
    in order), how long boots took (`boots`), boots that failed, nodes that were taken away (`preempted`), and nodes
    that were asked for in vain (`refused`, and why the last ones were).
    """

    now: float
    taken_at: float
    waiting: int
    waiting_slots: int
    running: int
    running_slots: int
    backlog_seconds: float | None
    oldest_waiting_at: float | None
    slots_per_node: int
    max_nodes: int | None
    requested: int
    booting: int
    idle: int
    busy: int
    draining: int
    arrived: int
    finished: tuple[float, ...]
    boots: tuple[float, ...]
    failed_boots: int
    preempted: int
    refused: int
    booting_since: tuple[float, ...] = ()
    idle_since: tuple[float, ...] = ()
    nodes: tuple[NodeView, ...] = ()
    work: WorkView | None = None
    refused_kind: CapacityErrorKind | None = None
    clock: Clock = ANY_TIME

    @property
    def up(self) -> int:
        """Nodes that take jobs."""
        return self.idle + self.busy

    @property
    def alive(self) -> int:
        """Nodes that take jobs or will."""
        return self.idle + self.busy + self.booting


@dataclass(frozen=True, slots=True)
class Orders:
    """What a policy asks for; the simulator carries it out in this order, as far as there are such nodes.

    undrain       take these nodes back
    request       ask for so many nodes
    cancel        give up so many booting nodes, newest first
    stop_idle     stop so many idle nodes, longest idle first
    drain         give these no new jobs; once empty they wait, and are paid for, until they are stopped or taken back
    retire        give these no new jobs; once empty they stop by themselves
    retire_busy   retire so many busy nodes, newest first
    shrink        take so many nodes whatever they do, as a plain decrement does: booting, then idle, then busy ones,
                  newest first; what runs there is lost and starts again
    stop          stop these nodes, whatever they do
    idle_timeout  from now on an idle node stops by itself after so long; None: as before (at first: never)
    keep          from now on no node stops by itself while there are no more than so many; None: as before
    wake_at       when to ask again although nothing has happened, and nothing was refused; None: at the next control
                  interval. It saves time: a policy whose answer depends on time alone in no way says `math.inf`.
    """

    undrain: tuple[int, ...] = ()
    request: int = 0
    cancel: int = 0
    stop_idle: int = 0
    drain: tuple[int, ...] = ()
    retire: tuple[int, ...] = ()
    retire_busy: int = 0
    shrink: int = 0
    stop: tuple[int, ...] = ()
    idle_timeout: float | None = None
    keep: int | None = None
    wake_at: float | None = None

    @property
    def changes(self) -> bool:
        """Whether any node is concerned."""
        return bool(
            self.request
            or self.cancel
            or self.stop_idle
            or self.shrink
            or self.retire_busy
            or self.undrain
            or self.drain
            or self.retire
            or self.stop
        )


# Do nothing; ask again at the next interval, or when something has happened.
NOTHING = Orders()
NOTHING_TILL_SOMETHING_HAPPENS = Orders(wake_at=math.inf)


class Asked(Protocol):
    """What every policy says of itself."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        ...

    @property
    def interval(self) -> float | None:
        """Seconds between two questions."""
        ...

    @property
    def detail(self) -> Detail:
        """How much it is shown."""
        ...


class Policy(Asked, Protocol[State]):
    """Sizes one group of nodes.

    interval  seconds between two questions; None: it is asked after every single event, without lag
    detail    how much it is shown

    `decide` is pure: the same observation and state give the same orders and state. Simulated at once or asked again,
    it must not matter; what it wants to remember is in the state, which it never changes in place.
    """

    def start(self) -> State:
        """Give the state before the first question."""
        ...

    def decide(self, seen: Observation, state: State) -> tuple[Orders, State]:
        """Say what to do, and what to remember."""
        ...


class FleetPolicy(Asked, Protocol[State]):
    """Sizes all groups of all pools at once: as `Policy`, with an observation and orders for each group in order."""

    def start(self) -> State:
        """Give the state before the first question."""
        ...

    def decide_all(self, seen: tuple[Observation, ...], state: State) -> tuple[tuple[Orders, ...], State]:
        """Say what to do with each group, and what to remember."""
        ...


@dataclass(frozen=True, slots=True)
class EachAlone:
    """Sizes each group by a policy of its own, at the interval of the first."""

    policies: tuple[Policy[Any], ...]

    @property
    def name(self) -> str:
        """Names of the policies."""
        return " + ".join(dict.fromkeys(policy.name for policy in self.policies))

    @property
    def interval(self) -> float | None:
        """The first policy's."""
        return self.policies[0].interval

    @property
    def detail(self) -> Detail:
        """The most that any wants."""
        return max(policy.detail for policy in self.policies)

    def start(self) -> tuple[Any, ...]:
        """Give every policy's state."""
        return tuple(policy.start() for policy in self.policies)

    def decide_all(
        self, seen: tuple[Observation, ...], state: tuple[Any, ...]
    ) -> tuple[tuple[Orders, ...], tuple[Any, ...]]:
        """Ask each policy about its group."""
        answers = [policy.decide(one, own) for policy, one, own in zip(self.policies, seen, state, strict=True)]
        return tuple(orders for orders, _ in answers), tuple(own for _, own in answers)
