"""The Batch service over HTTP: sign-in, roles, conditions and headers around what pools and nodes answer.

What a role must allow: pools and nodes are control actions also here, so whoever may manage the pools of an account may
use this service with an Entra token (docs: Batch roles); the owner of a key may everything.
"""

import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.arm.addresses import segments
from infra.local.arm.errors import ArmError
from infra.local.arm.request_log import RequestLog
from infra.local.arm.store import Resource
from infra.local.batch_service.answers import Asked, BatchAnswer
from infra.local.batch_service.errors import BatchError, from_arm, invalid_body, missing, not_here
from infra.local.batch_service.nodes import NodeService
from infra.local.batch_service.pools import PoolService
from infra.local.batch_service.sign_in import Signed, authenticate
from infra.local.faults import FaultKind, Faults
from infra.local.tokens import Principal, TokenIssuer

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.\d+\.\d+)?")
_JSON = "application/json; odata=minimalmetadata"
_SHORTEST_RETRY_SECONDS = 1
_METHODS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
_NOT_HERE = {
    "jobs": "jobs and tasks of the Batch service",
    "jobschedules": "job schedules of the Batch service",
    "applications": "applications in the data plane; ask the resource manager",
    "certificates": "certificates (retired in Azure)",
    "poolusagemetrics": "usage metrics of pools",
    "lifetimepoolstats": "usage metrics of pools",
}

_log = logging.getLogger(__name__)


class BatchService:
    """Turns requests into answers; `allows` says whether a role lets a principal do an action on a scope."""

    def __init__(
        self,
        find_account: Callable[[str], Resource | None],
        pools: PoolService,
        nodes: NodeService,
        issuer: TokenIssuer,
        log: RequestLog,
        faults: Faults,
        allows: Callable[[Principal, str, str], bool],
    ) -> None:
        self._find_account = find_account
        self._pools = pools
        self._nodes = nodes
        self._issuer = issuer
        self._log = log
        self._faults = faults
        self._allows = allows

    def routes(self) -> list[Route]:
        """Return the one route; it comes before the resource manager's."""
        return [Route("/batch/{account}/{path:path}", self.serve, methods=_METHODS)]

    async def serve(self, request: Request) -> Response:
        """Answer one request."""
        raw = await request.body()
        return await run_in_threadpool(self._serve, request, raw)

    def _serve(self, request: Request, raw: bytes) -> Response:
        own_url = f"https://{request.headers.get('host', request.url.netloc)}"
        endpoint = f"{own_url}/batch/{request.path_params['account']}"
        request_id = str(uuid.uuid4())
        principal: Principal | None = None
        body: Any = None
        try:
            self._fail_on_demand(request.url.path)
            account = self._account(request.path_params["account"])
            signed = Signed(request.method, _raw_path(request), request.url.query, dict(request.headers.items()))
            principal = authenticate(signed, account, self._issuer, own_url)
            parts = tuple(segments(request.path_params["path"]))
            self._authorize(principal, account, request.method, parts)
            _check_version(request.query_params)
            body = _json(raw)
            asked = Asked(request.method, account, endpoint, parts[1:], request.query_params, request.headers, body)
            answer = self._answer(parts[0].lower() if parts else "", asked)
        except ArmError as error:
            answer = _refusal(from_arm(error), endpoint, request_id)
        except BatchError as error:
            answer = _refusal(error, endpoint, request_id)
        except Exception as error:  # noqa: BLE001 -- the client gets an answer whatever happens
            _log.exception("%s %s failed", request.method, request.url.path)
            text = f"The local Azure failed ({type(error).__name__}: {error}); its log says where."
            internal = BatchError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", text)
            answer = _refusal(internal, endpoint, request_id)
        logged = body if isinstance(body, dict) else {}
        self._log.record(
            request.method, request.url.path, principal.object_id if principal else None, logged, answer.status
        )
        return _response(request, answer, endpoint, request_id)

    def _fail_on_demand(self, path: str) -> None:
        """Do what a standing fault asks for, before anything is done."""
        if (fault := self._faults.take(FaultKind.THROTTLING, path)) is not None:
            message = "The request was refused because too many requests were sent; try again later."
            error = BatchError(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", message)
            error.headers["Retry-After"] = str(max(_SHORTEST_RETRY_SECONDS, round(fault.seconds)))
            raise error
        if self._faults.take(FaultKind.SERVER_ERROR, path) is not None:
            message = "The server encountered an internal error. Please retry the request."
            raise BatchError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message)

    def _account(self, name: str) -> Resource:
        account = self._find_account(name)
        if account is None or account.state == "Deleting":
            raise missing("Account", name)
        return account

    def _authorize(self, principal: Principal | None, account: Resource, method: str, parts: tuple[str, ...]) -> None:
        if principal is None:
            return
        verb = {"GET": "read", "HEAD": "read", "DELETE": "delete"}.get(method, "write")
        first = parts[0].lower() if parts else ""
        scope = account.id
        action = "Microsoft.Batch/batchAccounts/read"
        if first in {"pools", "nodecounts"}:
            # Deleting a file of a node changes the pool; only deleting the pool deletes it.
            verb = "write" if verb == "delete" and len(parts) > 2 else verb  # noqa: PLR2004 -- pools/{id}
            action = f"Microsoft.Batch/batchAccounts/pools/{verb}"
            scope = f"{account.id}/pools/{parts[1]}" if first == "pools" and len(parts) > 1 else account.id
        if not self._allows(principal, action, scope):
            message = "The account being accessed does not have sufficient permissions to execute this operation."
            detail = (
                f"The client '{principal.client_id}' with object id '{principal.object_id}' does not have authorization"
                f" to perform action '{action}' over scope '{scope}'."
            )
            raise BatchError(
                HTTPStatus.FORBIDDEN, "AuthorizationFailure", message, {"AuthorizationErrorDetail": detail}
            )

    def _answer(self, first: str, asked: Asked) -> BatchAnswer:
        if first == "pools" and len(asked.path) > 1 and asked.path[1].lower() == "nodes":
            return self._nodes.answer(asked)
        if first == "pools":
            return self._pools.answer(asked)
        if first == "nodecounts":
            return self._nodes.counts(asked)
        if first == "supportedimages":
            return self._pools.supported_images(asked)
        if first in _NOT_HERE:
            raise not_here(_NOT_HERE[first])
        message = "The requested URI does not represent any resource on the server."
        raise BatchError(HTTPStatus.BAD_REQUEST, "InvalidUri", message)


