"""Records one step of a boot to the node's own boot blob: `python3 -m node_bootstrap.runner.boot_record SETTINGS ...`.

The black box of a machine that never becomes a node (design decision 11). The token stays in this process: it is
neither an argument nor printed.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from node_bootstrap.protocol import NODES, BootRecord, boot_blob, encode
from node_bootstrap.runner.http import Http
from node_bootstrap.runner.metadata import Metadata
from node_bootstrap.runner.storage import Storage

_TAIL_CHARACTERS = 4096


class BootRecorder:
    """Writes a node's boot records."""

    def __init__(self, storage: Storage, node_id: str) -> None:
        self._storage = storage
        self._node_id = node_id

    def began(self, number: int, step: str, started_at: datetime, output: str = "") -> None:
        """Say that a step runs: of one that never ends, this is what is found."""
        self._write(number, BootRecord(self._node_id, step, started_at, None, None, output[-_TAIL_CHARACTERS:]))

    def ended(self, number: int, step: str, started_at: datetime, exit_code: int, output: str) -> None:
        """Say how a step ended, with the end of what it printed."""
        now = datetime.now(UTC)
        self._write(number, BootRecord(self._node_id, step, started_at, now, exit_code, output[-_TAIL_CHARACTERS:]))

    def _write(self, number: int, record: BootRecord) -> None:
        self._storage.put(NODES, boot_blob(self._node_id, number, record.step), encode(record).encode())


def boot_settings(path: Path) -> Mapping[str, Any]:
    """Read what stage 0 wrote: not as the runner's type, because the scheduler's host records its boot too."""
    fields: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return fields


@contextmanager
def boot_storage(settings: Mapping[str, Any]) -> Iterator[Storage]:
    """Reach the stack's storage as the machine."""
    with closing(Http()) as client:
        metadata = Metadata(client, settings["identity_client_id"])
        yield Storage(client, metadata, settings["blob_endpoint"], settings["queue_endpoint"])


def main(arguments: list[str]) -> None:
    """Record `SETTINGS NUMBER STEP STARTED EXIT_CODE OUTPUT_FILE`."""
    settings_file, number, step, started, code, output = arguments
    settings = boot_settings(Path(settings_file))
    text = Path(output).read_text(encoding="utf-8", errors="replace")
    with boot_storage(settings) as storage:
        recorder = BootRecorder(storage, settings["node_id"])
        recorder.ended(int(number), step, datetime.fromisoformat(started), int(code), text)


if __name__ == "__main__":
    main(sys.argv[1:])
