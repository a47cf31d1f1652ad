"""Every SDK exception becomes one error of ours, and the message says what was tried."""

from datetime import timedelta
from types import SimpleNamespace

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
    THROTTLED_FOR,
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    PreconditionError,
    ThrottledError,
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
        (answered(429), ThrottledError),
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


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "17"}, timedelta(seconds=17)),
        ({"x-ms-retry-after-ms": "2500", "retry-after": "3"}, timedelta(milliseconds=2500)),
        ({"retry-after": "99999999999999999999"}, timedelta(hours=1)),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, THROTTLED_FOR),
        ({}, THROTTLED_FOR),
    ],
)
def test_throttling_says_for_how_long(headers: dict[str, str], expected: timedelta) -> None:
    """The wait that the service asks for is kept, within an hour; without a usable one there is a default."""
    error = answered(429)
    error.response = SimpleNamespace(headers=headers)  # type: ignore[assignment]
    found = translate(error, "reading scale set a")
    assert isinstance(found, ThrottledError)
    assert found.retry_after == expected


def test_request_ids_stay_out_of_messages() -> None:
    """Only the first line of the service's text is told."""
    assert "RequestId" not in str(translate(answered(404), "reading"))
    assert "first line" in str(translate(answered(404), "reading"))
