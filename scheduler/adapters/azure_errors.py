"""Azure SDK exceptions into ours, in one place.

Statuses and codes: the error envelope of ARM and of storage; the codes of a refused allocation are Compute's
("Troubleshoot allocation failures" and "Error codes" of Azure Virtual Machines).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from scheduler.errors import (
    THROTTLED_FOR,
    AccessDeniedError,
    CapacityError,
    CapacityErrorKind,
    ConflictError,
    InvalidRequestError,
    MillpondError,
    NotFoundError,
    PreconditionError,
    ThrottledError,
    UnavailableError,
)

_CAPACITY_CODES: Mapping[str, CapacityErrorKind] = MappingProxyType(
    {
        "QuotaExceeded": CapacityErrorKind.QUOTA,
        "AllocationFailed": CapacityErrorKind.ALLOCATION,
        "ZonalAllocationFailed": CapacityErrorKind.ALLOCATION,
        "OverconstrainedAllocationRequest": CapacityErrorKind.ALLOCATION,
        "OverconstrainedZonalAllocationRequest": CapacityErrorKind.ALLOCATION,
        "SkuNotAvailable": CapacityErrorKind.SKU,
    }
)
# Compute says "not allowed" of many things; a core quota is told by its text alone.
_NOT_ALLOWED = "OperationNotAllowed"
# Another operation on the same thing is under way: nothing is wrong, and later it works.
_BUSY_CODES = frozenset({"AnotherOperationInProgress", "OperationPreempted", "RetryableError"})
_SERVER_ERRORS = 500
# A header that asks for longer is no answer to go by.
_LONGEST_WAIT = timedelta(hours=1)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the SDK raises inside into errors of ours; `what` says what was tried, on what."""
    try:
        yield
    except AzureError as error:
        raise translate(error, what) from error


def translate(error: AzureError, what: str) -> MillpondError:
    """Give the error of ours that an SDK exception means."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return _by_status(error, error.status_code, what)
    text = f"{what}: {_first_line(error)}"
    if isinstance(error, ClientAuthenticationError):
        return AccessDeniedError(f"{text}; no token could be had: check the identity or `az login`")
    return UnavailableError(f"{text}; nothing is known of its state now")


def error_code(error: AzureError) -> str:
    """Give the service's own code, such as `SkuNotAvailable` or `BlobNotFound`; empty if there is none."""
    storage = getattr(error, "error_code", None)
    if storage:
        return str(getattr(storage, "value", storage))
    arm = getattr(error, "error", None)
    return str(getattr(arm, "code", None) or "")


def has_capacity_code(text: str) -> bool:
    """Say whether a status such as `ProvisioningState/failed/AllocationFailed: …` names a refused allocation."""
    return any(code in text for code in _CAPACITY_CODES)


def _by_status(error: HttpResponseError, status: int, what: str) -> MillpondError:
    code = error_code(error)
    text = f"{what}: {status} {code}: {_first_line(error)}"
    kind = _capacity_kind(code, str(error.message))
    if kind is not None:
        return CapacityError(kind, text)
    if (unknown := _unknown(error, status, code, text)) is not None:
        return unknown
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotFoundError(text)
        case HTTPStatus.CONFLICT:
            return ConflictError(text)
        case HTTPStatus.PRECONDITION_FAILED:
            return PreconditionError(f"{text}; it changed since it was read: observe it again")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return AccessDeniedError(f"{text}; the identity lacks a role here, or a new role has not spread yet")
        case _:
            return InvalidRequestError(text)


def _unknown(error: HttpResponseError, status: int, code: str, text: str) -> UnavailableError | None:
    """Give the error of an answer that says nothing of the thing's state."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = _retry_after(error)
        return ThrottledError(f"{text}; asked again after {wait.total_seconds():g} s", wait)
    if code in _BUSY_CODES or status == HTTPStatus.REQUEST_TIMEOUT:
        return UnavailableError(f"{text}; try again later")
    if status >= _SERVER_ERRORS:
        return UnavailableError(f"{text}; nothing is known of its state now")
    return None


def _retry_after(error: HttpResponseError) -> timedelta:
    """Read for how long the service asks to be left alone, in seconds or by a header of its own in milliseconds."""
    headers = getattr(error.response, "headers", None) or {}
    for name, unit in (("x-ms-retry-after-ms", timedelta(milliseconds=1)), ("retry-after", timedelta(seconds=1))):
        value = str(headers.get(name, ""))
        if value.isascii() and value.isdigit():
            return min(int(value), _LONGEST_WAIT // unit) * unit
    return THROTTLED_FOR


def _capacity_kind(code: str, message: str) -> CapacityErrorKind | None:
    if code == _NOT_ALLOWED and "quota" in message.lower():
        return CapacityErrorKind.QUOTA
    return _CAPACITY_CODES.get(code)


def _first_line(error: AzureError) -> str:
    """Give the message without the request id, time and body that SDKs append on further lines."""
    return str(error.message).strip().splitlines()[0] if str(error.message).strip() else type(error).__name__
