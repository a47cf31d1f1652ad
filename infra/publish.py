"""What `pulumi up` puts into storage: the node bundles by their hashes, and the scheduler's settings.

It comes with the deployer's Entra token. A role given a moment ago may take minutes to be known everywhere, so a
refusal is tried again for a while before it counts.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContentSettings

from node_bootstrap.bundle import Bundle
from node_bootstrap.protocol import BUNDLES, SCHEDULER
from scheduler.settings import SETTINGS_BLOB, SchedulerSettings, dump_settings

# Azure: role assignments take up to ten minutes to take effect (docs: troubleshoot Azure RBAC).
ROLE_PATIENCE_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
DOWNLOAD_SECONDS = 120.0
FORBIDDEN = 403

_Result = TypeVar("_Result")


class PublishError(Exception):
    """Bundles or settings could not be written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a refusal is tried again; clock and sleep are arguments for tests."""

    seconds: float = ROLE_PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until_allowed(self, action: Callable[[], _Result]) -> _Result:
        """Do it, again with growing pauses while it is answered with 403."""
        deadline, pause = self.clock() + self.seconds, FIRST_PAUSE_SECONDS
        while True:
            try:
                return action()
            except HttpResponseError as error:
                if error.status_code != FORBIDDEN or self.clock() + pause > deadline:
                    raise
            self.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that nodes fetch by the hash in its name; `read` is called only where it is not there yet."""

    name: str
    read: Callable[[], bytes]


def bundle_artifact(bundle: Bundle) -> Artifact:
    """Give the runner, as packed here."""
    return Artifact(f"{bundle.sha256}.tar.gz", lambda: bundle.data)


def mirrored_artifact(source: str, sha256: str, *, suffix: str, setting: str, size: int | None = None) -> Artifact:
    """Give a file of someone else's, read once and checked; `setting` is where the stack names it.

    `source` is an address, or a path on this machine.
    """
    return Artifact(f"{sha256}{suffix}", partial(_checked, source, sha256, size, setting))


def _checked(source: str, sha256: str, size: int | None, setting: str) -> bytes:
    try:
        if "://" in source:
            answer = httpx.get(source, follow_redirects=True, timeout=DOWNLOAD_SECONDS)
            data = answer.raise_for_status().content
        else:
            data = Path(source).read_bytes()
    except (httpx.HTTPError, OSError) as error:
        raise PublishError(
            f"{source} cannot be read: {error}; check millpond:{setting} in the stack's settings"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise PublishError(
            f"{source} has the SHA-256 {found}, and millpond:{setting} says {sha256}; nothing of it was used. If the"
            f" file's publisher names {found} too, write that as millpond:{setting}.sha256"
        )
    if size is not None and len(data) != size:
        raise PublishError(
            f"{source} has {len(data)} bytes, and millpond:{setting} says {size}; nothing of it was used. The hash is"
            f" right: write millpond:{setting}.size anew"
        )
    return data


def publish(
    service: BlobServiceClient, settings: SchedulerSettings, artifacts: Sequence[Artifact], patience: Patience
) -> None:
    """Write artifacts that are not there yet, then the settings unless they are the same already.

    The settings come last: they make the scheduler use what came before. Raises `PublishError`.
    """
    endpoint = settings.blob_endpoint
    try:
        for artifact in artifacts:
            patience.until_allowed(partial(_write_artifact, service, artifact))
        patience.until_allowed(partial(_write_settings, service, dump_settings(settings).encode()))
    except HttpResponseError as error:
        if error.status_code != FORBIDDEN:
            raise PublishError(
                f"{endpoint} refused the bundles or settings: {error.reason or error}; run it again"
            ) from error
        raise PublishError(
            f"{endpoint} still refuses this identity (403) after {patience.seconds:.0f} s; see that it has"
            " the role Storage Blob Data Contributor there and that millpond:network.deployers names the public address"
            " it comes from, then run `millpond up` again"
        ) from error
    except AzureError as error:
        raise PublishError(f"{endpoint} could not be written: {error}; check the network and run it again") from error


def settings_url(blob_endpoint: str) -> str:
    """Address of the scheduler's settings."""
    return f"{blob_endpoint}{SCHEDULER}/{SETTINGS_BLOB}"


def _write_artifact(service: BlobServiceClient, artifact: Artifact) -> None:
    blob = service.get_blob_client(BUNDLES, artifact.name)
    if blob.exists():
        return
    try:
        blob.upload_blob(artifact.read(), overwrite=False)
    except ResourceExistsError:
        return  # another deployment was faster; the name is the content's hash


def _write_settings(service: BlobServiceClient, text: bytes) -> None:
    blob = service.get_blob_client(SCHEDULER, SETTINGS_BLOB)
    try:
        if blob.download_blob().readall() == text:
            return
    except ResourceNotFoundError:
        pass
    blob.upload_blob(text, overwrite=True, content_settings=ContentSettings("application/json"))
