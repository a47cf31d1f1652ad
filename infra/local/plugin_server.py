"""The gRPC servers by which the Pulumi engine talks to us: the stand-in provider and the stand-in language host."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

LARGEST_MESSAGE_BYTES = 400 << 20  # as the engine allows


def serve(name: str, threads: int, port: int, add: Callable[[grpc.Server], None]) -> tuple[grpc.Server, int]:
    """Serve on a loopback port, the wanted one if it is free (0: any); return the server and where it is."""
    server = grpc.server(  # type: ignore[no-untyped-call] # grpcio ships no types
        ThreadPoolExecutor(threads, thread_name_prefix=name),
        # Without so_reuseport a port is ours alone; with it two folders could be given the same one.
        options=[("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
    )
    add(server)
    try:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError:  # taken meanwhile
        bound = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, bound
