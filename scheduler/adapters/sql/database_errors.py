"""Exceptions of databases into ours, in one place.

Classes are those of PEP 249, which both drivers raise, and SQLSTATE codes those of PostgreSQL's appendix A.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from scheduler.errors import AccessDeniedError, ConflictError, InvalidRequestError, MillpondError, UnavailableError

# insufficient_privilege, and the class of refused sign-ins.
_DENIED = ("42501", "28")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what a database raises inside into errors of ours; `what` names the database, without a password."""
    try:
        yield
    except PoolTimeoutError as error:
        raise UnavailableError(f"{what} has no connection left; try again later") from error
    except DBAPIError as error:
        found = _translate(error, what)
        if found is None:
            raise
        raise found from error


def _translate(error: DBAPIError, what: str) -> MillpondError | None:
    """Give the error of ours that an exception means; None for those that only a defect of ours can cause."""
    said = _said(error)
    if str(getattr(error.orig, "sqlstate", None) or "").startswith(_DENIED):
        return AccessDeniedError(f"{what} refuses: {said}; check the role of the scheduler's account there")
    # Internal errors: a server that was the primary and now only reads, after a fail-over.
    if isinstance(error, OperationalError | InterfaceError | InternalError) or error.connection_invalidated:
        return UnavailableError(f"{what} did not answer: {said}")
    if isinstance(error, IntegrityError):
        return ConflictError(f"{what} was changed by another at the same moment; try again: {said}")
    if isinstance(error, DataError):
        return InvalidRequestError(f"{what} cannot hold what was given: {said}")
    return None


def _said(error: DBAPIError) -> str:
    """Give what the driver said, in one line; neither driver repeats passwords or the statement's parameters."""
    lines = [line.strip() for line in str(error.orig).splitlines()]
    return "; ".join(line for line in lines if line) or type(error.orig).__name__
