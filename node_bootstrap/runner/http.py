"""HTTP over kept connections, with the standard library alone. Safe to use from many threads."""

import http.client
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_MOST_IDLE = 8
# Node.js servers, Azurite among them, close a connection that was idle for five seconds; Azure after minutes.
_LONGEST_IDLE_SECONDS = 4.0
# What a connection says that the server had closed before the request came.
_CLOSED_BEFORE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)

Body = bytes | None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """A client for any number of servers. TLS trusts the system's store, or `SSL_CERT_FILE` where it is set."""

    def __init__(self) -> None:
        self._context = ssl.create_default_context()
        self._idle: dict[tuple[str, str], list[tuple[float, http.client.HTTPConnection]]] = defaultdict(list)
        self._lock = threading.Lock()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body = None, timeout_seconds: float = 30.0
    ) -> Response:
        """Send one request and read its answer. `OSError` or `http.client.HTTPException` when there is none.

        One that a kept connection refuses, as the server had closed it meanwhile, is sent again on a new one.
        """
        parts = urlsplit(url)
        key = (parts.scheme, parts.netloc)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        kept = self._take(key)
        if kept is not None:
            try:
                return self._exchange(key, kept, (method, target, headers, body), timeout_seconds)
            except _CLOSED_BEFORE:
                pass
        return self._exchange(key, self._open(key), (method, target, headers, body), timeout_seconds)

    def forget_idle(self, url: str) -> None:
        """Close the kept connections to the server of an address: after a failure the others may be dead too."""
        parts = urlsplit(url)
        with self._lock:
            idle = self._idle.pop((parts.scheme, parts.netloc), [])
        for _, connection in idle:
            connection.close()

    def close(self) -> None:
        """Close all kept connections."""
        with self._lock:
            idle = [connection for connections in self._idle.values() for connection in connections]
            self._idle.clear()
        for _, connection in idle:
            connection.close()

    def _exchange(
        self,
        key: tuple[str, str],
        connection: http.client.HTTPConnection,
        request: tuple[str, str, Mapping[str, str], Body],
        timeout_seconds: float,
    ) -> Response:
        method, target, headers, body = request
        connection.timeout = timeout_seconds
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        try:
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._keep(key, connection)
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, data)

    def _open(self, key: tuple[str, str]) -> http.client.HTTPConnection:
        scheme, address = key
        if scheme == "https":
            return http.client.HTTPSConnection(address, context=self._context)
        return http.client.HTTPConnection(address)

    def _take(self, key: tuple[str, str]) -> http.client.HTTPConnection | None:
        """Give the connection that was used last, unless it was idle for too long."""
        with self._lock:
            idle = self._idle.pop(key, [])
            fresh = [item for item in idle if time.monotonic() - item[0] < _LONGEST_IDLE_SECONDS]
            taken = fresh.pop()[1] if fresh else None
            if fresh:
                self._idle[key] = fresh
        for since, connection in idle:
            if connection is not taken and (since, connection) not in fresh:
                connection.close()
        return taken

    def _keep(self, key: tuple[str, str], connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle[key]) < _MOST_IDLE:
                self._idle[key].append((time.monotonic(), connection))
                return
        connection.close()
