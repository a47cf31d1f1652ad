"""What users look into beyond lists: explanations, files of tasks as they grow, and what nodes left of themselves."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from node_bootstrap.protocol import (
    NODES,
    OUTPUTS,
    BootRecord,
    NodeStatus,
    ProtocolError,
    boot_blob,
    decode,
    message_prefix,
    status_blob,
)
from scheduler.errors import InvalidRequestError, NotFoundError
from scheduler.explain.job import JobFacts, explain_job
from scheduler.explain.node import NodeFacts, explain_node
from scheduler.explain.pool import PoolFacts, explain_pool
from scheduler.explain.schedule import explain_schedule
from scheduler.explain.task import TaskFacts, explain_task
from scheduler.model import Node, NodePhase, PoolView, Task, TaskState
from scheduler.ports.fleet_store import FleetStore
from scheduler.ports.job_store import JobStore
from scheduler.ports.job_views import JobViews
from scheduler.ports.schedule_store import ScheduleStore
from scheduler.ports.storage import BlobEntry, Blobs
from scheduler.views import Explanation, FilePart, NodeLog

_Record = TypeVar("_Record", BootRecord, NodeStatus)

LOGS = ("stdout.txt", "stderr.txt")
# A piece that a request carries in memory.
MAX_PART_BYTES = 4 * 1024 * 1024

_TROUBLED = 5
_RUNS = 5
_DECISIONS = 5000
_POOL_DECISIONS = 200


class Insight:
    """Reads stores and storage; changes nothing."""

    def __init__(
        self,
        jobs: JobStore,
        views: JobViews,
        fleet: FleetStore,
        schedules: ScheduleStore,
        blobs: Blobs,
        pools: Callable[[], tuple[PoolView, ...]],
    ) -> None:
        self._jobs = jobs
        self._views = views
        self._fleet = fleet
        self._schedules = schedules
        self._blobs = blobs
        self._pools = pools

    def explain(self, subject: str, now: datetime) -> Explanation:
        """Explain `JOB`, `JOB/TASK`, the name of a node, that of a pool, or the id of a schedule."""
        job_id, slash, task = subject.partition("/")
        if slash:
            if not task.isdecimal():
                raise InvalidRequestError(f"{subject!r} names no task; write JOB/TASK with the task's number")
            return self._explain_task(job_id, int(task), now)
        try:
            return self._explain_job(subject, now)
        except NotFoundError:
            pass
        node = self.find_node(subject)
        if node is not None:
            return explain_node(NodeFacts(node, self._fleet.decisions(node.group.pool, _DECISIONS)), now)
        pool = self._pool_facts(subject)
        if pool is not None:
            return explain_pool(pool, now)
        with suppress(NotFoundError):
            return explain_schedule(self._schedules.schedule(subject, now), self._schedules.runs(subject, _RUNS))
        raise NotFoundError(
            f"there is no job, node, pool or schedule {subject!r}; see `millpond job list`, `millpond pool list` and "
            "`millpond pool nodes POOL`; a task is written JOB/TASK"
        )

    def find_node(self, node_id: str) -> Node | None:
        """Give a node of any pool, gone ones of the last day included."""
        nodes = (node for pool in self._fleet.known_pools() for node in self._fleet.nodes(pool))
        return next((node for node in nodes if node.node_id == node_id), None)

    def node_log(self, node_id: str) -> NodeLog:
        """Give what a node recorded of its boot and what its runner last said; `NotFoundError` when there is neither.

        It needs no row: records outlive the node, for as long as storage keeps them.
        """
        node = self.find_node(node_id)
        unreadable: list[str] = []
        boot = [self._record(BootRecord, entry, unreadable) for entry in self._boot_entries(node_id)]
        entry = self._entry(NODES, status_blob(node_id))
        status = self._record(NodeStatus, entry, unreadable) if entry is not None else None
        if node is None and not boot and entry is None:
            raise NotFoundError(
                f"nothing is known of a node {node_id!r}; `millpond pool nodes POOL` lists names, and records of nodes "
                "long gone are deleted"
            )
        at = entry.last_modified if entry is not None else None
        read = tuple(record for record in boot if record is not None)
        return NodeLog(node_id, node, read, status, at, tuple(unreadable))

    def read_file(self, job_id: str, task_id: int, path: str, offset: int, limit: int) -> FilePart:
        """Give a piece of a committed file of a task, or of a log of its running attempt as it is now."""
        if offset < 0 or not 1 <= limit <= MAX_PART_BYTES:
            raise InvalidRequestError(
                f"offset {offset}, limit {limit}: the offset is at least 0, the limit from 1 to {MAX_PART_BYTES}"
            )
        task = self._jobs.task(job_id, task_id)
        if task.state is TaskState.COMPLETED:
            return self._committed(task, path, offset, limit)
        if path not in LOGS:
            raise NotFoundError(
                f"task {task_id} of job {job_id} has not ended, and only its logs can be read before: {', '.join(LOGS)}"
            )
        return self._growing(task, path, offset, limit)

    def _explain_job(self, job_id: str, now: datetime) -> Explanation:
        job = self._jobs.job(job_id)
        known = JobFacts(
            job=job,
            steps=self._views.steps(job_id),
            troubled=self._views.troubled(job_id, _TROUBLED),
            tasks_ahead=self._views.tasks_ahead(job_id),
            pool=self._pool_facts(job.pool),
        )
        return explain_job(known, now)

    def _explain_task(self, job_id: str, task_id: int, now: datetime) -> Explanation:
        job = self._jobs.job(job_id)
        known = TaskFacts(
            task=self._jobs.task(job_id, task_id),
            job=job,
            steps=self._views.steps(job_id),
            handout=self._views.handout(job_id, task_id),
            tasks_ahead=self._views.tasks_ahead(job_id),
            pool=self._pool_facts(job.pool),
        )
        return explain_task(known, now)

    def _pool_facts(self, name: str) -> PoolFacts | None:
        view = next((view for view in self._pools() if view.name == name), None)
        if view is None:
            return None
        nodes = tuple(node for node in self._fleet.nodes(name) if node.phase is not NodePhase.GONE)
        return PoolFacts(view, nodes, self._fleet.decisions(name, _POOL_DECISIONS))

    def _committed(self, task: Task, path: str, offset: int, limit: int) -> FilePart:
        outputs = self._jobs.outputs(task.job_id, task.task_id)
        file = next((output.file for output in outputs if output.file.path == path), None)
        if file is None and path in LOGS:
            return FilePart(path, task.attempt, offset, 0, b"", complete=True, found=False)
        if file is None:
            names = ", ".join(output.file.path for output in outputs) or "none"
            raise NotFoundError(f"task {task.task_id} of job {task.job_id} kept no file {path!r}; it kept: {names}")
        length = max(0, min(limit, file.length - offset))
        data = self._blobs.read_range(file.container, file.blob, file.offset + offset, length) if length else b""
        return FilePart(path, task.attempt, offset, file.length, data, complete=True, found=True, sha256=file.sha256)

    def _growing(self, task: Task, path: str, offset: int, limit: int) -> FilePart:
        handout = self._views.handout(task.job_id, task.task_id)
        entries = (
            self._blobs.list(OUTPUTS, message_prefix(task.job_id, handout.message_id)) if handout is not None else ()
        )
        end = f"/{task.task_id}.{task.attempt}/{path}"
        found = [entry for entry in entries if entry.name.endswith(end)]
        if not found:
            return FilePart(path, task.attempt, offset, 0, b"", complete=False, found=False)
        newest = max(found, key=lambda entry: entry.last_modified)
        # A listing may lag behind a blob that grows, so what lies at the offset is asked of the blob itself.
        try:
            data = self._blobs.read_range(OUTPUTS, newest.name, offset, limit)
        except InvalidRequestError:
            data = b""
        size = max(newest.length, offset + len(data)) if data else newest.length
        return FilePart(path, task.attempt, offset, size, data, complete=False, found=True)

    def _boot_entries(self, node_id: str) -> list[BlobEntry]:
        prefix = boot_blob(node_id, 0, "").rpartition("/")[0] + "/"
        entries = self._blobs.list(NODES, prefix)
        return sorted(entries, key=lambda entry: _sequence(entry.name.removeprefix(prefix)))

    def _record(self, kind: type[_Record], entry: BlobEntry, unreadable: list[str]) -> _Record | None:
        try:
            return decode(kind, self._blobs.read(NODES, entry.name))
        except (ProtocolError, NotFoundError) as error:
            unreadable.append(f"{entry.name}: {error}")
            return None

    def _entry(self, container: str, name: str) -> BlobEntry | None:
        return next((entry for entry in self._blobs.list(container, name) if entry.name == name), None)


def _sequence(name: str) -> tuple[int, str]:
    """Order boot records by their number: the tenth comes after the second."""
    number = name.partition("-")[0]
    return (int(number) if number.isdecimal() else 0), name
