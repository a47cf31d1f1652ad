"""Collect: events from nodes into the store, many to a transaction, deleted after it."""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from node_bootstrap.protocol import (
    OUTPUTS,
    Event,
    EventKind,
    Manifest,
    ProtocolError,
    decode,
    message_prefix,
)
from scheduler.dispatch.fate import OVERDUE, held_by_another
from scheduler.dispatch.records import Holding, Start
from scheduler.errors import ConflictError
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.storage import Blobs, Queues, ReceivedEvent

_LOG = logging.getLogger(__name__)

# A receive gives at most 32; a step takes at most so many of them, so that a flood does not starve the other steps.
_RECEIVES = 40
_EVENTS_AT_ONCE = 32


class Collect:
    """Applies events. They are hints: one that cannot be used is dropped, since reconcile finds what it stood for."""

    def __init__(self, store: DispatchStore, queues: Queues, blobs: Blobs) -> None:
        self._store = store
        self._queues = queues
        self._blobs = blobs

    def step(self, epoch: int, now: datetime, held: tuple[Holding, ...] = ()) -> int:
        """Apply the events that are there and say how many there were; `held` is the newest that nodes said."""
        count = 0
        for _ in range(_RECEIVES):
            received = self._queues.receive_events(_EVENTS_AT_ONCE)
            if received:
                self._apply(epoch, received, now, held)
                self._queues.delete_events(received)
                count += len(received)
            if len(received) < _EVENTS_AT_ONCE:
                break
        return count

    def _apply(self, epoch: int, received: Sequence[ReceivedEvent], now: datetime, held: tuple[Holding, ...]) -> None:
        events = [event for item in received if (event := _event(item.body)) is not None]
        manifests = self._manifests([event for event in events if event.kind is EventKind.FINISHED])
        starts = _starts([event for event in events if event.kind is EventKind.STARTED], manifests, now)
        unknown = set(self._record(epoch, starts, manifests, now))
        for event in events:
            if event.kind is EventKind.RETURNED and not self._returned(epoch, event, now, held):
                unknown.add(event.message_id)
        for event in events:
            if event.message_id in unknown:
                _LOG.warning(
                    "dropped an event of %s on message %s, which this store does not know",
                    event.node_id,
                    event.message_id,
                )

    def _record(
        self, epoch: int, starts: Sequence[Start], manifests: Sequence[tuple[str, Manifest]], now: datetime
    ) -> frozenset[str]:
        try:
            return self._store.record(epoch, starts, manifests, now)
        except ConflictError:
            # One that cannot be applied must not keep the others from it.
            _LOG.exception("%d events could not be applied together, so they are one by one", len(manifests))
        unknown: frozenset[str] = frozenset()
        for start in starts:
            unknown |= self._store.record(epoch, (start,), (), now)
        for each in manifests:
            unknown |= self._store.record(epoch, (), (each,), now)
        return unknown

    def _manifests(self, finished: Iterable[Event]) -> list[tuple[str, Manifest]]:
        """Read the manifests that events name, each once."""
        named: dict[str, Event] = {}
        for event in finished:
            if event.manifest is None:
                _LOG.warning("dropped an event of %s: finished, yet it names no manifest", event.node_id)
            else:
                named.setdefault(event.manifest, event)
        return read_manifests(self._blobs, [(event.job_id, event.message_id, blob) for blob, event in named.items()])

    def _returned(self, epoch: int, event: Event, now: datetime, held: tuple[Holding, ...]) -> bool:
        if held_by_another(event.message_id, event.node_id, held, now):
            _LOG.info("message %s was returned by %s, but a live node holds it", event.message_id, event.node_id)
            return True
        # What was uploaded counts, with its event or without; what the store has as running after this, was lost.
        commit_manifests(self._store, self._blobs, epoch, event.job_id, event.message_id, now)
        reason = event.reason or f"node {event.node_id} gave the message back"
        return self._store.give_back(
            epoch,
            event.message_id,
            now,
            reason=reason,
            running=event.running,
            charge=True,
        )


def _event(body: str) -> Event | None:
    try:
        return decode(Event, body)
    except ProtocolError as error:
        _LOG.warning("dropped an event that cannot be read: %s", error)
        return None


def _starts(events: Iterable[Event], manifests: Iterable[tuple[str, Manifest]], now: datetime) -> list[Start]:
    """Give the starts that still say something: a task's start is of no use any more where its end is told too."""
    ended = {
        (manifest.message_id, report.task_id, report.attempt)
        for _, manifest in manifests
        for report in manifest.reports
    }
    starts = []
    for event in events:
        running = tuple(ref for ref in event.running if (event.message_id, ref.task_id, ref.attempt) not in ended)
        if running or not event.running:
            starts.append(Start(event.message_id, event.node_id, running, now + OVERDUE))
    return starts


def read_manifests(blobs: Blobs, named: Iterable[tuple[str, str, str]]) -> list[tuple[str, Manifest]]:
    """Read manifests by job, message and blob; with a line in the log, leave out what is not there or not right."""
    wanted = []
    for job_id, message_id, blob in named:
        if blob.startswith(message_prefix(job_id, message_id)):
            wanted.append((job_id, message_id, blob))
        else:
            _LOG.warning("the manifest %s does not belong to message %s of job %s", blob, message_id, job_id)
    found = []
    for (job_id, message_id, blob), data in zip(
        wanted, blobs.read_all(OUTPUTS, [blob for *_, blob in wanted]), strict=True
    ):
        if data is None:
            _LOG.warning("the manifest %s is not there (yet); reconcile looks again", blob)
            continue
        try:
            manifest = decode(Manifest, data)
        except ProtocolError as error:
            _LOG.warning("the manifest %s cannot be read: %s", blob, error)
            continue
        if (manifest.job_id, manifest.message_id) == (job_id, message_id):
            found.append((blob, manifest))
        else:
            _LOG.warning("the manifest %s speaks of message %s of job %s", blob, manifest.message_id, manifest.job_id)
    return found


def commit_manifests(
    store: DispatchStore, blobs: Blobs, epoch: int, job_id: str, message_id: str, now: datetime
) -> None:
    """Commit every manifest that is in storage for a message."""
    names = [entry.name for entry in blobs.list(OUTPUTS, message_prefix(job_id, message_id))]
    manifests = [(job_id, message_id, name) for name in names if name.endswith(".manifest.json")]
    if manifests:
        store.record(epoch, (), read_manifests(blobs, manifests), now)
