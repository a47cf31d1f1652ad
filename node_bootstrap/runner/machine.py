"""The runner's decisions as a pure state machine: events and the time in, instructions out.

    machine = RunnerMachine(settings)
    for instruction in machine.handle(event, now): carry it out, sooner or later hand its answer to `handle`

No clock, thread, randomness or I/O, and importing it does nothing. `now` never goes back. Events: `events`;
instructions with their answers: `instructions`; one message's run: `message_run`. It carries out protocol items 2-5,
9 and 10 of the design (section 6):

- It leases nothing until the control blob says `work`, and leases at most `task_slots` messages. A minute after the
  last work it asks the queue seldom, and at once when the control blob's `wake` has changed.
- A message is run at its first delivery only. Another delivery, or a schema that is not understood, is reported as
  `returned`, then deleted; a later delivery to the node that still runs the message only renews that run's lease.
- Leases are renewed at a third of their time. A run without a valid lease starts nothing new. One that has lost its
  lease ends what runs, uploads and reports it, and gives the rest back.
- Blobs and manifest (`Upload`), then the event, then the deletion. What fails is asked for again with pauses.
- `drain`: nothing new is leased or started; what runs may end; the rest is given back. `retire`, SIGTERM and
  preemption: what runs is killed too and reported as preempted.
- A runner that could not write its status for three status intervals leases nothing until a higher control number.
- The state `drained` is said only when no message is held and none can be on its way here.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from node_bootstrap.protocol import (
    Directive,
    NodeControl,
    NodeState,
    NodeStatus,
    Outcome,
    ProtocolError,
    TaskMessage,
    decode,
)
from node_bootstrap.runner.events import (
    ControlFailed,
    ControlRead,
    Delivery,
    MachineEvent,
    Received,
    ReceiveFailed,
    StatusFailed,
    StatusWritten,
    StopAsked,
    TaskEnded,
    Tick,
)
from node_bootstrap.runner.instructions import (
    Discard,
    Exit,
    Instruction,
    ReadControl,
    Receive,
    WriteStatus,
)
from node_bootstrap.runner.message_run import Backoff, MessageRun

# A node that waits to be admitted costs money for nothing, so it looks more often.
CONTROL_WHILE_WAITING = timedelta(seconds=1)
CONTROL_WHILE_WORKING = timedelta(seconds=2)
# An empty queue is asked again after a pause that doubles. A node that had work less than a minute ago is likely to get
# more, and asks twice a second; later its control blob says when there is some, and the queue is asked only in case
# that word is lost. With a status every 10 s this makes some 1,300 requests an hour (800 + 120 + 360).
QUICK_FOR = timedelta(minutes=1)
FIRST_POLL = timedelta(milliseconds=250)
QUICK_POLL = timedelta(milliseconds=500)
SLOW_POLL = timedelta(seconds=30)
CONTROL_WHILE_IDLE = timedelta(seconds=4.5)
MOST_MESSAGES = 32
# Which task of a message runs may change many times a second; the status follows at this pace.
STATUS_GAP = timedelta(seconds=1)
# The scheduler's own deadline for silence is at least three status intervals (checked where pools are declared).
SILENCE_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """What a machine knows from its start. `incarnation` is unique to this start of the runner."""

    node_id: str
    incarnation: str
    runner_version: str
    task_slots: int
    status_interval: timedelta
    started_at: datetime


class RunnerMachine:
    """All that the runner decides. Give it events with `handle`; it never blocks and never fails."""

    def __init__(self, settings: MachineSettings) -> None:
        self._settings = settings
        self._runs: dict[str, MessageRun] = {}
        self._run_count = 0
        self._control: NodeControl | None = None
        self._reading_control = False
        self._control_at: datetime | None = None
        self._shut_out_at: int | None = None
        self._heard_at: datetime | None = None
        self._written: NodeStatus | None = None
        self._asked: NodeStatus | None = None
        self._status_at: datetime | None = None
        self._last_words_failed = False
        self._receiving = False
        self._poll = FIRST_POLL
        self._receive_at: datetime | None = None
        self._had_work_at = settings.started_at
        self._faults = Backoff()
        self._stop: StopAsked | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether `Exit` has been asked for; nothing is after it."""
        return self._ended

    def handle(self, event: MachineEvent, now: datetime) -> tuple[Instruction, ...]:
        """Take in one event and give what is to be done now."""
        if self._ended:
            return ()
        due = self._note(event, now)
        for run in list(self._runs.values()):
            self._hold_back(run)
            due += run.advance(now)
            if run.done:
                self._had_work_at = now
                del self._runs[run.run_id]
                due.append(Discard(run.run_id))
        due += self._read_control(now)
        due += self._receive(now)
        due += self._write_status(now)
        due += self._exit()
        return tuple(due)

    def _note(self, event: MachineEvent, now: datetime) -> list[Instruction]:
        match event:
            case Tick():
                return []
            case StopAsked():
                return self._stop_asked(event)
            case ControlRead():
                self._reading_control = False
                return self._controlled(event.control, now)
            case ControlFailed():
                self._reading_control = False
            case StatusWritten():
                self._heard_at = max(event.asked_at, self._heard_at or event.asked_at)
                self._written, self._asked = self._asked, None
            case StatusFailed():
                self._written, self._asked = None, None
                self._last_words_failed = self._leaving
            case Received():
                self._received(event, now)
            case ReceiveFailed():
                self._receiving = False
                self._wait_to_receive(now)
            case _:
                self._count_faults(event, now)
                if event.run_id in self._runs:
                    self._runs[event.run_id].note(event, now)
        return []

    def _stop_asked(self, event: StopAsked) -> list[Instruction]:
        before = self._stop
        at_once = event.at_once or (before is not None and before.at_once)
        leave = event.leave or (before is not None and before.leave)
        self._stop = StopAsked(event.reason, at_once, leave)
        return self._kill_all(event.reason) if at_once else []

    def _controlled(self, control: NodeControl | None, now: datetime) -> list[Instruction]:
        # An absent blob after one that was there, or an older one, is a late answer or a mistake: hold what is known.
        if control is None or (self._control is not None and control.number < self._control.number):
            return []
        if self._control is None or (control.wake, control.number) != (self._control.wake, self._control.number):
            self._look_at_once(now)
        self._control = control
        due: list[Instruction] = []
        if control.directive is Directive.RETIRE:
            due += self._kill_all("the node is given up")
        for run in self._runs.values():
            due += run.apply_stops(control.stop, now)
        return due

    def _kill_all(self, reason: str) -> list[Instruction]:
        return [stop for run in self._runs.values() for stop in run.kill(Outcome.PREEMPTED, reason)]

    def _hold_back(self, run: MessageRun) -> None:
        """Have a run start nothing more where the node does not."""
        if self._stop is not None:
            run.give_back(self._stop.reason)
        elif self._directive in {Directive.DRAIN, Directive.RETIRE}:
            run.give_back("the node drains")

    def _count_faults(self, event: MachineEvent, now: datetime) -> None:
        # A node that breaks what it runs must not empty the queue at full speed.
        if isinstance(event, TaskEnded):
            if event.report.outcome is Outcome.NODE_FAULT:
                self._faults.failed(now)
            else:
                self._faults.succeeded()

    def _received(self, event: Received, now: datetime) -> None:
        self._receiving = False
        if event.deliveries:
            self._look_at_once(now)
        else:
            self._wait_to_receive(now)
        for delivery in event.deliveries:
            self._take(delivery, event.asked_at, now)

    def _look_at_once(self, now: datetime) -> None:
        """Ask the queue now, and quickly for a while."""
        self._poll, self._receive_at, self._had_work_at = FIRST_POLL, None, now

    def _wait_to_receive(self, now: datetime) -> None:
        self._receive_at = now + (self._poll if self._is_quick(now) else SLOW_POLL)
        self._poll = min(2 * self._poll, QUICK_POLL)

    def _is_quick(self, now: datetime) -> bool:
        return now - self._had_work_at < QUICK_FOR

    def _take(self, delivery: Delivery, asked_at: datetime, now: datetime) -> None:
        message, refused = _read(delivery)
        for run in self._runs.values():
            if run.message.message_id == message.message_id and not run.refused:
                run.adopt(delivery, asked_at)
                return
        self._run_count += 1
        run_id = f"{self._settings.incarnation}.{self._run_count}"
        run = MessageRun(run_id, self._settings.node_id, message, delivery, asked_at, refused=refused)
        if self._control is not None:
            run.apply_stops(self._control.stop, now)
        self._runs[run_id] = run

    def _read_control(self, now: datetime) -> list[Instruction]:
        if self._state is not NodeState.WORKING:
            pause = CONTROL_WHILE_WAITING
        else:
            pause = CONTROL_WHILE_WORKING if self._runs or self._is_quick(now) else CONTROL_WHILE_IDLE
        if self._reading_control or (self._control_at is not None and now < self._control_at + pause):
            return []
        self._reading_control, self._control_at = True, now
        return [ReadControl()]

    def _receive(self, now: datetime) -> list[Instruction]:
        self._mind_silence(now)
        free = min(self._settings.task_slots - len(self._runs), MOST_MESSAGES)
        waits = self._receive_at is not None and now < self._receive_at
        if self._receiving or waits or free < 1 or self._state is not NodeState.WORKING or not self._faults.due(now):
            return []
        self._receiving = True
        return [Receive(free)]

    def _mind_silence(self, now: datetime) -> None:
        deadline = SILENCE_INTERVALS * self._settings.status_interval
        if self._heard_at is not None and now - self._heard_at > deadline and self._control is not None:
            self._shut_out_at = self._control.number

    def _write_status(self, now: datetime) -> list[Instruction]:
        if self._asked is not None:
            return []
        status = self._status
        if self._status_at is not None:
            age = now - self._status_at
            if self._written is None:
                due = age >= STATUS_GAP
            elif _said(self._written) != _said(status):
                due = True
            else:
                due = age >= (STATUS_GAP if self._written != status else self._settings.status_interval)
            if not due:
                return []
        self._asked, self._status_at = status, now
        return [WriteStatus(status)]

    def _exit(self) -> list[Instruction]:
        if not self._leaving or self._runs or self._receiving or self._asked is not None:
            return []
        if self._written != self._status and not self._last_words_failed:
            return []
        self._ended = True
        retired = self._directive is Directive.RETIRE
        return [Exit("the node is given up" if self._stop is None else self._stop.reason, retired)]

    @property
    def _directive(self) -> Directive | None:
        return self._control.directive if self._control is not None else None

    @property
    def _leaving(self) -> bool:
        return self._directive is Directive.RETIRE or (self._stop is not None and self._stop.leave)

    @property
    def _state(self) -> NodeState:
        if self._stop is not None or self._directive in {Directive.DRAIN, Directive.RETIRE}:
            # A request under way may still lease a message.
            return NodeState.DRAINING if self._runs or self._receiving else NodeState.DRAINED
        if self._control is None or self._heard_at is None:
            return NodeState.WAITING
        if self._shut_out_at is not None and self._control.number <= self._shut_out_at:
            return NodeState.WAITING
        return NodeState.WORKING

    @property
    def _status(self) -> NodeStatus:
        settings = self._settings
        return NodeStatus(
            node_id=settings.node_id,
            incarnation=settings.incarnation,
            state=self._state,
            control_number=self._control.number if self._control is not None else 0,
            task_slots=settings.task_slots,
            runner_version=settings.runner_version,
            started_at=settings.started_at,
            held=tuple(run.held for run in self._runs.values() if not run.refused),
            note=self._stop.reason if self._stop is not None else "",
        )


def _said(status: NodeStatus) -> tuple[object, ...]:
    """Give what is told without delay: all but which tasks run."""
    return status.state, status.control_number, status.note, {held.message_id for held in status.held}


def _read(delivery: Delivery) -> tuple[TaskMessage, str]:
    """Read a message, and say why it must not be run; nothing where it may."""
    try:
        message = decode(TaskMessage, delivery.body)
    except ProtocolError as error:
        return _unreadable(delivery), f"the runner does not understand the message: {error}"
    if delivery.dequeue_count > 1:
        return message, f"it was delivered {delivery.dequeue_count} times"
    return message, ""


def _unreadable(delivery: Delivery) -> TaskMessage:
    """Name a message that cannot be read as well as may be, so that it can be returned."""
    try:
        fields = json.loads(delivery.body)
        names = (fields["message_id"], fields["job_id"])
    except (ValueError, KeyError, TypeError):
        names = (f"queue:{delivery.lease.queue_message_id}", "")
    message_id, job_id = (str(name) for name in names)
    return TaskMessage(message_id, job_id, "", ())
