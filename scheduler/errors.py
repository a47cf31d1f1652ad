"""The scheduler's errors. Adapters translate SDK exceptions into these, once.

MillpondError
├── InvalidRequestError      the caller must change what it asks
├── NotFoundError            what was named is not there
├── ConflictError            it is there already, or not in a state that allows this
│   └── PreconditionError    it changed since it was read: observe again
├── StaleLeaderError         another scheduler leads now: stop acting
│   └── OutdatedProgramError a newer scheduler has upgraded the store: end, and run that one
├── AccessDeniedError        401 or 403: a role is missing or has not spread yet
├── CapacityError            the cloud refused nodes; `kind` says why
└── UnavailableError         timed out or unreachable: unknown, not empty; try again later
    └── ThrottledError       too many requests: `retry_after` says when to try again
"""

from datetime import timedelta
from enum import StrEnum

# Where the service does not say for how long.
THROTTLED_FOR = timedelta(seconds=30)


class MillpondError(Exception):
    """Every error of ours; its message says what is wrong, where, and what to do."""


class InvalidRequestError(MillpondError):
    """The request itself is wrong; the same request will fail again."""


class NotFoundError(MillpondError):
    """What was named does not exist."""


class ConflictError(MillpondError):
    """The thing exists already, or is not in a state that allows the request."""


class PreconditionError(ConflictError):
    """The thing changed since it was read (412); observe it again."""


class StaleLeaderError(MillpondError):
    """Another scheduler has become leader; nothing was written."""


class OutdatedProgramError(StaleLeaderError):
    """The store is of another version than this program, which must end; nothing was written."""


class AccessDeniedError(MillpondError):
    """The identity lacks a permission, or a new role has not spread yet."""


class UnavailableError(MillpondError):
    """The service could not be read or did not answer: its state is unknown, not empty."""


class ThrottledError(UnavailableError):
    """The service asks not to be asked for a while."""

    def __init__(self, message: str, retry_after: timedelta = THROTTLED_FOR) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CapacityErrorKind(StrEnum):
    """Why the cloud gave no nodes."""

    QUOTA = "quota"
    ALLOCATION = "allocation"
    SKU = "sku"


class CapacityError(MillpondError):
    """The cloud refused to give nodes."""

    def __init__(self, kind: CapacityErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
