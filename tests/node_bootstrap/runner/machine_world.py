"""A world for the machine: a queue, a control blob and a shell that does what the test says, on a clock of its own."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from node_bootstrap.protocol import (
    Directive,
    Event,
    NodeControl,
    NodeStatus,
    Outcome,
    StopRef,
    TaskMessage,
    TaskRef,
    TaskReport,
    encode,
)
from node_bootstrap.runner.events import (
    ControlFailed,
    ControlRead,
    Deleted,
    DeleteFailed,
    Delivery,
    EventFailed,
    EventSent,
    MachineEvent,
    Received,
    ReceiveFailed,
    Renewed,
    RenewFailed,
    StatusFailed,
    StatusWritten,
    TaskEnded,
    Tick,
    Uploaded,
    UploadFailed,
)
from node_bootstrap.runner.instructions import (
    DeleteMessage,
    Discard,
    Exit,
    Instruction,
    Lease,
    ReadControl,
    Receive,
    Renew,
    SendEvent,
    StartTask,
    StopTask,
    Upload,
    WriteStatus,
)
from node_bootstrap.runner.machine import MachineSettings, RunnerMachine

START = datetime(2026, 11, 22, tzinfo=UTC)


def message(name: str, *tasks: int, job: str = "job") -> TaskMessage:
    """A message of first attempts."""
    return TaskMessage(name, job, "ab" * 32, tuple(TaskRef(task, 1) for task in tasks))


def delivery(of: TaskMessage, count: int = 1, receipt: str = "r1") -> Delivery:
    """A message as it comes from the queue."""
    return Delivery(Lease(f"q-{of.message_id}", receipt), encode(of), count)


class World:
    """Answers at once what the machine asks; tasks end when the test says.

    Kinds of instructions in `silent` stay unanswered, those in `failing` fail.
    """

    def __init__(self, slots: int = 1) -> None:
        self.now = START
        self.machine = RunnerMachine(
            MachineSettings("set_0", "one", "v", slots, timedelta(seconds=10), START),
        )
        self.control: NodeControl | None = NodeControl(1, Directive.WORK)
        self.waiting: list[Delivery] = []
        self.silent: set[type] = set()
        self.failing: set[type] = set()
        self.asked: list[Instruction] = []
        self.running: list[StartTask] = []
        self.stops: list[StopTask] = []
        self.exit: Exit | None = None

    def give(self, event: MachineEvent) -> None:
        """Hand over one event and all that follows at once."""
        events = [event]
        while events:
            for instruction in self.machine.handle(events.pop(0), self.now):
                self.asked.append(instruction)
                answer = self._answer(instruction)
                if answer is not None:
                    events.append(answer)

    def tick(self, seconds: float = 0.25, times: int = 1) -> None:
        """Let time pass."""
        for _ in range(times):
            self.now += timedelta(seconds=seconds)
            self.give(Tick())

    def admit(self) -> None:
        """Let the node begin to work: its first status, its control, its first look at the queue."""
        self.tick(times=6)

    def end(self, outcome: Outcome = Outcome.SUCCESS, index: int = 0) -> None:
        """End a running task."""
        begun = self.running.pop(index)
        ref = begun.task
        code = {Outcome.SUCCESS: 0}.get(outcome)
        self.give(
            TaskEnded(
                begun.run_id, TaskReport(ref.task_id, ref.attempt, outcome, code, outcome.value, self.now, self.now)
            )
        )

    def stop(self, *stops: StopRef) -> None:
        """Write a stop list into the control blob."""
        assert self.control is not None
        self.control = NodeControl(self.control.number + 1, self.control.directive, stops)

    def direct(self, directive: Directive) -> None:
        """Write another directive into the control blob."""
        number = self.control.number if self.control is not None else 0
        self.control = NodeControl(number + 1, directive)

    def of(self, kind: type) -> list[Instruction]:
        """Give all instructions of a kind so far."""
        return [item for item in self.asked if isinstance(item, kind)]

    @property
    def events(self) -> list[Event]:
        """All events that were sent."""
        return [item.event for item in self.asked if isinstance(item, SendEvent)]

    @property
    def status(self) -> NodeStatus:
        """The newest status."""
        return [item.status for item in self.asked if isinstance(item, WriteStatus)][-1]

    @property
    def reports(self) -> list[TaskReport]:
        """All reports that were uploaded."""
        return [report for item in self.asked if isinstance(item, Upload) for report in item.reports]

    @property
    def order(self) -> list[str]:
        """What was asked for messages, by name, in order."""
        kinds: Iterable[type] = (StartTask, StopTask, Upload, SendEvent, DeleteMessage, Discard)
        return [
            str(item.event.kind) if isinstance(item, SendEvent) else type(item).__name__
            for item in self.asked
            if isinstance(item, tuple(kinds))
        ]

    def _answer(self, instruction: Instruction) -> MachineEvent | None:
        kind = type(instruction)
        if kind in self.silent:
            return None
        if kind in self.failing:
            return failure_of(instruction)
        match instruction:
            case StartTask():
                self.running.append(instruction)
            case StopTask():
                self.stops.append(instruction)
            case Exit():
                self.exit = instruction
            case Receive(count):
                given, self.waiting = self.waiting[:count], self.waiting[count:]
                return Received(tuple(given), self.now)
            case _:
                return success_of(instruction, self.now, self.control)
        return None


def success_of(instruction: Instruction, now: datetime, control: NodeControl | None) -> MachineEvent | None:
    """Give the answer to what has been done well; None where there is none to give."""
    answers: dict[type, Callable[[Any], MachineEvent]] = {
        ReadControl: lambda _: ControlRead(control),
        WriteStatus: lambda _: StatusWritten(now),
        Renew: lambda it: Renewed(it.run_id, Lease(it.lease.queue_message_id, it.lease.pop_receipt + "+"), now),
        Upload: lambda it: Uploaded(it.run_id, it.number, f"{it.run_id}/{it.number}"),
        SendEvent: lambda it: EventSent(it.run_id, it.number),
        DeleteMessage: lambda it: Deleted(it.run_id),
    }
    answer = answers.get(type(instruction))
    return answer(instruction) if answer is not None else None


def failure_of(instruction: Instruction) -> MachineEvent | None:
    """Give the answer to what has failed; None where there is none to give."""
    answers: dict[type, Callable[[Any], MachineEvent]] = {
        ReadControl: lambda _: ControlFailed(),
        WriteStatus: lambda _: StatusFailed(),
        Receive: lambda _: ReceiveFailed(),
        Renew: lambda it: RenewFailed(it.run_id, gone=False),
        Upload: lambda it: UploadFailed(it.run_id, it.number),
        SendEvent: lambda it: EventFailed(it.run_id, it.number),
        DeleteMessage: lambda it: DeleteFailed(it.run_id),
    }
    answer = answers.get(type(instruction))
    return answer(instruction) if answer is not None else None
