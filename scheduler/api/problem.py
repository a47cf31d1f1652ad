"""Errors on the wire: problem documents (RFC 9457) with our own message; the one table that both sides read."""

from pydantic import BaseModel, ValidationError

from scheduler.errors import (
    AccessDeniedError,
    CapacityError,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    PreconditionError,
    StaleLeaderError,
    UnavailableError,
)

MEDIA_TYPE = "application/problem+json"

# A subclass stands before its base: the first match names the problem.
_PROBLEMS: tuple[tuple[type[MillpondError], int, str], ...] = (
    (InvalidRequestError, 422, "invalid-request"),
    (NotFoundError, 404, "not-found"),
    (PreconditionError, 409, "precondition"),
    (ConflictError, 409, "conflict"),
    (AccessDeniedError, 403, "access-denied"),
    (StaleLeaderError, 503, "stale-leader"),
    (CapacityError, 503, "capacity"),
    (UnavailableError, 503, "unavailable"),
)
_INTERNAL = 500


class Problem(BaseModel):
    """A problem document: `type` names the error, `detail` is its message."""

    type: str
    title: str
    status: int
    detail: str


def problem_of(error: MillpondError) -> Problem:
    """Describe an error for the wire."""
    for kind, status, name in _PROBLEMS:
        if isinstance(error, kind):
            return problem(name, status, str(error))
    return problem("internal", _INTERNAL, str(error))


def problem(name: str, status: int, detail: str) -> Problem:
    """Make a problem document."""
    return Problem(type=f"urn:millpond:{name}", title=name.replace("-", " "), status=status, detail=detail)


def error_of(status: int, body: bytes, where: str) -> MillpondError:
    """Turn an answer that is no success into the error that the server raised; `where` names the request."""
    try:
        found = Problem.model_validate_json(body)
    except ValidationError:
        return UnavailableError(f"{where} answered {status} without saying why; see the scheduler's log")
    name = found.type.removeprefix("urn:millpond:")
    for kind, _, known in _PROBLEMS:
        # A capacity error carries a kind of its own, which users of the service have no use for.
        if known == name and kind is not CapacityError:
            return kind(found.detail)
    return UnavailableError(found.detail)
