"""A simulated node: the runner's own state machine, in a shell whose processes and network are simulated."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from node_bootstrap.protocol import (
    CONTROL,
    EVENTS_QUEUE,
    INPUTS,
    LEASE_SECONDS,
    NODES,
    OUTPUTS,
    FileRef,
    Manifest,
    NodeControl,
    Outcome,
    ResolvedInputs,
    TaskDefinition,
    TaskMessage,
    TaskRef,
    TaskReport,
    control_blob,
    decode,
    definition_blob,
    encode,
    manifest_blob,
    pack_blob,
    resolved_blob,
    sha256_hex,
    status_blob,
)
from node_bootstrap.runner import events, instructions
from node_bootstrap.runner.machine import MachineSettings
from scheduler.adapters.memory import MemoryBlobs, MemoryQueues, QueueMessage
from scheduler.errors import NotFoundError, UnavailableError
from scheduler.simulator.faithful.quiet import QuietMachine

LEASE = timedelta(seconds=LEASE_SECONDS)
STATUS_INTERVAL = timedelta(seconds=10)
# What a task writes, where it writes anything.
OUTPUT = "out.txt"
_OUTCOMES = {0: Outcome.SUCCESS, 1: Outcome.RETRYABLE}


@dataclass(frozen=True, slots=True)
class Work:
    """What a task's program will do: how long it runs, its exit code, its output then, and what is left if killed."""

    seconds: float
    exit_code: int = 0
    output: bytes = b""
    torn: bytes = b""


class Programs(Protocol):
    """The programs that tasks' commands name."""

    def begin(
        self, message: TaskMessage, definition: TaskDefinition, task: TaskRef, inputs: Mapping[str, bytes]
    ) -> Work:
        """Start one; `inputs` are the outputs of the steps that it reads, by path."""
        ...

    def end(self, job_id: str, task: TaskRef, outcome: Outcome) -> None:
        """Hear that one has ended, by itself or killed; one whose node is gone is not told of."""
        ...


class Link(Protocol):
    """A node's way to storage. Any call may raise `UnavailableError`."""

    def read(self, container: str, name: str) -> bytes:
        """Read a blob."""
        ...

    def read_range(self, container: str, name: str, offset: int, length: int) -> bytes:
        """Read part of a blob."""
        ...

    def write(self, container: str, name: str, data: bytes) -> None:
        """Write a blob."""
        ...

    def receive(self, queue: str, visibility: timedelta, limit: int) -> tuple[QueueMessage, ...]:
        """Lease messages."""
        ...

    def update(self, message: QueueMessage, visibility: timedelta) -> QueueMessage:
        """Renew a lease."""
        ...

    def delete(self, message: QueueMessage) -> None:
        """Delete a message."""
        ...

    def send_event(self, queue: str, body: str) -> None:
        """Send an event."""
        ...

    def choose(self, count: int) -> int:
        """Choose which of several things under way is done next."""
        ...

    def is_slow(self) -> bool:
        """Whether something is not done before the next tick."""
        ...


class SoundLink:
    """A way to storage that never fails and takes no time."""

    def __init__(self, queues: MemoryQueues, blobs: MemoryBlobs) -> None:
        self._queues = queues
        self.read, self.read_range, self.write = blobs.read, blobs.read_range, blobs.write
        self.receive, self.update, self.delete = queues.receive, queues.update, queues.delete

    def send_event(self, queue: str, body: str) -> None:
        """Send an event."""
        self._queues.send(queue, body)

    def choose(self, count: int) -> int:  # noqa: ARG002  all are done at once, in order
        """Take the oldest."""
        return 0

    def is_slow(self) -> bool:
        """Do everything at once."""
        return False


@dataclass(frozen=True, slots=True)
class Process:
    """A task's process, which ends by itself at `ends_at`."""

    run_id: str
    job_id: str
    task: TaskRef
    started_at: datetime
    ends_at: datetime
    work: Work


