"""Records one step of a boot to the node's own boot blob: `python3 -m node_bootstrap.runner.boot_record SETTINGS ...`.

The black box of a machine that never becomes a node (design decision 11). The token stays in this process: it is
neither an argument nor printed.
"""

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from node_bootstrap.protocol import NODES, BootRecord, boot_blob, encode
from node_bootstrap.runner.http import Http
from node_bootstrap.runner.metadata import Metadata
from node_bootstrap.runner.storage import Storage

_TAIL_CHARACTERS = 4096


def main(arguments: list[str]) -> None:
    """Record `SETTINGS NUMBER STEP STARTED EXIT_CODE OUTPUT_FILE`."""
    settings_file, number, step, started, code, output = arguments
    # Not the runner's settings: the scheduler's host records its boot too.
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    record = BootRecord(
        node_id=settings["node_id"],
        step=step,
        started_at=datetime.fromisoformat(started),
        ended_at=datetime.now(UTC),
        exit_code=int(code),
        output=Path(output).read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARACTERS:],
    )
    with closing(Http()) as client:
        metadata = Metadata(client, settings["identity_client_id"])
        storage = Storage(client, metadata, settings["blob_endpoint"], settings["queue_endpoint"])
        storage.put(NODES, boot_blob(record.node_id, int(number), step), encode(record).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
