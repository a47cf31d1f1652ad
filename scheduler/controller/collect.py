"""Collect: events from nodes into the store, each in a transaction of its own, deleted after it."""

import logging
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
from scheduler.dispatch.records import Holding
from scheduler.errors import NotFoundError
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.storage import Blobs, Queues

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
            if not received:
                break
            for item in received:
                self._apply(epoch, item.body, now, held)
                self._queues.delete_event(item)
                count += 1
        return count

    def _apply(self, epoch: int, body: str, now: datetime, held: tuple[Holding, ...]) -> None:
        try:
            event = decode(Event, body)
        except ProtocolError as error:
            _LOG.warning("dropped an event that cannot be read: %s", error)
            return
        if event.kind is EventKind.STARTED:
            known = self._store.start(epoch, event.message_id, event.node_id, event.running, now + OVERDUE, now)
        elif event.kind is EventKind.FINISHED:
            known = self._finished(epoch, event, now)
        else:
            known = self._returned(epoch, event, now, held)
        if not known:
            _LOG.warning(
                "dropped an event of %s on message %s, which this store does not know", event.node_id, event.message_id
            )

    def _finished(self, epoch: int, event: Event, now: datetime) -> bool:
        if event.manifest is None:
            _LOG.warning("dropped an event of %s: finished, yet it names no manifest", event.node_id)
            return True
        manifest = read_manifest(self._blobs, event.job_id, event.message_id, event.manifest)
        return manifest is None or self._store.commit(epoch, event.manifest, manifest, now)

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


def read_manifest(blobs: Blobs, job_id: str, message_id: str, blob: str) -> Manifest | None:
    """Read a manifest of a message; None, with a line in the log, when it is not there or is not what it says."""
    if not blob.startswith(message_prefix(job_id, message_id)):
        _LOG.warning("the manifest %s does not belong to message %s of job %s", blob, message_id, job_id)
        return None
    try:
        manifest = decode(Manifest, blobs.read(OUTPUTS, blob))
    except NotFoundError:
        _LOG.warning("the manifest %s is not there (yet); reconcile looks again", blob)
        return None
    except ProtocolError as error:
        _LOG.warning("the manifest %s cannot be read: %s", blob, error)
        return None
    if (manifest.job_id, manifest.message_id) != (job_id, message_id):
        _LOG.warning("the manifest %s speaks of message %s of job %s", blob, manifest.message_id, manifest.job_id)
        return None
    return manifest


def commit_manifests(
    store: DispatchStore, blobs: Blobs, epoch: int, job_id: str, message_id: str, now: datetime
) -> None:
    """Commit every manifest that is in storage for a message."""
    for entry in blobs.list(OUTPUTS, message_prefix(job_id, message_id)):
        if entry.name.endswith(".manifest.json"):
            manifest = read_manifest(blobs, job_id, message_id, entry.name)
            if manifest is not None:
                store.commit(epoch, entry.name, manifest, now)
