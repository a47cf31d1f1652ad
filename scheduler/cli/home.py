"""The folder of local state and the two records in it that lead to a deployment and to its scheduler."""

import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from scheduler.cli.place import DEPLOYMENT_FILE, default_home
from scheduler.errors import NotFoundError

_Record = TypeVar("_Record")


@dataclass(frozen=True)
class ApiAddress:
    """Where a running scheduler answers, as it wrote it to `api.json`."""

    url: str
    token: str
    pid: int


@dataclass(frozen=True)
class Deployment:
    """What `millpond up` wrote to `deployment.json`, as far as the scheduler needs it."""

    scheduler_settings_url: str


_API_ADDRESS = TypeAdapter(ApiAddress)
_DEPLOYMENT = TypeAdapter(Deployment)


class StackFolder:
    """The local files of one stack: `$MILLPOND_HOME/<stack>`, else `.millpond/<stack>` beside the source."""

    def __init__(self, stack: str, home: Path | None = None) -> None:
        self.stack = stack
        self.path = (home or default_home()) / stack

    @property
    def store_url(self) -> str:
        """Address of the scheduler's store if none is named."""
        return f"sqlite:///{self.path / 'scheduler.sqlite'}"

    def deployment(self) -> Deployment:
        """Read where the stack's settings lie; `NotFoundError` when it was not deployed from here."""
        hint = f"deploy it with `millpond up --stack {self.stack}`, or name the settings with --settings-url"
        return _read(_DEPLOYMENT, self.path / DEPLOYMENT_FILE, f"the stack {self.stack!r} is not deployed", hint)

    def api_address(self) -> ApiAddress | None:
        """Read where the stack's scheduler answers; None when none has been started or it ended as it should."""
        if not self._api_file.exists():
            return None
        hint = f"start it again with `millpond scheduler run --stack {self.stack}`"
        return _read(_API_ADDRESS, self._api_file, "the scheduler's address is lost", hint)

    def publish_api(self, address: ApiAddress) -> None:
        """Write where this process answers, whole or not at all, for the owner's eyes only."""
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.path / f"api.json.{secrets.token_hex(4)}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(asdict(address), stream)
        partial.replace(self._api_file)

    def withdraw_api(self, address: ApiAddress) -> None:
        """Remove the address, unless another scheduler has written its own since."""
        try:
            if self.api_address() == address:
                self._api_file.unlink(missing_ok=True)
        except NotFoundError:
            return

    @property
    def _api_file(self) -> Path:
        return self.path / "api.json"


def _read(adapter: TypeAdapter[_Record], path: Path, problem: str, hint: str) -> _Record:
    try:
        return adapter.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"{problem}: {path} is not there; {hint}") from error
    except ValidationError as error:
        raise NotFoundError(f"{problem}: {path} cannot be read; {hint}") from error
