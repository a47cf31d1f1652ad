"""The routes of the page, under `/ui`: each asks `JobService` and fills a template."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Query, Request
from starlette.responses import RedirectResponse, Response

from scheduler.api.page.chart import HEIGHT, WIDTH, chart_of
from scheduler.api.page.render import SECURITY_HEADERS, page, static
from scheduler.api.page.sessions import SESSION_SECONDS, Sessions, cookie_name
from scheduler.errors import MillpondError, NotFoundError
from scheduler.model import NodePhase, PoolView, Task, TaskResult, TaskState
from scheduler.ports.job_service import JobService

HOME = "/ui/"
ENTER = "/ui/enter"
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_UNAVAILABLE = 503
_SEE_OTHER = 303

_JOBS = 100
_TASKS = 200
_OUTPUTS = 500
_DECISIONS = 50
_SCHEDULES = 100
_LAST_RUNS = 5
_RUNS = 100

# What the list of tasks can be narrowed to; `all` puts the failed ones first.
_SHOWN: dict[str, tuple[TaskState | None, TaskResult | None]] = {
    "all": (None, None),
    "failed": (None, TaskResult.FAILURE),
    "running": (TaskState.RUNNING, None),
    "active": (TaskState.ACTIVE, None),
    "blocked": (TaskState.BLOCKED, None),
    "succeeded": (None, TaskResult.SUCCESS),
    "cancelled": (None, TaskResult.CANCELLED),
}


def add_page(app: FastAPI, service: JobService, sessions: Sessions, now: Callable[[], datetime]) -> None:
    """Serve the page of a service."""
    _add_entrance(app, sessions)

    @app.get(HOME, include_in_schema=False)
    def home() -> Response:
        return _told(lambda: _home_page(service, now()))

    @app.get("/ui/schedules/{schedule_id}", include_in_schema=False)
    def schedule(schedule_id: str) -> Response:
        return _told(lambda: _schedule_page(service, schedule_id, now()))

    @app.get("/ui/jobs/{job_id}", include_in_schema=False)
    def job(job_id: str, show: str = "all", after: Annotated[int, Query(ge=-1)] = -1) -> Response:
        return _told(lambda: _job_page(service, job_id, show if show in _SHOWN else "all", after, now()))

    @app.get("/ui/jobs/{job_id}/tasks/{task_id}", include_in_schema=False)
    def task(job_id: str, task_id: int) -> Response:
        return _told(lambda: _task_page(service, job_id, task_id, now()))

    @app.get("/ui/pools/{name}", include_in_schema=False)
    def pool(name: str) -> Response:
        return _told(lambda: _pool_page(service, name, now()))

    @app.get("/ui/nodes/{node_id}", include_in_schema=False)
    def node(node_id: str) -> Response:
        return _told(lambda: _node_page(service, node_id, now()))


def _add_entrance(app: FastAPI, sessions: Sessions) -> None:
    @app.post("/v1/page-links")
    def new_link() -> dict[str, str]:
        return {"path": f"{ENTER}?code={sessions.new_link()}"}

    @app.get(ENTER, include_in_schema=False)
    def enter(request: Request, code: str = "") -> Response:
        session = sessions.open(code)
        if session is None:
            return refused("This link was used already, or is too old.")
        answer = RedirectResponse(HOME, status_code=_SEE_OTHER, headers=SECURITY_HEADERS)
        name = cookie_name(request.headers.get("host", ""))
        answer.set_cookie(name, session, max_age=SESSION_SECONDS, path="/", httponly=True, samesite="strict")
        return answer

    @app.get("/ui", include_in_schema=False)
    def without_slash() -> Response:
        return RedirectResponse(HOME, status_code=_SEE_OTHER, headers=SECURITY_HEADERS)

    @app.get("/ui/{name}", include_in_schema=False)
    def file(name: str) -> Response:
        return static(name) or _problem(_NOT_FOUND, "There is no such page.")


def refused(why: str) -> Response:
    """Answer a browser that has not signed in, or not with this run of the scheduler."""
    return page("refused", _UNAUTHORIZED, why=why)


def _told(make: Callable[[], Response]) -> Response:
    """Tell an error as a page."""
    try:
        return make()
    except NotFoundError as error:
        return _problem(_NOT_FOUND, str(error))
    except MillpondError as error:
        return _problem(_UNAVAILABLE, str(error))


def _problem(status: int, text: str) -> Response:
    return page("problem", status, text=text)


def _home_page(service: JobService, now: datetime) -> Response:
    schedules = service.list_schedules()
    return page(
        "home",
        jobs=service.list_jobs(limit=_JOBS),
        pools=service.list_pools(),
        schedules=tuple((each, service.list_runs(each.schedule_id, _LAST_RUNS)) for each in schedules[:_SCHEDULES]),
        left_out=max(0, len(schedules) - _SCHEDULES),
        now=now,
    )


def _schedule_page(service: JobService, schedule_id: str, now: datetime) -> Response:
    found = service.get_schedule(schedule_id)
    return page("schedule", schedule=found, runs=service.list_runs(schedule_id, _RUNS), now=now)


def _job_page(service: JobService, job_id: str, show: str, after: int, now: datetime) -> Response:
    found = service.get_job(job_id)
    state, result = _SHOWN[show]
    tasks = service.list_tasks(job_id, after, _TASKS, state, result)
    # A page of a big job is a few of its tasks; its failures are wanted wherever they are.
    failed: tuple[Task, ...] = ()
    if show == "all" and found.counts.failed and after < 0:
        failed = service.list_tasks(job_id, -1, _TASKS, None, TaskResult.FAILURE)
        tasks = (*failed, *(task for task in tasks if task.result is not TaskResult.FAILURE))
    listed = tasks if not failed else service.list_tasks(job_id, after, _TASKS, state, result)
    return page(
        "job",
        job=found,
        told=service.explain(job_id),
        steps=service.list_steps(job_id),
        tasks=tasks,
        show=show,
        choices=tuple(_SHOWN),
        after=after,
        more=listed[-1].task_id if len(listed) == _TASKS else None,
        now=now,
    )


def _task_page(service: JobService, job_id: str, task_id: int, now: datetime) -> Response:
    found = service.get_task(job_id, task_id)
    outputs = service.list_outputs(job_id, task_id)
    return page(
        "task",
        job=service.get_job(job_id),
        task=found,
        told=service.explain(f"{job_id}/{task_id}"),
        outputs=outputs[:_OUTPUTS],
        left_out=max(0, len(outputs) - _OUTPUTS),
        now=now,
    )


def _pool_page(service: JobService, name: str, now: datetime) -> Response:
    view = _pool(service, name)
    nodes = sorted(service.list_nodes(name), key=lambda node: (node.phase is NodePhase.GONE, node.first_seen_at))
    return page(
        "pool",
        pool=view,
        told=service.explain(name),
        nodes=nodes,
        decisions=tuple(reversed(service.list_decisions(name, _DECISIONS))),
        chart=chart_of(service.list_samples(name), now),
        width=WIDTH,
        height=HEIGHT,
        now=now,
    )


def _node_page(service: JobService, node_id: str, now: datetime) -> Response:
    log = service.node_log(node_id)
    told = service.explain(node_id) if log.node is not None else None
    return page("node", log=log, told=told, now=now)


def _pool(service: JobService, name: str) -> PoolView:
    found = next((view for view in service.list_pools() if view.name == name), None)
    if found is None:
        raise NotFoundError(f"there is no pool {name!r}")
    return found
