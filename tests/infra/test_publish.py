"""Bundles and settings are written once, after what they need, and a role that spreads is waited for."""

import hashlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient
from requests.adapters import BaseAdapter

from infra.publish import Artifact, Patience, PublishError, bundle_artifact, mirrored_artifact, publish, settings_url
from node_bootstrap.bundle import build_bundle
from node_bootstrap.render import OperatingSystem
from scheduler.settings import SchedulerSettings, load_settings

ENDPOINT = "https://account.blob.core.windows.net/"


@dataclass
class Account(BaseAdapter):
    """Answers as blob storage does: keeps what is put, says 403 as often as it is told to."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    refusals: int = 0
    puts: list[str] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        """Answer one request."""
        path = str(request.path_url).split("?", maxsplit=1)[0]
        if self.refusals:
            self.refusals -= 1
            return answer(request, 403, error="AuthorizationPermissionMismatch")
        if request.method == "PUT":
            body = request.body
            self.blobs[path] = body if isinstance(body, bytes) else body.read()
            self.puts.append(path)
            return answer(request, 201)
        if path not in self.blobs:
            return answer(request, 404, error="BlobNotFound")
        data = self.blobs[path]
        return answer(request, 200, b"" if request.method == "HEAD" else data, size=len(data))

    def close(self) -> None:
        """Nothing is open."""


def answer(
    request: requests.PreparedRequest, status: int, body: bytes = b"", size: int = 0, error: str = ""
) -> requests.Response:
    """Make a response as the service sends it."""
    response = requests.Response()
    response.status_code = status
    response.request, response.url = request, str(request.url)
    response.headers.update(
        {"Content-Length": str(size), "ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 18:00:00 GMT"}
    )
    response.headers.update({"x-ms-error-code": error} if error else {"x-ms-blob-type": "BlockBlob"})
    if size:
        response.headers["Content-Range"] = f"bytes 0-{size - 1}/{size}"
    response.raw = io.BytesIO(body)
    return response


class Credential:
    """Gives a token that nobody reads."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        """Give it."""
        return AccessToken("token", int(time.time()) + 3600)


@dataclass
class Watch:
    """A clock that only sleeping moves."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def account() -> Account:
    """An empty account."""
    return Account()


@pytest.fixture
def service(account: Account) -> Iterator[BlobServiceClient]:
    """A real client of that account."""
    session = requests.Session()
    session.mount("https://", account)
    transport = RequestsTransport(session=session, session_owner=True)
    with BlobServiceClient(ENDPOINT, credential=Credential(), transport=transport, retry_total=0) as client:
        yield client


def settings(environment: str = "test") -> SchedulerSettings:
    """Settings without pools."""
    return SchedulerSettings(
        environment, "sub", "rg", "westeurope", "https://arm", ENDPOINT, "https://q/", "account", ()
    )


def patience(watch: Watch) -> Patience:
    """Wait ten minutes by that clock."""
    return Patience(600.0, lambda: watch.now, watch.sleep)


def test_settings_come_after_the_bundles(service: BlobServiceClient, account: Account) -> None:
    """The scheduler reads the settings, so what nodes need is there before."""
    bundle = build_bundle(OperatingSystem.LINUX)
    publish(service, settings(), [bundle_artifact(bundle)], patience(Watch()))
    assert account.puts == [f"/bundles/{bundle.sha256}.tar.gz", "/scheduler/settings.json"]
    assert account.blobs[account.puts[0]] == bundle.data
    assert load_settings(account.blobs[account.puts[1]]) == settings()


def test_a_second_time_writes_nothing(service: BlobServiceClient, account: Account) -> None:
    """What is there already is not written again, so the settings keep their ETag."""
    for _ in range(2):
        publish(service, settings(), [bundle_artifact(build_bundle(OperatingSystem.LINUX))], patience(Watch()))
    assert len(account.puts) == 2
    publish(service, settings("other"), [bundle_artifact(build_bundle(OperatingSystem.LINUX))], patience(Watch()))
    assert account.puts[2:] == ["/scheduler/settings.json"]


