"""A decision with its inputs as a document: what the store keeps, and what a bug report is sent with.

JSON, readable by people, since it holds nothing but the fields of the records. A field that is added later is read from
an older document as its default, which is what the decision was made with then; what cannot be read so takes another
`VERSION`.
"""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from scheduler.autoscale.inputs import DecisionRecord
from scheduler.errors import InvalidRequestError

FORMAT = "millpond-decision"
VERSION = 1


@dataclass(frozen=True, slots=True)
class _Heading:
    format: str
    version: int


@dataclass(frozen=True, slots=True)
class _Document:
    format: str
    version: int
    record: DecisionRecord


_HEADING = TypeAdapter(_Heading)
_DOCUMENT = TypeAdapter(_Document)


def dump_record(record: DecisionRecord) -> bytes:
    """Write a record in one line; `InvalidRequestError` when it holds what no JSON can."""
    try:
        return _DOCUMENT.dump_json(_Document(FORMAT, VERSION, record))
    except PydanticSerializationError as error:
        raise InvalidRequestError(f"the inputs of a decision cannot be written as JSON: {error}") from error


def load_record(document: str | bytes) -> DecisionRecord:
    """Read a record; `InvalidRequestError` says why it cannot be read."""
    try:
        heading = _HEADING.validate_json(document)
    except ValidationError as error:
        raise InvalidRequestError(
            f"this is no decision with its inputs, as `millpond pool explain POOL --export FILE` writes it: {error}"
        ) from error
    if heading.format != FORMAT:
        raise InvalidRequestError(f"this is a {heading.format!r}, no {FORMAT!r}; export the decision again")
    if heading.version != VERSION:
        raise InvalidRequestError(
            f"the decision is written in version {heading.version} of {FORMAT}, and this Millpond reads version "
            f"{VERSION} alone; replay it with the Millpond that wrote it"
        )
    try:
        return _DOCUMENT.validate_json(document).record
    except ValidationError as error:
        raise InvalidRequestError(
            f"the decision cannot be read by this Millpond; replay it with the one that wrote it: {error}"
        ) from error


def indented(document: str | bytes) -> str:
    """Lay a document out for people."""
    return to_json(from_json(document), indent=2).decode() + "\n"
