"""A small ARM over HTTP: keeps what is PUT, answers as the services do, fails where a test asks."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
POLL = {"x-ms-retry-after-ms": "10"}
# How a kind's operations are followed: by status object, by Location, by the resource's own state; else they are done.
BY_STATUS, BY_LOCATION, BY_STATE = "virtualmachinescalesets", "storageaccounts", "virtualnetworks"


@dataclass
class ArmStub:
    """The stub's state: resources by lower-case id, the requests seen, and what shall fail."""

    url: str = ""
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    refused: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)  # id: answers to come first
    fails_later: set[str] = field(default_factory=set)
    polls: dict[str, int] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def methods(self) -> list[str]:
        """Say what was asked of resources, without polls."""
        asked = ((method, path.rsplit("/", 1)[-1]) for method, path, _ in self.requests if "/operations/" not in path)
        return [f"{method} {name}" for method, name in asked]


@contextmanager
def serving() -> Iterator[ArmStub]:
    """Serve a stub until the block ends."""
    stub = ArmStub()
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: ArmStub

    def do_GET(self) -> None:
        path, _ = self._asked()
        if "/operations/" in path:
            self._operation(path)
        elif path.lower() in self.stub.resources:
            resource = self.stub.resources[path.lower()]
            self._answer(200, resource, POLL)
            properties = resource.get("properties", {})
            if properties.get("provisioningState") == "Creating":
                properties["provisioningState"] = "Succeeded"
        else:
            self._error(404, "ResourceNotFound", f"{path} was not found")

    def do_PUT(self) -> None:
        path, body = self._asked()
        key, kind = path.lower(), path.lower().split("/")[-2]
        if self.stub.refused.get(key):
            self._error(*self.stub.refused[key].pop(0))
            return
        resource = {**body, "id": path, "name": path.split("/")[-1], "type": f"Test/{kind}"}
        state = "Creating" if kind == BY_STATE else "Succeeded"
        resource["properties"] = {**body.get("properties", {}), "provisioningState": state}
        identities = (body.get("identity") or {}).get("userAssignedIdentities")
        if identities:
            found = {name: {"principalId": "p", "clientId": "c"} for name in identities}
            resource["identity"] = {**body["identity"], "userAssignedIdentities": found}
        created = key not in self.stub.resources
        self.stub.resources[key] = resource
        follow = f"{self.stub.url}/operations/{key.strip('/').replace('/', '~')}?api-version=1"
        if kind == BY_STATUS:
            self._answer(201 if created else 200, resource, {"Azure-AsyncOperation": follow, **POLL})
        elif kind == BY_LOCATION:
            self._answer(202, None, {"Location": follow, **POLL})
        else:
            self._answer(201 if created else 200, resource, POLL)

    def do_POST(self) -> None:
        path, _ = self._asked()
        owner, _, action = path.rpartition("/")
        if owner.lower() in self.stub.resources:
            self._answer(200, {"action": action, "keys": [{"keyName": "key1", "value": "a2V5"}]})
        else:
            self._error(404, "ResourceNotFound", f"{owner} was not found")

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        if self.stub.resources.pop(path.lower(), None) is None:
            self._answer(404, {"error": {"code": "ResourceNotFound", "message": path}})
            return
        follow = f"{self.stub.url}/operations/deleted?api-version=1"
        self._answer(202, None, {"Location": follow, **POLL})

    def _operation(self, path: str) -> None:
        name = path.rsplit("/", maxsplit=1)[-1]
        self.stub.polls[name] = self.stub.polls.get(name, 0) + 1
        done = self.stub.polls[name] % 2 == 0
        resource_id = "/" + name.replace("~", "/")
        if BY_STATUS not in name:
            self._answer(200 if done else 202, {} if done else None, POLL)
        elif done and resource_id in self.stub.fails_later:
            error = {"code": "AllocationFailed", "message": "there is no room"}
            self._answer(200, {"status": "Failed", "error": error})
        else:
            self._answer(200, {"status": "Succeeded" if done else "InProgress"}, POLL)

    def _asked(self) -> tuple[str, Any]:
        url = urlsplit(self.path)
        assert parse_qs(url.query)["api-version"], "every ARM request names its version"
        self.stub.tokens.add(self.headers["Authorization"])
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.stub.requests.append((self.command, url.path, body))
        return url.path, body

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, {"error": {"code": code, "message": message}}, POLL)

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Keep the test's output quiet."""
