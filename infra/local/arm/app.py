"""The resource manager over HTTP: authentication, dispatch, headers, and the log of requests."""

import json
import logging
import re
import urllib.parse
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.arm.addresses import parse, subscription_of
from infra.local.arm.errors import ArmError, invalid, not_found
from infra.local.arm.manager import Answer, Conditions, ResourceManager
from infra.local.arm.request_log import RequestLog
from infra.local.arm.resource_types import Follow
from infra.local.arm.store import Operation, Status, Store
from infra.local.arm.subscription import Subscription
from infra.local.tokens import Principal, TokenError, TokenIssuer

# Python and Go clients poll by this header; a Retry-After of 0 would make them sleep their own 30 s.
_POLL_AGAIN = {"x-ms-retry-after-ms": "50"}
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z0-9.]+)?", re.IGNORECASE)
_OPERATION = re.compile(r".*/(operations|operationresults)/(?P<id>[0-9a-f-]{36})", re.IGNORECASE)

_log = logging.getLogger(__name__)

Json = dict[str, Any]


class ArmApp:
    """Turns requests into calls of the resource manager and its answers into responses."""

    def __init__(
        self,
        store: Store,
        manager: ResourceManager,
        subscription: Subscription,
        issuer: TokenIssuer,
        log: RequestLog,
        may_manage: Callable[[Principal, str], bool],
    ) -> None:
        self._store = store
        self._manager = manager
        self._subscription = subscription
        self._issuer = issuer
        self._log = log
        self._may_manage = may_manage

    def routes(self) -> list[Route]:
        """Return the one route that takes every path."""
        return [Route("/{path:path}", self.serve, methods=["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"])]

    async def serve(self, request: Request) -> Response:
        """Answer one request."""
        raw = await request.body()
        return await run_in_threadpool(self._serve, request, raw)

    def _serve(self, request: Request, raw: bytes) -> Response:
        path = request.url.path
        own_url = f"https://{request.headers.get('host', request.url.netloc)}"
        principal: Principal | None = None
        body: Json = {}
        try:
            principal = self._authenticate(request, own_url)
            body = _json(raw)
            answer = self._answer(request, path, body, principal)
        except ArmError as error:
            answer = Answer(error.status, error.envelope())
        except Exception as error:  # noqa: BLE001 -- the client gets an answer whatever happens
            _log.exception("%s %s failed", request.method, path)
            message = f"The local Azure failed ({type(error).__name__}: {error}); its log says where."
            answer = Answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, {"error": {"code": "InternalServerError", "message": message}}
            )
        self._log.record(request.method, path, principal.object_id if principal else None, body, answer.status)
        return _response(request, answer, own_url)

    def _authenticate(self, request: Request, own_url: str) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            message = "Authentication failed. The 'Authorization' header is missing."
            raise ArmError(HTTPStatus.UNAUTHORIZED, "AuthenticationFailed", message)
        try:
            return self._issuer.check(token, own_url)
        except (TokenError, ValueError, KeyError) as error:
            raise ArmError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", str(error)) from error

    def _answer(self, request: Request, path: str, body: Json, principal: Principal) -> Answer:
        query = request.query_params
        version = query.get("api-version")
        if version is None:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise invalid(message, code="MissingApiVersionParameter")
        if not _API_VERSION.fullmatch(version):
            raise invalid(f"The api-version '{version}' is invalid.", code="InvalidApiVersionParameter")
        self._subscription.check(subscription_of(path))
        if found := _OPERATION.fullmatch(path):
            return self._poll(path, found["id"])
        if (listing := self._subscription.answer(request.method, path, body, query)) is not None:
            return Answer(HTTPStatus.OK, listing)
        target = parse(path)
        if not self._may_manage(principal, target.scope):
            message = (
                f"The client '{principal.client_id}' with object id '{principal.object_id}' does not have authorization"
                f" to perform this action over scope '{path}' or the scope is invalid."
            )
            raise ArmError(HTTPStatus.FORBIDDEN, "AuthorizationFailed", message)
        conditions = Conditions(request.headers.get("if-match"), request.headers.get("if-none-match"))
        match request.method:
            case "GET" | "HEAD":
                return self._manager.get(target, query)
            case "PUT" | "PATCH":
                return self._manager.write(target, body, conditions, patch=request.method == "PATCH")
            case "DELETE":
                return self._manager.delete(target, conditions)
            case _:
                return self._manager.act(target, body)

    def _poll(self, path: str, operation_id: str) -> Answer:
        operation = self._store.operation(operation_id)
        if operation is None:
            raise not_found(f"The operation '{operation_id}' could not be found.", "NotFound")
        if "operationresults" in path.lower():
            return self._manager.outcome(operation)
        return Answer(HTTPStatus.OK, _status_object(path, operation), None, operation)


def application(routes: list[Route]) -> Starlette:
    """Serve these routes, the first that fits; double slashes and trailing ones are the routes' own matter."""
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


def _json(raw: bytes) -> Json:
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except json.JSONDecodeError as error:
        message = f"The request content was invalid and could not be deserialized: '{error}'."
        raise invalid(message, code="InvalidRequestContent") from error
    if not isinstance(body, dict):
        raise invalid("The request content must be a JSON object.", code="InvalidRequestContent")
    return body


def _status_object(path: str, operation: Operation) -> Json:
    def instant(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).isoformat()

    body: Json = {
        "id": path,
        "name": operation.id,
        "status": operation.status,
        "startTime": instant(operation.created),
    }
    if operation.ended is not None:
        body["endTime"] = instant(operation.ended)
    if operation.error is not None:
        body["error"] = operation.error
    return body


def _operation_urls(request: Request, answer: Answer, own_url: str) -> dict[str, str]:
    """Write the headers by which a client follows an operation."""
    operation = answer.operation
    if operation is None or not answer.follow:
        return {}
    found = _OPERATION.fullmatch(request.url.path)
    if found:  # a poll that is not finished names itself again
        return {"Location": own_url + request.url.path + "?" + request.url.query}
    parts = operation.resource_id.split("/")
    namespace = parts[parts.index("providers") + 1] if "providers" in parts else "Microsoft.Resources"
    version = request.query_params["api-version"]
    base = f"{own_url}/subscriptions/{parts[2]}/providers/{namespace}/locations/local"
    headers = {}
    if Follow.STATUS in answer.follow:
        headers["Azure-AsyncOperation"] = f"{base}/operations/{operation.id}?api-version={version}"
    if Follow.LOCATION in answer.follow:
        headers["Location"] = f"{base}/operationResults/{operation.id}?api-version={version}"
    return headers


def _response(request: Request, answer: Answer, own_url: str) -> Response:
    request_id = str(uuid.uuid4())
    headers = {"x-ms-request-id": request_id, "x-ms-correlation-request-id": request_id, "Cache-Control": "no-cache"}
    headers |= _operation_urls(request, answer, own_url)
    if answer.operation is not None and answer.operation.status is Status.RUNNING:
        headers |= _POLL_AGAIN
    if answer.etag:
        headers["ETag"] = answer.etag
    body = answer.body
    status = answer.status
    if request.method == "HEAD":
        body, status = None, HTTPStatus.NO_CONTENT if status == HTTPStatus.OK else status
    elif body is not None and answer.next_offset is not None:
        query = dict(request.query_params) | {"$skiptoken": str(answer.next_offset)}
        body = body | {"nextLink": f"{own_url}{request.url.path}?{urllib.parse.urlencode(query)}"}
    if body is None:
        return Response(status_code=status, headers=headers)
    return Response(json.dumps(body), status, headers, "application/json; charset=utf-8")
