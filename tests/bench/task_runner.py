"""The task runner alone: a whole runner with its threads and processes, whose storage is in memory.

one-node    one runner of one slot runs tasks of the command `true`, a hundred to a message

Each task is a process with a folder of its own, kept stdout and stderr, exit code, start and end; packs and manifests
are made and read again. What is not here: the network and the scheduler.
"""

import threading
from pathlib import Path

from node_bootstrap.protocol import (
    CONTROL,
    INPUTS,
    OUTPUTS,
    Directive,
    Event,
    Manifest,
    NodeControl,
    Outcome,
    TaskDefinition,
    TaskMessage,
    TaskRef,
    control_blob,
    decode,
    definition_blob,
    encode,
    sha256_hex,
)
from node_bootstrap.runner.events import Delivery
from node_bootstrap.runner.http import Http
from node_bootstrap.runner.instructions import Lease
from node_bootstrap.runner.metadata import Metadata
from node_bootstrap.runner.settings import RunnerSettings
from node_bootstrap.runner.shell import Runner
from node_bootstrap.runner.storage import Storage
from tests.bench.side import Prepared, main

_TASKS_A_MESSAGE = 100
_NODE = "set_0"
_FILES = 2  # stdout and stderr


class MemoryStorage(Storage):
    """A storage account in this process. The node is asked to retire once its queue is empty."""

    def __init__(self, metadata: Metadata, messages: list[TaskMessage], definition: TaskDefinition) -> None:
        super().__init__(Http(), metadata, "", "")
        text = encode(definition).encode()
        self.blobs: dict[tuple[str, str], bytes] = {(INPUTS, definition_blob(sha256_hex(text))): text}
        self.events: list[Event] = []
        self._waiting = [Delivery(Lease(each.message_id, "r"), encode(each), 1) for each in messages]
        self._open = len(messages)
        self._lock = threading.Lock()

    def get(self, container: str, blob: str, patience_seconds: float = 10.0) -> bytes | None:
        """Read a blob; the control blob follows the queue."""
        if container == CONTROL:
            assert blob == control_blob(_NODE)
            done = self._open == 0
            control = NodeControl(2, Directive.RETIRE) if done else NodeControl(1, Directive.WORK)
            return encode(control).encode()
        return self.blobs.get((container, blob))

    def put(
        self, container: str, blob: str, data: bytes, patience_seconds: float = 10.0, *, once: bool = False
    ) -> None:
        """Write a blob."""
        self.blobs[container, blob] = data

    def receive(self, queue: str, count: int) -> tuple[Delivery, ...]:
        """Give what waits."""
        with self._lock:
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return tuple(taken)

    def renew(self, queue: str, lease: Lease) -> Lease | None:
        """Renew."""
        return lease

    def delete(self, queue: str, lease: Lease) -> None:
        """Count the messages down."""
        with self._lock:
            self._open -= 1

    def send(self, queue: str, body: str) -> None:
        """Keep an event."""
        self.events.append(decode(Event, body))


class NoEvents(Metadata):
    """A machine to which Azure will do nothing."""

    def scheduled_events(self) -> tuple[()]:
        """Give none."""
        return ()


def one_node(tasks: int, directory: Path) -> Prepared:
    """Give one runner with so many tasks on its queue."""
    definition = TaskDefinition("step", ("true",), 0, tasks)
    sha256 = sha256_hex(encode(definition).encode())
    messages = [
        TaskMessage(
            f"m{first}",
            "job",
            sha256,
            tuple(TaskRef(task, 1) for task in range(first, min(first + _TASKS_A_MESSAGE, tasks))),
        )
        for first in range(0, tasks, _TASKS_A_MESSAGE)
    ]
    metadata = NoEvents(Http(), "identity")
    storage = MemoryStorage(metadata, messages, definition)
    settings = RunnerSettings(
        _NODE, "pool", "", "", "work", "events", "identity", 1, 10.0, "ab" * 32, directory / "root"
    )

    def check() -> None:
        manifests = [event.manifest for event in storage.events if event.manifest is not None]
        reports = [report for name in manifests for report in decode(Manifest, storage.blobs[OUTPUTS, name]).reports]
        assert sorted(report.task_id for report in reports) == list(range(tasks))
        assert all(report.outcome is Outcome.SUCCESS and len(report.files) == _FILES for report in reports)
        assert all(report.exit_code == 0 and report.started_at < report.ended_at for report in reports)

    def work() -> None:
        Runner(settings, storage, metadata).run()

    return Prepared(work, tasks, check)


if __name__ == "__main__":
    main({"one-node": one_node})
