"""Who may speak to the API: a caller on this machine that knows the token."""

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.api.page.render import STATIC
from scheduler.api.page.routes import ENTER, refused
from scheduler.api.page.sessions import Sessions, cookie_name
from scheduler.api.problem import MEDIA_TYPE, problem

_MISDIRECTED = 421
_UNAUTHORIZED = 401
_FORBIDDEN = 403

_READS = frozenset({"GET", "HEAD"})
# The entrance checks its own code; style and script say nothing of anybody's.
_OPEN = frozenset({ENTER, *(f"/ui/{name}" for name in STATIC)})


class LoopbackGuard:
    """Refuses requests for another host than this machine, and requests without the bearer token.

    The host check keeps web pages of other sites out, whose names may be made to resolve to 127.0.0.1. A browser that
    has signed in may read, and do nothing else: whatever page could have it send a request, nothing happens by it.
    """

    def __init__(self, app: ASGIApp, token: str, sessions: Sessions) -> None:
        if not token:
            raise ValueError("the API needs a token that is not empty")
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] == "http":
            refusal = self._refusal(Headers(scope=scope), scope["method"], scope["path"])
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, method: str, path: str) -> Response | None:
        host = headers.get("host", "")
        if not is_loopback(host):
            detail = f"the API serves this machine only, under a loopback name; the request was for {host!r}"
            return _refuse("misdirected", _MISDIRECTED, detail)
        given = headers.get("authorization", "").encode("latin-1")
        if hmac.compare_digest(given, self._expected) or path in _OPEN:
            return None
        signed_in = self._sessions.is_open(_cookie(headers, cookie_name(host)))
        if signed_in and method in _READS:
            return None
        if (path == "/ui" or path.startswith("/ui/")) and not signed_in:
            return refused("This browser has not signed in, or the scheduler was started again since.")
        if signed_in:
            return _refuse("access-denied", _FORBIDDEN, "the page's session can only look; use the token to change")
        detail = "the bearer token is missing or wrong; the scheduler writes the present one to its api.json"
        return _refuse("access-denied", _UNAUTHORIZED, detail)


def is_loopback(host: str) -> bool:
    """Say whether a Host header (`name`, `name:port` or `[address]:port`) names this machine by a loopback name."""
    if not set(host).isdisjoint("@/?#\\"):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _cookie(headers: Headers, name: str) -> str:
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def _refuse(name: str, status: int, detail: str) -> Response:
    document = problem(name, status, detail)
    return Response(document.model_dump_json(), status_code=status, media_type=MEDIA_TYPE)
