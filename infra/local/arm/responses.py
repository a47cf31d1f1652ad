"""The answers of the resource manager as HTTP: headers, the addresses of operations, and their status objects."""

import json
import re
import urllib.parse
import uuid
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from infra.local.arm.manager import Answer
from infra.local.arm.resource_types import Follow, Query
from infra.local.arm.store import Operation, Status

Json = dict[str, Any]

OPERATION = re.compile(r".*/(operations|operationresults)/(?P<id>[0-9a-f-]{36})", re.IGNORECASE)

# Python and Go clients poll by this header; a Retry-After of 0 would make them sleep their own 30 s.
_POLL_AGAIN = {"x-ms-retry-after-ms": "50"}
# On every answer of the real service.
_ALWAYS = {
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
    "Expires": "-1",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}
_JSON = "application/json; charset=utf-8"
_HALF_DONE = 50.0
_DONE = 100.0


def render(request: Request, query: Query, answer: Answer, own_url: str, limits: dict[str, str]) -> Response:
    """Write an answer down."""
    headers = _ALWAYS | _tracing(request) | limits | dict(answer.headers)
    headers |= _operation_urls(request, query, answer, own_url)
    if answer.operation is not None and answer.operation.status is Status.RUNNING:
        headers |= _POLL_AGAIN
    if answer.etag:
        headers["ETag"] = answer.etag
    body = answer.body
    status = answer.status
    if request.method == "HEAD":
        body, status = None, HTTPStatus.NO_CONTENT if status == HTTPStatus.OK else status
    elif body is not None and answer.next_offset is not None:
        following = dict(query) | {"$skiptoken": str(answer.next_offset)}
        body = body | {"nextLink": f"{own_url}{_path(request)}?{urllib.parse.urlencode(following)}"}
    if body is None:
        return Response(status_code=status, headers=headers)
    return Response(json.dumps(body), status, headers, _JSON)


def status_object(path: str, operation: Operation) -> Json:
    """Describe an operation (Azure-AsyncOperation)."""
    running = operation.status is Status.RUNNING
    body: Json = {
        "id": path,
        "resourceId": operation.resource_id,
        "name": operation.id,
        "status": operation.status,
        "startTime": _instant(operation.created),
        "percentComplete": _HALF_DONE if running else _DONE,
    }
    if operation.ended is not None:
        body["endTime"] = _instant(operation.ended)
    if operation.error is not None:
        body["error"] = operation.error
    return body


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _tracing(request: Request) -> dict[str, str]:
    """Return the headers by which a request is found again in logs; a client may choose the correlation itself."""
    request_id = str(uuid.uuid4())
    correlation = request.headers.get("x-ms-correlation-request-id") or request_id
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "x-ms-request-id": request_id,
        "x-ms-correlation-request-id": correlation,
        "x-ms-routing-request-id": f"LOCAL:{moment}:{request_id}",
    }
    client = request.headers.get("x-ms-client-request-id")
    if client and request.headers.get("x-ms-return-client-request-id", "").lower() == "true":
        headers["x-ms-client-request-id"] = client
    return headers


def _operation_urls(request: Request, query: Query, answer: Answer, own_url: str) -> dict[str, str]:
    """Write the headers by which a client follows an operation."""
    operation = answer.operation
    if operation is None or not answer.follow:
        return {}
    if OPERATION.fullmatch(request.scope["path"]):  # a poll that is not finished names itself again
        return {"Location": f"{own_url}{_path(request)}?{request.url.query}"}
    parts = operation.resource_id.split("/")
    namespace = parts[parts.index("providers") + 1] if "providers" in parts else "Microsoft.Resources"
    version = query["api-version"]
    base = f"{own_url}/subscriptions/{parts[2]}/providers/{namespace}/locations/{answer.region}"
    headers = {}
    if Follow.STATUS in answer.follow:
        headers["Azure-AsyncOperation"] = f"{base}/operations/{operation.id}?api-version={version}"
    if Follow.LOCATION in answer.follow:
        headers["Location"] = f"{base}/operationResults/{operation.id}?api-version={version}"
    return headers


def _path(request: Request) -> str:
    return urllib.parse.quote(request.scope["path"], safe="/$()',;:@!*+=~")
