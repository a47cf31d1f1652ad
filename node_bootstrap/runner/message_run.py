"""One run of one message: its tasks in order, its uploads, its events, its lease, to the message's deletion.

Part of `machine`: pure, without clock or I/O. Events are noted, then `advance` says what is due. What is due follows
from the state alone, so a lost answer, a failure or an unusual order leads to asking again and to no special path.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from node_bootstrap.protocol import (
    LEASE_SECONDS,
    Event,
    EventKind,
    HeldMessage,
    Outcome,
    StopRef,
    TaskMessage,
    TaskRef,
    TaskReport,
)
from node_bootstrap.runner.events import (
    Deleted,
    DeleteFailed,
    Delivery,
    EventFailed,
    EventSent,
    Renewed,
    RenewFailed,
    RunEvent,
    TaskEnded,
    Uploaded,
    UploadFailed,
)
from node_bootstrap.runner.instructions import (
    DeleteMessage,
    Instruction,
    Renew,
    SendEvent,
    StartTask,
    StopTask,
    Upload,
)

LEASE = timedelta(seconds=LEASE_SECONDS)
RENEW_AFTER = LEASE / 3
RENEW_AGAIN = timedelta(seconds=3)

# The unit of upload (design section 6.5): what ended within a message, or a second, or this much.
PACK_AFTER = timedelta(seconds=1)
PACK_REPORTS = 500
PACK_BYTES = 8 * 1024 * 1024

# Shorter tasks are never announced one by one: their results come as soon as the announcement would.
ANNOUNCE_AFTER = timedelta(seconds=2)

# Results that storage has not taken for this long are given up and their tasks run elsewhere.
UPLOAD_PATIENCE = timedelta(minutes=5)
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)


class Backoff:
    """When something that failed may be tried again."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._not_before: datetime | None = None

    def failed(self, now: datetime) -> None:
        """Wait, twice as long as the last time."""
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def succeeded(self) -> None:
        """Forget the failures."""
        self._pause, self._not_before = FIRST_PAUSE, None

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._not_before is not None

    def due(self, now: datetime) -> bool:
        """Whether it may be tried now."""
        return self._not_before is None or now >= self._not_before


