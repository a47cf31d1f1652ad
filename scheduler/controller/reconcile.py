"""Reconcile: with every event lost, every task still ends, because storage and statuses say what happened."""

import logging
from datetime import datetime

from scheduler.controller.collect import commit_manifests
from scheduler.dispatch.fate import OVERDUE, Fate, fate
from scheduler.dispatch.records import FleetObservation, Start
from scheduler.errors import NotFoundError
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.storage import Blobs, Queues

_LOG = logging.getLogger(__name__)

_MESSAGE_LOST = "its message was lost: no node holds it and no queue has it"
_NODE_LOST = "the node that held it was lost"


class Reconcile:
    """Accounts for messages that no event accounts for."""

    def __init__(self, store: DispatchStore, queues: Queues, blobs: Blobs) -> None:
        self._store = store
        self._queues = queues
        self._blobs = blobs

    def step(self, epoch: int, observation: FleetObservation, now: datetime) -> None:
        """Look at every open message once: commit what was uploaded for the lost ones, hand out the rest anew."""
        if not observation.statuses_listed:
            _LOG.info("not reconciled: the nodes' statuses could not be listed, and unknown is not lost")
            return
        holders = {holding.message_id: holding for holding in observation.held}
        empty: dict[str, bool] = {}
        begun: list[Start] = []
        for message in self._store.open_messages():
            holding = holders.get(message.message_id)
            if holding is not None:
                if not message.started:
                    begun.append(Start(message.message_id, holding.node_id, holding.running, now + OVERDUE))
                continue
            found = fate(message, observation, now)
            if found is Fate.LOST_IF_QUEUE_EMPTY:
                if message.queue not in empty:
                    empty[message.queue] = self._is_empty(message.queue)
                found = Fate.LOST if empty[message.queue] else Fate.ON_ITS_WAY
            if found is Fate.LOST:
                commit_manifests(self._store, self._blobs, epoch, message.job_id, message.message_id, now)
                # What ran on a node that is lost may be what killed it: that one is charged and sent alone.
                abandoned = message.message_id in observation.abandoned
                reason = _NODE_LOST if abandoned else _MESSAGE_LOST
                self._store.give_back(epoch, message.message_id, now, reason=reason, charge=abandoned)
        self._store.record(epoch, begun, (), now)

    def _is_empty(self, queue: str) -> bool:
        try:
            return self._queues.depth(queue) == 0
        except NotFoundError:
            return True
