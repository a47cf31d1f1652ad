"""Errors in the resource manager's own envelope."""

from http import HTTPStatus
from typing import Any


class ArmError(Exception):
    """An answer other than success: a status, the envelope's code, message, target and details, and headers."""

    def __init__(self, status: int, code: str, message: str, target: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}

    def error(self) -> dict[str, Any]:
        """Return the `error` object, as in answers and in failed operations."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return error

    def envelope(self) -> dict[str, Any]:
        """Return the body of an answer."""
        return {"error": self.error()}


def invalid(message: str, target: str | None = None, code: str = "InvalidParameter") -> ArmError:
    """Refuse a request that will never be right."""
    return ArmError(HTTPStatus.BAD_REQUEST, code, message, target)


def unsupported(what: str) -> ArmError:
    """Refuse what Azure has and the local Azure has not."""
    return ArmError(HTTPStatus.BAD_REQUEST, "NotSupportedLocally", f"The local Azure has no {what}.")


def conflict(code: str, message: str, target: str | None = None) -> ArmError:
    """Refuse what the present state does not allow."""
    return ArmError(HTTPStatus.CONFLICT, code, message, target)


def not_found(message: str, code: str = "ResourceNotFound") -> ArmError:
    """Say that something is not there."""
    return ArmError(HTTPStatus.NOT_FOUND, code, message)


def not_allowed(method: str) -> ArmError:
    """Refuse a method that there is not for what the path names."""
    message = f"The requested resource does not support http method '{method}'."
    return ArmError(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", message)


def stale() -> ArmError:
    """Refuse a conditional request whose condition does not hold."""
    return ArmError(
        HTTPStatus.PRECONDITION_FAILED,
        "PreconditionFailed",
        "The condition in the request's If-Match or If-None-Match header does not hold; read the resource again.",
    )
