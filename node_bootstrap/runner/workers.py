"""Threads that are kept for the next piece of work, as many as there is work at the same time."""

import queue
import threading
from collections.abc import Callable


class Workers:
    """Does work in other threads, each piece at once. They end with the process; the work must not fail."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def do(self, work: Callable[[], None]) -> None:
        """Have a piece of work done by an idle thread, or by a new one where none is idle."""
        with self._lock:
            idle, self._idle = self._idle > 0, max(0, self._idle - 1)
        self._work.put(work)
        if not idle:
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                self._idle += 1
