"""Records one step of a boot to the node's own boot blob: `python3 -m node_bootstrap.boot_record SETTINGS ...`.

The black box of a machine that never becomes a node (design decision 11). The token stays in this process: it is
neither an argument nor printed.
"""

import json
import os
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from node_bootstrap.protocol import NODES, BootRecord, boot_blob, encode

_METADATA = "http://169.254.169.254"
_TAIL_CHARACTERS = 4096
_TRIES = 5


def main(arguments: list[str]) -> None:
    """Record `SETTINGS NUMBER STEP STARTED EXIT_CODE OUTPUT_FILE`."""
    settings_file, number, step, started, code, output = arguments
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    record = BootRecord(
        node_id=settings["node_id"],
        step=step,
        started_at=datetime.fromisoformat(started),
        ended_at=datetime.now(UTC),
        exit_code=int(code),
        output=Path(output).read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARACTERS:],
    )
    name = boot_blob(record.node_id, int(number), step)
    for left in reversed(range(_TRIES)):
        try:
            _write(settings["blob_endpoint"] + NODES + "/" + name, _token(settings), encode(record).encode())
        except OSError:
            if not left:
                raise
            time.sleep(1)
        else:
            return


def _token(settings: dict[str, str]) -> str:
    base = os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", _METADATA)
    query = f"api-version=2018-02-01&resource=https://storage.azure.com/&client_id={settings['identity_client_id']}"
    answer = _ask(
        urllib.request.Request(f"{base}/metadata/identity/oauth2/token?{query}", headers={"Metadata": "true"})
    )
    return str(json.loads(answer)["access_token"])


def _write(url: str, token: str, data: bytes) -> None:
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2023-11-03", "x-ms-blob-type": "BlockBlob"}
    _ask(urllib.request.Request(url, data, headers, method="PUT"))


def _ask(request: urllib.request.Request) -> bytes:
    # Nodes reach the metadata address and storage directly; a proxy of the environment is not for them.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=30) as reply:  # the addresses come from the node's own settings
        return bytes(reply.read())


if __name__ == "__main__":
    main(sys.argv[1:])
