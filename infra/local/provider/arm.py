"""A small ARM client: PUT, GET and DELETE of whole resources, waiting for long-running operations."""

import ssl
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

POLL_SECONDS = 10.0  # as azure-native waits where the service does not say
ATTEMPTS = 6  # of one request that is refused for a passing reason
LONGEST_WAIT_SECONDS = 30.0
REQUEST_LIMIT_SECONDS = 60.0

_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_ENDED = {"Succeeded", "Failed", "Canceled"}

Alive = Callable[[], bool]  # whether somebody still waits for the answer


class ArmError(Exception):
    """ARM's refusal, or a long-running operation that failed: its code and message, and what was asked."""

    def __init__(self, code: str, message: str, request: str) -> None:
        super().__init__(f"{code}: {message}\n({request})")
        self.code = code
        self.message = message
        self.request = request


class AcceptedError(ArmError):
    """ARM took the resource and failed to provide it: it exists, in whatever state."""


class ArmClient:
    """Requests to one ARM endpoint; may be used from several threads."""

    def __init__(self, arm_url: str, token: Callable[[], str], ca_file: Path) -> None:
        self._base = arm_url.rstrip("/")
        self._token = token
        # Proxies of the environment are not asked: the endpoint is on this machine.
        self._http = httpx.Client(
            verify=ssl.create_default_context(cafile=str(ca_file)), timeout=REQUEST_LIMIT_SECONDS, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, resource_id: str, api_version: str, alive: Alive) -> dict[str, Any] | None:
        """Return a resource, None if there is none."""
        response = self._send("GET", self._url(resource_id, api_version), None, alive)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        return _body(_checked(response))

    def require(
        self, resource_id: str, api_version: str, alive: Alive, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return a resource; ArmError if there is none."""
        extra = f"&{urlencode(query)}" if query else ""
        return _body(_checked(self._send("GET", self._url(resource_id, api_version) + extra, None, alive)))

    def post(self, path: str, api_version: str, alive: Alive) -> dict[str, Any]:
        """Call an action without a body and return its answer."""
        return _body(_checked(self._send("POST", self._url(path, api_version), {}, alive)))

    def put(self, resource_id: str, api_version: str, body: Mapping[str, Any], alive: Alive) -> None:
        """Write the whole resource and wait until ARM is done with it.

        ArmError: refused, nothing was written. AcceptedError: it was written, and failed later.
        """
        url = self._url(resource_id, api_version)
        response = _checked(self._send("PUT", url, body, alive))
        try:
            if not self._wait(response, alive):
                self._wait_for_state(url, response, alive)
        except ArmError as error:
            raise AcceptedError(error.code, error.message, error.request) from error

    def delete(self, resource_id: str, api_version: str, alive: Alive) -> None:
        """Delete a resource and wait until it is gone; one that is not there is gone."""
        response = self._send("DELETE", self._url(resource_id, api_version), None, alive)
        if response.status_code != HTTPStatus.NOT_FOUND:
            self._wait(_checked(response), alive)

    def _url(self, resource_id: str, api_version: str) -> str:
        return f"{self._base}{resource_id}?api-version={api_version}"

    def _wait(self, response: httpx.Response, alive: Alive) -> bool:
        """Follow an operation by its headers; False if there were none to follow."""
        status_url = response.headers.get("Azure-AsyncOperation")
        if status_url:
            return self._wait_for_status(self._own(status_url), response, alive)
        location = response.headers.get("Location")
        if location and response.status_code == HTTPStatus.ACCEPTED:
            poll = response
            while poll.status_code == HTTPStatus.ACCEPTED:
                _sleep(_retry_after(poll, POLL_SECONDS), alive)
                poll = self._send("GET", self._own(poll.headers.get("Location", location)), None, alive)
            # The operation's result may be gone with its resource, which is what a deletion is for.
            if not (response.request.method == "DELETE" and poll.status_code == HTTPStatus.NOT_FOUND):
                _checked(poll)
            return True
        return False

    def _wait_for_status(self, url: str, response: httpx.Response, alive: Alive) -> bool:
        poll = _checked(self._send("GET", url, None, alive))
        while (status := _body(poll).get("status", "Succeeded")) not in _ENDED:
            _sleep(_retry_after(poll, POLL_SECONDS), alive)
            poll = _checked(self._send("GET", url, None, alive))
        if status != "Succeeded":
            error = _body(poll).get("error") or {}
            code, message = error.get("code", status), error.get("message", f"the operation ended as {status}")
            raise ArmError(code, message, _asked(response))
        return True

    def _wait_for_state(self, url: str, response: httpx.Response, alive: Alive) -> None:
        """Read the resource itself until its provisioningState is final: how operations without headers are told."""
        poll = response
        while (state := _state(poll)) not in _ENDED:
            _sleep(_retry_after(poll, POLL_SECONDS), alive)
            poll = _checked(self._send("GET", url, None, alive))
        if state != "Succeeded":
            raise ArmError("ProvisioningFailed", f"the resource's provisioning state is {state}", _asked(response))

    def _own(self, url: str) -> str:
        """Return a poll's address; the token goes nowhere else than to this endpoint."""
        absolute = urljoin(f"{self._base}/", url)
        if urlsplit(absolute)[:2] != urlsplit(self._base)[:2]:
            raise ArmError("InvalidPollAddress", f"ARM named an address of another host: {absolute}", "poll")
        return absolute

    def _send(self, method: str, url: str, body: Mapping[str, Any] | None, alive: Alive) -> httpx.Response:
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            headers = {"Authorization": f"Bearer {self._token()}", "User-Agent": "millpond-local-provider"}
            try:
                response = self._http.request(method, url, json=body, headers=headers)
            except httpx.TransportError as error:
                if last or not isinstance(error, httpx.ConnectError):
                    message = f"{error}; is the local Azure running (millpond local up)?"
                    raise ArmError("ConnectionFailed", message, f"{method} {url}") from error
                _sleep(1.0, alive)
                continue
            if last or not _is_passing(response):
                return response
            _sleep(_retry_after(response, min(2.0**attempt, LONGEST_WAIT_SECONDS)), alive)
        raise AssertionError("the last attempt returns or raises")


def _is_passing(response: httpx.Response) -> bool:
    if response.status_code == HTTPStatus.CONFLICT:
        return _error(response)[0] == "AnotherOperationInProgress"
    return response.status_code in _PASSING


def _checked(response: httpx.Response) -> httpx.Response:
    """Return an answer that is no error."""
    if response.is_success:
        return response
    code, message = _error(response)
    raise ArmError(code, message, _asked(response))


def _error(response: httpx.Response) -> tuple[str, str]:
    """Read ARM's error envelope."""
    error = _body(response).get("error")
    if not isinstance(error, dict):
        return f"HTTP{response.status_code}", response.text[:500] or response.reason_phrase
    parts = [str(error.get("message", ""))]
    parts += [f"{d.get('code')}: {d.get('message')}" for d in error.get("details") or [] if isinstance(d, dict)]
    return str(error.get("code", "")), "\n".join(parts)


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _state(response: httpx.Response) -> str:
    properties = _body(response).get("properties")
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    return str(state or "Succeeded")


def _asked(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url.path}"


def _retry_after(response: httpx.Response, default: float) -> float:
    for header, per_second in (("retry-after-ms", 1000), ("x-ms-retry-after-ms", 1000), ("Retry-After", 1)):
        value = response.headers.get(header, "")
        if value.isdecimal() and int(value) > 0:
            return int(value) / per_second
    return default


def _sleep(seconds: float, alive: Alive) -> None:
    """Wait, but not for a caller who has gone."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not alive():
            raise ArmError(
                "Canceled",
                "the engine gave up, or the time for this operation is over; it may still go on in Azure",
                "poll",
            )
        time.sleep(min(left, 0.5))
