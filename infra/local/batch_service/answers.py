"""What the parts of the Batch service are asked, and what they answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from infra.local.arm.store import Resource
from infra.local.batch_service.errors import BatchError

Json = dict[str, Any]

_DIGITS = 13


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: `path` is what follows the collection's name, `endpoint` the address of the account."""

    method: str
    account: Resource
    endpoint: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json | None

    def next_page(self, path: str) -> str:
        """Return the address of a list's next page, up to the number in it."""
        kept = urlencode({name: value for name, value in self.query.items() if name != "$skiptoken"}, quote_via=quote)
        return f"{self.endpoint}/{path}?{kept}&$skiptoken="


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """An answer. `about` is the path of the thing that was changed, `modified` an instant as the body writes it."""

    status: int
    body: Json | bytes | None = None
    etag: str | None = None
    modified: str | None = None
    about: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = None


def etag_of(resource: Resource) -> str:
    """Write the version of a resource as the service writes entity tags."""
    return f"0x8D{resource.revision:0{_DIGITS}X}"


def check_conditions(headers: Mapping[str, str], etag: str, modified: str, *, reads: bool) -> None:
    """Refuse a conditional request whose condition does not hold: 412, or 304 where something is read."""
    wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
    changed = datetime.fromisoformat(modified).replace(microsecond=0)
    since, until = _instant(headers.get("if-modified-since")), _instant(headers.get("if-unmodified-since"))
    matches = wanted is None or wanted == "*" or _bare(wanted) == etag
    if not matches or (until is not None and changed > until):
        raise _not_met(HTTPStatus.PRECONDITION_FAILED)
    differs = unwanted is None or (unwanted != "*" and _bare(unwanted) != etag)
    if not differs or (since is not None and changed <= since):
        raise _not_met(HTTPStatus.NOT_MODIFIED if reads else HTTPStatus.PRECONDITION_FAILED)


def _not_met(status: HTTPStatus) -> BatchError:
    message = "The condition specified using HTTP conditional header(s) is not met."
    return BatchError(status, "ConditionNotMet", message)


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError):
        message = "The value specified for one of the HTTP headers is not in the correct format."
        raise BatchError(HTTPStatus.BAD_REQUEST, "InvalidHeaderValue", message, {"HeaderValue": text}) from None
