"""Entra tokens of the local Azure: made for every audience, checked for the resource manager's own.

Azurite checks issuer, audience and expiry, not the signature; the resource manager here checks that too.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

# Managed identities get tokens for a day (docs: managed identity token caching).
LIFE_SECONDS = 24 * 3600

_REMEMBERED = 1000

STORAGE_AUDIENCE = "https://storage.azure.com"
_MANAGEMENT_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")


class TokenError(Exception):
    """A token that the resource manager does not accept."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a service principal with its application; `resource_id` for a managed identity."""

    object_id: str
    client_id: str
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and when it ends, in seconds since the epoch."""

    text: str
    expires_on: int


class TokenIssuer:
    """Makes and checks the tokens of one tenant, signed with a secret of this installation."""

    def __init__(self, tenant_id: str, secret: str) -> None:
        self._tenant_id = tenant_id
        self._secret = secret.encode()
        self._known: dict[str, dict[str, Any]] = {}

    def issue(self, principal: Principal, resource: str) -> AccessToken:
        """Make a token for `resource`, an audience or a `/.default` scope."""
        now = int(time.time())
        claims = {
            "aud": resource.removesuffix("/.default").rstrip("/"),
            "iss": f"https://sts.windows.net/{self._tenant_id}/",
            "iat": now,
            "nbf": now - 300,
            "exp": now + LIFE_SECONDS,
            "appid": principal.client_id,
            "idtyp": "app",
            "oid": principal.object_id,
            "sub": principal.object_id,
            "tid": self._tenant_id,
            "ver": "1.0",
            "uti": secrets.token_urlsafe(16),
        }
        if principal.resource_id:
            claims["xms_mirid"] = principal.resource_id
        signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
        return AccessToken(f"{signed}.{self._signature(signed)}", now + LIFE_SECONDS)

    def check(self, token: str, own_url: str, audiences: tuple[str, ...] = _MANAGEMENT_AUDIENCES) -> Principal:
        """Say whose token this is; `TokenError` when it is not one for the service at `own_url`.

        `audiences` are the names that the service has in Azure; those of the resource manager by default.
        """
        claims = self._claims(token)
        if claims["exp"] < time.time():
            raise TokenError("The access token expiry time is in the past.")
        if claims["aud"] not in (own_url.rstrip("/"), *audiences):
            raise TokenError(f"The access token has been obtained for the wrong audience '{claims['aud']}'.")
        return Principal(claims["oid"], claims["appid"], claims.get("xms_mirid"))

    def _claims(self, token: str) -> dict[str, Any]:
        """Read a token of ours; the last ones are remembered, for clients send the same one for hours."""
        known = self._known.get(token)
        if known is not None:
            return known
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise TokenError("The access token is invalid: it was not issued by this local Azure.")
        claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[token] = claims
        return claims

    def _signature(self, signed: str) -> str:
        return _unpadded(hmac.new(self._secret, signed.encode(), hashlib.sha256).digest())


def _encode(part: dict[str, Any]) -> str:
    return _unpadded(json.dumps(part, separators=(",", ":")).encode())


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
