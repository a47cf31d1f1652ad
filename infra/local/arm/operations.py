"""The engine of long-running operations: works on what the store says is due, before and after a restart alike.

A handler does one step and returns the seconds after which it wants to go on, or None when it is done; an `ArmError`
ends the operation as failed. Steps of one resource never overlap. A step may be repeated, so it must bear that.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from infra.local.arm.errors import ArmError
from infra.local.arm.store import Operation, Status, Store

Handler = Callable[[Operation], float | None]

_WORKERS = 8

_log = logging.getLogger(__name__)


class Operations:
    """Runs the unfinished operations of a store in a few threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handlers: dict[str, Handler] = {}
        self._failed: Callable[[Operation], None] = lambda _: None
        self._busy: set[str] = set()
        self._condition = threading.Condition()
        self._changed = False
        self._stopping = False
        self._pool = ThreadPoolExecutor(_WORKERS, "operation")
        self._dispatcher = threading.Thread(target=self._dispatch, name="operations", daemon=True)

    def register(self, kind: str, handler: Handler) -> None:
        """Name the handler of a kind of operation."""
        self._handlers[kind] = handler

    def on_failure(self, hook: Callable[[Operation], None]) -> None:
        """Call this in the transaction that ends an operation as failed."""
        self._failed = hook

    def start(self) -> None:
        """Begin to work."""
        self._dispatcher.start()

    def stop(self) -> None:
        """Finish the steps under way and work no more."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._dispatcher.join()
        self._pool.shutdown()

    def wake(self) -> None:
        """Look again now; for whoever has started an operation."""
        with self._condition:
            self._changed = True
            self._condition.notify()

    def _dispatch(self) -> None:
        while True:
            due = self._submit_due()
            with self._condition:
                patience = None if due is None else max(0.0, due - time.time())
                self._condition.wait_for(lambda: self._changed or self._stopping, patience)
                if self._stopping:
                    return
                self._changed = False

    def _submit_due(self) -> float | None:
        """Hand out what is due, and return when the next operation will be."""
        waiting = []
        for operation in self._store.unfinished():
            key = operation.resource_id.lower()
            with self._condition:
                if key in self._busy:
                    continue
                if operation.due > time.time():
                    waiting.append(operation.due)
                    continue
                self._busy.add(key)
            self._pool.submit(self._step, operation)
        return min(waiting, default=None)

    def _step(self, operation: Operation) -> None:
        try:
            current = self._store.operation(operation.id)
            if current is not None and current.status is Status.RUNNING:
                self._run(current)
        finally:
            with self._condition:
                self._busy.discard(operation.resource_id.lower())
            self.wake()

    def _run(self, operation: Operation) -> None:
        try:
            again = self._handlers[operation.kind](operation)
        except ArmError as error:
            self._fail(operation, error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the client that polls must hear of it
            _log.exception("operation %s on %s failed", operation.kind, operation.resource_id)
            message = f"The local Azure failed ({type(error).__name__}: {error}); its log says where."
            self._fail(operation, ArmError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", message))
        else:
            if again is None:
                self._store.finish(operation.id, Status.SUCCEEDED)
            else:
                self._store.postpone(operation.id, time.time() + again)

    def _fail(self, operation: Operation, error: ArmError) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._store.transaction())
            if self._store.finish(operation.id, Status.FAILED, error.error(), error.status):
                self._failed(operation)
