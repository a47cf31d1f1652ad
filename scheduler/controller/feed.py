"""Feed: ready tasks onto the queues of node groups, through an outbox."""

import logging
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from node_bootstrap.protocol import INPUTS, definition_blob, resolved_blob, sha256_hex
from scheduler.dispatch.fate import OVERDUE
from scheduler.dispatch.handout import DEFAULT_RULES, HandOutRules, plan_hand_out
from scheduler.dispatch.records import GroupSlots, HandOut, OutgoingMessage, ReadyStep
from scheduler.errors import MillpondError, NotFoundError
from scheduler.ports.dispatch_store import DispatchStore
from scheduler.ports.storage import Blobs, Queues

_LOG = logging.getLogger(__name__)


def random_id() -> str:
    """Draw a name for a message."""
    return uuid.uuid4().hex


class Feed:
    """Hands out ready tasks; nothing that matters is remembered in here, so it may die at any line."""

    def __init__(
        self,
        store: DispatchStore,
        queues: Queues,
        blobs: Blobs,
        new_message_id: Callable[[], str] = random_id,
        rules: HandOutRules = DEFAULT_RULES,
    ) -> None:
        self._store = store
        self._queues = queues
        self._blobs = blobs
        self._new_message_id = new_message_id
        self._rules = rules
        self._sent: Counter[str] = Counter()

    def take_sent(self) -> Mapping[str, int]:
        """Give how many messages were put on which queue since this was last asked."""
        sent, self._sent = self._sent, Counter()
        return sent

    def step(self, epoch: int, groups: Iterable[GroupSlots], now: datetime) -> None:
        """Hand out what the groups' slots need next, then send everything in the outbox that is not marked sent.

        The store is written first, so a message that could not be sent now is sent by a later step.
        """
        pools: dict[str, list[GroupSlots]] = defaultdict(list)
        for item in groups:
            if item.slots > 0 and item.group.current:
                pools[item.group.key.pool].append(item)
        for pool, found in pools.items():
            self._hand_out(epoch, pool, found, now)
        self._send(epoch, now)

    def _hand_out(self, epoch: int, pool: str, groups: Sequence[GroupSlots], now: datetime) -> None:
        ready = self._store.ready_steps(pool)
        if not ready:
            return
        orders = plan_hand_out(ready, self._store.loads(pool), groups, self._rules)
        if not orders:
            return
        self._publish(epoch, ready, orders)
        named = [(self._new_message_id(), order) for order in orders]
        self._store.hand_out(epoch, named, now + OVERDUE, now)

    def _publish(self, epoch: int, ready: Iterable[ReadyStep], orders: Iterable[HandOut]) -> None:
        """Put into storage what the messages will name: by content, so that twice is harmless."""
        chosen = {(order.job_id, order.step) for order in orders}
        for step in ready:
            if step.published or (step.job_id, step.step) not in chosen:
                continue
            sources = self._store.step_sources(step.job_id, step.step)
            definition = sources.definition.encode()
            self._blobs.write(INPUTS, definition_blob(sha256_hex(definition)), definition)
            inputs = None
            if sources.inputs is not None:
                resolved = sources.inputs.encode()
                inputs = sha256_hex(resolved)
                self._blobs.write(INPUTS, resolved_blob(inputs), resolved)
            self._store.mark_published(epoch, step.job_id, step.step, inputs)

    def _send(self, epoch: int, now: datetime) -> None:
        """Send the outbox, and mark what was sent; a crash before the mark sends twice, which is harmless."""
        unsent = self._store.unsent(self._rules.max_messages)
        for message in unsent:
            if message.inputs is not None:
                resolved = message.inputs.encode()
                self._blobs.write(INPUTS, resolved_blob(sha256_hex(resolved)), resolved)
        by_queue: dict[str, list[OutgoingMessage]] = defaultdict(list)
        for message in unsent:
            by_queue[message.queue].append(message)
        sent: list[str] = []
        failure: MillpondError | None = None
        for queue, messages in by_queue.items():
            results = self._queues.send_all(queue, [message.body for message in messages])
            failed = [error for error in results if error is not None]
            if any(isinstance(error, NotFoundError) for error in failed):
                _LOG.warning("the queue %s is not there; its messages wait until it is, or its group is retired", queue)
            failure = failure or next((error for error in failed if not isinstance(error, NotFoundError)), None)
            done = [message.message_id for message, error in zip(messages, results, strict=True) if error is None]
            self._sent[queue] += len(done)
            sent += done
        if sent:
            self._store.mark_sent(epoch, sent, now)
        if failure is not None:
            raise failure
