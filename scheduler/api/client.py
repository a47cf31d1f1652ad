"""`JobService` over HTTP, for the command line and other programs."""

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from node_bootstrap.protocol import FileRef
from scheduler.api.files import part_of
from scheduler.api.problem import error_of
from scheduler.errors import UnavailableError
from scheduler.job_schedule import JobSchedule, NewJobSchedule, ScheduleRun
from scheduler.model import (
    Application,
    Decision,
    Job,
    NewJob,
    Node,
    OutputFile,
    PoolView,
    Sample,
    Step,
    StorageAddress,
    Task,
    TaskResult,
    TaskState,
)
from scheduler.views import Explanation, FilePart, KeptDecision, NodeLog, StepView

_Record = TypeVar("_Record")

_NEW_JOB = TypeAdapter(NewJob)
_STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])
_JOB = TypeAdapter(Job)
_JOBS: TypeAdapter[tuple[Job, ...]] = TypeAdapter(tuple[Job, ...])
_TASK = TypeAdapter(Task)
_TASKS: TypeAdapter[tuple[Task, ...]] = TypeAdapter(tuple[Task, ...])
_OUTPUTS: TypeAdapter[tuple[OutputFile, ...]] = TypeAdapter(tuple[OutputFile, ...])
_APPLICATION = TypeAdapter(Application)
_APPLICATIONS: TypeAdapter[tuple[Application, ...]] = TypeAdapter(tuple[Application, ...])
_NEW_SCHEDULE = TypeAdapter(NewJobSchedule)
_SCHEDULE = TypeAdapter(JobSchedule)
_SCHEDULES: TypeAdapter[tuple[JobSchedule, ...]] = TypeAdapter(tuple[JobSchedule, ...])
_RUN = TypeAdapter(ScheduleRun)
_RUNS: TypeAdapter[tuple[ScheduleRun, ...]] = TypeAdapter(tuple[ScheduleRun, ...])
_POOLS: TypeAdapter[tuple[PoolView, ...]] = TypeAdapter(tuple[PoolView, ...])
_NODES: TypeAdapter[tuple[Node, ...]] = TypeAdapter(tuple[Node, ...])
_DECISIONS: TypeAdapter[tuple[Decision, ...]] = TypeAdapter(tuple[Decision, ...])
_KEPT: TypeAdapter[tuple[KeptDecision, ...]] = TypeAdapter(tuple[KeptDecision, ...])
_SAMPLES: TypeAdapter[tuple[Sample, ...]] = TypeAdapter(tuple[Sample, ...])
_STORAGE = TypeAdapter(StorageAddress)
_STEP_VIEWS: TypeAdapter[tuple[StepView, ...]] = TypeAdapter(tuple[StepView, ...])
_EXPLANATION = TypeAdapter(Explanation)
_NODE_LOG = TypeAdapter(NodeLog)
_LINK: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])

TIMEOUT_SECONDS = 30.0


