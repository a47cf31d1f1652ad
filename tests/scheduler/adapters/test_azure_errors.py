"""Every SDK exception becomes one error of ours, and the message says what was tried."""

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)

from scheduler.adapters.azure_errors import translate, translated
from scheduler.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)


def answered(status: int) -> HttpResponseError:
    """Give the exception of an answer with this status."""
    error = HttpResponseError("first line\nRequestId: 1\nTime: 2")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answered(400), InvalidRequestError),
        (answered(401), AccessDeniedError),
        (answered(403), AccessDeniedError),
        (answered(404), NotFoundError),
        (answered(408), UnavailableError),
        (answered(409), ConflictError),
        (answered(412), PreconditionError),
        (answered(416), InvalidRequestError),
        (answered(429), UnavailableError),
        (answered(500), UnavailableError),
        (answered(503), UnavailableError),
        (ServiceRequestError("connection refused"), UnavailableError),
        (ServiceResponseTimeoutError("read timed out"), UnavailableError),
        (ClientAuthenticationError("no identity"), AccessDeniedError),
    ],
)
def test_an_exception_has_one_meaning(error: AzureError, expected: type[MillpondError]) -> None:
    """Status and kind of failure decide which error of ours it is; the cause is kept."""
    with pytest.raises(MillpondError) as caught, translated("reading blob a/b"):
        raise error
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("reading blob a/b: ")


def test_request_ids_stay_out_of_messages() -> None:
    """Only the first line of the service's text is told."""
    assert "RequestId" not in str(translate(answered(404), "reading"))
    assert "first line" in str(translate(answered(404), "reading"))
