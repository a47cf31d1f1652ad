"""An API server in a thread of this process, on a loopback port."""

import socket
import threading
import time
from types import TracebackType
from typing import Self

from fastapi import FastAPI

from scheduler.api.http_server import HttpServer
from scheduler.errors import UnavailableError

_HOST = "127.0.0.1"
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


class ApiServer:
    """Serves an application from entering the context to leaving it; port 0 lets the system choose."""

    def __init__(self, app: FastAPI, port: int = 0) -> None:
        self._port = port
        self._server = HttpServer(app, timeout_graceful_shutdown=2)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the running server."""
        if self._socket is None:
            raise ValueError("the API server is not running; use it as a context")
        return f"http://{_HOST}:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((_HOST, self._port))
        except OSError as error:
            listening.close()
            raise UnavailableError(
                f"port {self._port} on {_HOST} cannot be served ({error.strerror}); choose another with --port"
            ) from error
        self._socket = listening
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="api", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise UnavailableError("the API server did not start; see the log above")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
        if self._socket is not None:
            self._socket.close()
