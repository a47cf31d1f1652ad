"""A small server that stands for a metadata address and a storage account, so far as the runner uses them."""

import base64
import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Message:
    """A message on a queue."""

    text: str
    identifier: str = field(default_factory=lambda: uuid.uuid4().hex)
    receipt: str = ""
    visible_at: float = 0.0
    count: int = 0


@dataclass
class FakeAzure:
    """Blobs by `container/name`, queues by name, and what was asked. `fault` may answer in the place of the service."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    queues: dict[str, list[Message]] = field(default_factory=dict)
    scheduled_events: list[dict[str, object]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    fault: Callable[[str, str], Answer | None] = lambda method, path: None
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    tokens: int = 0

    def put_message(self, queue: str, text: str) -> Message:
        """Put a message as the scheduler does."""
        message = Message(base64.b64encode(text.encode()).decode())
        with self.lock:
            self.queues.setdefault(queue, []).append(message)
        return message

    def texts(self, queue: str) -> list[str]:
        """Give the texts of all messages on a queue."""
        with self.lock:
            return [base64.b64decode(message.text).decode() for message in self.queues.get(queue, [])]

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        with self.lock:
            self.requests.append(f"{method} {target}")
            if (instead := self.fault(method, path)) is not None:
                return instead
            if path.startswith("/metadata/"):
                return self._metadata(path, query, headers)
            if headers.get("authorization") != f"Bearer token-{self.tokens}":
                return 401, {}, b""
            assert headers["x-ms-version"] == "2023-11-03"
            _, service, rest = path.split("/", 2)
            if service == "queue":
                return self._queue(method, rest, query, body)
            return self._blob(method, rest, query, headers, body)

    def _metadata(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        assert headers["metadata"] == "true"
        if path.endswith("/oauth2/token"):
            assert query["resource"] == "https://storage.azure.com/"
            self.tokens += 1
            token = {"access_token": f"token-{self.tokens}", "expires_on": str(int(time.time()) + 3600)}
            return 200, {}, json.dumps(token).encode()
        return 200, {}, json.dumps({"DocumentIncarnation": 1, "Events": self.scheduled_events}).encode()

    def _queue(self, method: str, rest: str, query: dict[str, str], body: bytes) -> Answer:
        name, _, identifier = rest.partition("/messages")
        messages = self.queues.setdefault(name, [])
        now = time.monotonic()
        if method == "POST":
            assert query["messagettl"] == "-1"
            messages.append(Message(_xml(body).findtext("MessageText") or ""))
            return 201, {}, b""
        if method == "GET":
            found = [message for message in messages if message.visible_at <= now][: int(query["numofmessages"])]
            listing = ET.Element("QueueMessagesList")
            for message in found:
                message.count += 1
                message.visible_at = now + int(query["visibilitytimeout"])
                message.receipt = uuid.uuid4().hex + "+/="
                item = ET.SubElement(listing, "QueueMessage")
                values = {"MessageId": message.identifier, "PopReceipt": message.receipt, "MessageText": message.text}
                for tag, value in (values | {"DequeueCount": str(message.count)}).items():
                    ET.SubElement(item, tag).text = value
            return 200, {}, ET.tostring(listing)
        held = next((message for message in messages if message.identifier == identifier.strip("/")), None)
        if held is None:
            return 404, {"x-ms-error-code": "MessageNotFound"}, b""
        if held.receipt != query["popreceipt"]:
            return 400, {"x-ms-error-code": "PopReceiptMismatch"}, b""
        if method == "DELETE":
            messages.remove(held)
            return 204, {}, b""
        assert method == "PUT"
        assert body == b""
        held.receipt = uuid.uuid4().hex
        held.visible_at = now + int(query["visibilitytimeout"])
        return 204, {"x-ms-popreceipt": held.receipt}, b""

    def _blob(self, method: str, name: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
        if method in {"GET", "HEAD"}:
            return self._read(method, name, headers)
        assert method == "PUT"
        match query.get("comp"):
            case "block":
                self.blocks.setdefault(name, {})[query["blockid"]] = body
            case "blocklist":
                names = [item.text or "" for item in _xml(body).iter("Latest")]
                self.blobs[name] = b"".join(self.blocks[name][block] for block in names)
            case "appendblock":
                assert self.kinds[name] == "AppendBlob"
                if int(headers["x-ms-blob-condition-appendpos"]) != len(self.blobs[name]):
                    return 412, {"x-ms-error-code": "AppendPositionConditionNotMet"}, b""
                self.blobs[name] += body
            case _:
                if headers.get("if-none-match") == "*" and name in self.blobs:
                    return 409, {"x-ms-error-code": "BlobAlreadyExists"}, b""
                self.blobs[name], self.kinds[name] = body, headers["x-ms-blob-type"]
        return 201, {}, b""

    def _read(self, method: str, name: str, headers: dict[str, str]) -> Answer:
        if name not in self.blobs:
            return 404, {"x-ms-error-code": "BlobNotFound"}, b""
        data = self.blobs[name]
        if "x-ms-range" in headers:
            first, last = headers["x-ms-range"].removeprefix("bytes=").split("-")
            return 206, {}, data[int(first) : int(last) + 1]
        return 200, {"content-length": str(len(data))}, data if method == "GET" else b""


def _xml(body: bytes) -> ET.Element:
    return ET.fromstring(body)  # noqa: S314  what the client under test has written


class Server:
    """Serves a `FakeAzure` on loopback, for a `with` block."""

    def __init__(self, azure: FakeAzure) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, more, data = azure.answer(self.command, self.path, headers, body)
                self.send_response(status)
                for name, value in more.items():
                    if name != "content-length":
                        self.send_header(name, value)
                length = more.get("content-length", str(len(data)))
                if status != 204:
                    self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815  names that http.server asks for

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        azure.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
