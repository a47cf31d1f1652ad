"""What stands before a server: TLS, and Entra tokens instead of passwords.

A client that has shown a token of the identity whose role it wants is joined to the server's socket, which trusts the
front; from there on bytes pass unread. One thread serves the fronts of all servers.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from infra.local.postgres import wire
from infra.local.tokens import Principal, TokenError, TokenIssuer
from scheduler.api.http_server import stop_accepting

# The name that Azure's databases have as the audience of tokens.
AUDIENCE = "https://ossrdbms-aad.database.windows.net"

_HANDSHAKE_SECONDS = 15.0
_END_SECONDS = 10.0
_GOODBYE_SECONDS = 0.1
_CHUNK = 65_536
_HEAD = 8
_log = logging.getLogger(__name__)

Admits = Callable[[str, Principal], bool]
Parts = Callable[[asyncio.StreamWriter, asyncio.WriteTransport], None]


class Refused(Exception):  # noqa: N818  it is an answer
    """The client is told why, with the SQLSTATE that PostgreSQL has for it."""

    def __init__(self, state: str, text: str) -> None:
        super().__init__(text)
        self.state = state


class Fronts:
    """The fronts of all servers of a folder."""

    def __init__(self, certificate: Path, key: Path, issuer: TokenIssuer) -> None:
        self._issuer = issuer
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="database-fronts", daemon=True)
        self._listening: dict[str, asyncio.Server] = {}
        self._sessions: dict[str, set[asyncio.Task[None]]] = {}
        self._goodbyes: set[asyncio.Task[None]] = set()

    def open(self, name: str, listener: socket.socket, backend: Path, admits: Admits) -> None:
        """Serve a bound socket; `admits` says whether a principal may be a role."""
        if not self._thread.is_alive():
            self._thread.start()
        self._run(self._open(name, listener, backend, admits))

    def close(self, name: str) -> None:
        """Serve a server no more, and end its sessions."""
        if name in self._listening:
            self._run(self._close(name))

    def end(self) -> None:
        """Close all fronts and the thread."""
        for name in list(self._listening):
            self.close(name)
        if self._thread.is_alive():
            self._run(self._parted())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_END_SECONDS)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_END_SECONDS)

    async def _open(self, name: str, listener: socket.socket, backend: Path, admits: Admits) -> None:
        sessions = self._sessions[name] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.transport  # TLS lays another over it
            served = _Session(self._issuer, self._tls, backend, admits, self._part)
            session = self._loop.create_task(_serve(name, served, reader, writer))
            sessions.add(session)
            # Unlike what stands in the task, this is done too for one that is cancelled before it has begun.
            session.add_done_callback(sessions.discard)
            session.add_done_callback(lambda _: self._part(writer, connection))

        self._listening[name] = await asyncio.start_server(connected, sock=listener)

    async def _close(self, name: str) -> None:
        await stop_accepting(self._listening.pop(name))
        sessions = self._sessions.pop(name)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    def _part(self, writer: asyncio.StreamWriter, connection: asyncio.WriteTransport) -> None:
        """Close a connection; it is known to the fronts until it is gone."""
        writer.close()
        goodbye = self._loop.create_task(_goodbye(writer, connection))
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    async def _parted(self) -> None:
        """Wait until every connection is gone."""
        await asyncio.gather(*self._goodbyes, return_exceptions=True)


class _Session:
    """One connection, from its first byte to its last."""

    def __init__(self, issuer: TokenIssuer, tls: ssl.SSLContext, backend: Path, admits: Admits, part: Parts) -> None:
        self._issuer = issuer
        self._tls = tls
        self._backend = backend
        self._admits = admits
        self._part = part

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let the client in, or say why not."""
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                first = await self._greeted(reader, writer)
                await self._backend_for(first, reader, writer)
        except Refused as refused:
            writer.write(wire.refusal(refused.state, str(refused)))
            await writer.drain()
            return
        await self._join(first, reader, writer)

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Read the client's first packet, behind TLS."""
        secured = False
        while True:
            head = await reader.readexactly(_HEAD)
            code = wire.code_of(head)
            if code == wire.ENCRYPTION:
                writer.write(b"N")
            elif code == wire.TLS and not secured:
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._tls)
                secured = True
            else:
                length = wire.length_of(head)
                if not _HEAD <= length <= wire.LONGEST_STARTUP:
                    raise wire.WireError(f"a first packet of {length} bytes")
                packet = head + await reader.readexactly(length - _HEAD)
                if not secured and code != wire.CANCEL:
                    raise Refused("28000", "the server takes encrypted connections only: write sslmode=verify-full")
                return packet

    async def _backend_for(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See that the client may be who it says; a request to cancel is proven by what it holds."""
        if wire.code_of(first) == wire.CANCEL:
            return
        startup = wire.read_startup(first)
        writer.write(wire.ask_for_password())
        kind = await reader.readexactly(1)
        length = wire.length_of(await reader.readexactly(4))
        if kind != b"p" or not 4 <= length <= wire.LONGEST_PASSWORD:  # noqa: PLR2004  the length counts itself
            raise wire.WireError("no password where one was asked for")
        token = wire.read_password(await reader.readexactly(length - 4))
        try:
            principal = self._issuer.check(token, AUDIENCE, ())
        except (TokenError, ValueError, KeyError) as error:
            raise Refused("28P01", f"the password is no access token for this server: {error}") from None
        if not self._admits(startup.user, principal):
            raise Refused(
                "28P01",
                f"the token is not of the identity whose role '{startup.user}' is, or no such role signs in with Entra",
            )

    async def _join(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_unix_connection(self._backend)
        except OSError:
            writer.write(wire.refusal("57P03", "the database system is starting up"))
            await writer.drain()
            return
        try:
            to_server.write(first)
            both = (_pass_on(reader, to_server), _pass_on(from_server, writer))
            ways = [asyncio.create_task(way) for way in both]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._part(to_server, to_server.transport)


async def _serve(name: str, session: _Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await session.serve(reader, writer)
    except (OSError, asyncio.IncompleteReadError, TimeoutError, wire.WireError) as error:
        _log.info("a connection to the database server '%s' ended: %s", name, error)


async def _goodbye(writer: asyncio.StreamWriter, connection: asyncio.WriteTransport) -> None:
    """Wait for the end of a connection that was closed, but not for a peer that does not answer the end of its TLS."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await writer.wait_closed()
    if connection.get_extra_info("socket").fileno() >= 0:
        connection.abort()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
