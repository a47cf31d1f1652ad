"""Where the local Azure keeps its things, and the record by which others find it."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Every process that the local Azure starts carries this variable with the folder it belongs to.
FOLDER_MARK = "MILLPOND_LOCAL"


class LocalAzureError(Exception):
    """The local Azure cannot do what was asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under one home."""

    home: Path

    @property
    def local(self) -> Path:
        """The folder of the local Azure."""
        return self.home / "local"

    @property
    def state_file(self) -> Path:
        """The running daemon's addresses and secrets; 0600."""
        return self.local / "state.json"

    @property
    def lock_file(self) -> Path:
        """Held by the daemon for as long as it lives."""
        return self.local / "lock"

    @property
    def powered_off(self) -> Path:
        """There after `down`: the machines stopped with the host and start again with it."""
        return self.local / "powered-off"

    @property
    def store(self) -> Path:
        """All resources and operations."""
        return self.local / "arm.sqlite"

    @property
    def certificates(self) -> Path:
        """The authority, the servers' certificate and the bundle that clients trust."""
        return self.local / "certificates"

    @property
    def ca_bundle(self) -> Path:
        """The authorities trusted before, and ours."""
        return self.certificates / "bundle.pem"

    @property
    def instances(self) -> Path:
        """One folder an instance."""
        return self.local / "instances"

    @property
    def storage(self) -> Path:
        """One folder a storage account."""
        return self.local / "storage"

    @property
    def databases(self) -> Path:
        """One folder a database server."""
        return self.local / "databases"

    @property
    def requests_log(self) -> Path:
        """One line a request to the resource manager."""
        return self.local / "requests.jsonl"

    @property
    def access_log(self) -> Path:
        """One line for each action that somebody asked for on a scope, and whether it was allowed."""
        return self.local / "access.jsonl"

    @property
    def deletes_log(self) -> Path:
        """One line a deleted instance, with the task processes that were alive."""
        return self.local / "deletes.jsonl"

    @property
    def daemon_log(self) -> Path:
        """What the daemon prints."""
        return self.local / "daemon.log"

    @property
    def azure_cli(self) -> Path:
        """Settings and sign-in of `az` for this local Azure."""
        return self.local / "azure-cli"

    @property
    def pulumi_backend(self) -> Path:
        """The engine's own state of the stacks."""
        return self.home / "pulumi"


@dataclass(frozen=True, slots=True)
class RunningState:
    """Addresses and secrets of the running daemon, as written to `state.json`."""

    pid: int
    started: float
    boot_delay_seconds: float
    arm_url: str
    metadata_host: str
    identity_endpoint: str
    identity_header: str
    provider_port: int
    language_port: int
    ca_file: str
    subscription_id: str
    tenant_id: str
    metadata_url: str
    client_id: str
    notes: tuple[str, ...] = ()  # what the user should know about this start


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.replace(path)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; a single write, so that lines of several threads do not mix."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def write_state(layout: Layout, state: RunningState) -> None:
    """Say where the daemon is."""
    write_private(layout.state_file, json.dumps(dataclasses.asdict(state), indent=2))


def read_state(layout: Layout) -> RunningState | None:
    """Say where the daemon was last; None when there is no such record, or one that cannot be read."""
    try:
        record = json.loads(layout.state_file.read_text())
        return RunningState(**{**record, "notes": tuple(record.get("notes", ()))})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None