class HttpJobService:
    """The service behind an address; every method raises what the service itself raises.

    `UnavailableError` also when nobody answers, `AccessDeniedError` when the token is refused.
    """

    def __init__(self, url: str, token: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url.rstrip("/")
        # The scheduler is on this machine: proxies from the environment must not see the token.
        self._client = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create_job(self, new: NewJob) -> Job:
        """Open a draft."""
        return self._record(_JOB, "POST", "/v1/jobs", body=_NEW_JOB.dump_json(new))

    def add_steps(self, job_id: str, chunk: int, steps: tuple[Step, ...]) -> None:
        """Add a numbered chunk of steps."""
        self._send("PUT", f"/v1/jobs/{_segment(job_id)}/chunks/{chunk}", body=_STEPS.dump_json(steps))

    def arm_job(self, job_id: str, task_count: int) -> Job:
        """Start a draft."""
        return self._record(_JOB, "POST", f"/v1/jobs/{_segment(job_id)}/arm", body=to_json({"task_count": task_count}))

    def get_job(self, job_id: str) -> Job:
        """Give a job."""
        return self._record(_JOB, "GET", f"/v1/jobs/{_segment(job_id)}")

    def list_jobs(self, before: str | None = None, limit: int = 1000) -> tuple[Job, ...]:
        """Give jobs, newest first."""
        return self._record(_JOBS, "GET", "/v1/jobs", query={"before": before, "limit": limit})

    def cancel_job(self, job_id: str) -> Job:
        """Cancel a job."""
        return self._record(_JOB, "POST", f"/v1/jobs/{_segment(job_id)}/cancel")

    def requeue_job(self, job_id: str, task_ids: tuple[int, ...] | None = None) -> Job:
        """Run completed tasks again."""
        body = to_json({"task_ids": task_ids})
        return self._record(_JOB, "POST", f"/v1/jobs/{_segment(job_id)}/requeue", body=body)

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Change the priority."""
        body = to_json({"priority": priority})
        return self._record(_JOB, "PUT", f"/v1/jobs/{_segment(job_id)}/priority", body=body)

    def delete_job(self, job_id: str) -> None:
        """Remove a completed job."""
        self._send("DELETE", f"/v1/jobs/{_segment(job_id)}")

    def get_task(self, job_id: str, task_id: int) -> Task:
        """Give a task."""
        return self._record(_TASK, "GET", f"/v1/jobs/{_segment(job_id)}/tasks/{task_id}")

    def list_tasks(
        self,
        job_id: str,
        after: int = -1,
        limit: int = 1000,
        state: TaskState | None = None,
        result: TaskResult | None = None,
    ) -> tuple[Task, ...]:
        """Give tasks with an id above `after`."""
        query = {"after": after, "limit": limit, "state": state, "result": result}
        return self._record(_TASKS, "GET", f"/v1/jobs/{_segment(job_id)}/tasks", query=query)

    def list_outputs(self, job_id: str, task_id: int | None = None) -> tuple[OutputFile, ...]:
        """Give committed files."""
        return self._record(_OUTPUTS, "GET", f"/v1/jobs/{_segment(job_id)}/outputs", query={"task_id": task_id})

    def put_application(self, name: str, version: str, file: FileRef, *, default: bool = False) -> Application:
        """Record a version of an application."""
        path = f"/v1/applications/{_segment(name)}/{_segment(version)}"
        return self._record(_APPLICATION, "PUT", path, body=to_json({"file": file, "default": default}))

    def list_applications(self) -> tuple[Application, ...]:
        """Give every version of every application."""
        return self._record(_APPLICATIONS, "GET", "/v1/applications")

    def delete_application(self, name: str, version: str) -> None:
        """Remove a version."""
        self._send("DELETE", f"/v1/applications/{_segment(name)}/{_segment(version)}")

    def create_schedule(self, new: NewJobSchedule, *, replace: bool = False) -> JobSchedule:
        """Keep a job schedule."""
        query = {"replace": str(replace).lower()}
        return self._record(_SCHEDULE, "POST", "/v1/schedules", body=_NEW_SCHEDULE.dump_json(new), query=query)

    def list_schedules(self) -> tuple[JobSchedule, ...]:
        """Give all job schedules by id."""
        return self._record(_SCHEDULES, "GET", "/v1/schedules")

    def get_schedule(self, schedule_id: str) -> JobSchedule:
        """Give a job schedule."""
        return self._record(_SCHEDULE, "GET", f"/v1/schedules/{_segment(schedule_id)}")

    def list_runs(self, schedule_id: str, limit: int = 100) -> tuple[ScheduleRun, ...]:
        """Say what became of a schedule's newest occurrences."""
        return self._record(_RUNS, "GET", f"/v1/schedules/{_segment(schedule_id)}/runs", query={"limit": limit})

    def run_schedule(self, schedule_id: str, idempotency_key: str, occurrence: datetime | None = None) -> ScheduleRun:
        """Make a job of a schedule now."""
        body = to_json({"idempotency_key": idempotency_key, "occurrence": occurrence})
        return self._record(_RUN, "POST", f"/v1/schedules/{_segment(schedule_id)}/runs", body=body)

    def enable_schedule(self, schedule_id: str) -> JobSchedule:
        """Have a disabled schedule make jobs again."""
        return self._record(_SCHEDULE, "POST", f"/v1/schedules/{_segment(schedule_id)}/enable")

    def disable_schedule(self, schedule_id: str) -> JobSchedule:
        """Have a schedule make no jobs until it is enabled again."""
        return self._record(_SCHEDULE, "POST", f"/v1/schedules/{_segment(schedule_id)}/disable")

    def terminate_schedule(self, schedule_id: str) -> JobSchedule:
        """End a schedule for good."""
        return self._record(_SCHEDULE, "POST", f"/v1/schedules/{_segment(schedule_id)}/terminate")

    def delete_schedule(self, schedule_id: str, *, keep_jobs: bool = False) -> None:
        """Remove a schedule."""
        query = {"keep_jobs": str(keep_jobs).lower()}
        self._send("DELETE", f"/v1/schedules/{_segment(schedule_id)}", query=query)

    def list_pools(self) -> tuple[PoolView, ...]:
        """Give every pool."""
        return self._record(_POOLS, "GET", "/v1/pools")

    def list_nodes(self, pool: str) -> tuple[Node, ...]:
        """Give the nodes of a pool."""
        return self._record(_NODES, "GET", f"/v1/pools/{_segment(pool)}/nodes")

    def list_decisions(self, pool: str, limit: int = 200) -> tuple[Decision, ...]:
        """Give the newest decisions of a pool."""
        return self._record(_DECISIONS, "GET", f"/v1/pools/{_segment(pool)}/decisions", query={"limit": limit})

    def list_kept_decisions(self, pool: str, limit: int = 1, until: datetime | None = None) -> tuple[KeptDecision, ...]:
        """Give the newest decisions that can be replayed."""
        query = {"limit": limit, "until": None if until is None else until.isoformat()}
        return self._record(_KEPT, "GET", f"/v1/pools/{_segment(pool)}/kept-decisions", query=query)

    def list_samples(self, pool: str, limit: int = 5000) -> tuple[Sample, ...]:
        """Give the newest points of a pool's timeline."""
        return self._record(_SAMPLES, "GET", f"/v1/pools/{_segment(pool)}/samples", query={"limit": limit})

    def drain_nodes(self, pool: str, node_ids: tuple[str, ...]) -> tuple[Node, ...]:
        """Have nodes drained and removed."""
        body = TypeAdapter(dict[str, tuple[str, ...]]).dump_json({"nodes": node_ids})
        return self._record(_NODES, "POST", f"/v1/pools/{_segment(pool)}/drain", body=body)

    def list_steps(self, job_id: str) -> tuple[StepView, ...]:
        """Give the steps of a job."""
        return self._record(_STEP_VIEWS, "GET", f"/v1/jobs/{_segment(job_id)}/steps")

    def explain(self, subject: str) -> Explanation:
        """Say why something is as it is."""
        return self._record(_EXPLANATION, "GET", "/v1/why", query={"subject": subject})

    def read_file(self, job_id: str, task_id: int, path: str, offset: int = 0, limit: int = 1 << 20) -> FilePart:
        """Give a piece of a file of a task."""
        where = f"/v1/jobs/{_segment(job_id)}/tasks/{task_id}/files/{quote(path)}"
        answer = self._answer("GET", where, query={"offset": offset, "limit": limit})
        return part_of(path, offset, answer.content, answer.headers)

    def node_log(self, node_id: str) -> NodeLog:
        """Give what a node left of itself."""
        return self._record(_NODE_LOG, "GET", f"/v1/nodes/{_segment(node_id)}/log")

    def page_link(self) -> str:
        """Make a link that signs a browser in to the page, once and soon."""
        return f"{self._url}{self._record(_LINK, 'POST', '/v1/page-links')['path']}"

    def storage(self) -> StorageAddress:
        """Say where files go."""
        return self._record(_STORAGE, "GET", "/v1/storage")

    def _record(self, adapter: TypeAdapter[_Record], method: str, path: str, **options: Any) -> _Record:
        answer = self._send(method, path, **options)
        try:
            return adapter.validate_json(answer)
        except ValidationError as error:
            raise UnavailableError(
                f"{method} {self._url}{path} answered what this version cannot read; "
                f"are scheduler and command line of the same version? {error}"
            ) from error

    def _send(self, method: str, path: str, **options: Any) -> bytes:
        return self._answer(method, path, **options).content

    def _answer(
        self, method: str, path: str, *, body: bytes | None = None, query: Mapping[str, str | int | None] | None = None
    ) -> httpx.Response:
        headers = {} if body is None else {"Content-Type": "application/json"}
        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            answer = self._client.request(method, path, content=body, params=given, headers=headers)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the scheduler does not answer at {self._url} ({type(error).__name__}: {error}); "
                "start it with `millpond scheduler run`"
            ) from error
        if not answer.is_success:
            raise error_of(answer.status_code, answer.content, f"{method} {self._url}{path}")
        return answer


def _segment(text: str) -> str:
    return quote(text, safe="")
