"""What a client has left of the subscription's request limits: told in headers as Azure does, never enforced here."""

import threading
import time
from collections.abc import Callable

# Azure's token buckets: size, and what flows in a second (docs: resource manager request limits and throttling).
_BUCKETS = {"reads": (250.0, 25.0), "writes": (200.0, 10.0), "deletes": (200.0, 10.0)}
_KINDS = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}


class RateLimits:
    """One bucket a kind of request."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        started = now()
        self._left = {kind: (size, started) for kind, (size, _) in _BUCKETS.items()}

    def headers(self, method: str) -> dict[str, str]:
        """Count one request and say what is left for its kind."""
        kind = _KINDS.get(method, "writes")
        size, flow = _BUCKETS[kind]
        now = self._now()
        with self._lock:
            left, before = self._left[kind]
            left = max(0.0, min(size, left + (now - before) * flow) - 1)
            self._left[kind] = (left, now)
        return {f"x-ms-ratelimit-remaining-subscription-{kind}": str(int(left))}
