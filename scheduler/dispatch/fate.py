"""What has become of a message that no event accounts for (design section 6.7)."""

from datetime import datetime, timedelta
from enum import Enum, auto

from node_bootstrap.protocol import LEASE_SECONDS
from scheduler.dispatch.records import FleetObservation, Holding, OpenMessage

# Two lease times from when it was last known to be on its way: by then whoever holds it has written a status.
OVERDUE = timedelta(seconds=2 * LEASE_SECONDS)


class Fate(Enum):
    """Whether a message may still be run by a node that has it."""

    ON_ITS_WAY = auto()
    LOST = auto()
    LOST_IF_QUEUE_EMPTY = auto()


def fate(message: OpenMessage, observation: FleetObservation, now: datetime) -> Fate:
    """Say what has become of a message that no live node's status holds; while statuses are unread, nothing."""
    if not observation.statuses_listed:
        return Fate.ON_ITS_WAY
    if message.queue in observation.retired or message.message_id in observation.abandoned:
        return Fate.LOST
    if not message.sent or now < message.deadline:
        return Fate.ON_ITS_WAY
    if message.overtaken or message.queue in observation.unread:
        return Fate.LOST
    return Fate.LOST_IF_QUEUE_EMPTY


def held_by_another(message_id: str, node_id: str, held: tuple[Holding, ...], now: datetime) -> bool:
    """Say whether another node than the one that gives a message back still has it under a lease.

    A status older than a lease says nothing: its node could not have renewed either.
    """
    lease = timedelta(seconds=LEASE_SECONDS)
    return any(
        holding.message_id == message_id and holding.node_id != node_id and now - holding.status_at <= lease
        for holding in held
    )
