"""What the storage servers decide by: one file an account, written anew at every change of what it depends on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.arm.store import Resource, Store
from infra.local.faults import Fault, FaultKind, Faults
from infra.local.layout import Layout, write_private
from infra.local.permissions.rules import Grant, within
from infra.local.services.access.role_definitions import ASSIGNMENT, DEFINITION
from infra.local.storage_server import StorageServers

ACCOUNT = "Microsoft.Storage/storageAccounts"

# The first that strikes counts.
_KINDS = (FaultKind.STORAGE_OUTAGE, FaultKind.THROTTLING, FaultKind.SERVER_ERROR)


@dataclass(frozen=True, slots=True)
class Trust:
    """How the servers know whom they serve: the secret that tokens are signed with, and who may do everything.

    `metadata_url` is where they ask for faults, with the header.
    """

    token_secret: str
    own_object_id: str
    sign_in_url: Callable[[], str]
    metadata_url: Callable[[], str]
    header: str


class StoragePermissions:
    """Writes the files, and answers the servers which fault strikes a request."""

    def __init__(
        self,
        store: Store,
        layout: Layout,
        servers: StorageServers,
        grants: Callable[[], Mapping[str, list[Grant]]],
        faults: Faults,
        trust: Trust,
    ) -> None:
        self._store = store
        self._layout = layout
        self._servers = servers
        self._grants = grants
        self._faults = faults
        self._trust = trust
        self._written: dict[str, str] = {}
        for kind in (ACCOUNT, ASSIGNMENT, DEFINITION):
            store.watch(kind, self.write_all)
        faults.on_change(self.write_all)

    def routes(self) -> list[Route]:
        """Return where the servers ask for faults."""
        return [Route("/storage-faults/{account}", self._strike, methods=["POST"])]

    def write_all(self) -> None:
        """Write the file of every account where it has to change."""
        with self._store.transaction():
            for account in self._store.find(ACCOUNT):
                self._write(account)

    def _write(self, account: Resource) -> None:
        path = self._servers.permissions_file(account.name)
        text = json.dumps(self._content(account))
        if self._written.get(account.key) != text or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, text)
            self._written[account.key] = text

    def _content(self, account: Resource) -> dict[str, Any]:
        properties = account.properties
        grants = [
            _record(grant)
            for held in self._grants().values()
            for grant in held
            if within(account.id, grant.scope) or within(grant.scope, account.id)
        ]
        return {
            "account": account.name,
            "scope": account.id,
            "tokenSecret": self._trust.token_secret,
            "trusted": self._trust.own_object_id,
            "signInUrl": self._trust.sign_in_url(),
            "sharedKeyAccess": properties.get("allowSharedKeyAccess", True),
            "publicAccess": properties.get("allowBlobPublicAccess", False),
            "faulty": any(fault.kind in _KINDS for fault in self._faults.list()),
            "faultUrl": f"{self._trust.metadata_url()}/storage-faults/{account.name}",
            "faultHeader": self._trust.header,
            "accessLog": str(self._layout.access_log),
            "grants": grants,
        }

    async def _strike(self, request: Request) -> Response:
        if request.headers.get("x-identity-header") != self._trust.header:
            return JSONResponse({}, 401)
        fault = await run_in_threadpool(self._taken, request.path_params["account"])
        return JSONResponse({"kind": fault.kind, "seconds": fault.seconds} if fault else {})

    def _taken(self, account: str) -> Fault | None:
        for kind in _KINDS:
            if (fault := self._faults.take(kind, account)) is not None:
                if not any(standing.kind in _KINDS for standing in self._faults.list()):
                    self.write_all()
                return fault
        return None


def _record(grant: Grant) -> dict[str, Any]:
    return {
        "principal": grant.principal_id.lower(),
        "scope": grant.scope.lower().rstrip("/"),
        "since": grant.since,
        "condition": grant.condition,
        "permissions": [permission.record() for permission in grant.permissions],
    }
