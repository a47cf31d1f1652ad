"""The HTTP application: each route is one method of `JobService`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Body, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from node_bootstrap.protocol import FileRef
from scheduler.api.files import part_response, whole_response
from scheduler.api.guard import LoopbackGuard
from scheduler.api.page.routes import add_page
from scheduler.api.page.sessions import Sessions
from scheduler.api.problem import MEDIA_TYPE, Problem, problem, problem_of
from scheduler.errors import MillpondError
from scheduler.insight import MAX_PART_BYTES
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
from scheduler.ports.job_service import JobService
from scheduler.views import Explanation, KeptDecision, NodeLog, StepView

_NOT_FOUND = 404
_UNPROCESSABLE = 422
_Limit = Annotated[int, Query(ge=1, le=100_000)]
# Of what is large: the inputs of a decision about ten thousand nodes are megabytes.
_FewLimit = Annotated[int, Query(ge=1, le=50)]


def create_app(service: JobService, token: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> FastAPI:
    """Build the application that serves `service` to callers on this machine that know `token`."""
    app = FastAPI(
        title="Millpond", openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False
    )
    sessions = Sessions(token, lambda: now().timestamp())
    app.add_middleware(LoopbackGuard, token=token, sessions=sessions)
    app.add_exception_handler(MillpondError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_no_route)
    _add_job_routes(app, service)
    _add_task_routes(app, service)
    _add_application_routes(app, service)
    _add_schedule_routes(app, service)
    _add_pool_routes(app, service)
    _add_insight_routes(app, service)
    add_page(app, service, sessions, now)
    return app


def _add_job_routes(app: FastAPI, service: JobService) -> None:
    @app.post("/v1/jobs")
    def create_job(new: Annotated[NewJob, Body()]) -> Job:
        return service.create_job(new)

    @app.get("/v1/jobs")
    def list_jobs(before: str | None = None, limit: _Limit = 1000) -> tuple[Job, ...]:
        return service.list_jobs(before, limit)

    @app.get("/v1/jobs/{job_id}")
    def get_job(job_id: str) -> Job:
        return service.get_job(job_id)

    @app.put("/v1/jobs/{job_id}/chunks/{chunk}", status_code=204)
    def add_steps(job_id: str, chunk: int, steps: Annotated[tuple[Step, ...], Body()]) -> None:
        service.add_steps(job_id, chunk, steps)

    @app.post("/v1/jobs/{job_id}/arm")
    def arm_job(job_id: str, task_count: Annotated[int, Body(embed=True)]) -> Job:
        return service.arm_job(job_id, task_count)

    @app.post("/v1/jobs/{job_id}/cancel")
    def cancel_job(job_id: str) -> Job:
        return service.cancel_job(job_id)

    @app.post("/v1/jobs/{job_id}/requeue")
    def requeue_job(job_id: str, task_ids: Annotated[tuple[int, ...] | None, Body(embed=True)] = None) -> Job:
        return service.requeue_job(job_id, task_ids)

    @app.put("/v1/jobs/{job_id}/priority")
    def set_priority(job_id: str, priority: Annotated[int, Body(embed=True)]) -> Job:
        return service.set_priority(job_id, priority)

    @app.delete("/v1/jobs/{job_id}", status_code=204)
    def delete_job(job_id: str) -> None:
        service.delete_job(job_id)


def _add_task_routes(app: FastAPI, service: JobService) -> None:
    @app.get("/v1/jobs/{job_id}/tasks/{task_id}")
    def get_task(job_id: str, task_id: int) -> Task:
        return service.get_task(job_id, task_id)

    @app.get("/v1/jobs/{job_id}/tasks")
    def list_tasks(
        job_id: str,
        after: int = -1,
        limit: _Limit = 1000,
        state: TaskState | None = None,
        result: TaskResult | None = None,
    ) -> tuple[Task, ...]:
        return service.list_tasks(job_id, after, limit, state, result)

    @app.get("/v1/jobs/{job_id}/outputs")
    def list_outputs(job_id: str, task_id: int | None = None) -> tuple[OutputFile, ...]:
        return service.list_outputs(job_id, task_id)


def _add_application_routes(app: FastAPI, service: JobService) -> None:
    @app.put("/v1/applications/{name}/{version}")
    def put_application(
        name: str, version: str, file: Annotated[FileRef, Body(embed=True)], default: Annotated[bool, Body()] = False
    ) -> Application:
        return service.put_application(name, version, file, default=default)

    @app.get("/v1/applications")
    def list_applications() -> tuple[Application, ...]:
        return service.list_applications()

    @app.delete("/v1/applications/{name}/{version}", status_code=204)
    def delete_application(name: str, version: str) -> None:
        service.delete_application(name, version)


def _add_schedule_routes(app: FastAPI, service: JobService) -> None:
    @app.post("/v1/schedules")
    def create_schedule(new: Annotated[NewJobSchedule, Body()], *, replace: bool = False) -> JobSchedule:
        return service.create_schedule(new, replace=replace)

    @app.get("/v1/schedules")
    def list_schedules() -> tuple[JobSchedule, ...]:
        return service.list_schedules()

    @app.get("/v1/schedules/{schedule_id}")
    def get_schedule(schedule_id: str) -> JobSchedule:
        return service.get_schedule(schedule_id)

    @app.get("/v1/schedules/{schedule_id}/runs")
    def list_runs(schedule_id: str, limit: _Limit = 100) -> tuple[ScheduleRun, ...]:
        return service.list_runs(schedule_id, limit)

    @app.post("/v1/schedules/{schedule_id}/runs")
    def run_schedule(
        schedule_id: str,
        idempotency_key: Annotated[str, Body(embed=True)],
        occurrence: Annotated[datetime | None, Body()] = None,
    ) -> ScheduleRun:
        return service.run_schedule(schedule_id, idempotency_key, occurrence)

    @app.post("/v1/schedules/{schedule_id}/enable")
    def enable_schedule(schedule_id: str) -> JobSchedule:
        return service.enable_schedule(schedule_id)

    @app.post("/v1/schedules/{schedule_id}/disable")
    def disable_schedule(schedule_id: str) -> JobSchedule:
        return service.disable_schedule(schedule_id)

    @app.post("/v1/schedules/{schedule_id}/terminate")
    def terminate_schedule(schedule_id: str) -> JobSchedule:
        return service.terminate_schedule(schedule_id)

    @app.delete("/v1/schedules/{schedule_id}", status_code=204)
    def delete_schedule(schedule_id: str, *, keep_jobs: bool = False) -> None:
        service.delete_schedule(schedule_id, keep_jobs=keep_jobs)


def _add_pool_routes(app: FastAPI, service: JobService) -> None:
    @app.get("/v1/pools")
    def list_pools() -> tuple[PoolView, ...]:
        return service.list_pools()

    @app.get("/v1/pools/{pool}/nodes")
    def list_nodes(pool: str) -> tuple[Node, ...]:
        return service.list_nodes(pool)

    @app.get("/v1/pools/{pool}/decisions")
    def list_decisions(pool: str, limit: _Limit = 200) -> tuple[Decision, ...]:
        return service.list_decisions(pool, limit)

    @app.get("/v1/pools/{pool}/kept-decisions")
    def list_kept_decisions(pool: str, limit: _FewLimit = 1, until: datetime | None = None) -> tuple[KeptDecision, ...]:
        return service.list_kept_decisions(pool, limit, until)

    @app.get("/v1/pools/{pool}/samples")
    def list_samples(pool: str, limit: _Limit = 5000) -> tuple[Sample, ...]:
        return service.list_samples(pool, limit)

    @app.get("/v1/storage")
    def storage() -> StorageAddress:
        return service.storage()


def _add_insight_routes(app: FastAPI, service: JobService) -> None:
    @app.post("/v1/pools/{pool}/drain")
    def drain_nodes(pool: str, nodes: Annotated[tuple[str, ...], Body(embed=True)]) -> tuple[Node, ...]:
        return service.drain_nodes(pool, nodes)

    @app.get("/v1/jobs/{job_id}/steps")
    def list_steps(job_id: str) -> tuple[StepView, ...]:
        return service.list_steps(job_id)

    @app.get("/v1/why")
    def explain(subject: str) -> Explanation:
        return service.explain(subject)

    @app.get("/v1/jobs/{job_id}/tasks/{task_id}/files/{path:path}")
    def read_file(job_id: str, task_id: int, path: str, offset: int = 0, limit: int | None = None) -> Response:
        if limit is None and offset == 0:
            return whole_response(service, job_id, task_id, path)
        return part_response(
            service.read_file(job_id, task_id, path, offset, MAX_PART_BYTES if limit is None else limit)
        )

    @app.get("/v1/nodes/{node_id}/log")
    def node_log(node_id: str) -> NodeLog:
        return service.node_log(node_id)


def _on_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, MillpondError):
        raise error
    return _answer(problem_of(error))


def _on_invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    findings = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return _answer(problem("invalid-request", _UNPROCESSABLE, f"the request cannot be understood: {findings}"))


def _on_no_route(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    name = "not-found" if error.status_code == _NOT_FOUND else "refused"
    return _answer(problem(name, error.status_code, f"{request.method} {request.url.path}: {error.detail}"))


def _answer(document: Problem) -> Response:
    return Response(document.model_dump_json(), status_code=document.status, media_type=MEDIA_TYPE)
