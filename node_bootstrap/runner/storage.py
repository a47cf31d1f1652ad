"""The blobs and queues of a pool's storage account, as much of them as a node needs.

Requests carry the node's own token, nothing else. What may pass by itself is tried again within `patience_seconds`:
server errors, throttling, lost connections, and refusals, as a role given a moment ago takes minutes to be known.
Safe to use from many threads.
"""

import base64
import http.client
import random
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from node_bootstrap.protocol import LEASE_SECONDS
from node_bootstrap.runner.events import Delivery
from node_bootstrap.runner.http import Body, Http, Response
from node_bootstrap.runner.instructions import Lease
from node_bootstrap.runner.metadata import Metadata, MetadataError

# A version that the service and Azurite both know.
_VERSION = "2023-11-03"
_BLOCK_BYTES = 4 * 1024 * 1024
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_TIMEOUT_SECONDS = 30.0
# A lease must be renewed twice more within its time when one answer never comes.
_QUEUE_TIMEOUT_SECONDS = 10.0
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _PRECONDITION, _BAD_REQUEST = 401, 403, 404, 409, 412, 400
_PASSING = frozenset({_UNAUTHORIZED, _FORBIDDEN, 408, 429, 500, 502, 503, 504})
_GONE = frozenset({"MessageNotFound", "PopReceiptMismatch", "InvalidPopReceipt", "QueueNotFound"})


class StorageError(Exception):
    """Storage refused a request or did not answer in time. `status` is None where no answer came at all."""

    def __init__(self, what: str, status: int | None, code: str) -> None:
        super().__init__(f"{what}: {status or 'no answer'} {code}")
        self.status = status
        self.code = code


