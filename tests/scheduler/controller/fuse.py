"""A process that dies in the n-th call of a port, before or after the call took effect."""

from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The process is gone: nothing may catch this and go on."""


class Fuse:
    """Counts calls and crashes in the n-th one, before or after it took effect."""

    def __init__(self, crash_at: int, *, after: bool) -> None:
        self._left = crash_at
        self._after = after
        self.blown = False

    def guard(self, port: Any) -> Any:
        """Put the fuse before a port."""
        return _Fused(port, self)

    def run(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Make a call, or crash."""
        if self.blown:
            raise Crash  # a dead process calls nothing any more
        self._left -= 1
        if self._left > 0:
            return call(*args, **options)
        self.blown = True
        if self._after:
            call(*args, **options)
        raise Crash


class _Fused:
    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._port, name)
        return lambda *args, **options: self._fuse.run(call, *args, **options)
