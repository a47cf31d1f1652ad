"""The thin shell around the machine: threads, clock, signals. It decides nothing.

One thread hands events to the machine; each instruction is carried out by another, kept for the next, and answered
whatever happens. How many there are is bounded by the machine, which never asks for two of a kind for one run.
"""

import contextlib
import logging
import queue
import signal
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

from node_bootstrap.protocol import CONTROL, NODES, NodeControl, control_blob, decode, encode, status_blob
from node_bootstrap.runner.events import (
    ControlFailed,
    ControlRead,
    Deleted,
    DeleteFailed,
    EventFailed,
    EventSent,
    MachineEvent,
    Received,
    ReceiveFailed,
    Renewed,
    RenewFailed,
    StatusFailed,
    StatusWritten,
    StopAsked,
    Tick,
    Uploaded,
    UploadFailed,
)
from node_bootstrap.runner.executor import Executor
from node_bootstrap.runner.instructions import (
    DeleteMessage,
    Discard,
    Exit,
    Instruction,
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
from node_bootstrap.runner.metadata import Metadata, MetadataError, ScheduledEvent
from node_bootstrap.runner.packs import Uploader
from node_bootstrap.runner.settings import RunnerSettings
from node_bootstrap.runner.storage import Storage, StorageError
from node_bootstrap.runner.task_process import TaskProcess
from node_bootstrap.runner.workers import Workers

_LOG = logging.getLogger(__name__)

_TICK_SECONDS = 0.25
# A notice of preemption comes 30 s ahead (docs: Spot virtual machines); whoever asks by SIGTERM waits no longer either.
_LAST_SECONDS = 25.0
_EVENTS_SECONDS = 5.0
# Statuses and controls are of use while they are new; the machine asks again.
_STATUS_PATIENCE_SECONDS = 3.0
# The exit code that means: the node is given up, do not start the runner again.
RETIRED = 3
_KILLING = frozenset({"Preempt", "Terminate"})
_DRAINING = frozenset({"Reboot", "Redeploy"})


class Clock:
    """Aware instants that never go back and that time asleep counts in, so that a lease is over when it is over."""

    def __init__(self) -> None:
        # Linux: CLOCK_MONOTONIC stands still while the machine is suspended.
        self._number = getattr(time, "CLOCK_BOOTTIME", None)
        self._began = datetime.now(UTC)
        self._began_reading = self._reading()

    def now(self) -> datetime:
        """Give the present instant."""
        return self._began + timedelta(seconds=self._reading() - self._began_reading)

    def _reading(self) -> float:
        return time.monotonic() if self._number is None else time.clock_gettime(self._number)


class Runner:
    """The runner of one node. `run` returns its exit code once it is asked to end."""

    def __init__(self, settings: RunnerSettings, storage: Storage, metadata: Metadata) -> None:
        self._settings = settings
        self._clock = Clock()
        self._metadata = metadata
        self._storage = storage
        self._uploader = Uploader(self._storage, settings.node_id)
        self._executor = Executor(settings, self._storage, self._uploader, self._clock.now)
        self._events: queue.SimpleQueue[MachineEvent] = queue.SimpleQueue()
        self._machine = RunnerMachine(
            MachineSettings(
                node_id=settings.node_id,
                incarnation=uuid.uuid4().hex,
                runner_version=settings.bundle_sha256[:12],
                task_slots=settings.task_slots,
                status_interval=timedelta(seconds=settings.status_interval_seconds),
                started_at=self._clock.now(),
            )
        )
        self._workers = Workers()
        self._exit: Exit | None = None

    def run(self) -> int:
        """Run until the machine says to end, or the last seconds after SIGTERM are over."""
        self._executor.clear()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        threading.Thread(target=self._watch_events, name="scheduled events", daemon=True).start()
        event: MachineEvent = Tick()
        leave_by: float | None = None
        try:
            while self._exit is None and (leave_by is None or time.monotonic() < leave_by):
                if isinstance(event, StopAsked) and event.leave and leave_by is None:
                    leave_by = time.monotonic() + _LAST_SECONDS
                for instruction in self._machine.handle(event, self._clock.now()):
                    self._carry_out(instruction)
                event = self._next_event()
        finally:
            # The answer comes too late to be reported, but nothing may be left running.
            self._executor.stop_all("the runner ends")
        reason = self._exit.reason if self._exit is not None else "the last seconds are over"
        _LOG.info("the runner ends: %s", reason)
        return RETIRED if self._exit is not None and self._exit.retired else 0

    def _next_event(self) -> MachineEvent:
        try:
            return self._events.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            return Tick()

    def _signalled(self, number: int, _: object) -> None:
        self._events.put(StopAsked(f"the runner got {signal.Signals(number).name}", at_once=True, leave=True))

    def _carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, Exit):
            self._exit = instruction
            return
        if isinstance(instruction, StartTask):
            # Before the thread begins: a stop may follow at once.
            process = self._executor.begin(instruction.run_id, instruction.task)
            self._workers.do(lambda: self._run_task(instruction, process))
            return
        self._workers.do(lambda: self._answer(instruction))

    def _run_task(self, instruction: StartTask, process: TaskProcess) -> None:
        self._events.put(self._executor.run(instruction.run_id, instruction.message, instruction.task, process))

    def _answer(self, instruction: Instruction) -> None:
        try:
            event = self._perform(instruction)
        except StorageError as error:
            _LOG.warning("%s", error)
            event = _failure(instruction)
        except Exception:  # noqa: BLE001  a defect must not leave the machine without an answer
            _LOG.exception("%s", type(instruction).__name__)
            event = _failure(instruction)
        if event is not None:
            self._events.put(event)

    def _perform(self, instruction: Instruction) -> MachineEvent | None:
        """Carry out an instruction and give its answer; None where it has none."""
        queue_name, asked_at = self._settings.work_queue, self._clock.now()
        match instruction:
            case ReadControl():
                return self._read_control()
            case WriteStatus(status):
                name = status_blob(status.node_id)
                self._storage.put(NODES, name, encode(status).encode(), _STATUS_PATIENCE_SECONDS)
                return StatusWritten(asked_at)
            case Receive(count):
                return Received(self._storage.receive(queue_name, count), asked_at)
            case Renew(run_id, lease):
                renewed = self._storage.renew(queue_name, lease)
                return Renewed(run_id, renewed, asked_at) if renewed is not None else RenewFailed(run_id, gone=True)
            case StopTask(run_id, task, outcome, reason):
                self._executor.stop(run_id, task, outcome, reason)
            case Upload(run_id, number, message, reports):
                return Uploaded(run_id, number, self._uploader.upload(run_id, number, message, reports))
            case SendEvent(run_id, number, event):
                self._storage.send(self._settings.events_queue, encode(event))
                return EventSent(run_id, number)
            case DeleteMessage(run_id, lease):
                self._storage.delete(queue_name, lease)
                return Deleted(run_id)
            case Discard(run_id):
                self._executor.discard(run_id)
                self._uploader.discard(run_id)
            case _:
                raise TypeError(f"not an instruction to be carried out: {instruction}")
        return None

    def _read_control(self) -> ControlRead:
        data = self._storage.get(CONTROL, control_blob(self._settings.node_id), _STATUS_PATIENCE_SECONDS)
        return ControlRead(decode(NodeControl, data) if data is not None else None)

    def _watch_events(self) -> None:
        """Look out for what Azure is about to do to this machine."""
        seen: set[str] = set()
        while self._exit is None:
            with contextlib.suppress(MetadataError):  # no harm: the machine may go without notice at any time
                for event in self._metadata.scheduled_events():
                    if self._settings.node_id in event.resources and event.event_id not in seen:
                        seen.add(event.event_id)
                        self._announce(event)
            time.sleep(_EVENTS_SECONDS)

    def _announce(self, event: ScheduledEvent) -> None:
        _LOG.warning("Azure announces: %s", event)
        if event.kind in _KILLING or event.kind in _DRAINING:
            reason = f"Azure announces: {event.kind} not before {event.not_before}"
            self._events.put(StopAsked(reason, at_once=event.kind in _KILLING, leave=False))


def _failure(instruction: Instruction) -> MachineEvent | None:
    """Give the answer that says an instruction was not carried out."""
    match instruction:
        case ReadControl():
            return ControlFailed()
        case WriteStatus():
            return StatusFailed()
        case Receive():
            return ReceiveFailed()
        case Renew(run_id):
            return RenewFailed(run_id, gone=False)
        case Upload(run_id, number):
            return UploadFailed(run_id, number)
        case SendEvent(run_id, number):
            return EventFailed(run_id, number)
        case DeleteMessage(run_id):
            return DeleteFailed(run_id)
        case _:
            return None
