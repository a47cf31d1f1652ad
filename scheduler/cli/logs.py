"""What a task printed: committed, or still growing on its node."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from node_bootstrap.protocol import (
    NODES,
    OUTPUTS,
    NodeStatus,
    ProtocolError,
    TaskRef,
    decode,
    message_prefix,
    sha256_hex,
    status_blob,
)
from scheduler.errors import NotFoundError, UnavailableError
from scheduler.model import Task, TaskState
from scheduler.ports.job_service import JobService
from scheduler.ports.storage import Blobs

LOGS = ("stdout.txt", "stderr.txt")
_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class LogPart:
    """More of one log of a task."""

    log: str
    data: bytes


def task_of(service: JobService, job_id: str, task_id: int) -> Task:
    """Give one task; `NotFoundError` when the job has none of that number."""
    found = service.list_tasks(job_id, after=task_id - 1, limit=1)
    if not found or found[0].task_id != task_id:
        raise NotFoundError(
            f"job {job_id} has no task {task_id}; list its tasks with `millpond job show {job_id} --tasks`"
        )
    return found[0]


def read_logs(service: JobService, blobs: Blobs, task: Task) -> Iterator[LogPart]:
    """Give the logs of a task as they are now: what was committed, else what its running attempt has written."""
    if task.state is TaskState.COMPLETED:
        for output in service.list_outputs(task.job_id, task.task_id):
            if output.file.path in LOGS:
                data = blobs.read_range(output.file.container, output.file.blob, output.file.offset, output.file.length)
                if sha256_hex(data) != output.file.sha256:
                    raise UnavailableError(f"{output.file.path} was not read whole; try again")
                yield LogPart(output.file.path, data)
        return
    for log, blob in _growing(blobs, task):
        yield LogPart(log, blobs.read(OUTPUTS, blob))


def follow_logs(
    service: JobService, blobs: Blobs, task: Task, sleep: Callable[[float], None] = time.sleep
) -> Iterator[LogPart]:
    """Give the logs of a task while they grow, until it is completed. A new attempt begins anew."""
    seen: dict[str, bytes] = {}
    attempt = task.attempt
    while True:
        task = task_of(service, task.job_id, task.task_id)
        if task.attempt != attempt:
            seen, attempt = {}, task.attempt
        for part in read_logs(service, blobs, task):
            before = seen.get(part.log, b"")
            fresh = part.data.removeprefix(before)
            seen[part.log] = part.data
            if fresh:
                yield LogPart(part.log, fresh)
        if task.state is TaskState.COMPLETED:
            return
        sleep(_INTERVAL_SECONDS)


def _growing(blobs: Blobs, task: Task) -> Iterator[tuple[str, str]]:
    """Find the log blobs of the running attempt, by what its node says it holds."""
    if task.node_id is None:
        return
    try:
        status = decode(NodeStatus, blobs.read(NODES, status_blob(task.node_id)))
    except (NotFoundError, ProtocolError):
        return
    ref = TaskRef(task.task_id, task.attempt)
    for held in status.held:
        if held.job_id != task.job_id or ref not in held.running:
            continue
        for entry in blobs.list(OUTPUTS, message_prefix(held.job_id, held.message_id)):
            for log in LOGS:
                if entry.name.endswith(f"/{ref.task_id}.{ref.attempt}/{log}"):
                    yield log, entry.name
