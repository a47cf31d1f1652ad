"""Types of columns that mean the same in every database."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, String, TypeDecorator
from sqlalchemy.engine.interfaces import Dialect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970: exact, comparable, the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """To the database; `dialect` belongs to the interface."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database; `dialect` belongs to the interface."""
        return None if value is None else _EPOCH + value * _MICROSECOND


class Words(TypeDecorator[str]):
    """Text that anybody may have written: what a database cannot hold becomes the replacement character.

    PostgreSQL takes no zero character and no half of a surrogate pair, and nodes and users may send both; one such
    reason of a failure must not keep a report from being committed.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To the database; `dialect` belongs to the interface."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        clean = value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-16", "surrogatepass")
        return clean.decode("utf-16", "replace")


class Span(TypeDecorator[timedelta]):
    """A timedelta as whole microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """To the database; `dialect` belongs to the interface."""
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:  # noqa: ARG002
        """From the database; `dialect` belongs to the interface."""
        return None if value is None else value * _MICROSECOND
