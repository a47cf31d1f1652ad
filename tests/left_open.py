"""What a server leaves open: Python says so of each socket and transport that it collects unclosed, a client waits."""

import gc
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail when what the block has made and let go of was not closed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(each.message) for each in seen] == []


def is_ended(client: socket.socket) -> bool:
    """Whether the server closed the connection; what it said before is passed over."""
    with client, suppress(ConnectionError, ssl.SSLError):
        while client.recv(65_536):
            pass
    return True