def test_a_role_that_spreads_is_waited_for(service: BlobServiceClient, account: Account) -> None:
    """A refusal is tried again with growing pauses."""
    account.refusals, watch = 5, Watch()
    publish(service, settings(), [], patience(watch))
    assert account.puts == ["/scheduler/settings.json"]
    assert watch.pauses == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_refusal_that_stays_says_which_role_is_missing(service: BlobServiceClient, account: Account) -> None:
    """After ten minutes it is an error that says what to check; nothing is written."""
    account.refusals, watch = 10_000, Watch()
    with pytest.raises(PublishError, match="Storage Blob Data Contributor"):
        publish(service, settings(), [], patience(watch))
    assert 580 < watch.now <= 600
    assert account.puts == []


def test_the_settings_address_is_that_of_the_blob() -> None:
    """The stack output names the blob that was written."""
    assert settings_url(ENDPOINT) == "https://account.blob.core.windows.net/scheduler/settings.json"


def mirrored(url: str, sha256: str) -> Artifact:
    """An interpreter as settings pin it."""
    return mirrored_artifact(url, sha256, suffix=".zip", setting="windows_python")


def test_an_archive_that_is_there_is_not_downloaded(service: BlobServiceClient, account: Account) -> None:
    """A mirrored file is known by its hash, so the second deployment does not ask its maker."""
    sha256 = "a" * 64
    account.blobs[f"/bundles/{sha256}.zip"] = b"archive"
    publish(service, settings(), [mirrored("https://127.0.0.1:9/python.zip", sha256)], patience(Watch()))
    assert account.puts == ["/scheduler/settings.json"]


def test_an_archive_that_cannot_be_had_is_said(service: BlobServiceClient, account: Account) -> None:
    """Without it no node could boot, so the settings that would buy nodes are not written."""
    with pytest.raises(PublishError, match="check millpond:windows_python"):
        publish(service, settings(), [mirrored("https://127.0.0.1:9/p.zip", "a" * 64)], patience(Watch()))
    assert account.puts == []


def test_a_file_of_this_machine_is_checked_and_uploaded_once(
    service: BlobServiceClient, account: Account, tmp_path: Path
) -> None:
    """By its path it is read, compared by hash and size, and written; the second time it is not even read."""
    path = tmp_path / "python.zip"
    path.write_bytes(b"an interpreter")
    sha256 = hashlib.sha256(b"an interpreter").hexdigest()
    file = mirrored_artifact(str(path), sha256, size=14, suffix=".zip", setting="windows_python")
    publish(service, settings(), [file], patience(Watch()))
    assert account.blobs[f"/bundles/{sha256}.zip"] == b"an interpreter"
    path.unlink()
    publish(service, settings(), [file], patience(Watch()))
    assert account.puts == [f"/bundles/{sha256}.zip", "/scheduler/settings.json"]


@pytest.mark.parametrize(
    ("sha256", "size", "said"),
    [
        ("a" * 64, 14, "nothing of it was used. If the file's publisher names"),
        (hashlib.sha256(b"an interpreter").hexdigest(), 15, "has 14 bytes, and millpond:windows_python says 15"),
    ],
)
def test_another_file_than_pinned_is_not_uploaded(
    service: BlobServiceClient, account: Account, tmp_path: Path, sha256: str, size: int, said: str
) -> None:
    """A wrong hash or a wrong size stops the deployment before the settings that would buy nodes."""
    path = tmp_path / "python.zip"
    path.write_bytes(b"an interpreter")
    file = mirrored_artifact(str(path), sha256, size=size, suffix=".zip", setting="windows_python")
    with pytest.raises(PublishError, match=said):
        publish(service, settings(), [file], patience(Watch()))
    assert account.puts == []
