"""The local Azure's own endpoints, on the metadata server: standing faults, and preemption of one instance.

Nothing of them exists in Azure, so they stand apart from all that clients of Azure use. They are guarded by the
user's identity header, which lies in the state file that only its owner reads.
"""

import hmac
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.arm.errors import ArmError
from infra.local.faults import FaultKind, Faults

Json = dict[str, Any]

_NUMBER = (int, float)
_VALUES: dict[str, type | tuple[type, ...]] = {
    "target": str,
    "times": int,
    "share": _NUMBER,
    "for_seconds": _NUMBER,
    "seconds": _NUMBER,
}


class RefusedError(Exception):
    """What was asked makes no sense; the message names the value."""


class Control:
    """`preempt` takes a node id and the seconds of notice."""

    def __init__(self, faults: Faults, header: str, preempt: Callable[[str, float], object]) -> None:
        self._faults = faults
        self._header = header
        self._preempt = preempt

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/faults", self._guarded(self._serve_faults), methods=["GET", "POST", "DELETE"]),
            Route("/preemptions", self._guarded(self._serve_preemption), methods=["POST"]),
        ]

    def _guarded(self, act: Callable[[str, Request, Json], Response]) -> Callable[[Request], Any]:
        async def serve(request: Request) -> Response:
            if not hmac.compare_digest(request.headers.get("x-identity-header", ""), self._header):
                return _refused(HTTPStatus.UNAUTHORIZED, "The X-IDENTITY-HEADER header is wrong.")
            raw = await request.body()
            try:
                body = await request.json() if raw else {}
                if not isinstance(body, dict):
                    return _refused(HTTPStatus.BAD_REQUEST, "The body must be a JSON object.")
                return await run_in_threadpool(act, request.method, request, body)
            except ArmError as error:
                return _refused(HTTPStatus(error.status), error.message)
            except (RefusedError, ValueError) as error:
                return _refused(HTTPStatus.BAD_REQUEST, str(error))

        return serve

    def _serve_faults(self, method: str, request: Request, body: Json) -> Response:
        if method == "POST":
            kind, values = _asked(body)
            return JSONResponse(asdict(self._faults.add(kind, **values)), HTTPStatus.CREATED)
        if method == "DELETE":
            wanted = request.query_params.get("id")
            ended = self._faults.clear(wanted)
            if wanted and not ended:
                standing = ", ".join(fault.id for fault in self._faults.list()) or "none"
                return _refused(HTTPStatus.NOT_FOUND, f"There is no fault '{wanted}'; there are: {standing}.")
            return JSONResponse({"faults": [asdict(fault) for fault in ended]})
        return JSONResponse({"faults": [asdict(fault) for fault in self._faults.list()]})

    def _serve_preemption(self, _method: str, _request: Request, body: Json) -> Response:
        node, notice = body.get("node_id"), body.get("notice_seconds", 30.0)
        if not isinstance(node, str) or not isinstance(notice, (int, float)) or not 0 <= notice < float("inf"):
            raise RefusedError("node_id must be a name and notice_seconds a number from 0 up")
        self._preempt(node, float(notice))
        return JSONResponse({"node_id": node, "notice_seconds": notice}, HTTPStatus.ACCEPTED)


def _asked(body: Json) -> tuple[FaultKind, Json]:
    """Read the kind and values of a fault; values that are null are left out."""
    kinds = ", ".join(FaultKind)
    if body.get("kind") not in set(FaultKind):
        raise RefusedError(f"kind: '{body.get('kind')}' is no kind of fault; there are: {kinds}")
    values = {name: value for name, value in body.items() if name != "kind" and value is not None}
    for name, value in values.items():
        if name not in _VALUES:
            raise RefusedError(f"{name}: there is no such value; there are: kind, {', '.join(_VALUES)}")
        if isinstance(value, bool) or not isinstance(value, _VALUES[name]):
            raise RefusedError(f"{name}: {value!r} has the wrong type")
    return FaultKind(body["kind"]), values


def _refused(status: HTTPStatus, message: str) -> Response:
    return JSONResponse({"error": {"code": "Refused", "message": message}}, status)
