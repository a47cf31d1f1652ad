"""Who may look at the page: a browser that came by a link which was made with the API's token and is good once."""

import hmac
import secrets
from collections.abc import Callable

LINK_SECONDS = 120
SESSION_SECONDS = 12 * 3600


class Sessions:
    """Makes and checks links and sessions. Both are signed with the API's token, so they end with the scheduler's run.

    The token itself never reaches the browser. Cookies of a loopback address reach every port of it, so a session can
    only look (`LoopbackGuard`).
    """

    def __init__(self, token: str, seconds: Callable[[], float]) -> None:
        self._key = token.encode()
        self._seconds = seconds
        self._used: dict[str, float] = {}

    def new_link(self) -> str:
        """Make a code that opens one session, soon."""
        return self._signed("link", LINK_SECONDS)

    def open(self, code: str) -> str | None:
        """Give a session for a code that is good and was not used; else None."""
        if not self._is_good("link", code) or code in self._used:
            return None
        now = self._seconds()
        self._used = {used: end for used, end in self._used.items() if end > now}
        self._used[code] = now + LINK_SECONDS
        return self._signed("session", SESSION_SECONDS)

    def is_open(self, session: str) -> bool:
        """Say whether a session was opened here and has not run out."""
        return self._is_good("session", session)

    def _signed(self, purpose: str, seconds: int) -> str:
        body = f"{int(self._seconds() + seconds)}.{secrets.token_urlsafe(16)}"
        return f"{body}.{self._signature(purpose, body)}"

    def _is_good(self, purpose: str, value: str) -> bool:
        body, _, signature = value.rpartition(".")
        expected = self._signature(purpose, body)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return False
        end, _, _ = body.partition(".")
        return int(end) > self._seconds()

    def _signature(self, purpose: str, body: str) -> str:
        return hmac.new(self._key, f"{purpose}:{body}".encode(), "sha256").hexdigest()


def cookie_name(host: str) -> str:
    """Name the cookie of a session after the port of its address, because ports share cookies."""
    _, _, port = host.rpartition(":")
    return f"millpond_{port if port.isdecimal() else 'page'}"
