"""Where the leader keeps what is handed out, and commits what comes back.

Methods that take an `epoch` are one transaction each and raise `StaleLeaderError` when a later epoch has begun;
nothing is written then. The others only read.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from node_bootstrap.protocol import Manifest, StopRef, TaskRef
from scheduler.dispatch.records import (
    HandOut,
    OpenMessage,
    OutgoingMessage,
    QueueLoad,
    ReadyStep,
    Start,
    StepSources,
)
from scheduler.model import PoolDemand


class DispatchStore(Protocol):
    """Tasks on their way to nodes and back."""

    def has_work(self) -> bool:
        """Whether any armed job has not ended, or any message is not accounted for."""
        ...

    def demand(self, pool: str) -> PoolDemand:
        """Aggregate the pool's open tasks, by step, too, and say what is known to come.

        `mean_task_seconds` is weighted by the steps that wait, where known. The classes are few: steps with few tasks
        are told together.
        """
        ...

    def stops(self, pool: str) -> tuple[StopRef, ...]:
        """Give the runs to stop: cancelled jobs with messages still out, and attempts made needless by a commit."""
        ...

    def ready_steps(self, pool: str) -> tuple[ReadyStep, ...]:
        """Give the steps of active jobs with tasks that wait for a message."""
        ...

    def loads(self, pool: str) -> tuple[QueueLoad, ...]:
        """Give what is out on the pool's queues, by queue and job."""
        ...

    def step_sources(self, job_id: str, step: int) -> StepSources:
        """Give a step's definition and its inputs, resolved from committed manifests, for publishing."""
        ...

    def mark_published(self, epoch: int, job_id: str, step: int, inputs: str | None) -> None:
        """Record that the step's blobs are in storage; `inputs` is the hash of its resolved inputs, if it has any."""
        ...

    def hand_out(self, epoch: int, orders: Sequence[tuple[str, HandOut]], deadline: datetime, now: datetime) -> None:
        """Put the next ready tasks into messages of these ids: attempt + 1 each, a row in the outbox each.

        An order for which no task is ready any more makes no message. After `deadline` a message counts as overdue.
        """
        ...

    def unsent(self, limit: int) -> tuple[OutgoingMessage, ...]:
        """Give the oldest messages in the outbox that are not marked sent."""
        ...

    def mark_sent(self, epoch: int, message_ids: Sequence[str], now: datetime) -> None:
        """Mark messages as sent."""
        ...

    def record(
        self, epoch: int, starts: Sequence[Start], manifests: Sequence[tuple[str, Manifest]], now: datetime
    ) -> frozenset[str]:
        """Record starts, and apply every report of manifests, by blob name, as design section 6.6 says, each once.

        Dependents and the job's end follow in the same transaction. Gives the messages that are not known.
        """
        ...

    def give_back(
        self,
        epoch: int,
        message_id: str,
        now: datetime,
        *,
        reason: str,
        running: tuple[TaskRef, ...] = (),
        charge: bool = False,
    ) -> bool:
        """Make the unfinished tasks of a message ready again and close it; False when it is not known.

        With `charge`, tasks that ran, by `running` or by the store, are charged a node fault and are suspect from now
        on; commit what was uploaded first, so that none of these has ended. Without it nobody is charged. Repeating
        it changes nothing.
        """
        ...

    def prune(self, epoch: int, now: datetime) -> None:
        """Remove messages that were accounted for a day ago, of jobs that have ended, and stops of jobs that have.

        Run times that no job has added to for a quarter of a year are forgotten, too.
        """
        ...

    def open_messages(self) -> tuple[OpenMessage, ...]:
        """Give the messages not yet accounted for, oldest first; few, since queues are kept shallow."""
        ...
