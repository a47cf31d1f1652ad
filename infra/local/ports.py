"""Loopback ports: those of the last run where they are free, otherwise any."""

import socket
import time

# A port used a moment ago, or by a passing connection of someone else, is soon free again.
_PATIENCE_SECONDS = 2.0


def bind(port: int) -> socket.socket:
    """Bind a listening socket to this port, or to another when it stays taken; 0 means any."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        # asyncio turns Nagle's algorithm off only for sockets that say TCP; with it, each answer takes 40 ms.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            if time.monotonic() > deadline:
                port = 0
            else:
                time.sleep(0.1)
        else:
            return listener


def free_ports(wanted: list[int]) -> tuple[int, ...]:
    """Find as many free ports, for a server that binds them itself right after."""
    listeners = [bind(port) for port in wanted]
    found = tuple(int(listener.getsockname()[1]) for listener in listeners)
    for listener in listeners:
        listener.close()
    return found
