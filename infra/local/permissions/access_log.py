"""The record of who asked to do what: one line for each principal, action, scope and answer, however often asked.

The storage servers append to the same file (guard.js), so a reader takes lines from both as they come.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.layout import append_line


@dataclass(frozen=True, slots=True)
class Access:
    """One decision. `data` tells actions on data from those on resources; `operation` is one of a storage service."""

    principal: str
    action: str
    scope: str
    allowed: bool
    data: bool = False
    operation: str = ""


class AccessLog:
    """Writes each decision once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen = set(read(path))

    def record(self, access: Access) -> None:
        """Write a decision down unless it is there."""
        if access in self._seen:
            return
        with self._lock:
            if access not in self._seen:
                self._seen.add(access)
                append_line(self._path, asdict(access))


def read(path: Path) -> Iterator[Access]:
    """Yield what was recorded; nothing where no file is."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield Access(**json.loads(line))
