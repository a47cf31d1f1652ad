"""The nodes' status blobs, read again only when they changed."""

import logging
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from node_bootstrap.protocol import NODES, NodeStatus, ProtocolError, decode, status_blob
from scheduler.errors import MillpondError, NotFoundError
from scheduler.ports.storage import BlobEntry, Blobs

_LOG = logging.getLogger(__name__)

_PREFIX = "status/"

# After a pause this long between two listings (a suspended process, a laptop asleep), silence is counted from anew.
_LONGEST_GAP = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class StatusReading:
    """A node's newest status; `status` is None where it cannot be understood.

    `changed_at` is the scheduler's own time of seeing the blob change, so that its clock and storage's may differ.
    """

    etag: str
    last_modified: datetime
    changed_at: datetime
    status: NodeStatus | None


class Statuses:
    """What nodes say of themselves.

    What is kept in memory are times of change alone: after a restart, silence is counted from the first listing.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._readings: dict[str, StatusReading] = {}
        self._listed_since: datetime | None = None
        self._listed_at: datetime | None = None

    def refresh(self, node_ids: AbstractSet[str], now: datetime) -> bool:
        """List all statuses and read the changed ones of these nodes; False when that did not wholly succeed."""
        try:
            entries = {entry.name: entry for entry in self._blobs.list(NODES, _PREFIX)}
            named = {node_id: entries.get(status_blob(node_id)) for node_id in sorted(node_ids)}
            self._readings = {node_id: self._read(node_id, entry, now) for node_id, entry in named.items() if entry}
        except MillpondError as error:
            _LOG.warning("the nodes' statuses could not be read, so nobody's silence counts now: %s", error)
            self._listed_since = None
            return False
        if self._listed_since is None or self._listed_at is None or now - self._listed_at > _LONGEST_GAP:
            self._listed_since = now
        self._listed_at = now
        return True

    def of(self, node_id: str) -> StatusReading | None:
        """Give a node's newest status; None when it has written none."""
        return self._readings.get(node_id)

    def silence(self, node_id: str, now: datetime) -> timedelta:
        """Give for how long nothing was heard of a node while the scheduler could have heard it."""
        if self._listed_since is None:
            return timedelta(0)
        reading = self._readings.get(node_id)
        heard_at = reading.changed_at if reading is not None else self._listed_since
        return now - max(heard_at, self._listed_since)

    def _read(self, node_id: str, entry: BlobEntry, now: datetime) -> StatusReading:
        before = self._readings.get(node_id)
        if before is not None and before.etag == entry.etag:
            return before
        reading = StatusReading(entry.etag, entry.last_modified, now, None)
        try:
            return replace(reading, status=decode(NodeStatus, self._blobs.read(NODES, entry.name)))
        except (ProtocolError, NotFoundError) as error:
            _LOG.warning("the status of node %s cannot be understood: %s", node_id, error)
            return reading
