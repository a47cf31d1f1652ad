"""Clear: what users have deleted goes, files first, so that a stop at any line leaves nothing that nobody knows of.

A job's outputs lie under its id alone. Its inputs lie by content, and other jobs may name the same: one goes only when
no job names it and nobody has written or touched it for longer than a submission takes (design section 6.12).
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from node_bootstrap.protocol import INPUTS, LEASE_SECONDS, OUTPUTS
from scheduler.errors import PreconditionError
from scheduler.ports.deletion_store import DeletionStore
from scheduler.ports.storage import Blobs

_LOG = logging.getLogger(__name__)

# A run whose lease was lost may still write; a client may be between its upload and its draft. Both end within a day.
SETTLED_AFTER = timedelta(days=1, seconds=LEASE_SECONDS)
# Blobs deleted in one step, so that the other parts of a step do not wait.
_AT_ONCE = 200


class Clear:
    """Removes deleted jobs' files; nothing is remembered in here."""

    def __init__(self, store: DeletionStore, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    def step(self, epoch: int, now: datetime) -> None:
        """Go on with every deletion that users asked for."""
        for job_id in self._store.to_clear():
            if self._outputs_gone(job_id):
                self._store.forget(epoch, job_id, now)
                _LOG.info("job %s is deleted", job_id)
        for job in self._store.forgotten(now - SETTLED_AFTER):
            if self._outputs_gone(job.job_id):
                self._store.settle(epoch, job.job_id, self._collect(job.inputs, now))

    def _outputs_gone(self, job_id: str) -> bool:
        found = self._blobs.list(OUTPUTS, f"{job_id}/", _AT_ONCE)
        for entry in found:
            self._blobs.delete(OUTPUTS, entry.name)
        return len(found) < _AT_ONCE

    def _collect(self, inputs: Sequence[str], now: datetime) -> tuple[str, ...]:
        """Delete the first of these inputs as far as nobody wants them, and give those to look at again."""
        named = self._store.named(inputs[:_AT_ONCE])
        return tuple(
            name
            for position, name in enumerate(inputs)
            if position >= _AT_ONCE or (name not in named and not self._gone(name, now))
        )

    def _gone(self, name: str, now: datetime) -> bool:
        for entry in self._blobs.list(INPUTS, name, 1):
            if entry.name != name:
                continue
            if now - entry.last_modified < SETTLED_AFTER:
                return False
            try:
                self._blobs.delete(INPUTS, name, entry.etag)
            except PreconditionError:
                return False  # somebody is about to name it
        return True
