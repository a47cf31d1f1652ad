"""Errors in the envelope of the Batch service.

Codes: the list of Batch error codes that its client libraries publish.
"""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from infra.local.arm.errors import ArmError

# What the shared checks of pools refuse in the resource manager's words, and how the Batch service says it.
_CODES = {
    "ResourceNotFound": "PoolNotFound",
    "PreconditionFailed": "ConditionNotMet",
    "ResourceBeingDeleted": "PoolBeingDeleted",
    "InvalidParameter": "InvalidPropertyValue",
    "InvalidRequestContent": "InvalidRequestBody",
}


class BatchError(Exception):
    """An answer other than success: a status, a code, a sentence, and named values that say more."""

    def __init__(self, status: int, code: str, message: str, values: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.values = values or {}
        self.headers: dict[str, str] = {}

    def envelope(self, endpoint: str, request_id: str) -> dict[str, Any]:
        """Return the body of an answer."""
        text = f"{self.message}\nRequestId:{request_id}\nTime:{datetime.now(UTC).isoformat()}"
        body: dict[str, Any] = {
            "odata.metadata": f"{endpoint}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element",
            "code": self.code,
            "message": {"lang": "en-US", "value": text},
        }
        if self.values:
            body["values"] = [{"key": key, "value": value} for key, value in self.values.items()]
        return body


def from_arm(error: ArmError) -> BatchError:
    """Say in the words of the Batch service what the shared checks refused."""
    values = {"Reason": error.message} | ({"PropertyName": error.target} if error.target else {})
    return BatchError(error.status, _CODES.get(error.code, error.code), error.message, values)


def invalid_body(reason: str, name: str | None = None) -> BatchError:
    """Refuse a body that cannot be understood."""
    values = ({"PropertyName": name} if name else {}) | {"Reason": reason}
    message = f"The specified Request Body is not syntactically valid. {reason}"
    return BatchError(HTTPStatus.BAD_REQUEST, "InvalidRequestBody", message, values)


def not_here(what: str) -> BatchError:
    """Refuse what the Batch service has and the local Azure has not."""
    message = f"The local Azure has no {what}. Millpond runs its tasks itself; use an account of Azure for this."
    return BatchError(HTTPStatus.NOT_IMPLEMENTED, "NotSupportedLocally", message)


def missing(kind: str, name: str) -> BatchError:
    """Say that a pool, a node or a file is not there."""
    message = f"The specified {kind.lower()} does not exist: {name}."
    return BatchError(HTTPStatus.NOT_FOUND, "FileNotFound" if kind == "File" else f"{kind}NotFound", message)
