"""Two schedulers on one store, as processes over Azurite: one works, the other takes over."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from node_bootstrap.protocol import SCHEDULER
from scheduler.adapters.azure_storage import AzureBlobs
from scheduler.settings import SchedulerSettings, dump_settings
from tests.azurite import Storage, azurite, metadata_address

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 30
# The stand-by asks every two seconds; the rest is for a busy machine.
SOON_SECONDS = 15
BUFFER = 65536


class Proxy:
    """Passes bytes on to a port until it is cut, which also ends what passes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Pass nothing any more."""
        self._listener.close()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(BUFFER):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            end.close()


@dataclass
class Scheduler:
    """A scheduler's process and what it said."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self, pattern: str) -> list[str]:
        """Give what it said so far that matches."""
        return re.findall(pattern, self.log.read_text(encoding="utf-8"))

    @property
    def epochs(self) -> list[int]:
        """The epochs in which it has led."""
        return [int(number) for number in self.said(r"this scheduler leads, epoch (\d+)")]


@dataclass
class Stage:
    """One account and one store, on which schedulers are started."""

    folder: Path
    storage: Storage
    metadata: str
    started: list[Scheduler] = field(default_factory=list)

    def publish(self, name: str, blob_endpoint: str) -> str:
        """Publish settings without pools, and give their address."""
        settings = SchedulerSettings(
            environment="test",
            subscription_id="none",
            resource_group="none",
            location="none",
            resource_manager="https://127.0.0.1:1",
            blob_endpoint=f"{blob_endpoint}/",
            queue_endpoint=f"{self.storage.queue_endpoint}/",
            storage_account="none",
            pools=(),
        )
        blobs = AzureBlobs(self.storage.credential, self.storage.blob_endpoint)
        blobs.write(SCHEDULER, name, dump_settings(settings).encode())
        blobs.close()
        return f"{blob_endpoint}/{SCHEDULER}/{name}"

    def start(self, settings_url: str) -> Scheduler:
        """Start a scheduler, to be killed at the end at the latest."""
        log = self.folder / f"scheduler-{len(self.started)}.log"
        environment = {
            **os.environ,
            "MILLPOND_HOME": str(self.folder / f"home-{len(self.started)}"),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.metadata,
            "AZURE_TOKEN_CREDENTIALS": "managedidentitycredential",
        }
        command = [sys.executable, "-m", "infra.cli", "scheduler", "run", "--settings-url", settings_url]
        command += ["--store", f"sqlite:///{self.folder / 'store.sqlite'}"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        made = Scheduler(process, log)
        self.started.append(made)
        return made

    def until(self, holds: Callable[[], object], what: str, seconds: float) -> float:
        """Wait until something holds, and say for how long that was."""
        began = time.monotonic()
        while not holds():
            logs = "\n".join(each.log.read_text(encoding="utf-8")[-2000:] for each in self.started)
            assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}\n{logs}"
            time.sleep(0.1)
        return time.monotonic() - began

    def end(self) -> None:
        """Leave no process behind."""
        for each in self.started:
            if each.process.poll() is None:
                each.process.kill()
            each.process.wait(timeout=30)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a store and an account."""
    folder = tmp_path_factory.mktemp("two")
    with ExitStack() as opened:
        storage = opened.enter_context(azurite(folder))
        made = Stage(folder, storage, opened.enter_context(metadata_address(storage.credential)))
        opened.callback(made.end)
        yield made


def test_one_works_and_the_other_takes_over(stage: Stage) -> None:
    """A leader that stops hands over at once; one that hangs, dies or loses storage, within its lease.

    One that hung finds itself deposed when it goes on, writes nothing, and stands by.
    """
    plain = stage.publish("settings.json", stage.storage.blob_endpoint)
    first = stage.start(plain)
    stage.until(lambda: first.epochs == [1], "the first leads", 60)
    second = stage.start(plain)
    stage.until(lambda: second.said("stands by"), "the second stands by", 60)

    first.process.send_signal(signal.SIGSTOP)
    stage.until(lambda: second.epochs == [2], "the second takes over from one that hangs", LEASE_SECONDS + SOON_SECONDS)
    first.process.send_signal(signal.SIGCONT)
    stage.until(lambda: first.said("lease is lost|leadership has ended"), "the first learns of it", SOON_SECONDS)
    stage.until(lambda: first.said("stands by"), "the first stands by", SOON_SECONDS)

    second.process.kill()
    stage.until(lambda: first.epochs == [1, 3], "the first takes over from a killed one", LEASE_SECONDS + SOON_SECONDS)

    proxy = Proxy(urlsplit(stage.storage.blob_endpoint).port or 0)
    behind = urlsplit(stage.storage.blob_endpoint)._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
    third = stage.start(stage.publish("behind.json", behind))
    stage.until(lambda: third.said("stands by"), "the third stands by", 60)
    first.process.terminate()
    assert first.process.wait(timeout=30) == 0
    stage.until(lambda: third.epochs == [4], "the third takes over from one that stopped", SOON_SECONDS)

    fourth = stage.start(plain)
    stage.until(lambda: fourth.said("stands by"), "the fourth stands by", 60)
    proxy.cut()
    stage.until(lambda: fourth.epochs == [5], "the fourth takes over from a cut-off one", LEASE_SECONDS + SOON_SECONDS)
    assert third.process.poll() is None
    assert (first.epochs, second.epochs, third.epochs) == ([1, 3], [2], [4])
