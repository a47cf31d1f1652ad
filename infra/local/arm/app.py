"""The resource manager over HTTP: authentication, dispatch, and the log of requests."""

import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.arm import relaxed_json
from infra.local.arm.addresses import Target, parse, subscription_of
from infra.local.arm.errors import ArmError, invalid, not_allowed, not_found
from infra.local.arm.manager import Answer, Conditions, ResourceManager
from infra.local.arm.rate_limits import RateLimits
from infra.local.arm.request_log import RequestLog
from infra.local.arm.resource_types import Query
from infra.local.arm.responses import OPERATION, render, status_object
from infra.local.arm.store import Store
from infra.local.arm.subscription import Subscription
from infra.local.faults import FaultKind, Faults
from infra.local.tokens import Principal, TokenError, TokenIssuer

_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z0-9.]+)?", re.IGNORECASE)
_METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
_OTHER_METHODS = ("OPTIONS", "TRACE")
_SHORTEST_RETRY_SECONDS = 1

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
        faults: Faults,
        authorize: Callable[[Principal, str, Target, Json], None],
    ) -> None:
        self._store = store
        self._manager = manager
        self._subscription = subscription
        self._issuer = issuer
        self._log = log
        self._faults = faults
        self._limits = RateLimits()
        self._authorize = authorize

    def routes(self) -> list[Route]:
        """Return the one route that takes every path."""
        return [Route("/{path:path}", self.serve, methods=[*_METHODS, *_OTHER_METHODS])]

    async def serve(self, request: Request) -> Response:
        """Answer one request."""
        raw = await request.body()
        return await run_in_threadpool(self._serve, request, raw)

    def _serve(self, request: Request, raw: bytes) -> Response:
        path = request.scope["path"]
        own_url = f"https://{request.headers.get('host') or request.url.netloc}"
        query = {name.lower(): value for name, value in request.query_params.items()}
        principal: Principal | None = None
        body: Json = {}
        try:
            principal = self._authenticate(request, own_url)
            self._fail_on_demand(path)
            body = _json(raw, relaxed="/microsoft.resources/deployments/" in path.lower())
            answer = self._answer(request, path, query, body, principal)
        except ArmError as error:
            answer = Answer(error.status, error.envelope(), headers=error.headers)
        except Exception as error:  # noqa: BLE001 -- the client gets an answer whatever happens
            _log.exception("%s %s failed", request.method, path)
            message = f"The local Azure failed ({type(error).__name__}: {error}); its log says where."
            answer = Answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, {"error": {"code": "InternalServerError", "message": message}}
            )
        self._log.record(request.method, path, principal.object_id if principal else None, body, answer.status)
        return render(request, query, answer, own_url, self._limits.headers(request.method))

    def _fail_on_demand(self, path: str) -> None:
        """Do what a standing fault asks for, before anything is done."""
        if (fault := self._faults.take(FaultKind.THROTTLING, path)) is not None:
            seconds = max(_SHORTEST_RETRY_SECONDS, round(fault.seconds))
            message = f"The request is being throttled. Please try again after '{seconds}' seconds."
            error = ArmError(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", message)
            error.headers["Retry-After"] = str(seconds)
            raise error
        if self._faults.take(FaultKind.SERVER_ERROR, path) is not None:
            message = "The server encountered an internal error. Please retry the request."
            raise ArmError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", message)

    def _authenticate(self, request: Request, own_url: str) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            message = "Authentication failed. The 'Authorization' header is missing."
            raise ArmError(HTTPStatus.UNAUTHORIZED, "AuthenticationFailed", message)
        try:
            return self._issuer.check(token, own_url)
        except (TokenError, ValueError, KeyError) as error:
            raise ArmError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", str(error)) from error

    def _answer(self, request: Request, path: str, query: Query, body: Json, principal: Principal) -> Answer:
        if request.method not in _METHODS:
            raise not_allowed(request.method)
        _check_version(query.get("api-version"))
        self._subscription.check(subscription_of(path))
        if found := OPERATION.fullmatch(path):
            return self._poll(path, found["id"])
        writes = request.method in {"PUT", "PATCH", "DELETE"}  # tags, for one, are answered by the subscription
        if writes:
            self._authorize(principal, request.method, parse(path), body)
        if (listing := self._subscription.answer(request.method, path, body, query)) is not None:
            return Answer(HTTPStatus.OK, listing)
        target = parse(path)
        if not writes:
            self._authorize(principal, request.method, target, body)
        return self._manage(request, target, query, body, principal)

    def _manage(self, request: Request, target: Target, query: Query, body: Json, principal: Principal) -> Answer:
        conditions = Conditions(request.headers.get("if-match"), request.headers.get("if-none-match"))
        match request.method:
            case "GET" | "HEAD":
                return self._manager.get(target, query)
            case "PUT" | "PATCH":
                return self._manager.write(target, body, conditions, patch=request.method == "PATCH")
            case "DELETE":
                return self._manager.delete(target, conditions)
            case _:
                return self._manager.act(target, body, query, principal)

    def _poll(self, path: str, operation_id: str) -> Answer:
        operation = self._store.operation(operation_id)
        if operation is None:
            raise not_found(f"The operation '{operation_id}' could not be found.", "NotFound")
        if "operationresults" in path.lower():
            return self._manager.outcome(operation)
        return Answer(HTTPStatus.OK, status_object(path, operation), None, operation)


def _check_version(version: str | None) -> None:
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise invalid(message, code="MissingApiVersionParameter")
    if not _API_VERSION.fullmatch(version):
        raise invalid(f"The api-version '{version}' is invalid.", code="InvalidApiVersionParameter")


def application(routes: list[Route]) -> Starlette:
    """Serve these routes, the first that fits; double slashes and trailing ones are the routes' own matter."""
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


def _json(raw: bytes, *, relaxed: bool) -> Json:
    if not raw.strip():
        return {}
    try:
        text = raw.decode("utf-8-sig")
        body = relaxed_json.loads(text) if relaxed else json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        message = f"The request content was invalid and could not be deserialized: '{error}'."
        raise invalid(message, code="InvalidRequestContent") from error
    if not isinstance(body, dict):
        raise invalid("The request content must be a JSON object.", code="InvalidRequestContent")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