def _raw_path(request: Request) -> str:
    raw = request.scope.get("raw_path") or request.url.path.encode()
    return bytes(raw).decode().partition("?")[0]


def _check_version(query: Mapping[str, str]) -> None:
    version = query.get("api-version")
    if version is None:
        message = "A query parameter that is mandatory for this request is not specified."
        values = {"QueryParameterName": "api-version"}
        raise BatchError(HTTPStatus.BAD_REQUEST, "MissingRequiredQueryParameter", message, values)
    if not _VERSION.fullmatch(version):
        message = "The value specified for one of the query parameters is invalid."
        values = {"QueryParameterName": "api-version", "QueryParameterValue": version}
        raise BatchError(HTTPStatus.BAD_REQUEST, "InvalidQueryParameterValue", message, values)


def _json(raw: bytes) -> Any:
    if not raw.strip():
        return None
    try:
        body = json.loads(raw)
    except json.JSONDecodeError as error:
        raise invalid_body(f"It is no JSON: {error}.") from error
    if not isinstance(body, dict):
        raise invalid_body("It must be a JSON object.")
    return body


def _refusal(error: BatchError, endpoint: str, request_id: str) -> BatchAnswer:
    return BatchAnswer(error.status, error.envelope(endpoint, request_id), headers=error.headers)


def _response(request: Request, answer: BatchAnswer, endpoint: str, request_id: str) -> Response:
    headers = {"request-id": request_id, "DataServiceVersion": "3.0", **answer.headers}
    sent = request.headers.get("client-request-id")
    if sent and request.headers.get("return-client-request-id", "").lower() == "true":
        headers["client-request-id"] = sent
    if answer.etag:
        headers["ETag"] = answer.etag
    if answer.modified:
        changed = datetime.fromisoformat(answer.modified).astimezone(UTC)
        headers["Last-Modified"] = format_datetime(changed.replace(microsecond=0), usegmt=True)
    if answer.about:
        headers["DataServiceId"] = f"{endpoint}/{answer.about}"
    if isinstance(answer.body, bytes):
        content = b"" if request.method == "HEAD" else answer.body
        if request.method == "HEAD":
            headers["Content-Length"] = str(len(answer.body))
        return Response(content, answer.status, headers, answer.media_type)
    if answer.body is None or request.method == "HEAD" or answer.status == HTTPStatus.NOT_MODIFIED:
        return Response(status_code=answer.status, headers=headers)
    return Response(json.dumps(answer.body), answer.status, headers, _JSON)