class Storage:
    """Client of one storage account; endpoints end with a slash."""

    def __init__(self, http_client: Http, metadata: Metadata, blob_endpoint: str, queue_endpoint: str) -> None:
        self._http = http_client
        self._metadata = metadata
        self._blobs = blob_endpoint
        self._queues = queue_endpoint

    def get(self, container: str, blob: str, patience_seconds: float = 10.0) -> bytes | None:
        """Read a whole blob; None when it is not there."""
        answer = self._send("GET", self._blob(container, blob), {}, None, patience_seconds, (200, _NOT_FOUND))
        return None if answer.status == _NOT_FOUND else answer.body

    def get_range(self, container: str, blob: str, offset: int, length: int, patience_seconds: float = 10.0) -> bytes:
        """Read part of a blob: exactly `length` bytes, or `StorageError`."""
        if length == 0:  # a range of no bytes cannot be said in HTTP
            return b""
        url, wanted = self._blob(container, blob), {"x-ms-range": f"bytes={offset}-{offset + length - 1}"}
        answer = self._send("GET", url, wanted, None, patience_seconds, (200, 206))
        if len(answer.body) != length:
            raise StorageError(f"GET {container}/{blob}", answer.status, f"has no {length} bytes at {offset}")
        return answer.body

    def put(
        self, container: str, blob: str, data: bytes, patience_seconds: float = 10.0, *, once: bool = False
    ) -> None:
        """Write a whole blob. `once`: one that is there stays as it is (for names that only this run uses)."""
        headers = {"x-ms-blob-type": "BlockBlob"} | ({"If-None-Match": "*"} if once else {})
        accepted = (201, _CONFLICT) if once else (201,)
        answer = self._send("PUT", self._blob(container, blob), headers, data, patience_seconds, accepted)
        if answer.status == _CONFLICT and _code(answer) != "BlobAlreadyExists":
            raise StorageError(f"PUT {container}/{blob}", answer.status, _code(answer))

    def put_file(self, container: str, blob: str, path: Path, patience_seconds: float = 60.0) -> None:
        """Write a blob from a file, in blocks where it is large; never the whole file in memory."""
        url = self._blob(container, blob)
        numbers: list[str] = []
        with path.open("rb") as file:
            data = file.read(_BLOCK_BYTES)
            if len(data) < _BLOCK_BYTES:
                self.put(container, blob, data, patience_seconds)
                return
            while data:
                name = base64.b64encode(b"%08d" % len(numbers)).decode()
                self._send(
                    "PUT", f"{url}?comp=block&blockid={quote(name, safe='')}", {}, data, patience_seconds, (201,)
                )
                numbers.append(name)
                data = file.read(_BLOCK_BYTES)
        blocks = "".join(f"<Latest>{name}</Latest>" for name in numbers)
        listing = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()
        self._send(
            "PUT", f"{url}?comp=blocklist", {"Content-Type": "application/xml"}, listing, patience_seconds, (201,)
        )

    def create_log(self, container: str, blob: str, patience_seconds: float = 10.0) -> None:
        """Make an empty blob that can be appended to; one that is there stays."""
        headers = {"x-ms-blob-type": "AppendBlob", "If-None-Match": "*"}
        url = self._blob(container, blob)
        self._send("PUT", url, headers, b"", patience_seconds, (201, _CONFLICT))

    def append_log(self, container: str, blob: str, data: bytes, position: int, patience_seconds: float = 10.0) -> None:
        """Append at a position. When it had been appended already, by a request whose answer was lost, all is well."""
        url, headers = self._blob(container, blob), {"x-ms-blob-condition-appendpos": str(position)}
        answer = self._send("PUT", f"{url}?comp=appendblock", headers, data, patience_seconds, (201, _PRECONDITION))
        if answer.status == _PRECONDITION:
            there = self._send("HEAD", url, {}, None, patience_seconds, (200,))
            if int(there.headers.get("content-length", "-1")) != position + len(data):
                raise StorageError(f"PUT {container}/{blob}", answer.status, f"does not end at {position}")

    def receive(self, queue: str, count: int) -> tuple[Delivery, ...]:
        """Lease up to `count` messages for `LEASE_SECONDS`. One try: a lost answer may have leased some."""
        url = f"{self._queues}{queue}/messages?numofmessages={count}&visibilitytimeout={LEASE_SECONDS}"
        answer = self._send("GET", url, {}, None, 0.0, (200,), _QUEUE_TIMEOUT_SECONDS)
        return tuple(_delivery(item) for item in ET.fromstring(answer.body).iter("QueueMessage"))  # noqa: S314  Azure's

    def renew(self, queue: str, lease: Lease) -> Lease | None:
        """Hide a message for `LEASE_SECONDS` from now, its text untouched; None when the lease is another's."""
        url = f"{self._message(queue, lease)}&visibilitytimeout={LEASE_SECONDS}"
        answer = self._send("PUT", url, {}, None, 5.0, (204, _NOT_FOUND, _BAD_REQUEST), _QUEUE_TIMEOUT_SECONDS)
        if _gone(answer):
            return None
        _refuse(answer, f"PUT {queue}", 204)
        return Lease(lease.queue_message_id, answer.headers["x-ms-popreceipt"])

    def delete(self, queue: str, lease: Lease) -> None:
        """Delete a message; one that is gone or another's is left."""
        answer = self._send(
            "DELETE",
            self._message(queue, lease),
            {},
            None,
            10.0,
            (204, _NOT_FOUND, _BAD_REQUEST),
            _QUEUE_TIMEOUT_SECONDS,
        )
        if not _gone(answer):
            _refuse(answer, f"DELETE {queue}", 204)

    def send(self, queue: str, text: str) -> None:
        """Put a message that never expires."""
        content = base64.b64encode(text.encode()).decode()
        body = f"<QueueMessage><MessageText>{content}</MessageText></QueueMessage>"
        headers = {"Content-Type": "application/xml"}
        self._send(
            "POST",
            f"{self._queues}{queue}/messages?messagettl=-1",
            headers,
            body.encode(),
            10.0,
            (201,),
            _QUEUE_TIMEOUT_SECONDS,
        )

    def _blob(self, container: str, blob: str) -> str:
        return f"{self._blobs}{container}/{quote(blob)}"

    def _message(self, queue: str, lease: Lease) -> str:
        receipt = quote(lease.pop_receipt, safe="")
        return f"{self._queues}{queue}/messages/{lease.queue_message_id}?popreceipt={receipt}"

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        patience_seconds: float,
        accepted: tuple[int, ...],
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> Response:
        deadline, pause = time.monotonic() + patience_seconds, _FIRST_PAUSE_SECONDS
        what = f"{method} {url.partition('?')[0]}"
        while True:
            try:
                answer = self._try(method, url, headers, body, timeout_seconds)
            except (OSError, http.client.HTTPException) as error:
                # A kept connection that was closed meanwhile: the others are likely to be too.
                self._http.forget_idle(url)
                failure = StorageError(what, None, repr(error))
            except MetadataError as error:
                failure = StorageError(what, None, str(error))
            else:
                if answer.status in accepted:
                    return answer
                failure = StorageError(what, answer.status, _code(answer))
                if answer.status not in _PASSING:
                    raise failure
            if time.monotonic() + pause > deadline:
                raise failure
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  so that a fleet does not come back in step
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _try(self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout_seconds: float) -> Response:
        token = self._metadata.storage_token()
        fixed = {"Authorization": f"Bearer {token}", "x-ms-version": _VERSION}
        if body is None and method == "PUT":
            fixed["Content-Length"] = "0"
        answer = self._http.request(method, url, fixed | dict(headers), body, timeout_seconds)
        if answer.status == _UNAUTHORIZED:
            self._metadata.forget_token(token)
        return answer


def _code(answer: Response) -> str:
    if "x-ms-error-code" in answer.headers:
        return answer.headers["x-ms-error-code"]
    try:
        return ET.fromstring(answer.body).findtext("Code") or ""  # noqa: S314  Azure's own answer
    except ET.ParseError:
        return ""


def _gone(answer: Response) -> bool:
    return answer.status == _NOT_FOUND or (answer.status == _BAD_REQUEST and _code(answer) in _GONE)


def _refuse(answer: Response, what: str, expected: int) -> None:
    if answer.status != expected:
        raise StorageError(what, answer.status, _code(answer))


def _delivery(item: ET.Element) -> Delivery:
    content = item.findtext("MessageText") or ""
    try:
        body = base64.b64decode(content, validate=True).decode()
    except ValueError:
        body = content  # not ours; the machine says so
    lease = Lease(item.findtext("MessageId") or "", item.findtext("PopReceipt") or "")
    return Delivery(lease, body, int(item.findtext("DequeueCount") or "1"))