class MessageRun:
    """One run of one message by this node. `message.tasks` run in order, one at a time.

    `refused`: it was not ours to run (not its first delivery, or of another schema); it is only given back.
    """

    def __init__(
        self, run_id: str, node_id: str, message: TaskMessage, delivery: Delivery, asked_at: datetime, *, refused: str
    ) -> None:
        self.run_id = run_id
        self.message = message
        self.refused = bool(refused)
        self.done = False
        self._node_id = node_id
        self._lease = delivery.lease
        self._lease_until = asked_at + LEASE
        self._renew_at = asked_at + RENEW_AFTER
        self._renewing = False
        self._gone = False
        self._todo: deque[TaskRef] = deque(message.tasks)
        self._running: TaskRef | None = None
        self._started_at: datetime | None = None
        self._stopping = False
        self._announced_message = False
        self._announced_task = False
        self._giving_back = refused
        self._returned = False
        self._lost: list[TaskRef] = []
        self._reports: list[TaskReport] = []
        self._report_bytes = 0
        self._oldest_report_at: datetime | None = None
        self._upload: tuple[int, tuple[TaskReport, ...]] | None = None
        self._uploading = False
        self._upload_since: datetime | None = None
        self._upload_backoff = Backoff()
        self._uploads = 0
        self._outbox: deque[tuple[int, Event]] = deque()
        self._sending = False
        self._send_backoff = Backoff()
        self._events = 0
        self._deleting = False
        self._delete_backoff = Backoff()

    @property
    def held(self) -> HeldMessage:
        """What the status says of it."""
        running = (self._running,) if self._running is not None else ()
        return HeldMessage(self.message.message_id, self.message.job_id, running)

    @property
    def rests_until(self) -> datetime | None:
        """When its lease is to be renewed, where a task runs and nothing else is under way; else None."""
        waits = self._reports or self._outbox or self._upload is not None
        under_way = waits or self._renewing or self._gone or self._stopping or not self._announced_task
        return None if self._running is None or under_way else self._renew_at

    def adopt(self, delivery: Delivery, asked_at: datetime) -> None:
        """Take over the lease of a later delivery of the same message to this node, while the run goes on."""
        self._lease, self._gone, self._renewing = delivery.lease, False, False
        self._lease_until, self._renew_at = asked_at + LEASE, asked_at + RENEW_AFTER

    def give_back(self, reason: str) -> None:
        """Start nothing more; what has not been started is returned. What runs may end."""
        self._giving_back = self._giving_back or reason

    def kill(self, outcome: Outcome, reason: str) -> list[Instruction]:
        """Stop what runs."""
        if self._running is None or self._stopping:
            return []
        self._stopping = True
        return [StopTask(self.run_id, self._running, outcome, reason)]

    def apply_stops(self, stops: Iterable[StopRef], now: datetime) -> list[Instruction]:
        """Stop the run that a stop list names, and report the ones not started yet as cancelled."""
        stops = tuple(stop for stop in stops if stop.job_id == self.message.job_id)
        if not stops or self.refused:
            return []
        for ref in [ref for ref in self._todo if _stopped(ref, stops)]:
            self._todo.remove(ref)
            reason = "it was to be stopped before it had started"
            self._report(TaskReport(ref.task_id, ref.attempt, Outcome.CANCELLED, None, reason, now, now), 0, now)
        if self._running is not None and _stopped(self._running, stops):
            return self.kill(Outcome.CANCELLED, "the scheduler asked to stop it")
        return []

    def note(self, event: RunEvent, now: datetime) -> None:
        """Take in the answer to an instruction of this run."""
        match event:
            case Renewed():
                self._lease, self._renewing = event.lease, False
                self._lease_until, self._renew_at = event.asked_at + LEASE, event.asked_at + RENEW_AFTER
            case RenewFailed():
                self._renewing = False
                self._renew_at = now + RENEW_AGAIN
                if event.gone:
                    self._gone = True
                    self.give_back("the lease was lost")
            case TaskEnded():
                self._ended(event, now)
            case Uploaded() | UploadFailed():
                self._note_upload(event, now)
            case EventSent() | EventFailed():
                self._note_sent(event, now)
            case Deleted():
                self.done = True
            case DeleteFailed():
                self._deleting = False
                self._delete_backoff.failed(now)
                # Without a lease it is another's to return; all that was to be said of it has been said.
                self.done = now >= self._lease_until

    def advance(self, now: datetime) -> list[Instruction]:
        """Say what is due. Call it after every event."""
        due: list[Instruction] = []
        for step in (self._renew, self._begin, self._announce, self._pack, self._send, self._close):
            due += step(now)
        return due

    def _renew(self, now: datetime) -> list[Instruction]:
        # A renewal makes a new receipt, so it must not overtake the deletion.
        if self._gone or self._renewing or self._deleting or now < self._renew_at:
            return []
        self._renewing = True
        return [Renew(self.run_id, self._lease)]

    def _begin(self, now: datetime) -> list[Instruction]:
        leased = not self._gone and now < self._lease_until
        if self._running is not None or not self._todo or self._giving_back or not leased:
            return []
        if self._upload_backoff.failing:  # more results would only be lost with those that wait
            return []
        self._running = self._todo.popleft()
        self._started_at, self._stopping, self._announced_task = now, False, False
        return [StartTask(self.run_id, self.message, self._running)]

    def _announce(self, now: datetime) -> list[Instruction]:
        if self._running is None or self._started_at is None or self._announced_task:
            return []
        if self._announced_message and now - self._started_at < ANNOUNCE_AFTER:
            return []
        self._announced_message = self._announced_task = True
        self._events += 1
        event = self._event(EventKind.STARTED, self._started_at)
        return [SendEvent(self.run_id, self._events, replace(event, running=(self._running,)))]

    def _pack(self, now: datetime) -> list[Instruction]:
        if self._upload is None and self._reports and (self._quiet or self._pack_full(now)):
            self._upload = (self._uploads, tuple(self._reports))
            self._uploads += 1
            self._reports, self._report_bytes, self._oldest_report_at = [], 0, None
            self._upload_since = now
        if self._upload is None or self._uploading or not self._upload_backoff.due(now):
            return []
        self._uploading = True
        number, reports = self._upload
        return [Upload(self.run_id, number, self.message, reports)]

    def _send(self, now: datetime) -> list[Instruction]:
        if not self._outbox or self._sending or not self._send_backoff.due(now):
            return []
        self._sending = True
        number, event = self._outbox[0]
        return [SendEvent(self.run_id, number, event)]

    def _close(self, now: datetime) -> list[Instruction]:
        if not self._quiet or self._reports or self._upload is not None or self.done:
            return []
        if self._giving_back and not self._returned and (self._todo or self._lost or self.refused):
            self._returned = True
            event = self._event(EventKind.RETURNED, now)
            lost = tuple(self._lost)
            self._post(
                replace(event, running=lost, unfinished=(*lost, *self._todo), reason=self._giving_back),
            )
            return self._send(now)
        if self._outbox or self._deleting or self._renewing or not self._delete_backoff.due(now):
            return []
        if self._gone:
            self.done = True
            return []
        self._deleting = True
        return [DeleteMessage(self.run_id, self._lease)]

    @property
    def _quiet(self) -> bool:
        """Whether no task runs and none will be started."""
        return self._running is None and (not self._todo or bool(self._giving_back))

    def _pack_full(self, now: datetime) -> bool:
        aged = self._oldest_report_at is not None and now - self._oldest_report_at >= PACK_AFTER
        return aged or len(self._reports) >= PACK_REPORTS or self._report_bytes >= PACK_BYTES

    def _ended(self, event: TaskEnded, now: datetime) -> None:
        self._running = self._started_at = None
        self._report(event.report, event.pack_bytes, now)
        if event.report.outcome is Outcome.NODE_FAULT:
            # What broke here is likely to break the next task too; another node may do better.
            self.give_back(f"a fault of this node: {event.report.reason}")

    def _report(self, report: TaskReport, pack_bytes: int, now: datetime) -> None:
        self._reports.append(report)
        self._report_bytes += pack_bytes
        self._oldest_report_at = self._oldest_report_at or now

    def _note_upload(self, event: Uploaded | UploadFailed, now: datetime) -> None:
        self._uploading = False
        if isinstance(event, Uploaded):
            self._upload, self._upload_since = None, None
            self._upload_backoff.succeeded()
            self._post(replace(self._event(EventKind.FINISHED, now), manifest=event.manifest))
            return
        self._upload_backoff.failed(now)
        if self._upload is not None and self._upload_since is not None and now - self._upload_since >= UPLOAD_PATIENCE:
            reports = (*self._upload[1], *self._reports)
            self._lost += [TaskRef(report.task_id, report.attempt) for report in reports]
            self._upload, self._upload_since, self._oldest_report_at = None, None, None
            self._reports, self._report_bytes = [], 0
            self._upload_backoff.succeeded()
            self.give_back("the results could not be uploaded")

    def _note_sent(self, event: EventSent | EventFailed, now: datetime) -> None:
        if not self._outbox or self._outbox[0][0] != event.number:
            return  # that a task has started: a hint that is not repeated
        self._sending = False
        if isinstance(event, EventFailed):
            self._send_backoff.failed(now)
            return
        self._outbox.popleft()
        self._send_backoff.succeeded()

    def _post(self, event: Event) -> None:
        self._events += 1
        self._outbox.append((self._events, event))

    def _event(self, kind: EventKind, at: datetime) -> Event:
        return Event(kind, self.message.message_id, self.message.job_id, self._node_id, at)


def _stopped(ref: TaskRef, stops: Iterable[StopRef]) -> bool:
    for stop in stops:
        if stop.task_id is None or (
            stop.task_id == ref.task_id and (stop.below_attempt is None or ref.attempt < stop.below_attempt)
        ):
            return True
    return False
