"""Who asks the Batch service: an Entra token for its audience, or a signature with a key of the account.

Shared key: "Authenticate via Shared Key" of the Batch REST reference. What the signature covers is the method, eleven
headers, all `ocp-` headers, and the path with its sorted query.
"""

import base64
import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from infra.local.arm.store import Resource
from infra.local.batch_service.errors import BatchError
from infra.local.services.batch.accounts import allows_shared_key
from infra.local.tokens import Principal, TokenError, TokenIssuer

AUDIENCE = "https://batch.core.windows.net"

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_KEYS = ("primary", "secondary")
_CLOCK_SKEW = timedelta(minutes=15)  # docs: a request older than that is refused


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covers; `path` and `query` as they were sent, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def texts(self, account: str) -> tuple[str, ...]:
        """Return what may be signed for an account: clients differ in the length of no body and in small letters."""
        length = "" if self.method in {"GET", "HEAD"} else self.headers.get("content-length", "0")
        lengths = (length, "") if length == "0" else (length,)
        return tuple(self._text(account, each, small) for each in lengths for small in (False, True))

    def _text(self, account: str, length: str, small: bool) -> str:
        headers = {**self.headers, "content-length": length}
        lines = [self.method, *(headers.get(name, "") for name in _SIGNED_HEADERS)]
        lines += [f"{name}:{value}" for name, value in sorted(headers.items()) if name.startswith("ocp-") and value]
        lines.append(f"/{account}{self.path}")
        query = urllib.parse.parse_qs(self.query)
        named = {(name.lower() if small else name): values[0] for name, values in query.items()}
        lines += [f"{name}:{value}" for name, value in sorted(named.items())]
        return "\n".join(lines)


def sign(text: str, key: str) -> str:
    """Sign a text with a key of an account."""
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def authenticate(request: Signed, account: Resource, issuer: TokenIssuer, own_url: str) -> Principal | None:
    """Say who asks; None is the owner of a key, who may do everything. `BatchError` 401 or 403 when nobody known."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            if "AAD" not in account.properties["allowedAuthenticationModes"]:
                raise _refused("The account does not allow the authentication mode AAD.", HTTPStatus.FORBIDDEN)
            try:
                return issuer.check(credential, own_url, (AUDIENCE,))
            except (TokenError, ValueError, KeyError) as error:
                raise _refused(str(error)) from error
        case "sharedkey":
            _check_signature(request, account, credential)
            return None
        case _:
            raise _refused("The Authorization header is missing or is neither Bearer nor SharedKey.")


def _check_signature(request: Signed, account: Resource, credential: str) -> None:
    if not allows_shared_key(account):
        raise _refused("The account does not allow the authentication mode SharedKey.", HTTPStatus.FORBIDDEN)
    name, _, signature = credential.partition(":")
    if name.lower() != account.name.lower():
        raise _refused(f"The account '{name}' in the Authorization header is not '{account.name}'.")
    _check_date(request.headers.get("ocp-date") or request.headers.get("date", ""))
    texts = request.texts(name)
    expected = (sign(text, account.internal[key]) for text in texts for key in _KEYS)
    if not any(hmac.compare_digest(each.encode(), signature.encode()) for each in expected):
        signed = texts[0].replace("\n", "\\n")
        raise _refused(f"The MAC signature in the Authorization header is not that of any key; '{signed}' was signed.")


def _check_date(text: str) -> None:
    try:
        sent = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        raise _refused("The date header is missing or is no HTTP date.") from None
    sent = sent if sent.tzinfo is not None else sent.replace(tzinfo=UTC)
    if abs(datetime.now(UTC) - sent) > _CLOCK_SKEW:
        raise _refused("The date header is more than 15 minutes from the service's clock.")


def _refused(detail: str, status: HTTPStatus = HTTPStatus.UNAUTHORIZED) -> BatchError:
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly"
        " including the signature."
    )
    error = BatchError(status, "AuthenticationFailed", message, {"AuthenticationErrorDetail": detail})
    if status is HTTPStatus.UNAUTHORIZED:
        error.headers["WWW-Authenticate"] = f'Bearer resource_id="{AUDIENCE}/"'
    return error
