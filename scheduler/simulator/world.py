"""What is simulated besides the jobs: pools, their groups of nodes, and how nodes come and go."""

import math
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from scheduler.policy import NO_LIMITS, Limits


class Distribution(Protocol):
    """How long something takes."""

    def draw(self, source: random.Random) -> float:
        """Draw one length in seconds."""
        ...

    @property
    def mean(self) -> float:
        """Its expectation in seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same length."""

    seconds: float

    def draw(self, source: random.Random) -> float:  # noqa: ARG002  nothing to draw
        """Give it."""
        return self.seconds

    @property
    def mean(self) -> float:
        """It."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class Exponential:
    """Without memory."""

    mean: float

    def draw(self, source: random.Random) -> float:
        """Draw one."""
        return source.expovariate(1.0 / self.mean)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A long tail to the right; `sigma` is the deviation of its logarithm."""

    median: float
    sigma: float

    def draw(self, source: random.Random) -> float:
        """Draw one."""
        return self.median * math.exp(source.gauss(0.0, self.sigma))

    @property
    def mean(self) -> float:
        """Expectation of the lognormal law."""
        return self.median * math.exp(self.sigma**2 / 2)


@dataclass(frozen=True, slots=True)
class Measured:
    """One of the lengths that were seen, each as likely as the others."""

    values: tuple[float, ...]

    def draw(self, source: random.Random) -> float:
        """Draw one."""
        return source.choice(self.values)

    @property
    def mean(self) -> float:
        """Mean of what was seen."""
        return math.fsum(self.values) / len(self.values)


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one kind.

    boot            from the request until the node takes jobs; paid for
    boot_failure    part of the boots that come to nothing; that is noticed after `boot_deadline`, paid for
    lifetime        how long a node that is up stays before the cloud takes it back; None: for ever
    refused         spans of time in which the cloud gives no nodes
    listed_after    how long a requested node is not listed yet
    deleted_after   how long a node is paid for after it was told to stop
    initial         nodes that are up when time begins
    """

    name: str = "nodes"
    slots: int = 1
    max_nodes: int | None = None
    boot: Distribution = Fixed(240.0)
    boot_failure: float = 0.0
    boot_deadline: float = 900.0
    lifetime: Distribution | None = None
    refused: tuple[tuple[float, float], ...] = ()
    listed_after: float = 0.0
    deleted_after: float = 0.0
    initial: int = 0
    usd_per_hour: float = 0.0
    vm_size: str = ""
    spot: bool = False


class Dispatch(StrEnum):
    """In which order waiting jobs start.

    FIFO  the first job that waits starts as soon as it fits, and nothing overtakes it
    EASY  as FIFO, but a later job may overtake if that does not delay the first one, by what is known of run times
    """

    FIFO = "fifo"
    EASY = "easy"


@dataclass(frozen=True, slots=True)
class Pool:
    """A queue of jobs and the groups whose nodes do them, the preferred group first.

    Where jobs `spread`, a job of k slots takes k nodes of one slot; otherwise it takes k slots of one node. A job that
    finds `most_waiting` others waiting, and no room, is turned away. `scaling` is what our policy is told for this pool
    alone, as people write it.
    """

    name: str = "pool"
    groups: tuple[Group, ...] = (Group(),)
    dispatch: Dispatch = Dispatch.FIFO
    spread: bool = False
    most_waiting: int | None = None
    scaling: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """At most so many nodes in these groups together, named `<pool>/<group>`: the cloud gives no more.

    A policy finds out by being refused; `World.limits` is what ours is told beforehand.
    """

    groups: tuple[str, ...]
    max_nodes: int


@dataclass(frozen=True, slots=True)
class World:
    """Pools, and what they share.

    limits     what our policy is told that the pools share: vCPUs by quota, and dollars an hour
    lag        how old what a policy sees is when its orders are carried out
    offset     when the first control interval begins
    known_runs whether policies are told the run times (estimates) of waiting jobs
    wind_down  how long nodes may go on after the last job; those still up then count as a floor and are paid for until
               the last job only
    patience   how long jobs may wait without any that arrives, runs or ends before they are given up as never to be run
    """

    pools: tuple[Pool, ...] = (Pool(),)
    quotas: tuple[Quota, ...] = ()
    limits: Limits = NO_LIMITS
    lag: float = 0.0
    offset: float = 0.0
    known_runs: bool = False
    wind_down: float = 86400.0
    patience: float = 604800.0

    @property
    def groups(self) -> tuple[tuple[Pool, Group], ...]:
        """Every group with its pool, in order."""
        return tuple((pool, group) for pool in self.pools for group in pool.groups)


def one_pool(group: Group, *, lag: float = 0.0, known_runs: bool = False) -> World:
    """Make a world of one pool with one group."""
    return World(pools=(Pool(groups=(group,)),), lag=lag, known_runs=known_runs)
