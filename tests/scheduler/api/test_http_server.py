"""The server at its end: whatever its clients were about to do, no connection stays open."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Response

from infra.local import certificates
from scheduler.api.http_server import HttpServer
from scheduler.api.server import ApiServer
from tests.left_open import is_ended, nothing_left_open

PATIENCE = 30.0


class Serving:
    """A server in the loop of the test, and its address."""

    def __init__(self, **options: Any) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = HttpServer(FastAPI(), timeout_graceful_shutdown=1, **options)

    def connect(self) -> socket.socket:
        """Connect; the server need not have taken the connection yet."""
        return socket.create_connection(self._listener.getsockname(), PATIENCE)

    async def stop(self) -> None:
        """Stop now, not at the next look of the server at whether it should."""
        await self.server.shutdown([self._listener])


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Serving]:
    """Start a server; the block stops it."""
    made = Serving(**options)
    made.server.config.load()
    made.server.lifespan = made.server.config.lifespan_class(made.server.config)
    await made.server.startup([made._listener])
    yield made


@pytest.mark.parametrize("turns", range(8))
def test_a_client_that_comes_at_the_end(turns: int) -> None:
    """Whichever of the steps from the system's queue to the protocol its connection has reached, it ends."""

    async def run() -> socket.socket:
        async with serving() as served:
            client = served.connect()
            for _ in range(turns):
                await asyncio.sleep(0)
            await served.stop()
        return client

    with nothing_left_open():
        assert is_ended(asyncio.run(run()))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """The certificate of the server, and what a client trusts."""
    return certificates.ensure(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("late", [False, True])
def test_a_handshake_at_the_end(files: certificates.Certificates, late: bool) -> None:
    """A TLS handshake that the end of the server cuts in two leads to nothing, neither never ended nor ended later."""
    trust = ssl.create_default_context(cafile=str(files.authority))

    async def run() -> socket.socket | None:
        async with serving(ssl_certfile=str(files.certificate), ssl_keyfile=str(files.key)) as served:
            client = served.connect()
            for _ in range(8):
                await asyncio.sleep(0)
            await served.stop()
            if not late:
                return client
            # A client of TLS 1.3 is done before the server has read its last word.
            secured = await asyncio.to_thread(trust.wrap_socket, client, server_hostname="localhost")
            assert await asyncio.to_thread(is_ended, secured)
        return None

    with nothing_left_open():
        client = asyncio.run(run())
        assert client is None or is_ended(client)


def test_a_client_that_does_not_read() -> None:
    """An answer that nobody takes keeps neither the server nor its connection."""
    app = FastAPI()
    asked = threading.Event()

    @app.get("/")
    def large() -> Response:
        asked.set()
        return Response(bytes(32_000_000))

    with nothing_left_open():
        with ApiServer(app) as server:
            host, port = server.url.removeprefix("http://").split(":")
            client = socket.create_connection((host, int(port)), PATIENCE)
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert asked.wait(PATIENCE)
        assert is_ended(client)
        del server
