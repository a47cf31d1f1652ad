"""The parts of a demonstration, timed, and the commands it runs, shown as a user would type them."""

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

MILLPOND = Path(sys.executable).with_name("millpond")


class DemoError(Exception):
    """The demonstration cannot go on; the message says why and what to do."""


@dataclass(slots=True)
class Phases:
    """How long each part took, in seconds, in order."""

    taken: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce a part and time it."""
        say(f"== {name}")
        started = time.monotonic()
        try:
            yield
        finally:
            self.taken[name] = time.monotonic() - started


def say(text: str) -> None:
    """Print a line at once, so that it stands before what a command prints."""
    print(text, flush=True)


def millpond(*arguments: str) -> None:
    """Run `millpond` in the foreground, as a user would."""
    run("millpond", str(MILLPOND), *arguments)


def run(shown: str, *command: str) -> None:
    """Run a command in the foreground; `DemoError` when it fails."""
    say(f"$ {shlex.join([shown, *command[1:]])}")
    code = subprocess.run(command, check=False).returncode
    if code:
        raise DemoError(f"`{shlex.join([shown, *command[1:]])}` ended with exit code {code}; its message stands above")


def follow(*arguments: str) -> tuple[tuple[datetime, str], ...]:
    """Run `millpond` in the foreground and give the lines of its output, each with the time at which it came."""
    say(f"$ {shlex.join(['millpond', *arguments])}")
    lines = []
    with subprocess.Popen([str(MILLPOND), *arguments], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            lines.append((datetime.now(UTC), line.rstrip("\n")))
            say(f"  {line.rstrip()}")
    if process.returncode:
        raise DemoError(f"`{shlex.join(['millpond', *arguments])}` ended with exit code {process.returncode}")
    return tuple(lines)
