"""A server for HTTP that leaves no connection open when it ends."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState


async def stop_accepting(*servers: asyncio.Server) -> None:
    """Close servers; when this returns, every connection that one has accepted is known to its protocol, or in TLS.

    A server that is closed between the acceptance of a connection and the making of its transport, in the next turn of
    the loop, forgets the connection: it stays open until it is collected as garbage, and its client waits
    (python/cpython#109564). So the server accepts no more at first, and is closed when those turns are over.
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
    # Callbacks run in the order in which they were asked for: these turns come after those of the last connection, in
    # which its transport is made, and then its protocol is told.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for server in servers:
        server.close()


class HttpServer(uvicorn.Server):
    """A server that at its end drops what does not go by itself, and lets nobody in whose TLS handshake ends later."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(
            uvicorn.Config(app, http=_Connection, log_level="warning", access_log=False, lifespan="off", **options)
        )
        self.server_state = self._state = _State()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for requests under way as long as the configuration says, then drop every connection."""
        await stop_accepting(*self.servers)
        await super().shutdown(sockets)
        self._state.ended = True
        self.drop(lambda _: True)
        await asyncio.sleep(0)

    def drop(self, chosen: Callable[[Any], bool]) -> None:
        """Abort connections, chosen by the request in them; None is a connection that has had no request."""
        for connection in list(self._state.connections):
            if isinstance(connection, _Connection) and chosen(connection.cycle):
                connection.transport.abort()


class _State(ServerState):
    """What the connections of a server share."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False


class _Connection(H11Protocol):
    server_state: _State

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        super().connection_made(transport)
        if self.server_state.ended:
            transport.abort()
