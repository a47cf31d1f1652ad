"""What a task printed, committed or still growing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from node_bootstrap.protocol import (
    NODES,
    OUTPUTS,
    FileRef,
    HeldMessage,
    NodeState,
    NodeStatus,
    TaskRef,
    encode,
    own_blob,
    sha256_hex,
    status_blob,
)
from scheduler.adapters.memory import ManualClock, MemoryBlobs
from scheduler.cli.logs import follow_logs, read_logs, task_of
from scheduler.errors import NotFoundError
from scheduler.model import OutputFile, Task, TaskResult, TaskState

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_RUNNING = Task(
    job_id="j",
    task_id=3,
    step="simulate",
    index=3,
    state=TaskState.RUNNING,
    result=None,
    attempt=2,
    retries=0,
    node_faults=0,
    preemptions=0,
    node_id="n_0",
    exit_code=None,
    outcome=None,
    started_at=_NOW,
    ended_at=None,
)
_ENDED = replace(_RUNNING, state=TaskState.COMPLETED, result=TaskResult.SUCCESS, exit_code=0, ended_at=_NOW)
_LOG = own_blob("j", "m", "r", TaskRef(3, 2), "stdout.txt")


class _Tasks:
    """A scheduler that knows one task and its committed log."""

    def __init__(self, task: Task, log: bytes = b"") -> None:
        self.task = task
        self.log = log

    def list_tasks(self, job_id: str, after: int = -1, limit: int = 1000) -> tuple[Task, ...]:
        return (self.task,) if after < self.task.task_id else ()

    def list_outputs(self, job_id: str, task_id: int | None = None) -> tuple[OutputFile, ...]:
        file = FileRef("stdout.txt", OUTPUTS, "j/m/r/0.pack", 4, len(self.log), sha256_hex(self.log))
        other = replace(file, path="losses.f64")
        return (OutputFile(3, "simulate", 3, other), OutputFile(3, "simulate", 3, file))


def _blobs() -> MemoryBlobs:
    blobs = MemoryBlobs(ManualClock())
    held = HeldMessage(message_id="m", job_id="j", running=(TaskRef(3, 2),))
    status = NodeStatus("n_0", "i", NodeState.WORKING, 1, 2, "v", _NOW, held=(held,))
    blobs.write(NODES, status_blob("n_0"), encode(status).encode())
    blobs.write(OUTPUTS, own_blob("j", "m", "r", TaskRef(3, 1), "stdout.txt"), b"an older attempt")
    return blobs


def test_committed_logs_are_cut_out_of_the_pack() -> None:
    """A completed task's log is what was committed, and only logs are printed."""
    blobs = _blobs()
    blobs.write(OUTPUTS, "j/m/r/0.pack", b"....done....")
    assert [part.data for part in read_logs(_Tasks(_ENDED, b"done"), blobs, _ENDED)] == [b"done"]


def test_a_growing_log_is_found_by_what_its_node_holds() -> None:
    """A running task's log is that of its present attempt; one without a log, or a node, has none."""
    blobs = _blobs()
    assert list(read_logs(_Tasks(_RUNNING), blobs, _RUNNING)) == []
    blobs.write(OUTPUTS, _LOG, b"so far")
    assert [part.data for part in read_logs(_Tasks(_RUNNING), blobs, _RUNNING)] == [b"so far"]
    nowhere = replace(_RUNNING, state=TaskState.ACTIVE, node_id=None)
    assert list(read_logs(_Tasks(nowhere), blobs, nowhere)) == []


def test_following_prints_each_byte_once() -> None:
    """A log is followed while it grows and to its committed end, and nothing of it comes twice."""
    blobs = _blobs()
    tasks = _Tasks(_RUNNING, b"one two three")
    blobs.write(OUTPUTS, "j/m/r/0.pack", b"....one two three")

    def grow() -> None:
        blobs.write(OUTPUTS, _LOG, b"one two")

    def end() -> None:
        tasks.task = _ENDED

    happens: list[Callable[[], None]] = [grow, end]
    blobs.write(OUTPUTS, _LOG, b"one")
    parts = [part.data for part in follow_logs(tasks, blobs, _RUNNING, sleep=lambda _: happens.pop(0)())]
    assert parts == [b"one", b" two", b" three"]


def test_an_unknown_task_is_told() -> None:
    """A number that the job has no task of is answered by how to list them."""
    with pytest.raises(NotFoundError, match="--tasks"):
        task_of(_Tasks(_ENDED), "j", 4)
