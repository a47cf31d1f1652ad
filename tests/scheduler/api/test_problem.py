"""Errors on the wire."""

import json

import pytest

from scheduler.api.problem import error_of, problem_of
from scheduler.errors import (
    AccessDeniedError,
    CapacityError,
    CapacityErrorKind,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    PreconditionError,
    StaleLeaderError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequestError("i"), 422),
        (NotFoundError("n"), 404),
        (ConflictError("c"), 409),
        (PreconditionError("p"), 409),
        (AccessDeniedError("a"), 403),
        (StaleLeaderError("s"), 503),
        (UnavailableError("u"), 503),
    ],
)
def test_errors_come_back_as_they_were(error: MillpondError, status: int) -> None:
    """An error crosses the wire with its kind and its message."""
    document = problem_of(error)
    assert document.status == status
    back = error_of(status, document.model_dump_json().encode(), "GET /")
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_what_clients_cannot_know_is_unavailable() -> None:
    """An error that means nothing to a client, or an answer of something else, is `UnavailableError`: try later."""
    document = problem_of(CapacityError(CapacityErrorKind.QUOTA, "no quota"))
    assert type(error_of(503, document.model_dump_json().encode(), "GET /")) is UnavailableError
    for body in (b"", b"<html>", json.dumps({"detail": "x"}).encode()):
        assert type(error_of(500, body, "GET /v1/jobs")) is UnavailableError
