"""The machine's metadata address: tokens of its identity, and what Azure is about to do to it."""

import http.client
import json
import os
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from node_bootstrap.runner.http import Http

_DEFAULT_BASE = "http://169.254.169.254"
_STORAGE = "https://storage.azure.com/"
# A token of a managed identity lasts a day (docs: managed identities); any lifetime is respected.
_RENEW_BEFORE_SECONDS = 300.0
# The first question may take two minutes, while Azure switches scheduled events on (docs: scheduled events).
_EVENTS_TIMEOUT_SECONDS = 150.0
_OK = 200


class MetadataError(Exception):
    """The metadata address gave no usable answer."""


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """Something that Azure will do to machines: Freeze, Reboot, Redeploy, Preempt or Terminate."""

    event_id: str
    kind: str
    resources: tuple[str, ...]
    not_before: str


class Metadata:
    """Client of the metadata address. Safe to use from many threads."""

    def __init__(self, http_client: Http, client_id: str, base: str | None = None) -> None:
        self._http = http_client
        self._client_id = client_id
        # The same variable as azure-identity's, so that one setting moves both.
        base = base or os.environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or _DEFAULT_BASE
        self._base = base.rstrip("/") + "/metadata"
        self._lock = threading.Lock()
        self._token: str | None = None
        self._expires = 0.0

    def storage_token(self) -> str:
        """Give a token for storage, kept until shortly before it ends. Raises `MetadataError`."""
        with self._lock:
            if self._token is None or time.time() > self._expires - _RENEW_BEFORE_SECONDS:
                self._fetch_token()
            if self._token is None:
                raise MetadataError("the metadata address gave no token")
            return self._token

    def forget_token(self, token: str) -> None:
        """Fetch a new token next time: storage does not accept this one."""
        with self._lock:
            if self._token == token:
                self._token = None

    def scheduled_events(self) -> tuple[ScheduledEvent, ...]:
        """Give what is planned for this machine and others of its set. Raises `MetadataError`."""
        document = self._get("/scheduledevents?api-version=2020-07-01", _EVENTS_TIMEOUT_SECONDS)
        try:
            return tuple(
                ScheduledEvent(
                    str(event["EventId"]), str(event["EventType"]), tuple(event["Resources"]), str(event["NotBefore"])
                )
                for event in document.get("Events", [])
            )
        except (KeyError, TypeError) as error:
            raise MetadataError(f"scheduled events of an unknown form: {error!r}") from error

    def _fetch_token(self) -> None:
        query = f"api-version=2018-02-01&resource={quote(_STORAGE, safe='')}&client_id={quote(self._client_id)}"
        answer = self._get(f"/identity/oauth2/token?{query}", 30.0)
        try:
            self._token, self._expires = str(answer["access_token"]), float(answer["expires_on"])
        except (KeyError, TypeError, ValueError) as error:
            raise MetadataError("the metadata address answered without a token") from error

    def _get(self, path: str, timeout_seconds: float) -> dict[str, Any]:
        url = self._base + path
        what = path.partition("?")[0]
        try:
            answer = self._http.request("GET", url, {"Metadata": "true"}, timeout_seconds=timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            self._http.forget_idle(url)
            raise MetadataError(f"the metadata address does not answer {what}: {error!r}") from error
        if answer.status != _OK:
            raise MetadataError(f"the metadata address answers {what} with {answer.status}")
        try:
            document = json.loads(answer.body)
        except ValueError as error:
            raise MetadataError(f"the metadata address answers {what} with something else than JSON") from error
        if not isinstance(document, dict):
            raise MetadataError(f"the metadata address answers {what} with something else than an object")
        return document