class SimulatedNode:
    """One node. Its shell carries out what the machine asks, in any order and not all at once."""

    def __init__(
        self,
        node_id: str,
        queue: str,
        task_slots: int,
        link: Link,
        programs: Programs,
        now: datetime,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.node_id = node_id
        self.link = link
        self.alive = True
        self.heard_at = now
        self._queue = queue
        self._task_slots = task_slots
        self._programs = programs
        self._note = note
        self._starts = 0
        self.restart(now)

    def restart(self, now: datetime) -> None:
        """Start the runner, and end whatever the one before had: its processes and all that it remembered."""
        self._starts += 1
        incarnation = f"{self.node_id}-{self._starts}"
        self._machine = QuietMachine(
            MachineSettings(self.node_id, incarnation, "simulated", self._task_slots, STATUS_INTERVAL, now)
        )
        self._asked: list[instructions.Instruction] = []
        self.control: bytes | None = None
        self._stops: dict[tuple[str, TaskRef], instructions.StopTask] = {}
        self._processes: dict[tuple[str, TaskRef], Process] = {}
        self._outputs: dict[tuple[str, TaskRef], bytes] = {}

    def kill(self) -> None:
        """End every process of the node, the runner's too; the machine goes on, empty."""
        self.alive = False
        self._processes.clear()

    def notice(self, reason: str, now: datetime) -> None:
        """Tell the runner that the machine goes away soon."""
        self._tell(events.StopAsked(reason, at_once=True, leave=True), now)

    def running_tasks(self) -> list[str]:
        """Give the tasks whose processes run."""
        return [f"{process.job_id}/{process.task.task_id}" for process in self._processes.values()]

    def next_end(self) -> datetime | None:
        """Give when the first of the processes ends by itself."""
        return min((process.ends_at for process in self._processes.values()), default=None)

    @property
    def polls(self) -> bool:
        """Whether it asks its queue for messages."""
        return self._machine.polls

    def quiet_until(self, now: datetime) -> datetime | None:
        """Give until when it only looks and repeats its status, if no look finds anything new; None if it does more."""
        return None if self._asked else self._machine.quiet_until(now)

    def pass_over(self, first: datetime, before: datetime) -> datetime | None:
        """Have looked and found nothing at all ticks before an instant; say when its status was last repeated."""
        repeated_at = self._machine.pass_over(first, before)
        if repeated_at is not None:
            self.heard_at = repeated_at
        return repeated_at

    def step(self, now: datetime) -> None:
        """Let processes end, give the runner a tick, and carry out what it asks; some of that is left for later."""
        if not self.alive:
            return
        for process in [process for process in self._processes.values() if process.ends_at <= now]:
            code = process.work.exit_code
            self._end(process, _OUTCOMES.get(code, Outcome.PERMANENT), code, process.work.output, "", now)
        self._tell(events.Tick(), now)
        left: list[instructions.Instruction] = []
        while self._asked and self.alive:
            asked = self._asked.pop(self.link.choose(len(self._asked)))
            if self.link.is_slow():
                left.append(asked)
            else:
                self._carry_out(asked, now)
        self._asked += left

    def _tell(self, event: events.MachineEvent, now: datetime) -> None:
        self._asked += self._machine.handle(event, now)

    def _carry_out(self, asked: instructions.Instruction, now: datetime) -> None:
        match asked:
            case instructions.StopTask():
                self._stop(asked, now)
            case instructions.Discard():
                self._outputs = {key: data for key, data in self._outputs.items() if key[0] != asked.run_id}
            case instructions.Exit():
                self._note(f"node {self.node_id} exits: {asked.reason}")
                self.kill()
            case instructions.StartTask():
                self._start(asked, now)
            case instructions.ReadControl() | instructions.WriteStatus() | instructions.Receive():
                self._tell(self._of_node(asked, now), now)
            case _:
                self._tell(self._of_run(asked, now), now)

    def _of_node(
        self, asked: instructions.ReadControl | instructions.WriteStatus | instructions.Receive, now: datetime
    ) -> events.NodeEvent:
        match asked:
            case instructions.ReadControl():
                try:
                    text = self.link.read(CONTROL, control_blob(self.node_id))
                except NotFoundError:
                    return events.ControlRead(None)
                except UnavailableError:
                    return events.ControlFailed()
                self.control = text
                return events.ControlRead(_control(text))
            case instructions.WriteStatus():
                try:
                    self.link.write(NODES, status_blob(self.node_id), encode(asked.status).encode())
                except UnavailableError:
                    return events.StatusFailed()
                self.heard_at = now
                return events.StatusWritten(now)
            case instructions.Receive():
                try:
                    received = self.link.receive(self._queue, LEASE, asked.count)
                except (NotFoundError, UnavailableError):
                    return events.ReceiveFailed()
                return events.Received(
                    tuple(events.Delivery(_lease(each), each.body, each.dequeue_count) for each in received), now
                )

    def _of_run(
        self,
        asked: instructions.Renew | instructions.Upload | instructions.SendEvent | instructions.DeleteMessage,
        now: datetime,
    ) -> events.RunEvent:
        match asked:
            case instructions.Renew():
                return self._renew(asked, now)
            case instructions.DeleteMessage():
                return self._delete(asked)
            case instructions.Upload():
                try:
                    return events.Uploaded(asked.run_id, asked.number, self._upload(asked))
                except UnavailableError:
                    return events.UploadFailed(asked.run_id, asked.number)
            case instructions.SendEvent():
                try:
                    self.link.send_event(EVENTS_QUEUE, encode(asked.event))
                except UnavailableError:
                    return events.EventFailed(asked.run_id, asked.number)
                return events.EventSent(asked.run_id, asked.number)

    def _renew(self, asked: instructions.Renew, now: datetime) -> events.RunEvent:
        try:
            renewed = self.link.update(self._message(asked.lease), LEASE)
        except NotFoundError:
            return events.RenewFailed(asked.run_id, gone=True)
        except UnavailableError:
            return events.RenewFailed(asked.run_id, gone=False)
        return events.Renewed(asked.run_id, _lease(renewed), now)

    def _delete(self, asked: instructions.DeleteMessage) -> events.RunEvent:
        with contextlib.suppress(NotFoundError):
            try:
                self.link.delete(self._message(asked.lease))
            except UnavailableError:
                return events.DeleteFailed(asked.run_id)
        return events.Deleted(asked.run_id)

    def _start(self, asked: instructions.StartTask, now: datetime) -> None:
        """Stage a task's files and start its process."""
        try:
            definition = decode(TaskDefinition, self.link.read(INPUTS, definition_blob(asked.message.definition)))
            inputs = self._stage(asked.message)
        except UnavailableError:
            report = _unstarted(asked.task, Outcome.NODE_FAULT, "its files could not be read", now)
            self._tell(events.TaskEnded(asked.run_id, report), now)
            return
        stop = self._stops.pop((asked.run_id, asked.task), None)
        if stop is not None:
            report = _unstarted(asked.task, stop.outcome, stop.reason, now)
            self._tell(events.TaskEnded(asked.run_id, report), now)
            return
        work = self._programs.begin(asked.message, definition, asked.task, inputs)
        ends_at = now + timedelta(seconds=work.seconds)
        process = Process(asked.run_id, asked.message.job_id, asked.task, now, ends_at, work)
        self._processes[asked.run_id, asked.task] = process
        self._note(f"{self.node_id} runs task {asked.task.task_id} of {process.job_id}, attempt {asked.task.attempt}")

    def _stage(self, message: TaskMessage) -> dict[str, bytes]:
        if message.inputs is None:
            return {}
        resolved = decode(ResolvedInputs, self.link.read(INPUTS, resolved_blob(message.inputs)))
        found = {}
        for file in resolved.files:
            found[file.path] = self.link.read_range(file.container, file.blob, file.offset, file.length)
            if sha256_hex(found[file.path]) != file.sha256:
                raise ValueError(f"{file} is not what its manifest says")
        return {path: data for path, data in found.items() if path.endswith(OUTPUT)}

    def _stop(self, asked: instructions.StopTask, now: datetime) -> None:
        process = self._processes.get((asked.run_id, asked.task))
        if process is None:
            self._stops[asked.run_id, asked.task] = asked
        else:
            self._end(process, asked.outcome, None, process.work.torn, asked.reason, now)

    def _end(
        self, process: Process, outcome: Outcome, code: int | None, output: bytes, reason: str, now: datetime
    ) -> None:
        task = process.task
        del self._processes[process.run_id, task]
        self._outputs[process.run_id, task] = output
        self._programs.end(process.job_id, task, outcome)
        report = TaskReport(task.task_id, task.attempt, outcome, code, reason, process.started_at, now)
        self._tell(events.TaskEnded(process.run_id, report, len(output)), now)

    def _upload(self, asked: instructions.Upload) -> str:
        message, offset, pack, reports = asked.message, 0, b"", []
        blob = pack_blob(message.job_id, message.message_id, asked.run_id, asked.number)
        for report in asked.reports:
            data = self._outputs.get((asked.run_id, TaskRef(report.task_id, report.attempt)), b"")
            file = FileRef(OUTPUT, OUTPUTS, blob, offset, len(data), sha256_hex(data))
            reports.append(replace(report, files=(file,) if data else ()))
            pack, offset = pack + data, offset + len(data)
        self.link.write(OUTPUTS, blob, pack)
        name = manifest_blob(message.job_id, message.message_id, asked.run_id, asked.number)
        manifest = Manifest(message.message_id, message.job_id, self.node_id, asked.run_id, tuple(reports))
        self.link.write(OUTPUTS, name, encode(manifest).encode())
        return name

    def _message(self, lease: instructions.Lease) -> QueueMessage:
        return QueueMessage(self._queue, int(lease.queue_message_id), int(lease.pop_receipt), 1, "")


@lru_cache(maxsize=4096)
def _control(text: bytes) -> NodeControl:
    return decode(NodeControl, text)


def _lease(message: QueueMessage) -> instructions.Lease:
    return instructions.Lease(str(message.number), str(message.receipt))


def _unstarted(task: TaskRef, outcome: Outcome, reason: str, now: datetime) -> TaskReport:
    return TaskReport(task.task_id, task.attempt, outcome, None, reason, now, now)
