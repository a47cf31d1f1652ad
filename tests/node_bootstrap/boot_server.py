"""A server on loopback that plays the metadata address and the storage of a booting machine."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from node_bootstrap.protocol import BootRecord, decode
from tests.node_bootstrap.profiles import SAMPLE

NODE = "risk-d2sv5-0123abcd_7"
TOKEN = "a-token-that-nobody-may-see"


@dataclass
class Azure:
    """What the node sees: a metadata address and blobs, with a number of refusals before the roles have spread."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    refusals: int = 0
    url: str = ""

    def records(self) -> list[BootRecord]:
        """The boot records written so far, in order of name."""
        return [
            decode(BootRecord, data) for name, data in sorted(self.blobs.items()) if name.startswith("/nodes/boot/")
        ]


@contextmanager
def serve() -> Iterator[Azure]:
    """Play Azure for one machine."""
    state = Azure()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.startswith("/metadata/"):
                self._metadata(parts.path, parse_qs(parts.query))
            elif state.refusals > 0:
                state.refusals -= 1
                self._answer(403, b"AuthorizationPermissionMismatch")
            elif self.headers["Authorization"] == f"Bearer {TOKEN}" and parts.path in state.blobs:
                first, _, last = (self.headers["x-ms-range"] or "").removeprefix("bytes=").partition("-")
                data = state.blobs[parts.path]
                self._answer(200, data[int(first) : int(last) + 1] if last else data)
            else:
                self._answer(404, b"BlobNotFound")

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Authorization"] == f"Bearer {TOKEN}"
            assert self.headers["x-ms-blob-type"] == "BlockBlob"
            state.blobs[urlsplit(self.path).path] = data
            self._answer(201, b"")

        def _metadata(self, path: str, query: dict[str, list[str]]) -> None:
            assert self.headers["Metadata"] == "true"
            if path.endswith("/instance/compute"):
                self._answer(200, json.dumps({"name": NODE}).encode())
            else:
                assert query["client_id"] == [SAMPLE.identity_client_id]
                assert query["resource"] == ["https://storage.azure.com/"]
                self._answer(200, json.dumps({"access_token": TOKEN, "expires_on": "9999999999"}).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield state
        server.shutdown()
        thread.join()
