"""The log of requests to the resource manager: who asked what, and what it did to capacities."""

import threading
import time
from pathlib import Path
from typing import Any

from infra.local.layout import append_line

# What requests to the Batch service resize and remove.
_BATCH = ("targetDedicatedNodes", "targetLowPriorityNodes", "nodeList")


class RequestLog:
    """Appends one JSON line a request."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def record(self, method: str, path: str, principal: str | None, body: dict[str, Any], status: int) -> None:
        """Write one request down, with the capacity or the instances that it names."""
        line: dict[str, Any] = {"time": time.time(), "method": method, "path": path, "principal": principal}
        sku = body.get("sku")
        if isinstance(sku, dict) and "capacity" in sku:
            line["capacity"] = sku["capacity"]
        if "instanceIds" in body:
            line["instanceIds"] = body["instanceIds"]
        for name in _BATCH:
            if name in body:
                line[name] = body[name]
        with self._lock:
            append_line(self._path, line | {"status": status})
