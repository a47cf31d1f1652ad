"""The front of a database server at its end: whatever a client was about to do, its connection ends."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from infra.local import certificates
from infra.local.ports import bind
from infra.local.postgres import wire
from infra.local.postgres.front import Fronts
from infra.local.tokens import TokenIssuer
from tests.left_open import is_ended, nothing_left_open

PATIENCE = 30.0
ASK_FOR_TLS = (8).to_bytes(4) + wire.TLS.to_bytes(4)


class Front:
    """One front, with nothing behind it but a socket that takes connections and says nothing."""

    def __init__(self, folder: Path) -> None:
        made = certificates.ensure(folder / "certificates")
        self.trust = ssl.create_default_context(cafile=str(made.authority))
        self.fronts = Fronts(made.certificate, made.key, TokenIssuer("tenant", "secret"))
        listener = bind(0)
        self._place = listener.getsockname()
        self.backend = socket.socket(socket.AF_UNIX)
        self.backend.bind(str(folder / "backend"))
        self.backend.listen()
        self.fronts.open("psql", listener, folder / "backend", lambda *_: True)

    def connect(self) -> socket.socket:
        """Connect; the front need not have taken the connection yet."""
        return socket.create_connection(self._place, PATIENCE)

    def secured(self) -> ssl.SSLSocket:
        """Connect, behind TLS."""
        plain = self.connect()
        plain.sendall(ASK_FOR_TLS)
        assert plain.recv(1) == b"S"
        return self.trust.wrap_socket(plain, server_hostname="localhost")

    def connected_before_close(self, turns: int) -> socket.socket:
        """Connect in the loop of the fronts, and close the front so many turns later."""

        async def race() -> socket.socket:
            client = self.connect()
            for _ in range(turns):
                await asyncio.sleep(0)
            await self.fronts._close("psql")
            return client

        return asyncio.run_coroutine_threadsafe(race(), self.fronts._loop).result(PATIENCE)

    def end(self) -> None:
        """End the fronts and what is behind them."""
        self.fronts.end()
        self.backend.close()


@pytest.mark.parametrize("turns", range(8))
def test_a_client_that_comes_at_the_end(tmp_path: Path, turns: int) -> None:
    """Whichever of the steps from the system's queue to a session its connection has reached, it ends."""
    with nothing_left_open():
        front = Front(tmp_path)
        client = front.connected_before_close(turns)
        front.end()
        assert is_ended(client)
        del front


@pytest.mark.parametrize("said", [b"", ASK_FOR_TLS[:5], ASK_FOR_TLS])
def test_a_client_that_says_nothing_more(tmp_path: Path, said: bytes) -> None:
    """A session that waits for a client, also in the middle of its TLS handshake, ends with the front."""
    with nothing_left_open():
        front = Front(tmp_path)
        client = front.connect()
        client.sendall(said)
        if said == ASK_FOR_TLS:
            assert client.recv(1) == b"S"
        front.end()
        assert is_ended(client)
        del front


def test_a_client_that_does_not_answer_the_end(tmp_path: Path) -> None:
    """The end of a TLS session is not waited for when the client does not read."""
    with nothing_left_open():
        front = Front(tmp_path)
        client = front.secured()
        front.end()
        assert is_ended(client)
        del front


def test_a_server_that_does_not_read(tmp_path: Path) -> None:
    """What a client has sent and its server has not read keeps no connection to the server open."""
    with nothing_left_open():
        front = Front(tmp_path)
        client = front.connect()
        client.sendall((16).to_bytes(4) + wire.CANCEL.to_bytes(4) + bytes(8))
        behind, _ = front.backend.accept()
        assert len(behind.recv(16)) == 16
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                client.sendall(bytes(65_536))
        client.settimeout(PATIENCE)
        front.end()
        assert is_ended(client)
        behind.close()
        del front
